"""Record: what the ring writes per block and per loss, with one fixed stride.

    record  = crc32 u32 over the rest, count u16, source u8, flags u8, first_sample u64, t_ns i64,
              uncertainty_ns u32, rate_millihz u32, payload (zero padded)         all little endian
    payload = int16[count]; of a loss (flag 4, count 0): start_id u64, samples u64, start_ns i64, end_ns i64,
              length u16 of the reason, reason as UTF-8; `t_ns` is then that of the
              block after it

The crc starts not at 0 but at `seed(epoch, index)`. The epoch is random for each file, so that the remains of
an older file and a record in another place are not accepted. CRC-32s of the same data differ certainly if
their start values do.
"""

import struct
import sys
from typing import Final
from zlib import crc32

import numpy as np

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring import lost as losses
from opq_gateway.ring.lost import Lost
from opq_gateway.ring.segment import FLAG_CLIPPED, FLAG_OVERRUN_BEFORE, ROW, RecordColumns, StatedFacts

FLAG_LOST: Final = 4
LITTLE: Final = sys.byteorder == "little"
_FACTS = struct.Struct("<HBBQqII")
_CRC = struct.Struct("<I")
BEFORE_SAMPLES: Final = _CRC.size + _FACTS.size
UNWRITTEN: Final = bytes(BEFORE_SAMPLES)
"""Unwritten parts of a preallocated file read like this."""
_UNKNOWN: Final = 0xFFFFFFFF


def stride_bytes(capacity: int) -> int:
    """Length of a record of `capacity` samples."""
    return BEFORE_SAMPLES + 2 * capacity


def seed(epoch: int, index: int) -> int:
    """Start value for the crc of record `index`."""
    return epoch ^ index


def of_block(block: SampleBlock, capacity: int, crc_seed: int) -> bytes:
    """The record of one block of at most `capacity` samples."""
    counts = block.counts if LITTLE else block.counts.astype("<i2")
    samples = counts.tobytes()
    if len(counts) < capacity:
        samples = samples.ljust(2 * capacity, b"\0")
    uncertainty_ns = block.uncertainty_ns
    facts = _FACTS.pack(
        len(counts),
        block.source,
        FLAG_CLIPPED * block.clipped | FLAG_OVERRUN_BEFORE * block.overrun_before,
        block.first_sample,
        block.t_ns,
        uncertainty_ns if uncertainty_ns < _UNKNOWN else _UNKNOWN,
        block.rate_millihz,
    )
    return _CRC.pack(crc32(samples, crc32(facts, crc_seed))) + facts + samples


def of_lost(lost: Lost, t_ns: int, capacity: int, crc_seed: int) -> bytes:
    """The record of one loss; `t_ns` is that of the block after it, so that times rise from record to
    record."""
    rest = _FACTS.pack(0, 0, FLAG_LOST, lost.first_sample, t_ns, _UNKNOWN, 1)
    rest += losses.loss_to_bytes(lost, 2 * capacity)
    rest = rest.ljust(_FACTS.size + 2 * capacity, b"\0")
    return _CRC.pack(crc32(rest, crc_seed)) + rest


def intact_time_ns(data: bytes, crc_seed: int) -> int | None:
    """`t_ns` of one record; None when it is unwritten or damaged."""
    if len(data) < BEFORE_SAMPLES or crc32(memoryview(data)[4:], crc_seed) != _CRC.unpack_from(data)[0]:
        return None
    count, _, flags, _, t_ns, _, _ = _FACTS.unpack_from(data, _CRC.size)
    return int(t_ns) if count or flags & FLAG_LOST else None


def parse(data: bytes, capacity: int, epoch: int, first_index: int, facts: StatedFacts) -> RecordColumns:
    """Consecutive records, the first of them number `first_index`; damaged and unwritten ones left out."""
    stride = stride_bytes(capacity)
    table = np.frombuffer(data, _table(capacity), len(data) // stride)
    view = memoryview(data)
    crcs = [
        crc32(view[at + 4 : at + stride], epoch ^ index)
        for index, at in enumerate(range(0, len(table) * stride, stride), first_index)
    ]
    lost_here = (table["flags"] & FLAG_LOST) != 0
    good = (table["crc"] == crcs) & (lost_here | (table["count"] > 0)) & (table["count"] <= capacity)
    sampled = good & ~lost_here
    chosen = table if sampled.all() else table[sampled]
    rows = np.empty(len(chosen), ROW)
    for name in ROW.names or ():
        rows[name] = chosen[name]
    counts = chosen["counts"]
    if not len(chosen) or (rows["count"] == capacity).all():
        flat = counts.reshape(-1)
    else:
        flat = counts[np.arange(capacity) < rows["count"][:, None]]
    lost = [
        losses.loss_from_bytes(table["counts"][at].tobytes(), int(table["first_sample"][at]))
        for at in np.flatnonzero(good & lost_here)
    ]
    unwritten = sum(
        1 for at in np.flatnonzero(~good) if data[at * stride : at * stride + BEFORE_SAMPLES] == UNWRITTEN
    )
    bad = int(len(table) - np.count_nonzero(good)) - unwritten
    return RecordColumns(facts, rows, flat.astype(np.int16, copy=False), tuple(lost), bad)


def _table(capacity: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("crc", "<u4"),
            ("count", "<u2"),
            ("source", "u1"),
            ("flags", "u1"),
            ("first_sample", "<i8"),
            ("t_ns", "<i8"),
            ("uncertainty_ns", "<u4"),
            ("rate_millihz", "<u4"),
            ("counts", "<i2", (capacity,)),
        ]
    )
