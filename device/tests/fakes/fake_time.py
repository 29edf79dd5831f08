"""A clock that moves only when a test moves it, or by sleep_ms."""

now_ms = 1000


def ticks_ms():
    return now_ms


def advance(ms):
    global now_ms
    now_ms += ms
