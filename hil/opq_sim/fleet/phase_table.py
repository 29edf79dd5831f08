"""PhaseTable: the common phase of a grid and its inverse over some seconds, for many Boxes at once.

One evaluation per millisecond of the run serves all Boxes of a process. Between them the phase is
interpolated
linearly: where the frequency changes by 5 Hz/s, the phase is wrong by 6e-7 cycles and an edge by 10 ns.
"""

import numpy as np

from opq_sim.fleet.outlets import PhaseProfile
from opq_sim.mains.profiles import FloatArray

STEP_S = 1e-3
PIECE_STEPS = 1000
"""Steps added at once."""


class PhaseTable:
    """The phase from the start to the time given to `cover`, without what `discard_before` dropped."""

    def __init__(self, phase: PhaseProfile) -> None:
        self._phase = phase
        self._first = 0
        self._cycles = np.empty(0)
        self._moments_s = np.empty(0)

    @property
    def end_s(self) -> float:
        """The end of the covered time."""
        return STEP_S * (self._first + len(self._cycles) - 1)

    def cover(self, until_s: float) -> None:
        """Extends the table to a time."""
        while not len(self._cycles) or self.end_s < until_s:
            low = self._first + len(self._cycles)
            added = self._phase.cycles(STEP_S * np.arange(low, low + PIECE_STEPS, dtype=np.float64))
            self._cycles = np.concatenate((self._cycles, added))
            self._moments_s = self._of_steps()

    def discard_before(self, before_s: float) -> None:
        """Drops the phases before a time; they may not be requested any more."""
        gone = int(before_s / STEP_S) - self._first - 1
        if gone > PIECE_STEPS:
            self._cycles = self._cycles[gone:].copy()
            self._first += gone
            self._moments_s = self._of_steps()

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) phase at moments, in any order."""
        return np.asarray(np.interp(t_s, self._moments_s, self._cycles), np.float64)

    def time_s(self, cycles: FloatArray) -> FloatArray:
        """The moments at which a phase is reached, any shape."""
        return np.asarray(np.interp(cycles, self._cycles, self._moments_s), np.float64)

    def _of_steps(self) -> FloatArray:
        return STEP_S * np.arange(self._first, self._first + len(self._cycles), dtype=np.float64)
