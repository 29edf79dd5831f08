"""Mains that wander, with Gaussian noise, and the entropy of that noise: a bound for every code."""

import math

import numpy as np
from numpy.typing import NDArray

RATE_HZ = 12_000
AMPLITUDE_LSB = 20_000.0
HARMONICS = (
    (1, 1.0, 0.3),
    (3, 0.02, 1.0),
    (5, 0.02, 2.0),
    (7, 0.009, 0.4),
    (9, 0.005, 2.2),
    (11, 0.003, 1.1),
)
"""Order, share of the fundamental, phase: six lines of 3 % THD."""
FREQUENCY_WANDER = (0.02, 10.0)
AMPLITUDE_WANDER = (0.002, 5.0)
"""Standard deviation (Hz; share) and time constant (s): a first-order Gauss-Markov walk at 100 per second."""


def wandering(seconds: int, noise_lsb: float, nominal_hz: float, seed: int = 1) -> NDArray[np.int16]:
    """(seconds * RATE_HZ,) counts of mains with Gaussian noise."""
    chance = np.random.default_rng(seed)
    hz = nominal_hz + _walk(seconds, *FREQUENCY_WANDER, chance)
    level = AMPLITUDE_LSB * (1 + _walk(seconds, *AMPLITUDE_WANDER, chance))
    phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
    wave = sum(share * np.cos(order * phase + start) for order, share, start in HARMONICS)
    return np.rint(level * wave + chance.normal(0, noise_lsb, len(hz))).astype(np.int16)


def noise_bits(noise_lsb: float) -> float:
    """Entropy in bits of Gaussian noise rounded to counts: no code needs less, even if it knows the wave."""

    def below(edge: float) -> float:
        return 0.5 * (1 + math.erf(edge / noise_lsb / math.sqrt(2)))

    reach = math.ceil(9 * noise_lsb) + 1
    shares = [below(k + 0.5) - below(k - 0.5) for k in range(-reach, reach + 1)]
    return -sum(share * math.log2(share) for share in shares if share > 0)


def _walk(seconds: int, spread: float, memory_s: float, chance: np.random.Generator) -> NDArray[np.float64]:
    points = seconds * 100 + 1
    keep = math.exp(-0.01 / memory_s)
    kicks = chance.normal(0, spread * math.sqrt(1 - keep * keep), points)
    value = chance.normal(0, spread)
    values = np.empty(points)
    for k in range(points):
        values[k] = value
        value = keep * value + kicks[k]
    at = np.arange(seconds * RATE_HZ) / RATE_HZ
    return np.interp(at, np.arange(points) / 100, values)
