"""A board whose resets raise, and whose watchdog counts."""

import fake_time

NAME = "fake"
FIRMWARE = "1.2.3"
LED_STATUS, LED_TIME, LED_FAULT = range(3)

leds = [False, False, False]
fed_last_ms = fed_longest_ms = 0
low = False
resets = 0
crashed = None
options = (0, 0)
cause = 1
clock = 0
wanted = False
repl_requested = False


class Reset(BaseException):
    pass


def reset_cause():
    return cause


def clock_source():
    return clock


def boot_id():
    return 77


def led(which, on):
    leds[which] = on


def repl_wanted():
    return wanted


def repl():
    global repl_requested
    repl_requested = True
    raise SystemExit


def crash():
    return crashed


def protection():
    return options


def protect(level, sectors):
    global options
    if level > 3 or sectors & ~3 or low:
        return False
    options = (level, sectors)
    return True


def supply_is_low():
    return low


def watchdog_start():
    pass


def watchdog_feed():
    global fed_last_ms, fed_longest_ms
    if fed_last_ms:
        fed_longest_ms = max(fed_longest_ms, fake_time.now_ms - fed_last_ms)
    fed_last_ms = fake_time.now_ms


def reset():
    global resets
    resets += 1
    raise Reset
