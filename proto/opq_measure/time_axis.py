"""UTC and rate along one run of samples, and the 10-minute ticks on it."""

from bisect import bisect_right

from opq_measure.signal import Samples

TICK_NS = 600 * 10**9
"""UTC ten minutes; IEC 61000-4-30:2015, 4.5."""
ON_TICK_SAMPLES = 0.01
"""An edge as near to a tick, less than a microsecond, is on it."""


class TimeAxis:
    """Positions of a run, counted from its first sample, to UTC: by the last piece that told the time."""

    def __init__(self, first_sample: int) -> None:
        self._first_sample = first_sample
        self._begins: list[int] = []
        self._pieces: list[tuple[float, int | None]] = []  # rate, time at its begin

    def add(self, samples: Samples) -> None:
        """Take in the piece that comes next."""
        if samples.start_ns is not None or not self._pieces:
            self._begins.append(samples.first_sample - self._first_sample)
            self._pieces.append((samples.rate_hz, samples.start_ns))

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
