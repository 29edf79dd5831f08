"""A stored program in RAM, its calls without a clock: `over` says that the next call is over its limit."""

from binascii import crc32

MAX_BYTES = 4064
CRASHES = 3

stored = b""
crashes = 0
was_reset = False  # during a call, before this start
windows = []
said = []
watched = False
over = False
flash_status = 0
_received = b""
_expired = False


def call(limit_ms, function, *arguments):
    global _expired, over
    _expired, over = over, False
    if _expired:
        raise KeyboardInterrupt
    return function(*arguments)


def expired():
    return _expired


def line(error):
    return 2


def crashed():
    global was_reset
    found, was_reset = was_reset, False
    return found


def watch(on):
    global watched
    watched = on


def window():
    return windows.pop(0) if watched and windows else None


def load():
    return (len(stored), crc32(stored), crashes) if stored else None


def text():
    return stored.decode()


def piece(offset):
    return stored[offset : offset + 180]


def room():
    global _received
    _received = b""
    return flash_status


def write(offset, piece):
    global _received
    assert offset == len(_received)
    _received += piece
    return flash_status


def received(length, wanted):
    return _received.decode() if crc32(_received) == wanted else None


def keep(length, wanted):
    global stored
    stored = _received if length else b""
    return flash_status


def count_crash():
    global crashes
    crashes += 1
    return 0


def log(a, b):
    said.append((a, b))
    return True
