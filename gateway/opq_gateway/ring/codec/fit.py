"""Fit: the shape that codes a run in the fewest bits, for the encoder only."""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec import tuples
from opq_gateway.ring.codec.shapes import (
    ESCAPE,
    FAMILIES,
    FINE_SIZES,
    PRECISION,
    SIZES,
    ZERO,
    Integers,
    frequencies,
    low_bits,
    symbols,
)

_ESCAPED_BITS: Final = 16
"""Bits of a value whose tuple has no symbol."""


def shape_of(run: Integers, centre: int) -> int:
    """The best of those near the size of a run, one value at least; `centre` as in `shapes.shares`."""
    size = np.abs(run)
    far = float(np.partition(size, len(run) * 4 // 5)[len(run) * 4 // 5]) / 1.28
    if far < 7.0:
        counts = np.bincount(np.where(size <= ZERO, run + ZERO, ESCAPE), minlength=256)
        best = int(np.argmin(_bits(centre) @ counts))
        return best // FINE_SIZES * SIZES + best % FINE_SIZES
    code = min(SIZES - 1, max(0, round(4 * math.log2(far * 16))))  # mantissas of 4 to 7 are near enough
    near = [
        family * SIZES + at
        for family in range(FAMILIES)
        for at in range(max(0, code - 4), min(SIZES, code + 4))
    ]
    return min(near, key=lambda shape: _cost_bits(run, shape, centre))


def _cost_bits(run: Integers, shape: int, centre: int) -> float:
    counts = np.bincount(symbols(run, shape, centre), minlength=256)
    used = counts > 0
    bits = PRECISION - np.log2(frequencies(shape, centre)[used])
    return float(counts[used] @ bits) + low_bits(shape) * len(run) + _ESCAPED_BITS * int(counts[ESCAPE])


@lru_cache(maxsize=32)
def _bits(centre: int) -> NDArray[np.float64]:
    """What each value costs in each shape without low bits, (shapes, 256).

    One out of a tuple's reach takes the others of its tuple along.
    """
    rows = []
    for family in range(FAMILIES):
        for size in range(FINE_SIZES):
            shape = family * SIZES + size
            share = frequencies(shape, centre)
            laid = tuples.tuple_layout(shape, centre)
            bits = PRECISION - np.log2(np.maximum(share, 1))
            bits[ESCAPE] += _ESCAPED_BITS * laid.size
            places = np.arange(256) - ZERO - laid.least
            rows.append(np.where((share > 0) & (places >= 0) & (places < laid.span), bits, bits[ESCAPE]))
    return np.array(rows)
