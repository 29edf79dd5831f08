"""The cycles of a signal that are alike: which they are, their mean, its notches and what it leaves.

A separate file, because both files that look for candidates use it.

Source: Kish 1965, Survey Sampling (effective size of a sample with unequal weights).
"""

import math
from functools import cached_property

import numpy as np

from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.mean_cycle import MeanCycle, mean_cycle, notching_of
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.signal import BoolArray, FloatArray, IndexArray
from opq_measure.waveform.notches import MIN_CYCLES, Notching

MEAN_POINTS_SHARE = 0.9
"""Number of points of the mean cycle per sample of a cycle."""
NOTCH_EXCESS = 1.3
"""Power that the harmonics leave of the mean cycle over the power of its noise, which scatters by a tenth."""
LEAST_NOTCHED = MIN_CYCLES
"""Fewest cycles that have a notch: the square of the sum of its depths over the sum of their squares, which
noise makes smaller."""


class AlikeCycles:
    """Each property is computed once, when it is first needed."""

    def __init__(self, signal: MeasuredSignal, sudden: list[Occurrence]) -> None:
        self._signal, self._sudden = signal, sudden
        self.starts = signal.analysis.cycle_starts

    @cached_property
    def usable(self) -> BoolArray:
        """(c - 1,) cycles that no dip, step, jump or transient touches."""
        return self._signal.clear_of(self.starts[:-1], self._sudden)

    @cached_property
    def mean(self) -> MeanCycle | None:
        """The mean cycle; None with too few cycles."""
        if len(self.starts) < 2:
            return None
        points = int(MEAN_POINTS_SHARE * self._signal.cycle)
        return mean_cycle(self._signal.volts, self.starts, self.usable, points)

    @cached_property
    def notching(self) -> Notching | None:
        """The notches of the mean cycle; None where harmonics leave only noise, or it has no edges."""
        if self.mean is None or self.mean.beside_harmonics(self._signal.cycle) < NOTCH_EXCESS:
            return None
        if not self.mean.has_edges(self._signal.cycle):
            return None
        seen = notching_of(self.mean, self._signal.analysis.nominal_hz)
        return seen if seen is not None and self._recurs(seen) else None

    def _recurs(self, notching: Notching) -> bool:
        """Whether enough cycles have the notches, wherever they begin or end.

        A ringing that no window showed can be as deep in the mean cycle, but few cycles have it.
        """
        assert self.mean is not None
        left, cycle = self.residual
        at = np.arange(len(left)) + math.ceil(self.starts[0])
        degrees = 360.0 * np.interp(at, self.starts, np.arange(len(self.starts), dtype=np.float64))
        for place in notching.places:
            wide = notching.width_degrees(place)
            apart = np.abs((degrees - place.phase_degrees + 180.0) % 360.0 - 180.0)
            inside = (apart <= max(wide, 360.0 / self._signal.cycle) / 2) & self.usable[cycle]
            number = np.bincount(cycle[inside])
            sums = np.bincount(cycle[inside], left[inside])
            sign = np.sign(np.sin(np.radians(place.phase_degrees))) * (-1 if place.toward_zero else 1)
            # where a cycle has no notch, it leaves the mean cycle by as much to the other side
            depth_v = place.depth_v + sign * sums[number > 0] / number[number > 0]
            if float(depth_v.sum()) ** 2 < LEAST_NOTCHED * float(depth_v @ depth_v):
                return False
        return True

    @cached_property
    def residual(self) -> tuple[FloatArray, IndexArray]:
        """See `MeanCycle.residual_of`; only for a signal that has a mean cycle."""
        assert self.mean is not None
        return self.mean.residual_of(self._signal.volts, self.starts)
