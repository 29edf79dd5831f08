"""TIM5's 32 bits as 64, and dates; expected values by integer arithmetic and by `datetime`."""

import ctypes
import random
from datetime import UTC, datetime, timedelta

from clock_on_pc import clock_library

HALF = 1 << 31
WRAP = 1 << 32


class Counter:
    """What the Box remembers between reads."""

    def __init__(self) -> None:
        self._halves = ctypes.c_uint32(0)

    def read(self, true_tick: int) -> int:
        low = ctypes.c_uint32(true_tick % WRAP)
        return int(clock_library().opq_probe_extend(ctypes.byref(self._halves), low))


def test_a_counter_that_wraps_goes_on_counting() -> None:
    counter = Counter()
    for true_tick in range(0, 20 * WRAP, HALF - 12345):
        assert counter.read(true_tick) == true_tick


def test_reads_at_wrap_and_half_are_right() -> None:
    counter = Counter()
    for edge in range(HALF, 7 * WRAP, HALF):
        for near in (-2, -1, 0, 1, 2):
            assert counter.read(edge + near) == edge + near


def test_an_overtaken_read_counts_once() -> None:
    """A read that was overtaken by an interrupt does not count a half twice."""
    counter = Counter()
    assert counter.read(HALF - 1) == HALF - 1
    assert counter.read(HALF + 5) == HALF + 5  # the interrupt, which came in between
    assert counter.read(HALF + 6) == HALF + 6


def test_a_late_capture_is_placed() -> None:
    """A capture is placed though it is read late or before its now."""
    near = clock_library().opq_probe_near
    chance = random.Random(5)
    for _ in range(2000):
        captured = chance.randrange(HALF, 9 * WRAP)
        now = captured + chance.choice((1, -1, 84_000_000, -84_000, HALF - 1, 20 * 84_000_000, 0))
        assert near(ctypes.c_int64(now), ctypes.c_uint32(captured % WRAP)) == captured


def test_dates_are_those_of_the_calendar() -> None:
    out = (ctypes.c_int32 * 3)()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    for day in range(0, 365 * 140, 13):
        date = epoch + timedelta(days=day, hours=day % 24, minutes=day % 60, seconds=59)
        fields = (date.year, date.month, date.day, date.hour, date.minute, date.second)
        unix_s = int(date.timestamp())
        assert clock_library().opq_probe_unix_s(*fields) == unix_s
        clock_library().opq_probe_date(ctypes.c_int64(unix_s), out)
        assert tuple(out) == fields[:3]


def test_second_60_is_the_midnight_after_it() -> None:
    midnight = int(datetime(2017, 1, 1, tzinfo=UTC).timestamp())
    assert clock_library().opq_probe_unix_s(2016, 12, 31, 23, 59, 60) == midnight
