"""Lanes: symbols of known tables as bits, many at once, near their entropy.

Interleaved rANS (Duda, arXiv:1311.2540; Giesen, arXiv:1402.3392): each of N states takes a symbol per step,
in turn, so that NumPy does a step of all of them at once. A state stays in 2**16 .. 2**32 - 1 and gives or
takes 16 bits at a time, the lanes that must in their order. It begins at 2**16 plus 16 bits of whatever else
there is to keep (`front`), or each lane would cost two bytes for nothing.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec import shapes

Integers = NDArray[np.int64]
Table = tuple[int, int]
"""Shape and centre."""

STATE_BYTES, WORD_BYTES, FRONT_BYTES = 4, 2, 2
_LEAST: Final = 1 << 16


def lanes_for(symbols: int) -> int:
    """Part of the format. Few enough that the states stay cheap, many enough that the steps stay few."""
    return max(1, min(symbols // 32, 16 + symbols // 250, 255))


def encode(tables: Sequence[Table], symbols: Sequence[Integers], front: bytes) -> tuple[bytes, bytes]:
    """States and words.

    Args:
        tables: of each run of symbols.
        symbols: none of a share of 0 in its table, and one at least.
        front: FRONT_BYTES per lane.
    """
    shares = [shapes.frequencies(*table) for table in tables]
    own = np.concatenate([share[run] for share, run in zip(shares, symbols, strict=True)])
    below = np.concatenate(
        [(np.cumsum(share) - share)[run] for share, run in zip(shares, symbols, strict=True)]
    )
    lanes = lanes_for(len(own))
    states = np.frombuffer(front, "<u2", lanes).astype(np.int64) + _LEAST
    taken: list[Integers] = []
    for first in range((len(own) - 1) // lanes * lanes, -1, -lanes):
        share, start = own[first : first + lanes], below[first : first + lanes]
        state = states[: len(share)]
        full = state >= share << (32 - shapes.PRECISION)
        taken.append(state[full] & 0xFFFF)
        state = np.where(full, state >> 16, state)
        whole = state // share
        states[: len(share)] = (whole << shapes.PRECISION) + (state - whole * share) + start
    return states.astype("<u4").tobytes(), np.concatenate(taken[::-1]).astype("<u2").tobytes()


def decode(
    tables: Sequence[Table], lengths: Sequence[int], states_bytes: bytes, words_bytes: bytes
) -> tuple[list[Integers], bytes]:
    """The symbols of each run, and `front`.

    Raises:
        ValueError: the lanes do not end where they began.
    """
    lanes = lanes_for(sum(lengths))
    states = np.frombuffer(states_bytes, "<u4", lanes).astype(np.int64)
    words = np.frombuffer(words_bytes, "<u2").astype(np.int64)
    count = len(words)
    words = np.append(words, np.zeros(lanes, np.int64))  # a damaged stream may ask for more than there is
    share, offset, symbol = (
        np.concatenate(part) for part in zip(*(_slots(*table) for table in tables), strict=True)
    )
    base = np.repeat(np.arange(len(tables)) << shapes.PRECISION, lengths)
    slots = np.empty(len(base), np.int64)
    word = 0
    for first in range(0, len(base), lanes):
        rows = base[first : first + lanes]
        state = states[: len(rows)]
        slot = np.add(state & (shapes.TOTAL - 1), rows, out=slots[first : first + lanes])
        state >>= shapes.PRECISION
        state *= share.take(slot)
        state += offset.take(slot)
        low = (state < _LEAST).nonzero()[0]
        if len(low):
            state[low] = (state[low] << 16) | words[word : word + len(low)]
            word += len(low)
            if word > count:
                break
    front = states - _LEAST
    if word != count or front.min() < 0 or front.max() > 0xFFFF:
        raise ValueError("coded runs are damaged: the lanes do not end where they began")
    runs = np.split(symbol.take(slots).astype(np.int64), np.cumsum(lengths)[:-1])
    return list(runs), front.astype("<u2").tobytes()


@lru_cache(maxsize=256)
def _slots(shape: int, centre: int) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.uint8]]:
    """Of each of the TOTAL remainders of a state: its symbol's share, its place in that, and the symbol."""
    table = shapes.frequencies(shape, centre)
    offset = np.arange(shapes.TOTAL) - np.repeat(np.cumsum(table) - table, table)
    symbol = np.repeat(np.arange(len(table)), table)
    return np.repeat(table, table).astype(np.int16), offset.astype(np.int16), symbol.astype(np.uint8)
