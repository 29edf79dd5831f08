"""Noise of which sample k depends on the seed and k alone."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from opq_hil.courses import FloatArray

CHUNK = 4096
"""Values drawn at once: seeding a generator costs 20 us."""
PINK_OCTAVES = 16
PINK_KEY = 1000
"""Streams of pink noise begin here, so that white noise of the same seed is another."""


def white(seed: int, first: int, count: int, stream: int = 0) -> FloatArray:
    """(count,) Gaussian noise of unit variance, samples `first` and on.

    `stream` tells independent noises of one seed apart.
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
