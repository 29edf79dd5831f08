"""The cycles of a signal that are alike: which they are, their mean, its notches and what it leaves.

A separate file, because both files that look for candidates use it.
"""

from functools import cached_property

from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.mean_cycle import MeanCycle, mean_cycle, notching_of
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.signal import BoolArray, FloatArray, IndexArray
from opq_measure.waveform.notches import Notching

MEAN_POINTS_SHARE = 0.9
"""Number of points of the mean cycle per sample of a cycle."""
NOTCH_EXCESS = 1.3
"""Power that the harmonics leave of the mean cycle over the power of its noise, which scatters by a tenth."""


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
        """The notches of the mean cycle; None where its harmonics leave only noise."""
        if self.mean is None or self.mean.beside_harmonics(self._signal.cycle) < NOTCH_EXCESS:
            return None
        return notching_of(self.mean, self._signal.analysis.nominal_hz)

    @cached_property
    def residual(self) -> tuple[FloatArray, IndexArray]:
        """See `MeanCycle.residual_of`; only for a signal that has a mean cycle."""
        assert self.mean is not None
        return self.mean.residual_of(self._signal.volts, self.starts)
