"""A stored program in RAM, its calls without a clock: `outcomes` says which are over their limit."""

from binascii import crc32

MAX_BYTES = 4064
CRASHES = 3

stored = b""
crashes = 0
was_reset_in = 0  # CRC-32 of the text during whose call the reset before this start came
windows = []
said = []
crossings = []
channels = []
watched = False
lost = 0
IN_TIME, INTERRUPTED, RETURNS_LATE = range(3)
outcomes = []  # of the next calls
called = []  # CRC-32 of the text of each call
flash_status = 0
_received = b""
_expired = False
_loaded = 0  # CRC-32 of the program that load() found
_window = None


def call(crc32_, limit_ms, function, *arguments):
    global _expired
    called.append(crc32_)
    outcome = outcomes.pop(0) if outcomes else IN_TIME
    _expired = outcome != IN_TIME
    if outcome == INTERRUPTED:
        raise KeyboardInterrupt
    return function(*arguments)


def expired():
    return _expired


def line(error):
    return 2


def crashed():
    global was_reset_in
    found, was_reset_in = was_reset_in, 0
    return found != 0 and found == _loaded


def watch(on):
    global watched, _window
    watched = on
    if not on:
        _window = None


def window():
    global _window
    _window = windows.pop(0) if watched and windows else None
    return _window


def windows_lost():
    return lost


def load():
    global _loaded
    _loaded = crc32(stored)
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
    if flash_status == 0:
        stored = _received if length else b""
    return flash_status


def count_crash():
    global crashes
    crashes += 1
    return 0


def log(a, b):
    said.append((a, b))
    return True


def crossing(kind, entering, rms_v, limit_v):
    if _window is None:
        return False
    crossings.append((kind, _window))
    return True


def channel(name, unit, value):
    if _window is None or value is None:
        return False
    channels.append((name, unit, value))
    return True
