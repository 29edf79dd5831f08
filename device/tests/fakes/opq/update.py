"""An updater whose answers are set by the test."""

OK, BUSY, WRONG_OFFSET, BAD_IMAGE, FLASH, NOT_BEGUN, ON_TRIAL, BAD_LENGTH = range(8)

answers = []  # of begin, data, step, end in turn; OK when empty
next_offset = 0
trial = False
confirms = 0
confirm_status = 0
back = False
watchdog_resets = 0
sectors = 0


def _answer():
    return answers.pop(0) if answers else OK


def begin(length):
    return _answer()


def data(offset, piece):
    global next_offset
    status = _answer()
    if status == OK:
        next_offset = offset + len(piece)
    return status


def step():
    global sectors
    sectors += 1
    return _answer()


def end():
    return _answer()


def next():
    return next_offset


def verdict():
    return 8


def slot():
    return 1


def on_trial():
    return trial


def confirm():
    global confirms
    confirms += 1
    return confirm_status


def boot():
    return (0, int(trial), watchdog_resets, 0, 1, 0x01000000, 0x01000000, 133_000, 1)


def rolled_back():
    return back
