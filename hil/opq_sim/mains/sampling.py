"""The effects of sampling on a voltage: noise, a converter, and a clock with errors.

The clock's rate is wrong and drifts, has jitter, stamps with an error, and loses samples. The
converter has gain and offset errors, quantises and clips. Sample k of a noise depends on the seed and k
alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_sim.mains.profiles import FloatArray

CHUNK = 4096
"""Values drawn at once: seeding a generator costs 20 us."""
PINK_OCTAVES = 16
PINK_KEY = 1000
"""Number of the first stream of pink noise, so that it differs from white noise of the same seed."""


def white(seed: int, first: int, count: int, stream: int = 0) -> FloatArray:
    """(count,) Gaussian noise of unit variance, samples `first` and on.

    `stream` separates independent noises of one seed.
    """
    return _from_chunks(lambda chunk: _drawn(seed, stream, chunk), first, count)


def pink(seed: int, first: int, count: int, stream: int = 0) -> FloatArray:
    """(count,) 1/f noise of unit variance: sixteen white noises, each half as fast as the one before.

    Its density is 1/f within 1 dB from 1/32,000 to a tenth of the rate (test_hil_noise.py); below it is flat.
    Source: Voss's algorithm, in Gardner, Scientific American 4/1978.
    """
    total = np.zeros(count)
    index = np.arange(first, first + count)
    for octave in range(PINK_OCTAVES):
        held = index >> octave
        low = int(held[0]) if count else 0
        values = white(seed, low, int(held[-1]) - low + 1 if count else 0, PINK_KEY * (1 + stream) + octave)
        total += values[held - low]
    return np.asarray(total / np.sqrt(PINK_OCTAVES))


def _from_chunks(drawn: Callable[[int], FloatArray], first: int, count: int) -> FloatArray:
    parts = [np.empty(0)]
    for chunk in range(first // CHUNK, (first + count - 1) // CHUNK + 1):
        start = chunk * CHUNK
        parts.append(drawn(chunk)[max(0, first - start) : first + count - start])
    return np.concatenate(parts)


@lru_cache(maxsize=64)
def _drawn(seed: int, stream: int, chunk: int) -> FloatArray:
    return np.random.default_rng((seed, stream, chunk)).standard_normal(CHUNK)


@dataclass(frozen=True, slots=True)
class Converter:
    """A converter of `bits` with a range of `full_scale_v` on either side; values beyond are clipped."""

    bits: int = 16
    full_scale_v: float = 400.0
    gain_error: float = 0.0
    """Relative: 0.001 reads 0.1 % too high."""
    offset_v: float = 0.0

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= 16:
            raise ValueError(f"bits is {self.bits}; want 2 to 16")
        if not (math.isfinite(self.full_scale_v) and self.full_scale_v > 0):
            raise ValueError(f"full_scale_v is {self.full_scale_v}; want a positive number")

    @property
    def v_per_lsb(self) -> float:
        return self.full_scale_v / (1 << (self.bits - 1))

    @property
    def noise_v(self) -> float:
        """rms of the quantisation, for a signal that moves over many steps."""
        return self.v_per_lsb / math.sqrt(12)

    def counts(self, volts: FloatArray) -> NDArray[np.int16]:
        """(n,) counts, `bits` wide in int16."""
        most = 1 << (self.bits - 1)
        read = np.rint((volts * (1 + self.gain_error) + self.offset_v) / self.v_per_lsb)
        return np.clip(read, -most, most - 1).astype(np.int16)


JITTER_STREAM = 91
"""Number of the stream of random numbers for the jitter."""
STAMP_STREAM = 92
"""Number of the stream for the stamps."""


@dataclass(frozen=True, slots=True)
class SampleClock:
    """Errors of a converter's clock against true time. Sample 0 is always at 0 s."""

    offset_ppm: float = 0.0
    """How much too fast it samples."""
    drift_ppm_per_s: float = 0.0
    jitter_ns: float = 0.0
    """rms, white, of each sample's moment."""
    stamp_error_ns: int = 0
    """Added to every time stamp."""
    stamp_noise_ns: float = 0.0
    """rms, of each stamp alone."""
    missing: tuple[tuple[int, int], ...] = ()
    """(first sample, how many) that never arrive."""

    def t_s(self, samples: FloatArray, rate_hz: float) -> FloatArray:
        """(n,) true seconds at which fractional samples are taken, without jitter; exact."""
        given_s = samples / rate_hz
        if not (self.offset_ppm or self.drift_ppm_per_s):
            return given_s
        speed, drift = 1 + self.offset_ppm * 1e-6, self.drift_ppm_per_s * 1e-6
        return np.asarray(2 * given_s / (speed + np.sqrt(speed * speed + 2 * drift * given_s)))

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
        """[first, end) of the samples among `count` that arrive."""
        found, at = [], 0
        for first, missing in sorted(self.missing):
            if at < min(first, count):
                found.append((at, min(first, count)))
            at = max(at, first + missing)
        return (*found, (at, count)) if at < count else tuple(found)


TRUE = SampleClock()
"""A clock without error."""
