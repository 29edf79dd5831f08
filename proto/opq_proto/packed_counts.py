"""Counts as protobuf's packed varints, many at once: what an upb list of ints costs 31 us a Cycle for.

A negative int32 takes ten bytes on protobuf's wire, so there are at most 65,536 spellings of a count:
they are looked up, and the bytes are those of any protobuf encoder (test_packed_counts.py).
Source: protobuf's encoding rules (varint, sign-extended int32; packed repeated fields).
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

LONGEST_BYTES = 10
"""Bytes of a negative number: 64 bits, seven a byte."""


def packed_rows(counts: NDArray[np.int16], row: int) -> Iterator[memoryview]:
    """The packed bytes of each whole row of `row` counts, in order; without key and length.

    Laid over each other from the third byte down: what a short spelling has not is the next one's.
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
    """A whole number from 0 as protobuf's varint."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


_MORE = 0xFF
"""What a negative number's fourth to ninth bytes are: seven ones, and more follows."""


@cache
def _spellings() -> tuple[tuple[NDArray[np.uint8], ...], NDArray[np.uint8]]:
    """First three bytes, (65536,) each, and (65536,) lengths, by the bits as uint16; made at first use.

    Where there are fewer bytes the rest means nothing.
    """
    wide = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int64)
    lengths = np.where(wide < 0, LONGEST_BYTES, 1 + (wide >= 1 << 7) + (wide >= 1 << 14)).astype(np.uint8)
    firsts = tuple(
        (wide >> 7 * place & 0x7F | (lengths > place + 1) * 0x80).astype(np.uint8) for place in range(3)
    )
    return firsts, lengths
