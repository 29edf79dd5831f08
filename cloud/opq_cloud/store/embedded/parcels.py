"""Parcels: the rows of many Boxes that one commit stores, as one packed blob.

A row of the append table costs 113 bytes, written twice, and 3 us; in a parcel some 35 bytes. A row that a
parcel cannot hold (no sequence number, a time far from its end) goes into the append table. Sealing turns
both into one block per Box.

    boxes    the Box of each row, in rising order (a byte per row), and the length of each stretch
    packed   the rows in that order, in stretches: byte column by byte column, compressed

So a query of one Box skips parcels without it, and mostly unpacks one stretch of the others. A parcel of
schema 9 and before has no `boxes`: its rows contain the Box.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.rows import (
    BACKFILLED_FLAG,
    CLOCKED_ROW,
    FIXED_FLAGS,
    METRIC_ORDER,
    OLDEST_FLAG,
    SEQUENCE_FLAG,
    MeasurementRow,
    clocked_row,
    packed_columns,
    unpacked_measurement,
    unpacked_rows,
)
from opq_proto.decision import NS_PER_MS
from opq_proto.messages import Measurement
from opq_proto.wire.measurement_columns import NumberedColumns

PARCEL_ROW = np.dtype([("box", "<u4"), ("timestamp_ms", "<i8"), ("row", CLOCKED_ROW)])
"""`row.offset_ms` is 0, because the time is in `timestamp_ms`; `row.sequence` is the whole number."""
_PACKED_ROW = np.dtype([("timestamp_ms", "<i8"), ("row", CLOCKED_ROW)])
_ROW_HEAD = struct.Struct("<Iq")
MIN_ROWS = 20
"""Fewer rows go into the append table: a parcel takes at least a page."""
_BOXES_HEAD = struct.Struct("<?II")
"""Whether steps have four bytes each (else one); the first Box; rows. Lengths (u4) and steps follow."""
STRETCH_ROWS = 200
"""Part of the format, never changed. Compresses as well as all rows at once; unpacked in 40 us."""
LEVEL = 1
_RAW = -zlib.MAX_WBITS

ParcelRows = NDArray[np.void]


def fitting(columns: NumberedColumns) -> NDArray[np.bool_]:
    """Returns (n,), whether a parcel can hold each row."""
    offset_ns = columns.end_ns - columns.timestamp_ms * NS_PER_MS
    back = columns.sequence - columns.oldest
    fits: NDArray[np.bool_] = (columns.sequence >= 0) & (np.abs(offset_ns) < 1 << 31)
    fits &= columns.stated & ~columns.irregular
    return fits & ((columns.oldest < 0) | ((back >= 0) & (back < 1 << 32)))


def parcel_rows(columns: NumberedColumns, numbers: NDArray[np.int64]) -> ParcelRows:
    """Returns (n,) PARCEL_ROW of columns that fit; `numbers` are (n,) the Boxes' numbers in `box_marks`."""
    found: ParcelRows = np.zeros(len(columns), PARCEL_ROW)
    found["box"], found["timestamp_ms"] = numbers, columns.timestamp_ms
    rows = found["row"]
    metrics = columns.metrics[:, METRIC_ORDER]
    holds = columns.oldest >= 0
    rows["sequence"] = columns.sequence
    rows["averages"] = metrics[:, :, 2]
    flags = FIXED_FLAGS | SEQUENCE_FLAG | (BACKFILLED_FLAG if columns.backfilled else 0)
    rows["flags"] = flags | columns.sources << 4 | np.where(holds, OLDEST_FLAG, 0)
    rows["end_offset_ns"] = columns.end_ns - columns.timestamp_ms * NS_PER_MS
    rows["duration_ns"] = columns.end_ns - columns.start_ns
    rows["uncertainty_ns"] = columns.uncertainties_ns
    rows["back"] = np.where(holds, columns.sequence - columns.oldest, 0)
    rows["ends"] = metrics[:, :, :2].reshape(len(found), -1)
    rows["clock_id"] = columns.clock_ids
    return found


def parcel_row(box: int, row: MeasurementRow) -> bytes | None:
    """Returns the bytes of a PARCEL_ROW; None where a parcel cannot hold the row."""
    inner = clocked_row(row)
    return None if inner is None else _ROW_HEAD.pack(box, row.timestamp_ms) + inner


def pack_parcel(rows: ParcelRows) -> tuple[bytes, bytes]:
    """Returns `boxes` and `packed`. In byte columns, values equal in all rows take hardly any space."""
    rows = rows[np.argsort(rows["box"], kind="stable")]
    inner = np.empty(len(rows), _PACKED_ROW)
    inner["timestamp_ms"], inner["row"] = rows["timestamp_ms"], rows["row"]
    turned = inner.view(np.uint8).reshape(len(rows), _PACKED_ROW.itemsize).T
    stretches = [_deflated(turned[:, at : at + STRETCH_ROWS]) for at in range(0, len(rows), STRETCH_ROWS)]
    steps = np.diff(rows["box"])
    wide = bool(steps.max(initial=0) >= 1 << 8)
    head = _BOXES_HEAD.pack(wide, int(rows["box"][0]), len(rows))
    lengths = np.array([len(each) for each in stretches], "<u4")
    return head + lengths.tobytes() + steps.astype("<u4" if wide else "u1").tobytes(), b"".join(stretches)


def _deflated(turned: NDArray[np.uint8]) -> bytes:
    squeeze = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW)
    return squeeze.compress(np.ascontiguousarray(turned).tobytes()) + squeeze.flush()


