"""Shapes: the expected frequency of each small integer, from one byte.

    shape u8 = family << 6 | size;  size: sigma = ((4 + size % 4) << size // 4) / 64, 1/16 to 229,376
    families: a normal distribution; with 1/16 of it three times as wide; with 1/4 four times as wide;
    COARSE + size: the last, from size 16 on, with all but the highest bits left out

A stored histogram of each run would be a little more exact and take ten times as many bytes. Above a sigma of
8 the lowest bits are left out of the symbols (`low_bits`), because they are nearly evenly spread.

All arithmetic is in whole numbers, because encoder and decoder must have the same table.
"""

from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

FAMILIES = 3
"""Number of families of distributions."""
SIZES = 64
"""Number of sizes (sigma) in a family."""
COARSE: Final = 192
COARSE_FROM: Final = 16
"""The least size of a coarse shape, a sigma of 1."""
WHOLE_BITS: Final = 30
"""The shares add up to 2 to this power."""
PRECISION: Final = 12
TOTAL: Final = 1 << PRECISION
ZERO = 127
"""Place of the symbol 0 in a table of 256; symbols are -127 .. 127."""
ESCAPE = 255
"""Place in the table for values without a symbol."""
CENTRE_UNIT: Final = 64
_STEPS: Final = 64
"""Steps per sigma of the cumulative normal distribution."""
FINE_SIZES: Final = 28
"""Sizes without low bits."""
_FAMILY: Final = ((1, 0, 1), (15, 1, 3), (3, 1, 4))
"""Parts of the narrow and of the wide distribution, and the ratio of their widths."""


def sigma_64(shape: int) -> int:
    """Sigma in 1/64."""
    size = shape % SIZES
    return (4 + size % 4) << (size // 4)


def low_bits(shape: int) -> int:
    """Bits below a symbol. A symbol is at most a quarter of sigma wide, which loses 0.01 bit; a COARSE one is
    one to two sigma wide, 0.1 bit."""
    return max(0, sigma_64(shape).bit_length() - (6 if shape >= COARSE else 9))


@lru_cache(maxsize=4096)
def shares(shape: int, centre: int) -> Integers:
    """The share of each symbol except ESCAPE, (255,), in parts of 2**WHOLE_BITS.

    Args:
        centre: of the distribution, in 1/64; not moved where low bits are left out.
    """
    narrow, wide, times = _FAMILY[min(shape // SIZES, FAMILIES - 1)]
    edges = _edges(shape, centre)
    mixed = narrow * _below(edges, sigma_64(shape)) + wide * _below(edges, sigma_64(shape) * times)
    found: Integers = np.diff(mixed) // (narrow + wide)
    return found


def _edges(shape: int, centre: int) -> Integers:
    """The lower edge of symbol k, k * 2**low - 1/2, and the upper edge of the last one, (256,) in 1/64."""
    low = low_bits(shape)
    return ((np.arange(-ZERO, ZERO + 2, dtype=np.int64) << low) * 64) - 32 - (0 if low else centre)


@lru_cache(maxsize=4096)
def frequencies(shape: int, centre: int) -> Integers:
    """The frequency of each symbol, (256,) of sum TOTAL; 0 where out of reach. `centre` as in `shares`."""
    edges = _edges(shape, centre)
    reach = 8 * sigma_64(shape) + 128 + abs(centre)
    within = (edges[:-1] < reach) & (edges[1:] > -reach)
    out = np.zeros(256, np.int64)
    out[:-1] = np.where(within, np.maximum(1, shares(shape, centre) * (TOTAL - 64) >> WHOLE_BITS), 0)
    out[ESCAPE] = 1
    out[int(np.argmax(out))] += TOTAL - int(out.sum())
    return out


def symbols(run: Integers, shape: int, centre: int) -> Integers:
    """Place of each value in the table; ESCAPE for a value outside of the table."""
    at = (run >> low_bits(shape)) + ZERO
    at[(at < 0) | (at > 2 * ZERO)] = ESCAPE
    at[frequencies(shape, centre)[at] == 0] = ESCAPE
    return at


def _below(edges: Integers, sigma: int) -> Integers:
    """Share below each edge, in parts of 2**WHOLE_BITS; edges and sigma in the same unit."""
    table = _cumulative()
    at = np.clip(edges * _STEPS // sigma + len(table) // 2, 0, len(table) - 1)
    return table[at]


@cache
def _cumulative() -> Integers:
    """The cumulative normal distribution from -8 to 8 sigma, in parts of 2**WHOLE_BITS, by integers only."""
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
    return np.array([(value << WHOLE_BITS) // (2 * half) for value in whole], dtype=np.int64)
