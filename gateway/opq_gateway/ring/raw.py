"""Raw segment: a file of records of one fixed stride, preallocated, written from front to back.

    file = head (64 bytes), records (record.py), then zeros where nothing was written yet
    head = magic "OPQRAW01", capacity u32 (samples per record), records u32 (room for this many), epoch u32,
           start_id u64, v_per_lsb f64, nominal_v f32, nominal_hz f32 (0: not known), box id str (zero padded,
           16), crc32 u32 over these 60 bytes

A written byte is never changed, so a disk sector that is older than its neighbours damages only what was not
yet written back. A reader checks each record's crc, and so may read while the writer writes. Unwritten parts
read as zeros: the end is found by bisection.
"""

import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opq_gateway.ring import record
from opq_gateway.ring.segment import RecordColumns, Segment, StatedFacts
from opq_proto.messages import TimeSource

SUFFIX: Final = ".seg"
"""Suffix of every file of a ring. The newest file, which a killed gateway was writing, is a raw one."""
MAGIC: Final = b"OPQRAW01"
HEAD_BYTES: Final = 64
MAX_CAPACITY: Final = 1 << 16
READ_AHEAD_BYTES: Final = 1 << 20
"""A power cut may leave written records after unwritten ones, which are searched this far (40 s)."""
RECORDS_AFTER_SPAN: Final = 4
"""Number of records read after a span, because a loss that begins in it is recorded with the block after it.
"""
_HEAD = struct.Struct("<8sIIIQdff16s")


@dataclass(frozen=True, slots=True)
class RawLayout:
    """How the records of a file are found and read; `index` counts from 0."""

    stride: int
    time_ns: Callable[[bytes, int], int | None]
    """`t_ns` of one record's bytes and index; None when it is damaged or unwritten."""
    parse: Callable[[bytes, int], RecordColumns]
    """Parses consecutive records; the first has this index."""

    def at(self, index: int) -> int:
        """Position of a record in the file."""
        return HEAD_BYTES + index * self.stride


def head(capacity: int, records: int, epoch: int, facts: StatedFacts, box: str) -> bytes:
    """The first 64 bytes of a segment."""
    start_id, v_per_lsb, nominal_v, nominal_hz = facts
    nominal = nominal_v or 0.0, nominal_hz or 0.0
    data = _HEAD.pack(MAGIC, capacity, records, epoch, start_id, v_per_lsb, *nominal, box.encode()[:16])
    return (data + struct.pack("<I", zlib.crc32(data))).ljust(HEAD_BYTES, b"\0")


def box_id(data: bytes) -> str:
    """The Box whose samples a file holds, from its first 64 bytes."""
    found: bytes = _HEAD.unpack_from(data)[-1]
    return found.rstrip(b"\0").decode(errors="replace")


def raw_layout(data: bytes) -> RawLayout | None:
    """The layout given by the first 64 bytes of a file; None where it is not a raw segment."""
    if len(data) < HEAD_BYTES:
        return None
    magic, capacity, _, epoch, start_id, v_per_lsb, *nominal, _ = _HEAD.unpack_from(data)
    checksum = int.from_bytes(data[_HEAD.size : _HEAD.size + 4], "little")
    if magic != MAGIC or checksum != zlib.crc32(data[: _HEAD.size]) or not 0 < capacity <= MAX_CAPACITY:
        return None
    facts = StatedFacts(start_id, v_per_lsb, *(each or None for each in nominal))

    def time_ns(one: bytes, index: int) -> int | None:
        return record.intact_time_ns(one, record.seed(epoch, index))

    def parse(many: bytes, first_index: int) -> RecordColumns:
        return record.parse(many, capacity, epoch, first_index, facts)

    return RawLayout(record.stride_bytes(capacity), time_ns, parse)


def describe_raw(path: Path, fd: int, found: RawLayout) -> Segment | None:
    """The segment in a file; None when no record of it is good.

    Raises:
        OSError: the file cannot be read.
    """
    size = os.fstat(fd).st_size
    records = written(fd, found, size)
    first = _first_good(fd, found, range(records))
    last = _first_good(fd, found, range(records - 1, -1, -1))
    if first is None or last is None:
        return None
    start, end = first.rows[0], last.rows[-1]
    return Segment(
        path,
        last.facts,
        records,
        int(start["t_ns"]),
        int(last.ends_ns[-1]),
        int(end["t_ns"]),
        int(start["first_sample"]),
        int(last.ends[-1]),
        size,
        found.at(records),
        may_seal=True,
        clock=(int(end["uncertainty_ns"]), TimeSource(int(end["source"]))),
    )


def end_sample(path: Path) -> int:
    """Index after the newest sample of a file; 0 where it is not a raw segment, or has no samples.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.is_file():  # opening a pipe would wait for ever
        return 0
    with path.open("rb", buffering=0) as file:
        layout = raw_layout(os.pread(file.fileno(), HEAD_BYTES, 0))
        segment = None if layout is None else describe_raw(path, file.fileno(), layout)
    return 0 if segment is None else segment.end_sample


def written(fd: int, found: RawLayout, size: int) -> int:
    """Number of records that were begun, damaged ones included; O(log n) reads."""
    low, high = 0, max(0, size - HEAD_BYTES) // found.stride
    if high and _begun(fd, found, high - 1):
        return high  # an ended segment is cut at its last record
    while low < high:
        middle = (low + high) // 2
        if _begun(fd, found, middle):
            low = middle + 1
        else:
            high = middle
    ahead = os.pread(fd, READ_AHEAD_BYTES, found.at(low)).rstrip(b"\0")
    return low + -(-len(ahead) // found.stride)


def _begun(fd: int, found: RawLayout, index: int) -> bool:
    data = os.pread(fd, record.BEFORE_SAMPLES, found.at(index))
    return data != bytes(len(data))


def _first_good(fd: int, found: RawLayout, indices: range) -> RecordColumns | None:
    """The first of these records that has samples."""
    for index in indices:
        one = found.parse(os.pread(fd, found.stride, found.at(index)), index)
        if len(one.rows):
            return one
    return None


def read_raw(fd: int, found: RawLayout, records: int, start_ns: int, end_ns: int) -> RecordColumns:
    """The records that touch [start_ns, end_ns), found by bisection on time."""
    low = max(0, _first_not_before(fd, found, records, start_ns) - 1)
    high = min(records, _first_not_before(fd, found, records, end_ns) + RECORDS_AFTER_SPAN)
    data = os.pread(fd, (high - low) * found.stride, found.at(low))
    return found.parse(data, low).touching(start_ns, end_ns)


def _first_not_before(fd: int, found: RawLayout, records: int, t_ns: int) -> int:
    """Index of the first good record at or after `t_ns`, or of a damaged one before it."""
    low, high = 0, records
    while low < high:
        middle = (low + high) // 2
        probe, time_ns = middle, None
        while probe < high and time_ns is None:  # a damaged record has no time; the next good one counts
            time_ns = found.time_ns(os.pread(fd, found.stride, found.at(probe)), probe)
            probe += time_ns is None
        if time_ns is not None and time_ns < t_ns:
            low = probe + 1
        else:
            high = middle
    return low
