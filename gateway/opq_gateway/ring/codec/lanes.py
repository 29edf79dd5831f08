"""Lanes: codes symbols of known tables as bits, many at once, near their entropy.

Interleaved rANS (Duda, arXiv:1311.2540; Giesen, arXiv:1402.3392): each of N states takes a symbol per step,
in turn, so that NumPy does a step of all of them at once. A state stays in 2**16 .. 2**32 - 1 and writes or
reads 16 bits at a time, in the order of the lanes. A state begins at 2**16 plus 16 bits of other data to
store (`front`); otherwise each lane would waste two bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opq_gateway.ring.codec import shapes, tuples

Integers = NDArray[np.int64]
Table = tuple[int, int]
"""Shape and centre."""

STATE_BYTES = 4
"""A stored state of a lane."""
WORD_BYTES = 2
"""The bits that a state writes or reads at a time."""
FRONT_BYTES = 2
"""Other data in the initial state of a lane."""
_MIN_STATE: Final = 1 << 16
_NO_END: Final = "coded runs are damaged: the lanes do not end where they began"


def lanes_for(symbols: int) -> int:
    """Number of lanes; part of the format. Few lanes keep the states cheap, and many lanes keep the steps
    few."""
    return max(1, min(symbols // 32, 16 + symbols // 150, 255))


def encode_lanes(tables: Sequence[Table], symbols: Sequence[Integers], front: bytes) -> tuple[bytes, bytes]:
    """Encodes symbols; returns states and words.

    Args:
        tables: one for each run of symbols. symbols: at least one, each with a share above 0 in its table.
        front: FRONT_BYTES per lane.
    """
    shares = [tuples.tuple_frequencies(*table) for table in tables]
    own = np.concatenate([share[run] for share, run in zip(shares, symbols, strict=True)])
    below = np.concatenate(
        [(np.cumsum(share) - share)[run] for share, run in zip(shares, symbols, strict=True)]
    )
    lanes = lanes_for(len(own))
    states = np.frombuffer(front, "<u2", lanes).astype(np.int64) + _MIN_STATE
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


@dataclass(frozen=True, slots=True)
class CodedLanes:
    """Result of `encode_lanes`, and what decoding needs in addition."""

    tables: Sequence[Table]
    lengths: Sequence[int]
    states: bytes
    words: bytes


def decode_lanes(coded: Sequence[CodedLanes]) -> list[tuple[list[Integers], bytes]]:
    """The symbols of each run and `front` of each item, decoded together because a step costs little more for
    many.

    Raises:
        ValueError: the lanes of one do not end where they began.
    """
    if not coded:
        return []
    lanes = [lanes_for(sum(one.lengths)) for one in coded]
    steps = max(-(-sum(one.lengths) // count) for one, count in zip(coded, lanes, strict=True))
    tables = sorted({table for one in coded for table in one.tables})
    share, offset, symbol = (
        np.concatenate(part) for part in zip(_RESTING, *(_slots(*table) for table in tables), strict=True)
    )
    base = {table: at << shapes.PRECISION for at, table in enumerate(tables, 1)}
    rows = np.concatenate(
        [
            _laid([base[table] for table in one.tables], one.lengths, steps, count)
            for one, count in zip(coded, lanes, strict=True)
        ],
        axis=1,
    )
    state = np.concatenate(
        [np.frombuffer(one.states, "<u4", count) for one, count in zip(coded, lanes, strict=True)]
    ).astype(np.int64)
    words = _Words([one.words for one in coded], lanes)
    part = np.empty_like(state)
    for row in rows:  # replaced by the slots later
        row += np.bitwise_and(state, shapes.TOTAL - 1, out=part)
        state >>= shapes.PRECISION
        state *= share.take(row)
        state += offset.take(row)
        low = (state < _MIN_STATE).nonzero()[0]
        if len(low):
            state[low] = (state.take(low) << 16) | words.taken(low)
    words.check()
    front = state - _MIN_STATE
    if front.min() < 0 or front.max() > 0xFFFF:
        raise ValueError(_NO_END)
    found = []
    end = 0
    for one, count in zip(coded, lanes, strict=True):
        own = slice(end, end + count)
        end += count
        slots = rows[:, own].reshape(-1)[: sum(one.lengths)]
        symbols = symbol.take(slots).astype(np.int64)
        runs = [symbols[low:high] for low, high in pairwise(accumulate(one.lengths, initial=0))]
        found.append((runs, front[own].astype("<u2").tobytes()))
    return found


class _Words:
    """The words of each coded item, read from the front."""

    def __init__(self, words: Sequence[bytes], lanes: Sequence[int]) -> None:
        counts = [len(one) // WORD_BYTES for one in words]
        self._words: Integers = np.frombuffer(b"".join(words), "<u2").astype(np.int64)
        self._ends = list(accumulate(counts))
        self._at = [end - count for end, count in zip(self._ends, counts, strict=True)]
        self._lanes = np.cumsum(lanes)

    def taken(self, low: Integers) -> Integers:
        """The next word of each of these lanes, whose numbers rise."""
        if len(self._at) == 1:
            end = self._at[0] + len(low)
            found = self._words[self._at[0] : end]
            self._at[0] = end
        else:
            parts = []
            before = 0
            for whose, upto in enumerate(low.searchsorted(self._lanes).tolist()):
                end = self._at[whose] + upto - before
                parts.append(self._words[self._at[whose] : end])
                self._at[whose] = end
                before = upto
            found = np.concatenate(parts)
        return found if len(found) == len(low) else np.zeros_like(low)

    def check(self) -> None:
        if self._at != self._ends:
            raise ValueError(_NO_END)


def _laid(bases: Sequence[int], lengths: Sequence[int], steps: int, lanes: int) -> Integers:
    """Start of the table of each symbol, (steps, lanes); 0 for a lane that rests."""
    laid = np.zeros(steps * lanes, np.int64)
    laid[: sum(lengths)] = np.repeat(bases, lengths)
    return laid.reshape(steps, lanes)


@lru_cache(maxsize=256)
def _slots(shape: int, centre: int) -> tuple[NDArray[np.int16], NDArray[np.int16], NDArray[np.uint8]]:
    """For each of the TOTAL remainders of a state: its symbol's share, its place in that share, and the
    symbol."""
    table = tuples.tuple_frequencies(shape, centre)
    offset = np.arange(shapes.TOTAL) - np.repeat(np.cumsum(table) - table, table)
    symbol = np.repeat(np.arange(len(table)), table)
    return np.repeat(table, table).astype(np.int16), offset.astype(np.int16), symbol.astype(np.uint8)


_RESTING: Final = (
    np.full(shapes.TOTAL, shapes.TOTAL, np.int16),
    np.arange(shapes.TOTAL, dtype=np.int16),
    np.zeros(shapes.TOTAL, np.uint8),
)
"""A table entry that leaves a state unchanged."""
