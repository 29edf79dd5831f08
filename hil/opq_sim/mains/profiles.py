"""Changes of the frequency: ramp, steps, modulation, random wander.

Each is a closed form of time: `hz`, its integral `cycles` (0 at t = 0 or before its start) and its
derivative `rocof_hz_per_s`, so that phase, frequency and ROCOF of a signal are known exactly.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

EDGE_S = 1e-9
"""A sample this little before a step counts as on it: 1e-5 of a sample, far above the rounding of times."""


class FrequencyProfile(Protocol):
    """A change of the frequency in time; all arrays (n,), seconds after sample 0."""

    def hz(self, t_s: FloatArray) -> FloatArray:
        """Hz above the steady frequency."""

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """Cycles gained."""

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        """Rate of change of `hz`."""


@dataclass(frozen=True, slots=True)
class Ramp:
    """A frequency that changes at a steady rate between two moments, and then stays."""

    hz_per_s: float
    start_s: float = 0.0
    stop_s: float = math.inf

    def hz(self, t_s: FloatArray) -> FloatArray:
        return np.asarray(self.hz_per_s * np.clip(t_s - self.start_s, 0.0, self.stop_s - self.start_s))

    def cycles(self, t_s: FloatArray) -> FloatArray:
        into = np.clip(t_s - self.start_s, 0.0, self.stop_s - self.start_s)
        behind = np.maximum(t_s - self.start_s, 0.0) - into
        return np.asarray(self.hz_per_s * into * (into / 2 + behind))

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        inside = (t_s >= self.start_s - EDGE_S) & (t_s < self.stop_s - EDGE_S)
        return np.where(inside, self.hz_per_s, 0.0)


@dataclass(frozen=True, slots=True)
class FrequencyStep:
    """A frequency that steps at a moment; the phase continues without a jump."""

    step_hz: float
    at_s: float

    def hz(self, t_s: FloatArray) -> FloatArray:
        return np.where(t_s >= self.at_s - EDGE_S, self.step_hz, 0.0)

    def cycles(self, t_s: FloatArray) -> FloatArray:
        return np.asarray(self.step_hz * np.maximum(t_s - self.at_s, 0.0))

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        return np.zeros(len(t_s))


@dataclass(frozen=True, slots=True)
class PhaseStep:
    """A jump of the phase at a moment; positive: the voltage is ahead from then on."""

    step_deg: float
    at_s: float

    def hz(self, t_s: FloatArray) -> FloatArray:
        return np.zeros(len(t_s))

    def cycles(self, t_s: FloatArray) -> FloatArray:
        return np.where(t_s >= self.at_s - EDGE_S, self.step_deg / 360, 0.0)

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        return np.zeros(len(t_s))


@dataclass(frozen=True, slots=True)
class Modulation:
    """A sine on the phase: `peak_rad * cos(2 pi modulation_hz t + start_deg)`.

    That is the phase modulation of IEEE C37.118.1-2011, 5.5.6, with `start_deg=180`.
    """

    modulation_hz: float
    peak_rad: float
    start_deg: float = 0.0

    def hz(self, t_s: FloatArray) -> FloatArray:
        return np.asarray(-self.peak_rad * self.modulation_hz * np.sin(self._turn(t_s)))

    def cycles(self, t_s: FloatArray) -> FloatArray:
        return np.asarray(self.peak_rad / (2 * math.pi) * np.cos(self._turn(t_s)))

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        speed = 2 * math.pi * self.modulation_hz
        return np.asarray(-self.peak_rad * self.modulation_hz * speed * np.cos(self._turn(t_s)))

    def _turn(self, t_s: FloatArray) -> FloatArray:
        return np.asarray(2 * math.pi * self.modulation_hz * t_s + math.radians(self.start_deg))


@dataclass(frozen=True, slots=True)
class Wander:
    """Random wander: a power spectral density of the frequency proportional to `f ** -exponent`.

    Made of `tones` sines between `low_hz` and `high_hz`, evenly spaced in the logarithm, each with the power
    of its band and its own phase by `seed`: a closed form of time, the same in every block. The
    standard deviation over times much longer than `1 / low_hz` is `std_hz`. Exponent 2 is a random
    walk of the frequency, as of a real grid.
    """

    std_hz: float
    low_hz: float = 0.01
    high_hz: float = 1.0
    exponent: float = 2.0
    seed: int = 1
    tones: int = 12

    def __post_init__(self) -> None:
        if not 0 < self.low_hz < self.high_hz:
            raise ValueError(f"wander from {self.low_hz} to {self.high_hz} Hz; want 0 < low < high")
        if self.tones < 1:
            raise ValueError(f"tones is {self.tones}; want at least 1")

    def hz(self, t_s: FloatArray) -> FloatArray:
        total = np.zeros(len(t_s))
        for peak_hz, speed, start in self._tones():
            total += peak_hz * np.sin(speed * t_s + start)
        return total

    def cycles(self, t_s: FloatArray) -> FloatArray:
        total = np.zeros(len(t_s))
        for peak_hz, speed, start in self._tones():
            total += peak_hz / speed * (math.cos(start) - np.cos(speed * t_s + start))
        return total

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        total = np.zeros(len(t_s))
        for peak_hz, speed, start in self._tones():
            total += peak_hz * speed * np.cos(speed * t_s + start)
        return total

    def _tones(self) -> tuple[tuple[float, float, float], ...]:
        return _wander_tones(self)


@lru_cache(maxsize=64)
def _wander_tones(wander: Wander) -> tuple[tuple[float, float, float], ...]:
    """(peak in Hz, rad/s, rad at t = 0) of each tone; a band's power is at its middle."""
    bounds = np.geomspace(wander.low_hz, wander.high_hz, wander.tones + 1)
    rise = 1 - wander.exponent
    powers = np.diff(np.log(bounds)) if rise == 0 else np.diff(bounds**rise) / rise
    peaks = wander.std_hz * np.sqrt(2 * powers / powers.sum())
    speeds = 2 * math.pi * np.sqrt(bounds[1:] * bounds[:-1])
    starts = np.random.default_rng((wander.seed, 0x77)).uniform(0, 2 * math.pi, wander.tones)
    return tuple(zip(peaks.tolist(), speeds.tolist(), starts.tolist(), strict=True))
