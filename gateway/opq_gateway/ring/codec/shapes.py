"""Shapes: how often each small integer is to be expected, from one byte.

    shape u8 = family << 6 | size;  size: sigma = ((4 + size % 4) << size // 4) / 64, 1/16 to 229,376
    families: a normal distribution; with 1/16 of it three times as wide; with 1/4 four times as wide;
    COARSE + size: the last, from size 16 on, with all but the highest bits left out

A histogram beside each run would say it a little better and weigh ten times as much. Above a sigma of 8 the
lowest bits are left out of the symbols (`low_bits`), for they are as good as evenly spread.

All of it is done in whole numbers, for both sides of a wire must have the very same table.
"""

import math
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

FAMILIES, SIZES = 3, 64
COARSE: Final = 192
COARSE_FROM: Final = 16
"""The least size of a coarse shape, a sigma of 1."""
PRECISION: Final = 12
TOTAL: Final = 1 << PRECISION
ZERO, ESCAPE = 127, 255
"""Where the symbol 0 stands in a table of 256, and what is not in the table: symbols are -127 .. 127."""
CENTRE_UNIT: Final = 64
_STEPS: Final = 64
"""Of the cumulative normal distribution per sigma."""
_FINE_SIZES: Final = 28
"""Sizes without low bits."""
_FAMILY: Final = ((1, 0, 1), (15, 1, 3), (3, 1, 4))
"""Parts of the narrow and of the wide one, and how much wider that is."""


def sigma_64(shape: int) -> int:
    """Sigma in 1/64."""
    size = shape % SIZES
    return (4 + size % 4) << (size // 4)


def low_bits(shape: int) -> int:
    """Bits below a symbol: a symbol is a quarter of sigma at most, 0.01 bit lost; COARSE: one or two, 0.1."""
    return max(0, sigma_64(shape).bit_length() - (6 if shape >= COARSE else 9))


@lru_cache(maxsize=4096)
def frequencies(shape: int, centre: int) -> Integers:
    """Of each symbol, (256,) of sum TOTAL; 0 where out of reach.

    Args:
        centre: of the distribution, in 1/64; not moved where low bits are left out.
    """
    low = low_bits(shape)
    family = _FAMILY[min(shape // SIZES, FAMILIES - 1)]
    # the lower edge of symbol k is k * 2**low - 1/2, in 1/64
    edges = ((np.arange(-ZERO, ZERO + 2, dtype=np.int64) << low) * 64) - 32 - (0 if low else centre)
    narrow, wide, times = family
    mixed = narrow * _below(edges, sigma_64(shape)) + wide * _below(edges, sigma_64(shape) * times)
    shares = np.diff(mixed) // (narrow + wide)
    reach = 8 * sigma_64(shape) + 128 + abs(centre)
    within = (edges[:-1] < reach) & (edges[1:] > -reach)
    out = np.zeros(256, np.int64)
    out[:-1] = np.where(within, np.maximum(1, shares * (TOTAL - 64) >> 30), 0)
    out[ESCAPE] = 1
    out[int(np.argmax(out))] += TOTAL - int(out.sum())
    return out


def fitting(run: Integers, centre: int) -> int:
    """The shape that codes a run in the fewest bits, of those near its size."""
    size = np.abs(run)
    far = float(np.partition(size, len(run) * 4 // 5)[len(run) * 4 // 5]) / 1.28
    if far < 7.0:
        counts = np.bincount(np.where(size <= ZERO, run + ZERO, ESCAPE), minlength=256)
        bits = _bits(centre) @ counts
        best = int(np.argmin(bits))
        return best // _FINE_SIZES * SIZES + best % _FINE_SIZES
    code = min(SIZES - 1, max(0, round(4 * math.log2(far * 16))))  # mantissas of 4 to 7 are near enough
    near = [
        family * SIZES + at
        for family in range(FAMILIES)
        for at in range(max(0, code - 4), min(SIZES, code + 4))
    ]
    return min(near, key=lambda shape: _cost_bits(run, shape, centre))


def symbols(run: Integers, shape: int, centre: int) -> Integers:
    """Where each value stands in the table, ESCAPE where it has no place."""
    at = (run >> low_bits(shape)) + ZERO
    at[(at < 0) | (at > 2 * ZERO)] = ESCAPE
    at[frequencies(shape, centre)[at] == 0] = ESCAPE
    return at


def _cost_bits(run: Integers, shape: int, centre: int) -> float:
    counts = np.bincount(symbols(run, shape, centre), minlength=256)
    used = counts > 0
    bits = PRECISION - np.log2(frequencies(shape, centre)[used])
    return float(counts[used] @ bits) + low_bits(shape) * len(run) + 16.0 * int(counts[ESCAPE])


@lru_cache(maxsize=32)
def _bits(centre: int) -> NDArray[np.float64]:
    """What each symbol costs in each shape without low bits, (shapes, 256)."""
    rows = []
    for family in range(FAMILIES):
        for size in range(_FINE_SIZES):
            share = frequencies(family * SIZES + size, centre)
            bits = PRECISION - np.log2(np.maximum(share, 1))
            bits[ESCAPE] += 16
            rows.append(np.where(share > 0, bits, bits[ESCAPE]))
    return np.array(rows)


def _below(edges: Integers, sigma: int) -> Integers:
    """Share below each edge, of 2**30; edges and sigma in the same unit."""
    table = _cumulative()
    at = np.clip(edges * _STEPS // sigma + len(table) // 2, 0, len(table) - 1)
    return table[at]


@cache
def _cumulative() -> Integers:
    """The cumulative normal distribution from -8 to 8 sigma, of 2**30, by integers only."""
    one = 1 << 60
    # exp(-x) at x = 1 / (2 * steps**2) by its series; exp(-k**2 x) then by (k + 1)**2 = k**2 + 2 k + 1
    inverse = 2 * _STEPS * _STEPS
    factor, term = 0, one
    for n in range(1, 12):
        factor += term
        term = -term // (inverse * n)
    density, ratio = one, factor
    side = []
    for _ in range(8 * _STEPS):
        side.append(density)
        density = density * ratio >> 60
        ratio = ratio * factor * factor >> 120
    halves = [0]
    for k in range(len(side) - 1):
        halves.append(halves[-1] + (side[k] + side[k + 1]) // 2)
    half = halves[-1]
    whole = [half - value for value in halves[:0:-1]] + [half + value for value in halves]
    return np.array([(value << 30) // (2 * half) for value in whole], dtype=np.int64)
