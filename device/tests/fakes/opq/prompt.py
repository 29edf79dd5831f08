"""A prompt whose `run` calls rounds until the session is closed; what is typed is printed in capitals."""

typed = bytearray()
printed = bytearray()
room = 512
is_open = False
runs = 0


def open():
    global is_open
    is_open = True
    typed[:] = b""


def close():
    global is_open
    is_open = False


def put(data):
    taken = data[: room - len(typed)]
    typed.extend(taken)
    return len(taken)


def take(most):
    found = bytes(printed[:most])
    printed[:] = printed[most:]
    return found


def run(round, names):
    global runs, is_open
    import time

    runs += 1
    while is_open:
        if b"\x04" in typed:
            typed[:] = b""
            return True
        printed.extend(bytes(typed).upper())
        typed[:] = b""
        is_open = round() and is_open
        time.sleep_ms(1)
    return False
