"""The ring's first file format, read only: what a gateway before this one left.

file   = head (64 bytes: magic "OPQRING1", capacity u32, box id str), then records
record = crc32 u32 over the rest, count u16, source u8, flags u8, boot_id u32, uncertainty_ns u32,
         first_sample u64, t_ns i64, rate_millihz u32, reserved u32, v_per_lsb f64, int16[capacity]
"""

import zlib
from dataclasses import replace

import numpy as np

from opq_gateway.ring.lost import Lost
from opq_gateway.ring.segment import FLAG_OVERRUN_BEFORE, ROW, RecordColumns
from opq_gateway.serial_side.reassembly import NOT_RESENT, OVERRUN

MAGIC = b"OPQRING1"
T_AT = 24
BEFORE_SAMPLES = 48


def stride_bytes(capacity: int) -> int:
    """Length of a record."""
    return BEFORE_SAMPLES + 2 * capacity


def good_time_ns(data: bytes) -> int | None:
    """`t_ns` of one record; None when it is damaged."""
    if len(data) < BEFORE_SAMPLES or zlib.crc32(memoryview(data)[4:]) != int.from_bytes(data[:4], "little"):
        return None
    return int.from_bytes(data[T_AT : T_AT + 8], "little", signed=True) or None


def parse(data: bytes, capacity: int) -> RecordColumns:
    """Consecutive records; a hole between two of them was lost by the Box or the line.

    Where a record is damaged nobody knows any more what a hole was before.
    """
    stride = stride_bytes(capacity)
    table = np.frombuffer(data, _table(capacity), len(data) // stride)
    good = np.array(
        [good_time_ns(data[at * stride : (at + 1) * stride]) is not None for at in range(len(table))], bool
    )
    chosen = table[good & (table["count"] <= capacity) & (table["rate_millihz"] > 0)]
    rows = np.empty(len(chosen), ROW)
    for name in ROW.names or ():
        rows[name] = chosen[name]
    counts = chosen["counts"][np.arange(capacity) < rows["count"][:, None]].astype(np.int16, copy=False)
    boot_id = int(chosen["boot_id"][-1]) if len(chosen) else 0
    v_per_lsb = float(chosen["v_per_lsb"][-1]) if len(chosen) else 0.0
    found = RecordColumns(boot_id, v_per_lsb, rows, counts, (), len(table) - len(chosen))
    return found if found.bad else replace(found, lost=_holes(found))


def _holes(stretch: RecordColumns) -> tuple[Lost, ...]:
    first, ends = stretch.rows["first_sample"], stretch.ends
    return tuple(
        Lost(
            stretch.boot_id,
            int(ends[at]),
            int(first[at + 1] - ends[at]),
            int(stretch.ends_ns[at]),
            int(stretch.rows["t_ns"][at + 1]),
            OVERRUN if stretch.rows["flags"][at + 1] & FLAG_OVERRUN_BEFORE else NOT_RESENT,
        )
        for at in np.flatnonzero(first[1:] > ends[:-1])
    )


def _table(capacity: int) -> np.dtype[np.void]:
    return np.dtype(
        [
            ("crc", "<u4"),
            ("count", "<u2"),
            ("source", "u1"),
            ("flags", "u1"),
            ("boot_id", "<u4"),
            ("uncertainty_ns", "<u4"),
            ("first_sample", "<i8"),
            ("t_ns", "<i8"),
            ("rate_millihz", "<u4"),
            ("reserved", "<u4"),
            ("v_per_lsb", "<f8"),
            ("counts", "<i2", (capacity,)),
        ]
    )
