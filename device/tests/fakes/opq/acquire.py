"""A converter that makes 12 samples per ms of the fake clock."""

import math

import fake_time

OK, BAD_OVERSAMPLING, BUSY, NO_CLOCK, NO_DEVICE = range(5)

started_ms = None
stalled = False  # True: the head stops
status = OK  # what start() answers
starts = []
missing = 0
overruns = 0
slow_values = [3.3, 5.0, 3.9, 25.0]
_head_when_stalled = 0


def start(converter, oversampling, offset_lsb, delay_ticks):
    global started_ms
    starts.append((converter, oversampling, offset_lsb, delay_ticks))
    if oversampling not in (0, 1, 5, 10):
        return BAD_OVERSAMPLING
    if status == OK:
        started_ms = fake_time.now_ms
    return status


def stop():
    global started_ms
    started_ms = None


def converter():
    return None if started_ms is None else ("internal", 10, 13.5, 0.0078125)


def head():
    if started_ms is None or stalled:
        return 0
    return 12 * (fake_time.now_ms - started_ms)


def counters():
    return (head(), missing, 0, overruns, 0)


def slow():
    return tuple(slow_values) if started_ms is not None else (math.nan, math.nan, math.nan, math.nan)


def ring_samples():
    return 38400
