"""When an rms event starts and ends, finer than the half cycles of Urms(1/2).

Urms(1/2) spans a whole cycle, so by the standard's time stamps a dip of d cycles lasts d to d + 1.1 cycles
(5.4.5.2 allows an error of a cycle). Urms(1/2) alone decides which events there are and how deep they are.
Their start and end are then found where the waveform changes (`events.steps`), a start that is not a step
by its first sample (`waveform.departure`) or, where it changes slowly, from the rms over half a cycle, moved
sample by sample.

Source: IEC 61000-4-30:2015, 5.4.
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.events.steps import change_at, dip_between
from opq_measure.signal import FloatArray
from opq_measure.waveform.departure import departure_in

SHORT_WINDOWS = 5
"""A span of at most this many Urms(1/2) may be an event below 1.5 cycles, too short to contain a whole cycle
next to its step; a shallow event may have 3.5 cycles."""
EARLY_CYCLES = 0.75
"""The half-cycle rms may pass its threshold this long before or after the first sample that leaves the wave,
for example where a ringing lifts it. An event does not begin before that sample."""
AGREES_CYCLES = 0.02
"""A step this near to that sample is more accurate than the sample."""
REACH_HALF_EDGES = 16
"""Half edges that are used before and after an end, for DC and for the length of a cycle."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The stretch of a run in which an end lies; positions count from its first sample.

    `window` is the half edge at which the last Urms(1/2) beyond the threshold begins (for a start, the first
    one); it spans two half cycles.
    """

    volts: FloatArray
    half_edges: FloatArray
    window: int
    cycle: float

    def crossing(self, level: float, sign: int, which: int, smooth: bool = False) -> float:
        """Middle of the first (`which` 0) or last (-1) half cycle beyond `level`; `sign` -1 for a dip.

        `smooth` averages these again over half a cycle: that has a double zero at twice the mains frequency,
        so that a slow ramp has no ripple; a step is smeared.
        """
        half = max(1, round(self.cycle / 2))
        volts = self.volts - self._dc()
        square, middle = _moving_mean(volts * volts, half), (half - 1) / 2
        if smooth:
            square, middle = _moving_mean(square, half), half - 1.0
        beyond = sign * (square - level**2) > 0
        low = max(0, int(self.half_edges[self.window]) - round(middle) + half // 2)
        last = min(self.window + 2, len(self.half_edges) - 1)
        high = min(len(square), int(np.ceil(self.half_edges[last])) - round(middle) - half // 2)
        inside = np.flatnonzero(beyond[low:high])
        at = low + int(inside[which]) if len(inside) else (low + high) // 2
        way = -1 if which == 0 else 1
        # half cycles outside the window, but of the same run
        while 0 < at < len(square) - 1 and beyond[at + way]:
            at += way
        return at + middle

    def passing(self, level: float, sign: int, which: int) -> float:
        """Position of a start (`which` 0) or end (-1): a step or short ramp there, else the slow crossing."""
        near = self.crossing(level, sign, which)
        changed = change_at(self.volts, near, self.cycle, level)
        if which == 0:
            reach = EARLY_CYCLES * self.cycle
            left = departure_in(self.volts, self.cycle, 1.0, near - reach, near + reach)
            if left is not None and (changed is None or changed < left - AGREES_CYCLES * self.cycle):
                return left
        return self.crossing(level, sign, which, smooth=True) if changed is None else changed

    def dip(self, begin: float, end: float) -> tuple[float, float] | None:
        """Both ends of a dip or swell of a few cycles."""
        return dip_between(self.volts, begin, end, self.cycle)

    def _dc(self) -> float:
        """The median of the means of the cycles around: a mean across a step is not DC, but few have one."""
        edges = np.clip(np.rint(self.half_edges).astype(np.int64), 0, len(self.volts))
        if len(edges) < 3:
            return 0.0
        total = np.concatenate(([0.0], np.cumsum(self.volts)))[edges]
        return float(np.median((total[2:] - total[:-2]) / np.maximum(edges[2:] - edges[:-2], 1)))


def _moving_mean(values: FloatArray, window: int) -> FloatArray:
    """Entry i is the mean of values[i : i + window]."""
    total = np.concatenate(([0.0], np.cumsum(values)))
    found: FloatArray = (total[window:] - total[:-window]) / window
    return found
