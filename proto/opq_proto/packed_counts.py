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
"""Of a negative number: 64 bits, seven a byte."""


def packed_rows(counts: NDArray[np.int16], row: int) -> Iterator[bytes]:
    """The packed bytes of each whole row of `row` counts, in order; without key and length."""
    rows = len(counts) // row
    if rows == 0:
        return
    spellings, lengths = _spellings()
    index = np.ascontiguousarray(counts[: rows * row], dtype=np.int16).view(np.uint16)
    long = lengths[index]
    flat = spellings[index][np.arange(LONGEST_BYTES, dtype=np.uint8) < long[:, np.newaxis]].tobytes()
    ends = np.cumsum(long.reshape(rows, row).sum(axis=1, dtype=np.int64)).tolist()
    begin = 0
    for end in ends:
        yield flat[begin:end]
        begin = end


def varint(number: int) -> bytes:
    """A whole number from 0 as protobuf's varint."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


@cache
def _spellings() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(65536, 10) bytes and (65536,) lengths, by the count's bits as uint16; 0.7 MB, made at first use."""
    wide = np.arange(1 << 16, dtype=np.uint16).view(np.int16).astype(np.int64).view(np.uint64)
    shifts = np.arange(LONGEST_BYTES, dtype=np.uint64) * np.uint64(7)
    groups: NDArray[np.uint8] = (wide[:, np.newaxis] >> shifts).astype(np.uint8) & np.uint8(0x7F)
    used = LONGEST_BYTES - (groups[:, ::-1] != 0).argmax(axis=1)
    used[0] = 1  # zero is one byte, though none of its groups is set
    lengths: NDArray[np.uint8] = used.astype(np.uint8)
    groups[np.arange(LONGEST_BYTES) < lengths[:, np.newaxis] - 1] |= 0x80
    return groups, lengths
