"""Power frequency over 10 s: whole cycles that lie within ten seconds of UTC, over their duration.

A cycle that runs over the border is counted on neither side. Cycles that are missing in the signal, or in
which no fundamental was seen, are left out of both count and duration, and lower `coverage`.

Source: IEC 61000-4-30:2015, 5.1 (class A: 10 mHz from 42.5 to 57.5 and 51 to 69 Hz), from memory.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import BoolArray, SignalArray
from opq_measure.timebase.window import WindowTime
from opq_measure.timebase.windows import Window, windows_of

TEN_SECONDS_NS = 10 * 10**9


@dataclass(frozen=True, slots=True)
class TenSeconds:
    """The frequency of `cycles` whole cycles, NaN where none was seen; `coverage` 0 .. 1 of the interval.

    `start_ns` is a whole ten seconds of UTC, or (`utc` False) counts from the signal's first cycle.
    """

    start_ns: int
    end_ns: int
    frequency_hz: float
    cycles: int
    coverage: float
    flagged: bool
    utc: bool


class TenSecondFrequency:
    """Windows in, a frequency out every 10 s; the numbers do not depend on how the signal was cut."""

    def __init__(self) -> None:
        self._open = False
        self._last_ns = self._reached_ns = 0
        self._begin(0, True)

    def _begin(self, start_ns: int, utc: bool) -> None:
        self._start_ns = start_ns
        self._utc = utc
        self._cycles, self._duration_ns = 0, 0
        self._flagged = False

    def push_window(
        self, window: Window, flagged: bool = False, time: WindowTime | None = None
    ) -> list[TenSeconds]:
        """Adds a window and returns the ten-second values that it finishes.

        Args:
            window: the next one; a window over a 10-minute tick and the one after it share cycles.
            flagged: a dip, swell or interruption touches it.
            time: the window's time, where the caller has it already.
        """
        time = time or WindowTime.of(window)
        found = []
        if self._open and (time.utc != self._utc or time.end_ns <= self._start_ns):
            found += self.end()  # UTC came or went, or the clock was set back
        if not self._open:
            self._open = True
            origin_ns = time.start_ns // TEN_SECONDS_NS * TEN_SECONDS_NS if time.utc else time.start_ns
            self._begin(origin_ns, time.utc)
            self._reached_ns = time.start_ns
        elif time.start_ns <= self._last_ns:  # set back within the interval: a leap second
            self._reached_ns = time.start_ns
        self._last_ns = time.start_ns
        if self._goes_in_whole(window, time):
            self._flagged |= flagged
            return found
        edges_ns, seen = self._new(window, time)
        while len(edges_ns):
            border_ns = self._start_ns + TEN_SECONDS_NS
            inside = edges_ns[: int(np.searchsorted(edges_ns, border_ns, side="right"))]
            self._count(inside, seen, flagged)
            if len(inside) == len(edges_ns):
                break
            found += self._finished()
            on_border = len(inside) > 0 and inside[-1] == border_ns
            edges_ns, seen = edges_ns[len(inside) - on_border :], seen[len(inside) - on_border :]
            passed = (int(edges_ns[0]) - border_ns) // TEN_SECONDS_NS  # more than 0 after a gap
            self._begin(border_ns + passed * TEN_SECONDS_NS, self._utc)
        self._reached_ns = time.end_ns
        return found

    def _goes_in_whole(self, window: Window, time: WindowTime) -> bool:
        """Counts a window at once if it joins the last, all its cycles were seen and it crosses no border.

        Most windows are like this; for any other it returns False and counts nothing.
        """
        since_ns = round(float(window.edges[-1] - window.edges[0]) * 1e9 / window.rate_hz)
        cycles = len(window.edges) - 1
        inside = (
            time.start_ns + since_ns <= self._start_ns + TEN_SECONDS_NS and time.start_ns >= self._start_ns
        )
        joined = abs(time.start_ns - self._reached_ns) < (time.end_ns - time.start_ns) // (4 * cycles)
        if not (inside and joined and window.track.known.all()):
            return False
        self._cycles += cycles
        self._duration_ns += since_ns
        self._reached_ns = time.end_ns
        return True

    def _new(self, window: Window, time: WindowTime) -> tuple[NDArray[np.int64], BoolArray]:
        """Cycle edges that were not in the window before, and whether the cycles between them were seen."""
        period_ns = (time.end_ns - time.start_ns) / (len(window.edges) - 1)
        since_ns = (window.edges - window.edges[0]) * (1e9 / window.rate_hz)
        edges_ns = time.start_ns + np.rint(since_ns).astype(np.int64)
        first = int(np.searchsorted(edges_ns, self._reached_ns - period_ns / 2, side="right"))
        return edges_ns[first:], window.track.known_between(window.edges[:-1], window.edges[1:])[first:]

    def _count(self, edges_ns: NDArray[np.int64], seen: BoolArray, flagged: bool) -> None:
        self._flagged |= flagged and len(edges_ns) > 0
        if len(edges_ns) > 1:
            counted = seen[: len(edges_ns) - 1]
            self._cycles += int(np.count_nonzero(counted))
            self._duration_ns += int(np.diff(edges_ns)[counted].sum())

    def end(self) -> list[TenSeconds]:
        """Ends the signal and returns the current interval, with the coverage it has."""
        found = self._finished()
        self._open = False
        return found

    def _finished(self) -> list[TenSeconds]:
        """The current interval; empty where nothing of it was seen, as in a gap."""
        if not self._open or self._reached_ns <= self._start_ns:
            return []
        frequency_hz = self._cycles * 1e9 / self._duration_ns if self._cycles else math.nan
        end_ns = self._start_ns + TEN_SECONDS_NS
        coverage = min(self._duration_ns / TEN_SECONDS_NS, 1.0)
        return [
            TenSeconds(self._start_ns, end_ns, frequency_hz, self._cycles, coverage, self._flagged, self._utc)
        ]


def ten_seconds_of(
    volts: SignalArray, rate_hz: float, nominal_hz: float = 60.0, start_ns: int | None = None
) -> Iterator[TenSeconds]:
    """The frequency of each ten seconds of a signal; the first and last may be partly covered.

    Raises:
        ValueError: see `signal.check_signal`.

    Error: below 0.01 mHz at 75 dB of noise with the harmonics of class A's testing states
    (test_measure_class_a.py); the clock's own error is added, 0.06 mHz for 1 ppm.
    """
    meter = TenSecondFrequency()
    for window in windows_of(volts, rate_hz, nominal_hz, start_ns):
        yield from meter.push_window(window)
    yield from meter.end()
