"""When samples are taken: a rate that is off and drifts, jitter, stamps with an error, missing samples."""

import math
from dataclasses import dataclass

import numpy as np

from opq_hil.courses import FloatArray
from opq_hil.noise import white

JITTER_STREAM, STAMP_STREAM = 91, 92


@dataclass(frozen=True, slots=True)
class SampleClock:
    """Errors of a converter's clock against true time. Sample 0 is at 0 s, whatever they are."""

    offset_ppm: float = 0.0
    """How much too fast it samples."""
    drift_ppm_per_s: float = 0.0
    jitter_ns: float = 0.0
    """rms, white, of each sample's moment."""
    stamp_error_ns: int = 0
    """Of every time stamp."""
    stamp_noise_ns: float = 0.0
    """rms, of each stamp by itself."""
    missing: tuple[tuple[int, int], ...] = ()
    """(first sample, how many) that never arrive."""

    def t_s(self, samples: FloatArray, rate_hz: float) -> FloatArray:
        """(n,) true seconds at which fractional samples are taken, without jitter; exact."""
        told_s = samples / rate_hz
        if not (self.offset_ppm or self.drift_ppm_per_s):
            return told_s
        speed, drift = 1 + self.offset_ppm * 1e-6, self.drift_ppm_per_s * 1e-6
        return np.asarray(2 * told_s / (speed + np.sqrt(speed * speed + 2 * drift * told_s)))

    def position(self, t_s: FloatArray, rate_hz: float) -> FloatArray:
        """(n,) fractional samples at true seconds; the inverse of `t_s`."""
        speed, drift = 1 + self.offset_ppm * 1e-6, self.drift_ppm_per_s * 1e-6
        return np.asarray(rate_hz * t_s * (speed + drift / 2 * t_s))

    def rate_hz(self, sample: int, rate_hz: float) -> float:
        """True samples per second at a sample, of a nominal rate."""
        at_s = float(self.t_s(np.array([float(sample)]), rate_hz)[0])
        return rate_hz * (1 + (self.offset_ppm + self.drift_ppm_per_s * at_s) * 1e-6)

    def jitter_s(self, seed: int, first: int, count: int) -> FloatArray | float:
        """(count,) seconds by which samples are late; 0 without jitter."""
        if not self.jitter_ns:
            return 0.0
        return np.asarray(self.jitter_ns * 1e-9 * white(seed, first, count, JITTER_STREAM))

    def stamp_ns(self, seed: int, sample: int, rate_hz: float, start_ns: int) -> int:
        """The time stamp that a sample gets: its true UTC, and the stamps' error."""
        true_s = float(self.t_s(np.array([float(sample)]), rate_hz)[0])
        off_ns = self.stamp_noise_ns * float(white(seed, sample, 1, STAMP_STREAM)[0])
        seconds = math.floor(true_s)
        return start_ns + seconds * 10**9 + round((true_s - seconds) * 1e9 + off_ns) + self.stamp_error_ns

    def runs(self, count: int) -> tuple[tuple[int, int], ...]:
        """(first, behind last) of the samples that do arrive, of `count`."""
        found, at = [], 0
        for first, missing in sorted(self.missing):
            if at < min(first, count):
                found.append((at, min(first, count)))
            at = max(at, first + missing)
        return (*found, (at, count)) if at < count else tuple(found)


TRUE = SampleClock()
"""A clock without error."""
