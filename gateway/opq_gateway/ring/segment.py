"""Segment: one append-only file of the ring, records of one fixed stride.

    file   = head (64 bytes), then records
    head   = magic "OPQRING1", capacity u32 (samples per record), box id str (zero padded, 32)
    record = crc32 u32 over the rest of the record, count u16, source u8, flags u8, boot_id u32,
             uncertainty_ns u32, first_sample u64, t_ns i64, rate_millihz u32, reserved u32,
             v_per_lsb f64, int16[capacity] (zero padded)        all little endian

A record is written by one `write` behind the last one, and never changed. A reader takes whole
strides only and checks each record's CRC-32, so it may read while the writer writes, and a
writer killed at any byte spoils at most the record it was writing.
"""

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from opq_gateway.blocks import Block
from opq_proto.messages import TimeSource

MAGIC = b"OPQRING1"
HEAD_BYTES = 64
FLAG_CLIPPED = 1
FLAG_OVERRUN_BEFORE = 2
_HEAD = struct.Struct("<8sI32s")
_RECORD = struct.Struct("<HBBIIQqIId")
_CRC = struct.Struct("<I")
_BEFORE_SAMPLES = _CRC.size + _RECORD.size
_T_NS_AT = _CRC.size + struct.calcsize("<HBBIIQ")


def stride_bytes(capacity: int) -> int:
    """Length of a record of `capacity` samples."""
    return _BEFORE_SAMPLES + 2 * capacity


def head(capacity: int, box_id: str) -> bytes:
    """The first 64 bytes of a segment."""
    return _HEAD.pack(MAGIC, capacity, box_id.encode()[:32]).ljust(HEAD_BYTES, b"\0")


def record(block: Block, capacity: int) -> bytes:
    """One block of at most `capacity` samples as a record."""
    flags = FLAG_CLIPPED * block.clipped | FLAG_OVERRUN_BEFORE * block.overrun_before
    body = _RECORD.pack(
        len(block.counts),
        int(block.source),
        flags,
        block.boot_id,
        block.uncertainty_ns,
        block.first_sample,
        block.t_ns,
        block.rate_millihz,
        0,
        block.v_per_lsb,
    )
    body += block.counts.astype("<i2", copy=False).tobytes().ljust(2 * capacity, b"\0")
    return _CRC.pack(zlib.crc32(body)) + body


@dataclass(slots=True)
class Segment:
    """What is known of one file; `records` grows while it is written.

    `boot_id` and `v_per_lsb` are those of all its records: another boot or gain begins a new
    segment. Times and indices rise from record to record.
    """

    path: Path
    capacity: int
    boot_id: int = 0
    v_per_lsb: float = 0.0
    records: int = 0
    start_ns: int = 0
    end_ns: int = 0
    last_ns: int = 0
    """Time of its last record's first sample."""
    first_sample: int = 0
    end_sample: int = 0

    @property
    def span_ns(self) -> int:
        return self.end_ns - self.start_ns

    def added(self, block: Block) -> None:
        """Account for a block that was written behind the others."""
        if not self.records:
            self.boot_id, self.v_per_lsb = block.boot_id, block.v_per_lsb
            self.start_ns, self.first_sample = block.t_ns, block.first_sample
        self.records += 1
        self.last_ns, self.end_ns, self.end_sample = block.t_ns, block.end_ns, block.end_sample


def read_head(data: bytes) -> int | None:
    """Samples per record; None when this is no segment of ours."""
    if len(data) < HEAD_BYTES:
        return None
    magic, capacity, _ = _HEAD.unpack_from(data)
    return int(capacity) if magic == MAGIC and 0 < capacity <= 1 << 20 else None


def open_segment(path: Path) -> Segment | None:
    """What a file holds, a broken tail left out; None when nothing of it can be used.

    Raises:
        OSError: the file cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        capacity = read_head(os.pread(fd, HEAD_BYTES, 0))
        if capacity is None:
            return None
        whole = (os.fstat(fd).st_size - HEAD_BYTES) // stride_bytes(capacity)
        last = first = None
        while whole > 0 and last is None:
            last = _block_at(fd, capacity, whole - 1)
            whole -= last is None
        for index in range(whole):
            first = _block_at(fd, capacity, index)
            if first is not None:
                break
        if first is None or last is None:
            return None
        return Segment(
            path,
            capacity,
            last.boot_id,
            last.v_per_lsb,
            whole,
            first.t_ns,
            last.end_ns,
            last.t_ns,
            first.first_sample,
            last.end_sample,
        )
    finally:
        os.close(fd)


def _block_at(fd: int, capacity: int, index: int) -> Block | None:
    stride = stride_bytes(capacity)
    blocks, _ = parse(os.pread(fd, stride, HEAD_BYTES + index * stride), capacity)
    return blocks[0] if blocks else None


def parse(data: bytes, capacity: int) -> tuple[list[Block], int]:
    """The blocks of consecutive records, and how many records were bad (skipped)."""
    stride = stride_bytes(capacity)
    view = memoryview(data)
    blocks: list[Block] = []
    bad = 0
    for at in range(0, len(data) - stride + 1, stride):
        if zlib.crc32(view[at + _CRC.size : at + stride]) != _CRC.unpack_from(data, at)[0]:
            bad += 1
            continue
        count, source, flags, boot_id, uncertainty_ns, first_sample, t_ns, rate_millihz, _, v_per_lsb = (
            _RECORD.unpack_from(data, at + _CRC.size)
        )
        blocks.append(
            Block(
                boot_id,
                v_per_lsb,
                first_sample,
                t_ns,
                uncertainty_ns,
                TimeSource(source),
                rate_millihz,
                np.frombuffer(data, "<i2", min(count, capacity), at + _BEFORE_SAMPLES),
                bool(flags & FLAG_OVERRUN_BEFORE),
                bool(flags & FLAG_CLIPPED),
            )
        )
    return blocks, bad


def read_span(segment: Segment, start_ns: int, end_ns: int) -> tuple[list[Block], int]:
    """Blocks that touch [start_ns, end_ns), in order, and the number of bad records among them.

    A segment that was deleted meanwhile gives none. Finds the place by bisection on time.
    """
    if not segment.records or segment.end_ns <= start_ns or segment.start_ns >= end_ns:
        return [], 0
    try:
        fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return [], 0
    try:
        stride = stride_bytes(segment.capacity)
        low = max(0, _first_not_before(fd, segment, start_ns) - 1)
        high = _first_not_before(fd, segment, end_ns)
        data = os.pread(fd, (high - low) * stride, HEAD_BYTES + low * stride)
    finally:
        os.close(fd)
    blocks, bad = parse(data, segment.capacity)
    return [block for block in blocks if block.end_ns > start_ns and block.t_ns < end_ns], bad


def _first_not_before(fd: int, segment: Segment, t_ns: int) -> int:
    """Index of the first record whose time is at or after `t_ns` (bisection; bad records count
    with whatever time they show, which the CRC check after reading sorts out)."""
    stride = stride_bytes(segment.capacity)
    offset = HEAD_BYTES + _T_NS_AT
    low, high = 0, segment.records
    while low < high:
        middle = (low + high) // 2
        (time_ns,) = struct.unpack("<q", os.pread(fd, 8, offset + middle * stride))
        if time_ns < t_ns:
            low = middle + 1
        else:
            high = middle
    return low
