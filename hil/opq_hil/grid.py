"""The simulated grid: one phase and frequency for all Boxes, exact at any time.

Closed forms of time, so that the truth is known and any block can be made without the ones before
it. Phase counts cycles of the fundamental; a rising zero crossing is a whole number.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Excursion:
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
        if since[0] >= at[-1] and since[-1] >= since[0]:  # mostly: nothing happens now
            return np.asarray(done + gained[-1])
        k = np.clip(np.searchsorted(at, since, side="right") - 1, 0, len(at) - 2)
        into = np.clip(since - at[k], 0.0, at[k + 1] - at[k])
        slope = (hz[k + 1] - hz[k]) / (at[k + 1] - at[k])
        here = gained[k] + into * (hz[k] + slope * into / 2)
        return np.asarray(done + np.where(since < 0, 0.0, here))

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
    """Fundamental of a whole grid: steady frequency, slow sine wander, excursions."""

    frequency_hz: float = 60.0
    wander_hz: float = 0.0
    wander_s: float = 60.0
    phase_cycles: float = 0.0
    """Phase at sample 0; a rising zero crossing is a whole number."""
    excursions: tuple[Excursion, ...] = ()

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) phase in cycles at `t_s`, (n,) seconds after sample 0; exact up to rounding."""
        turn = 2 * math.pi / self.wander_s
        phase = self.phase_cycles + self.frequency_hz * t_s
        if self.wander_hz:
            phase = phase + self.wander_hz / turn * (1 - np.cos(turn * t_s))
        for excursion in self.excursions:
            phase = phase + excursion.cycles(t_s)
        return phase

    def cycles_at(self, t_s: float) -> float:
        """Phase in cycles at one moment."""
        return float(self.cycles(np.array([t_s]))[0])

    def hz(self, t_s: FloatArray) -> FloatArray:
        """(n,) true frequency in Hz at `t_s`."""
        hz = self.frequency_hz + self.wander_hz * np.sin(2 * math.pi / self.wander_s * t_s)
        for excursion in self.excursions:
            hz = hz + excursion.hz(t_s)
        return np.asarray(hz)
