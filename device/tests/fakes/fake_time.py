"""A clock that only moves when told, or by sleep_ms."""

now_ms = 1000


def ticks_ms():
    return now_ms


def advance(ms):
    global now_ms
    now_ms += ms
