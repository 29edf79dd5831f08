"""Encodes many counts at once as protobuf's packed varints; an upb list of ints takes 31 us per Cycle.

A count has 65,536 values, so their encodings are looked up in a table (a negative int32 takes ten bytes on
protobuf's wire). The bytes are those of any protobuf encoder (test_packed_counts.py).
Source: protobuf's encoding rules (varint, sign-extended int32; packed repeated fields).
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

LONGEST_BYTES = 10
"""Bytes of a negative number: 64 bits, seven a byte."""


def packed_rows(counts: NDArray[np.int16], row: int) -> Iterator[memoryview]:
    """Yields the packed bytes of each whole row of `row` counts, in order; without key and length.

    The bytes are written from the third of each count down to the first, so that the next count overwrites
    places that a short encoding does not use.
    """
    rows = len(counts) // row
    if rows == 0:
        return
    firsts, lengths = _spellings()
    index = np.ascontiguousarray(counts[: rows * row], dtype=np.int16).view(np.uint16)
    long = lengths[index]
    ends = np.cumsum(long, dtype=np.int64)
    starts = ends - long
    flat = np.full(int(ends[-1]) + len(firsts) - 1, _MORE, np.uint8)
    for place in reversed(range(len(firsts))):
        flat[starts + place] = firsts[place][index]
    flat[ends[long == LONGEST_BYTES] - 1] = 1
    packed = memoryview(flat.tobytes())
    begin = 0
    for end in ends[row - 1 :: row].tolist():
        yield packed[begin:end]
        begin = end


def varint(number: int) -> bytes:
    """Returns a whole number from 0 as protobuf's varint."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


_MORE = 0xFF
"""The fourth to ninth bytes of a negative number: seven ones, and the bit that more follows."""


@cache
def _spellings() -> tuple[tuple[NDArray[np.uint8], ...], NDArray[np.uint8]]:
    """Returns first three bytes, (65536,) each, and (65536,) lengths, by the bits as uint16; cached.

    Bytes beyond a length have no meaning.
    """
    wide = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int64)
    lengths = np.where(wide < 0, LONGEST_BYTES, 1 + (wide >= 1 << 7) + (wide >= 1 << 14)).astype(np.uint8)
    firsts = tuple(
        (wide >> 7 * place & 0x7F | (lengths > place + 1) * 0x80).astype(np.uint8) for place in range(3)
    )
    return firsts, lengths