def unpack_parcel(boxes: bytes | None, packed: bytes) -> ParcelRows:
    """Returns (n,) PARCEL_ROW."""
    if boxes is None:
        turned = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(PARCEL_ROW.itemsize, -1)
        rows: ParcelRows = np.ascontiguousarray(turned.T).view(PARCEL_ROW).reshape(-1)
        return rows
    whose, lengths = _unpack_boxes(boxes)
    return _unpack_rows(whose, lengths, packed, 0, len(whose))


def rows_of_box(boxes: bytes | None, read_packed: Callable[[], bytes], number: int) -> ParcelRows:
    """Returns the rows of one Box; `read_packed` is called only where there may be any."""
    if boxes is None:
        rows = unpack_parcel(None, read_packed())
        found: ParcelRows = rows[rows["box"] == number]
        return found
    whose, lengths = _unpack_boxes(boxes)
    first, stop = np.searchsorted(whose, (number, number + 1)).tolist()
    if first == stop:
        return np.empty(0, PARCEL_ROW)
    return _unpack_rows(whose, lengths, read_packed(), first, stop)


def _unpack_rows(
    whose: NDArray[np.int64], lengths: NDArray[np.int64], packed: bytes, first: int, stop: int
) -> ParcelRows:
    """Returns rows first to stop, from the stretches that contain them."""
    ends = np.cumsum(lengths).tolist()
    rows: ParcelRows = np.empty(stop - first, PARCEL_ROW)
    rows["box"] = whose[first:stop]
    for stretch in range(first // STRETCH_ROWS, (stop - 1) // STRETCH_ROWS + 1):
        data = memoryview(packed)[ends[stretch] - int(lengths[stretch]) : ends[stretch]]
        begin = stretch * STRETCH_ROWS
        low, high = max(first, begin), min(stop, begin + STRETCH_ROWS)
        turned = np.frombuffer(zlib.decompress(data, _RAW), np.uint8).reshape(_PACKED_ROW.itemsize, -1)
        inner = np.ascontiguousarray(turned[:, low - begin : high - begin].T).view(_PACKED_ROW).reshape(-1)
        rows["timestamp_ms"][low - first : high - first] = inner["timestamp_ms"]
        rows["row"][low - first : high - first] = inner["row"]
    return rows


def _unpack_boxes(boxes: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns (n,) the Box of each row, rising, and the bytes of each stretch."""
    wide, first, count = _BOXES_HEAD.unpack_from(boxes)
    stretches = -(-count // STRETCH_ROWS)
    lengths = np.frombuffer(boxes, "<u4", stretches, _BOXES_HEAD.size)
    steps = np.frombuffer(boxes, "<u4" if wide else "u1", count - 1, _BOXES_HEAD.size + lengths.nbytes)
    whose = np.empty(count, np.int64)
    whose[0] = first
    np.cumsum(steps, out=whose[1:])
    whose[1:] += first
    return whose, lengths.astype(np.int64)


def rows_by_box(parcels: Sequence[tuple[bytes | None, bytes]]) -> dict[int, ParcelRows]:
    """Returns Box -> its rows in all parcels, in time order; `parcels` has `boxes` and `packed` of each."""
    if not parcels:
        return {}
    rows = np.concatenate([unpack_parcel(*each) for each in parcels])
    rows = rows[np.lexsort((rows["timestamp_ms"], rows["box"]))]
    begins = np.flatnonzero(np.diff(rows["box"].astype(np.int64), prepend=-1))
    return dict(zip(rows["box"][begins].tolist(), np.split(rows, begins[1:]), strict=True))


def newest_by_box(
    parcels: Sequence[tuple[bytes | None, bytes]],
) -> Iterator[tuple[int, int, tuple[Any, ...]]]:
    """Yields the Box, time and numbers (for `unpacked_measurement`) of each Box's row written last."""
    if not parcels:
        return
    rows = np.concatenate([unpack_parcel(*each) for each in parcels])
    rows = rows[np.lexsort((rows["row"]["sequence"], rows["box"]))]
    last = rows[np.flatnonzero(np.diff(rows["box"].astype(np.int64), append=-1))]
    yield from zip(
        last["box"].tolist(), last["timestamp_ms"].tolist(), unpacked_rows(last["row"]), strict=True
    )


def newest_of(rows: ParcelRows) -> ParcelRows:
    """Returns the row of one Box that was written last, as an array."""
    at = int(rows["row"]["sequence"].argmax())
    found: ParcelRows = rows[at : at + 1]
    return found


def within(rows: ParcelRows, start_ms: int, end_ms: int) -> ParcelRows:
    """Returns the rows in [start_ms, end_ms)."""
    timestamp_ms = rows["timestamp_ms"]
    found: ParcelRows = rows[(timestamp_ms >= start_ms) & (timestamp_ms < end_ms)]
    return found


def measurements_of(box_id: str, rows: ParcelRows) -> Iterator[Measurement]:
    """Yields the Measurements of one Box's rows."""
    for timestamp_ms, row in zip(rows["timestamp_ms"].tolist(), unpacked_rows(rows["row"]), strict=True):
        yield unpacked_measurement(box_id, timestamp_ms, row[1], row)


def parcel_block(rows: ParcelRows) -> bytes | None:
    """Returns the block of one Box's rows, in time order; None where they span too long a time."""
    first_ms, first = int(rows["timestamp_ms"][0]), int(rows["row"]["sequence"][0])
    offsets = rows["timestamp_ms"] - first_ms
    if int(offsets[-1]) >= 1 << 32:
        return None
    inner = rows["row"].copy()
    inner["offset_ms"] = offsets
    inner["sequence"] -= first
    return packed_columns(first_ms, first, inner)
