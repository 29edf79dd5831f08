"""The simulated grid: one phase and frequency for all Boxes, exact at any time.

Closed forms of time, so that the truth is known and any block can be made without earlier
ones. Phase counts cycles of the fundamental; a rising zero crossing is a whole number.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from opq_sim.mains.profiles import EDGE_S, FloatArray, FrequencyProfile, PhaseStep

__all__ = ["FloatArray", "Grid", "GridExcursion"]

NEWTON_STEPS = 6
CLOSE_CYCLES = 1e-11
CLOSE_SHARE = 1e-15
"""A moment is found when its phase is this close: 1e-11 cycles, plus the rounding of the phase."""
TABLE_PER_CYCLE = 4


@dataclass(frozen=True, slots=True)
class GridExcursion:
    """A frequency profile added to the steady one, played every `every_s` from `first_s`.

    `points` are (seconds after the start, Hz above steady), joined by straight lines; before the
    first and after the last point the excursion is 0 Hz.
    """

    first_s: float
    every_s: float
    points: tuple[tuple[float, float], ...]

    def hz(self, t_s: FloatArray) -> FloatArray:
        """Hz above steady at `t_s`, (n,) seconds."""
        at, hz, _ = _lines(self.points)
        return np.interp(self._since(t_s), at, hz, left=0.0, right=0.0)

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """Cycles gained up to `t_s`: the integral of `hz`, exact for straight lines."""
        at, hz, gained = _lines(self.points)
        since = self._since(t_s)
        done = np.maximum(np.floor((t_s - self.first_s) / self.every_s), 0.0) * gained[-1]
        if since[0] >= at[-1] and since[-1] >= since[0]:  # the usual case: no excursion now
            return np.asarray(done + gained[-1])
        k = np.clip(np.searchsorted(at, since, side="right") - 1, 0, len(at) - 2)
        into = np.clip(since - at[k], 0.0, at[k + 1] - at[k])
        slope = (hz[k + 1] - hz[k]) / (at[k + 1] - at[k])
        here = gained[k] + into * (hz[k] + slope * into / 2)
        return np.asarray(done + np.where(since < 0, 0.0, here))

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        """Slope of `hz`."""
        at, hz, _ = _lines(self.points)
        since = self._since(t_s)
        k = np.clip(np.searchsorted(at, since, side="right") - 1, 0, len(at) - 2)
        slope = (hz[k + 1] - hz[k]) / (at[k + 1] - at[k])
        return np.where((since >= at[0]) & (since < at[-1]), slope, 0.0)

    def _since(self, t_s: FloatArray) -> FloatArray:
        since = t_s - self.first_s
        return np.where(since < 0, since, np.mod(since, self.every_s))


@lru_cache(maxsize=64)
def _lines(points: tuple[tuple[float, float], ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Times, Hz and cycles gained at the points of an excursion."""
    at = np.array([point[0] for point in points])
    hz = np.array([point[1] for point in points])
    gained = np.concatenate(([0.0], np.cumsum(np.diff(at) * (hz[1:] + hz[:-1]) / 2)))
    return at, hz, gained


@dataclass(frozen=True, slots=True)
class Grid:
    """Fundamental of a whole grid: steady frequency, slow sine wander, excursions, any other course."""

    frequency_hz: float = 60.0
    wander_hz: float = 0.0
    wander_s: float = 60.0
    phase_cycles: float = 0.0
    """Phase at sample 0; a rising zero crossing is a whole number."""
    excursions: tuple[GridExcursion, ...] = ()
    profiles: tuple[FrequencyProfile, ...] = ()

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) phase in cycles at `t_s`, (n,) seconds after sample 0; exact up to rounding."""
        turn = 2 * math.pi / self.wander_s
        phase = self.phase_cycles + self.frequency_hz * t_s
        if self.wander_hz:
            phase = phase + self.wander_hz / turn * (1 - np.cos(turn * t_s))
        for profile in (*self.excursions, *self.profiles):
            phase = phase + profile.cycles(t_s)
        return phase

    def cycles_at(self, t_s: float) -> float:
        """Phase in cycles at one moment."""
        return float(self.cycles(np.array([t_s]))[0])

    def hz(self, t_s: FloatArray) -> FloatArray:
        """(n,) true frequency in Hz at `t_s`."""
        hz = self.frequency_hz + self.wander_hz * np.sin(2 * math.pi / self.wander_s * t_s)
        for profile in (*self.excursions, *self.profiles):
            hz = hz + profile.hz(t_s)
        return np.asarray(hz)

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        """(n,) true rate of change of the frequency at `t_s`."""
        turn = 2 * math.pi / self.wander_s
        rocof = self.wander_hz * turn * np.cos(turn * t_s)
        for profile in (*self.excursions, *self.profiles):
            rocof = rocof + profile.rocof_hz_per_s(t_s)
        return np.asarray(rocof)

    def time_s(self, cycles: FloatArray, from_s: float = 0.0, until_s: float | None = None) -> FloatArray:
        """(m,) seconds at which the phase first reaches `cycles`, rising; the inverse of `cycles`.

        Searched from `from_s` on (to `until_s`, or as far as needed). A phase that a jump
        skips is reached at the jump.
        """
        if len(cycles) == 0:
            return np.empty(0)
        step_s = 1 / (TABLE_PER_CYCLE * self.frequency_hz)
        until_s = from_s + 16 * step_s if until_s is None else until_s
        while self.cycles_at(until_s) < cycles[-1]:
            until_s += max(16 * step_s, (until_s - from_s) / 2)
        table_s = self._table_s(from_s, step_s, math.ceil((until_s - from_s) / step_s) + 1)
        highest = np.maximum.accumulate(self.cycles(table_s))
        above = np.clip(np.searchsorted(highest, cycles), 1, len(table_s) - 1)
        low, high = table_s[above - 1], table_s[above]
        share = (cycles - highest[above - 1]) / np.maximum(highest[above] - highest[above - 1], 1e-9)
        at = np.asarray(low + np.clip(share, 0.0, 1.0) * (high - low), dtype=np.float64)
        for _ in range(NEWTON_STEPS):
            at[:] = np.clip(at + (cycles - self.cycles(at)) / self.hz(at), low, high)
        lost = np.abs(self.cycles(at) - cycles) > CLOSE_CYCLES + CLOSE_SHARE * np.abs(cycles)
        if lost.any():
            at[lost] = self._bisected(cycles[lost], low[lost], high[lost])
        return at

    def _table_s(self, from_s: float, step_s: float, count: int) -> FloatArray:
        """Equidistant moments, and both sides of every jump of the phase."""
        table_s: FloatArray = from_s + step_s * np.arange(count, dtype=np.float64)
        jumps = np.array([each.at_s for each in self.profiles if isinstance(each, PhaseStep)])
        jumps = jumps[(jumps > table_s[0] + 3 * EDGE_S) & (jumps < table_s[-1])]
        return np.unique(np.concatenate((table_s, jumps, jumps - 2 * EDGE_S)))

    def _bisected(self, cycles: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
        """`time_s` where a jump lies between `low` and `high`."""
        for _ in range(48):
            middle = (low + high) / 2
            reached = self.cycles(middle) >= cycles
            low, high = np.where(reached, low, middle), np.where(reached, middle, high)
        return high
