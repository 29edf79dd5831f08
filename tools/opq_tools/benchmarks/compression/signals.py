"""Mains as compression meets it: frequency and amplitude wander, and the noise has a known entropy."""

import math

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec import pack
from opq_gateway.ring.sealed import CHUNK_SAMPLES, samples_behind
from opq_measure.signal import FloatArray

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
"""Standard deviation (Hz; share) and seconds to forget: a first-order Gauss-Markov walk at 100 per second."""


def wandering(seconds: int, noise_lsb: float, nominal_hz: float, seed: int = 1) -> NDArray[np.int16]:
    """(seconds * RATE_HZ,) counts of mains with Gaussian noise."""
    chance = np.random.default_rng(seed)
    hz = nominal_hz + _walk(seconds, *FREQUENCY_WANDER, chance)
    level = AMPLITUDE_LSB * (1 + _walk(seconds, *AMPLITUDE_WANDER, chance))
    phase = 2 * np.pi * np.cumsum(hz) / RATE_HZ
    wave = sum(share * np.cos(order * phase + start) for order, share, start in HARMONICS)
    return np.rint(level * wave + chance.normal(0, noise_lsb, len(hz))).astype(np.int16)


def as_sealed(counts: NDArray[np.int16]) -> list[tuple[NDArray[np.int16], bytes]]:
    """The samples in pieces as the ring cuts them, each beside what it is packed to."""
    pieces = []
    size = CHUNK_SAMPLES
    at = 0
    while at < len(counts):
        piece = counts[at : at + size]
        pieces.append((piece, pack(piece)))
        size = samples_behind(len(pieces[-1][1]), len(piece))
        at += len(piece)
    return pieces


def noise_bits(noise_lsb: float) -> float:
    """Entropy of Gaussian noise rounded to counts: no code needs less, whatever it knows of the wave."""

    def below(edge: float) -> float:
        return 0.5 * (1 + math.erf(edge / noise_lsb / math.sqrt(2)))

    reach = math.ceil(9 * noise_lsb) + 1
    shares = [below(k + 0.5) - below(k - 0.5) for k in range(-reach, reach + 1)]
    return -sum(share * math.log2(share) for share in shares if share > 0)


def _walk(seconds: int, spread: float, memory_s: float, chance: np.random.Generator) -> FloatArray:
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
