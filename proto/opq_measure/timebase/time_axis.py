"""UTC and rate along one run of samples, and the 10-minute ticks on it."""

from bisect import bisect_right
from typing import NamedTuple

TICK_NS = 600 * 10**9
"""Ten minutes of UTC; IEC 61000-4-30:2015, 4.5."""
ON_TICK_SAMPLES = 0.01
"""Distance from a tick, less than a microsecond, up to which an edge is on it."""


ROUNDING_NS = 1
"""Largest difference of two times of one clock that is only rounding to whole nanoseconds."""


class TimeMark(NamedTuple):
    """A sample's time, None where it is not known, and the rate from there on."""

    first_sample: int
    rate_hz: float
    start_ns: int | None


class TimeAxis:
    """Converts positions, counted from a run's first sample, to UTC, by the last mark that gave the time.

    A mark at the same rate whose time differs only by the rounding to nanoseconds is ignored, so that the
    result does not depend on the cutting into pieces.
    """

    def __init__(self, first_sample: int) -> None:
        self._first_sample = first_sample
        self._begins: list[int] = []
        self._segments: list[tuple[float, int | None]] = []  # rate, time where it begins

    def add(self, first_sample: int, rate_hz: float, start_ns: int | None) -> None:
        """Accepts the next mark."""
        begin = first_sample - self._first_sample
        if self._segments:
            if start_ns is None:
                return
            rate, begin_ns = self._segments[-1]
            if rate == rate_hz and begin_ns is not None:
                off_ns = start_ns - begin_ns - (begin - self._begins[-1]) * 1e9 / rate
                if -ROUNDING_NS <= round(off_ns) <= ROUNDING_NS:
                    return
        self._begins.append(begin)
        self._segments.append((rate_hz, start_ns))

    def rate_hz(self, position: float) -> float:
        return self._segments[max(0, bisect_right(self._begins, position) - 1)][0]

    def time_ns(self, position: float) -> int | None:
        """None as long as no mark has given the time."""
        index = max(0, bisect_right(self._begins, position) - 1)
        rate_hz, start_ns = self._segments[index]
        if start_ns is None:
            return None
        return start_ns + round((position - self._begins[index]) * 1e9 / rate_hz)

    def discard_before(self, position: float) -> None:
        """Drops the marks that are needed only before `position`."""
        gone = max(0, bisect_right(self._begins, position) - 1)
        del self._begins[:gone], self._segments[:gone]


def tick_within(start_ns: int | None, end_ns: int | None, rate_hz: float) -> int | None:
    """The tick between two times, but not on one of them; None without one, or where a time is not known."""
    if start_ns is None or end_ns is None:
        return None
    slack_ns = round(ON_TICK_SAMPLES * 1e9 / rate_hz)
    tick_ns = (end_ns - slack_ns - 1) // TICK_NS * TICK_NS
    return tick_ns if tick_ns > start_ns + slack_ns else None


def tick_between(begin_ns: int | None, time_ns: int | None, rate_hz: float) -> bool:
    """True if a tick lies between two times, or on one of them; False where a time is not known."""
    if begin_ns is None or time_ns is None:
        return False
    slack_ns = round(ON_TICK_SAMPLES * 1e9 / rate_hz)
    return (time_ns + slack_ns) // TICK_NS * TICK_NS >= begin_ns - slack_ns
