"""UTC and rate along one run of samples, and the 10-minute ticks on it."""

from bisect import bisect_right

from opq_measure.signal import Samples

TICK_NS = 600 * 10**9
"""UTC ten minutes; IEC 61000-4-30:2015, 4.5."""
ON_TICK_SAMPLES = 0.01
"""An edge as near to a tick, less than a microsecond, is on it."""


ROUNDING_NS = 1
"""What two times of one clock may differ by, each a whole number."""


class TimeAxis:
    """Positions of a run, counted from its first sample, to UTC: by the last piece that told the time anew.

    A piece at the same rate whose time differs only by the rounding to nanoseconds tells nothing anew: so the
    cutting into pieces leaves no trace.
    """

    def __init__(self, first_sample: int) -> None:
        self._first_sample = first_sample
        self._begins: list[int] = []
        self._pieces: list[tuple[float, int | None]] = []  # rate, time at its begin

    def add(self, samples: Samples) -> None:
        """Take in the piece that comes next."""
        begin = samples.first_sample - self._first_sample
        if not self._pieces or self._is_news(begin, samples):
            self._begins.append(begin)
            self._pieces.append((samples.rate_hz, samples.start_ns))

    def _is_news(self, begin: int, samples: Samples) -> bool:
        if samples.start_ns is None:
            return False
        told_ns = self.time_ns(begin)
        same_rate = samples.rate_hz == self._pieces[-1][0]
        return told_ns is None or not same_rate or abs(samples.start_ns - told_ns) > ROUNDING_NS

    def rate_hz(self, position: float) -> float:
        return self._pieces[max(0, bisect_right(self._begins, position) - 1)][0]

    def time_ns(self, position: float) -> int | None:
        """None as long as no piece has told the time."""
        index = max(0, bisect_right(self._begins, position) - 1)
        rate_hz, start_ns = self._pieces[index]
        if start_ns is None:
            return None
        return start_ns + round((position - self._begins[index]) * 1e9 / rate_hz)

    def forget(self, position: float) -> None:
        """Nothing before `position` is asked for any more."""
        gone = max(0, bisect_right(self._begins, position) - 1)
        del self._begins[:gone], self._pieces[:gone]


def tick_within(start_ns: int | None, end_ns: int | None, rate_hz: float) -> int | None:
    """The tick between two times, not on one of them."""
    if start_ns is None or end_ns is None:
        return None
    slack_ns = round(ON_TICK_SAMPLES * 1e9 / rate_hz)
    tick_ns = (end_ns - slack_ns - 1) // TICK_NS * TICK_NS
    return tick_ns if tick_ns > start_ns + slack_ns else None


def behind_tick(begin_ns: int | None, time_ns: int | None, rate_hz: float) -> bool:
    """Whether a tick lies between two times, or on one of them."""
    if begin_ns is None or time_ns is None:
        return False
    slack_ns = round(ON_TICK_SAMPLES * 1e9 / rate_hz)
    return (time_ns + slack_ns) // TICK_NS * TICK_NS >= begin_ns - slack_ns
