"""Tuples: up to four small integers as one symbol, so that `lanes.py` needs fewer steps and fewer lanes.

    symbol = sum of (value - least) * span**k, k = 0 .. size - 1

The shape determines everything. A tuple has as many values as 255 symbols allow, with one value in 16,384
outside of [least, least + span); a tuple with such a value is an ESCAPE. A tuple is a single value where a
shape leaves low bits out or is too broad. All arithmetic is in whole numbers, because encoder and decoder
must have the same table.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from opq_gateway.ring.codec import shapes
from opq_gateway.ring.codec.shapes import ESCAPE, TOTAL, WHOLE_BITS, ZERO, Integers

_MAX_SPAN: Final = {4: 3, 3: 6, 2: 15}
"""Largest span by the size of a tuple: at most 225 symbols."""
_SELDOM: Final = 1 << (WHOLE_BITS - 14)
_SHARE_BITS: Final = 15
"""Bits of a share that is multiplied: a product of four stays below 2**63."""


@dataclass(frozen=True, slots=True)
class TupleLayout:
    """How several values of a shape share a symbol."""

    size: int
    least: int
    span: int
    usual: int
    """The likeliest value, which fills up the last tuple of a run."""


SINGLE: Final = TupleLayout(1, -ZERO, ESCAPE, 0)


@lru_cache(maxsize=4096)
def tuple_layout(shape: int, centre: int) -> TupleLayout:
    """The layout of the tuples of a shape."""
    if shapes.low_bits(shape):
        return SINGLE
    shares = shapes.shares(shape, centre)
    least = most = int(np.argmax(shares))
    outside = (1 << WHOLE_BITS) - int(shares[least])
    while outside > _SELDOM:
        if most - least + 1 == _MAX_SPAN[2]:
            return SINGLE
        if shares[least - 1] > shares[most + 1]:
            least -= 1
            outside -= int(shares[least])
        else:
            most += 1
            outside -= int(shares[most])
    span = most - least + 1
    size = next(size for size, widest in _MAX_SPAN.items() if span <= widest)
    return TupleLayout(size, least - ZERO, span, int(np.argmax(shares)) - ZERO)


@lru_cache(maxsize=4096)
def tuple_frequencies(shape: int, centre: int) -> Integers:
    """The frequency of each symbol, (256,) of sum TOTAL; 0 for symbols that do not exist."""
    laid = tuple_layout(shape, centre)
    if laid == SINGLE:
        return shapes.frequencies(shape, centre)
    first = laid.least + ZERO
    one = shapes.shares(shape, centre)[first : first + laid.span] >> (WHOLE_BITS - _SHARE_BITS)
    joint = one
    for _ in range(laid.size - 1):
        joint = (one[:, None] * joint).reshape(-1)
    joint >>= laid.size * _SHARE_BITS - WHOLE_BITS
    least = int(np.count_nonzero(joint * TOTAL >> WHOLE_BITS == 0))
    out = np.zeros(256, np.int64)
    out[: len(joint)] = np.maximum(1, joint * (TOTAL - least - 1) >> WHOLE_BITS)
    out[ESCAPE] = 1
    out[int(np.argmax(out))] += TOTAL - int(out.sum())
    return out


def joined(run: Integers, shape: int, centre: int) -> Integers:
    """The symbol of each tuple of a run."""
    laid = tuple_layout(shape, centre)
    if laid == SINGLE:
        return shapes.symbols(run, shape, centre)
    filled = np.full(-(-len(run) // laid.size) * laid.size, laid.usual)
    filled[: len(run)] = run
    places = filled.reshape(-1, laid.size) - laid.least
    found: Integers = places @ _powers(laid)
    found[((places < 0) | (places >= laid.span)).any(axis=1)] = ESCAPE
    return found


def parted(symbols: Integers, laid: TupleLayout, length: int) -> Integers:
    """The values of a run without its low bits; the values of an ESCAPE are undefined."""
    if laid == SINGLE:
        return symbols - ZERO
    return _values(laid).take(symbols, axis=0).reshape(-1)[:length]


def escaped(symbols: Integers, laid: TupleLayout, length: int) -> Integers:
    """Positions of the values of a run that have no symbol."""
    found = np.flatnonzero(symbols == ESCAPE)
    if laid.size > 1 and len(found):
        found = (found[:, None] * laid.size + np.arange(laid.size)).reshape(-1)
        found = found[found < length]
    return found


def _powers(laid: TupleLayout) -> Integers:
    return np.int64(laid.span) ** np.arange(laid.size, dtype=np.int64)


@lru_cache(maxsize=256)
def _values(laid: TupleLayout) -> Integers:
    """The values of each symbol, (256, size)."""
    return np.asarray(np.arange(256)[:, None] // _powers(laid) % laid.span + laid.least, np.int64)
