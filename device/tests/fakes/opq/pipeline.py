"""A line that keeps what was sent; `room` messages fit until it is emptied."""

COMMAND = 8
UPDATE_DATA = 12

sent = []
inbox = []
room = 1000
held = False
restarts = 0
refused = 0
losses_sent = 0
features_set = []
limits_set = []


def _send(*message):
    if len(sent) >= room:
        return False
    sent.append(message)
    return True


def named(name):
    """Messages of one kind, without their name."""
    return [message[1:] for message in sent if message[0] == name]


def poll():
    return inbox.pop(0) if inbox else None


def acknowledge(command_id, status, detail=""):
    if len(detail.encode()) > 255:
        return False
    return _send("ack", command_id, status, detail)


def hello(*facts):
    return _send("hello", *facts)


def settings(sequence, items):
    return _send("settings", sequence, items)


def gps_status(satellites, latitude_e7, longitude_e7):
    return _send("gps", satellites, latitude_e7, longitude_e7)


def health(*facts):
    return _send("health", *facts)


def losses(gps_damaged, again):
    global losses_sent
    if gps_damaged == losses_sent and not again:
        return False
    if not _send("losses", gps_damaged):
        return False
    losses_sent = gps_damaged
    return True


def facts(again, program, program_crc32):
    if again:
        _send("facts", program, program_crc32)


def crash():
    _send("crash")


def log(code, a, b):
    return _send("log", code, a, b)


def restart():
    global restarts
    restarts += 1


def features(*facts):
    features_set.append(facts)


def limits(*facts):
    limits_set.append(facts)


def hold(on):
    global held
    held = on


def counters():
    return (0, 0, 0, 0, 0, 0, 0, 0, refused, 0, 0, 0, 0, 0, 0)


def idle():
    return True
