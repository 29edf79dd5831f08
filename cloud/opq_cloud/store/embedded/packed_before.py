"""Reads the forms of stored Measurements before the packed block; they are not written any more.

Blocks of the versions 0 to 4, parcels up to schema 19, and rows of the append table up to schema 19, which a
migration packs. They had the metrics in the order of ORIGINAL_FIELDS, and in any other row its whole document
as JSON.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from opq_proto.decision import NS_PER_MS
from opq_proto.measurement.fields import ORIGINAL_FIELDS
from opq_proto.measurement.packed import PackedRows, from_document, packed_rows
from opq_proto.messages import Measurement, Metric, TimeSource

_FREE = 1
"""Version of a block: each row as JSON. Version 0 has rows of a fixed length, one after the other."""
_CLOCKED = 2
"""Version of a block: rows of a fixed length after the stretches of their clocks."""
_COLUMNS = 3
"""Version of a block: as _CLOCKED, byte column by byte column, compressed."""
_STEPS = 4
"""Version of a block: as _COLUMNS, with _RISING as differences from the row before."""
_RISING: Final = ("offset_ms", "sequence", "back")
_HEAD: Final = struct.Struct("<BqqI")  # version, first time, first sequence, rows
_MORE: Final = struct.Struct("<HiqII8f")  # flags, end offset, duration, uncertainty, back, 4 x (min, max)
_FLAGS: Final = struct.Struct("<H")
_CLOCK_ID: Final = struct.Struct("<Q")
_CLOCKS: Final = struct.Struct("<H")  # stretches of one clock in a block
_STRETCH: Final = struct.Struct("<IQ")  # its first row, clock_id or 0
_BOXES_HEAD: Final = struct.Struct("<?II")  # whether steps have four bytes each, else one; first Box; rows
_FIXED_ROW: Final = np.dtype(
    [
        ("offset_ms", "<u4"),
        ("sequence", "<i8"),
        ("averages", "<f4", (4,)),
        ("flags", "<u2"),
        ("end_offset_ns", "<i4"),
        ("duration_ns", "<i8"),
        ("uncertainty_ns", "<u4"),
        ("back", "<u4"),
        ("ends", "<f4", (8,)),
    ]
)
_CLOCKED_ROW: Final = np.dtype(
    [*((name, _FIXED_ROW[name]) for name in _FIXED_ROW.names or ()), ("clock_id", "<u8")]
)
_TIMED_ROW: Final = np.dtype([("timestamp_ms", "<i8"), ("row", _CLOCKED_ROW)])
_PARCEL_ROW: Final = np.dtype([("box", "<u4"), ("timestamp_ms", "<i8"), ("row", _CLOCKED_ROW)])
_WINDOW_BITS: Final = -12
_STRETCH_ROWS: Final = 200
_TIMES = 0x100
"""Flag of a row, like the next four: start and end of the window are known."""
_UNCERTAINTY = 0x200
_OLDEST = 0x400
_SEQUENCE = 0x800
_JSON = 0x8000
"""Flag of a row: the rest of it is JSON."""
_SOURCES: Final = tuple(TimeSource)
_KEYS: Final = tuple(ORIGINAL_FIELDS)


def block_before(block: bytes) -> PackedRows:
    """Returns the rows of a block of version 0 to 4."""
    version, first_ms, first_sequence, count = _HEAD.unpack_from(block)
    body = memoryview(block)[_HEAD.size :]
    if version == _FREE:
        return packed_rows(
            [row_before(*(*columns, bytes.fromhex(more))) for *columns, more in json.loads(bytes(body))]
        )
    if version in (_COLUMNS, _STEPS):
        rows = _turned(zlib.decompress(body, _WINDOW_BITS), _CLOCKED_ROW)
        if version == _STEPS:
            for name in _RISING:
                np.cumsum(rows[name], out=rows[name])
    else:
        rows = np.zeros(count, _CLOCKED_ROW)
        if version == _CLOCKED:
            size = _CLOCKS.size + _CLOCKS.unpack_from(body)[0] * _STRETCH.size
            for place, clock_id in _STRETCH.iter_unpack(body[_CLOCKS.size : size]):
                rows["clock_id"][place:] = clock_id
            body = body[size:]
        fixed = np.frombuffer(body, _FIXED_ROW)
        for name in _FIXED_ROW.names or ():
            rows[name] = fixed[name]
    return packed_rows(
        list(_measurements(rows, first_ms + rows["offset_ms"].astype(np.int64), first_sequence))
    )


def row_before(
    timestamp_ms: int,
    sequence: int | None,
    voltage: float | None,
    frequency: float | None,
    thd: float | None,
    transient: float | None,
    more: bytes,
) -> Measurement:
    """Returns a row of the append table, which had its four means beside the packed rest."""
    (flags,) = _FLAGS.unpack_from(more)
    if flags & _JSON:
        return from_document(json.loads(more[_FLAGS.size :]))
    numbers = _MORE.unpack_from(more)
    clock_id = None if len(more) == _MORE.size else _CLOCK_ID.unpack_from(more, _MORE.size)[0]
    return _measurement(timestamp_ms, sequence, clock_id, (voltage, frequency, thd, transient), *numbers)


def parcel_before(boxes: bytes | None, packed: bytes) -> tuple[NDArray[np.int64], PackedRows]:
    """Returns the Box of each row of a parcel, and the rows; those of schema 9 and before had no `boxes`."""
    if boxes is None:
        rows = _turned(zlib.decompress(packed), _PARCEL_ROW)
        whose = rows["box"].astype(np.int64)
    else:
        wide, first, count = _BOXES_HEAD.unpack_from(boxes)
        lengths = np.frombuffer(boxes, "<u4", -(-count // _STRETCH_ROWS), _BOXES_HEAD.size)
        steps = np.frombuffer(boxes, "<u4" if wide else "u1", count - 1, _BOXES_HEAD.size + lengths.nbytes)
        whose = first + np.concatenate(([0], np.cumsum(steps, dtype=np.int64)))
        ends = np.cumsum(lengths.astype(np.int64)).tolist()
        rows = np.concatenate(
            [
                _turned(zlib.decompress(packed[end - length : end], -zlib.MAX_WBITS), _TIMED_ROW)
                for end, length in zip(ends, lengths.tolist(), strict=True)
            ]
        )
    return whose, packed_rows(list(_measurements(rows["row"], rows["timestamp_ms"], 0)))


def _turned(columns: bytes, row: np.dtype[np.void]) -> NDArray[np.void]:
    """Returns rows that were stored byte column by byte column."""
    turned = np.frombuffer(columns, np.uint8).reshape(row.itemsize, -1)
    rows: NDArray[np.void] = np.array(turned.T, order="C").view(row).reshape(-1)
    return rows


def _measurements(
    rows: NDArray[np.void], timestamps_ms: NDArray[np.int64], first_sequence: int
) -> Iterator[Measurement]:
    for timestamp_ms, row in zip(timestamps_ms.tolist(), rows.tolist(), strict=True):
        _, step, averages, flags, end_offset, duration, uncertainty, back, ends, clock_id = row
        sequence = first_sequence + step if flags & _SEQUENCE else None
        yield _measurement(
            timestamp_ms,
            sequence,
            clock_id or None,
            averages,
            flags,
            end_offset,
            duration,
            uncertainty,
            back,
            *ends,
        )


def _measurement(
    timestamp_ms: int,
    sequence: int | None,
    clock_id: int | None,
    averages: Sequence[float | None],
    flags: int,
    end_offset: int,
    duration: int,
    uncertainty: int,
    back: int,
    *ends: float,
) -> Measurement:
    metrics = {
        key: Metric(ends[2 * place], ends[2 * place + 1], averages[place] or 0.0)
        for place, key in enumerate(_KEYS)
        if flags & 1 << place
    }
    end_ns = timestamp_ms * NS_PER_MS + end_offset if flags & _TIMES else None
    known: dict[str, Any] = {
        "start_ns": None if end_ns is None else end_ns - duration,
        "end_ns": end_ns,
        "uncertainty_ns": uncertainty if flags & _UNCERTAINTY else None,
        "source": _SOURCES[flags >> 4 & 3],
        "sequence": sequence,
        "oldest_sequence": sequence - back if flags & _OLDEST and sequence is not None else None,
        "backfilled": bool(flags & 0x40),
        "crossing": bool(flags & 0x80),
        "clock_id": clock_id,
    }
    return Measurement("", timestamp_ms, metrics, **known)
