"""MicroPython's `time` on the fake clock: a sleep takes no time, and ticks wrap as on the Box.

The shortest sleep is MIN_MS: the app's loop sleeps 1 ms a round, and few things of it are that fine.
"""

import fake_time

WRAP = 1 << 30
MIN_MS = 5


def ticks_ms():
    return fake_time.now_ms % WRAP


def ticks_add(ticks, delta):
    return (ticks + delta) % WRAP


def ticks_diff(end, start):
    return ((end - start + WRAP // 2) % WRAP) - WRAP // 2


def sleep_ms(ms):
    fake_time.now_ms += max(ms, MIN_MS)
