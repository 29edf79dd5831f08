"""Parcels: what one commit stores of many Boxes, as one packed blob in place of a row each.

A row of the append table costs 113 bytes, written twice, and 3 us; in a parcel some 35. What a parcel
cannot hold (no sequence number, a time far from its end) takes the append table. Sealing turns both into one
block per Box.
"""

import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.rows import (
    CLOCKED_ROW,
    FIXED_FLAGS,
    METRIC_FIELDS,
    OLDEST_FLAG,
    SEQUENCE_FLAG,
    packed_columns,
    unpacked_measurement,
    unpacked_rows,
)
from opq_proto.decision import NS_PER_MS
from opq_proto.measurement_columns import METRIC_NAMES, NumberedColumns
from opq_proto.messages import Measurement

PARCEL_ROW = np.dtype([("box", "<u4"), ("told_ms", "<i8"), ("row", CLOCKED_ROW)])
"""`row.offset_ms` is 0: the time stands beside it, and `row.sequence` is the number itself."""
LEVEL = 1
_ORDER = [METRIC_NAMES.index(name) for name in METRIC_FIELDS]

ParcelRows = NDArray[np.void]


def fitting(columns: NumberedColumns) -> NDArray[np.bool_]:
    """(n,) whether a parcel can hold each."""
    offset_ns = columns.end_ns - columns.timestamp_ms * NS_PER_MS
    back = columns.sequence - columns.oldest
    fits: NDArray[np.bool_] = (columns.sequence >= 0) & (np.abs(offset_ns) < 1 << 31)
    return fits & ((columns.oldest < 0) | ((back >= 0) & (back < 1 << 32)))


def parcel_rows(columns: NumberedColumns, numbers: NDArray[np.int64]) -> ParcelRows:
    """(n,) PARCEL_ROW of columns that fit. numbers: (n,) of the Boxes in `box_marks`."""
    found: ParcelRows = np.zeros(len(columns), PARCEL_ROW)
    found["box"], found["told_ms"] = numbers, columns.timestamp_ms
    rows = found["row"]
    metrics = columns.metrics[:, _ORDER]
    holds = columns.oldest >= 0
    rows["sequence"] = columns.sequence
    rows["averages"] = metrics[:, :, 2]
    rows["flags"] = FIXED_FLAGS | SEQUENCE_FLAG | columns.sources << 4 | np.where(holds, OLDEST_FLAG, 0)
    rows["end_offset_ns"] = columns.end_ns - columns.timestamp_ms * NS_PER_MS
    rows["duration_ns"] = columns.end_ns - columns.start_ns
    rows["uncertainty_ns"] = columns.uncertainties_ns
    rows["back"] = np.where(holds, columns.sequence - columns.oldest, 0)
    rows["ends"] = metrics[:, :, :2].reshape(len(found), -1)
    rows["clock_id"] = columns.clock_ids
    return found


def pack_parcel(rows: ParcelRows) -> bytes:
    """Column of bytes by column of bytes, compressed: what is alike in all of them costs nothing."""
    turned = rows.view(np.uint8).reshape(len(rows), PARCEL_ROW.itemsize).T
    return zlib.compress(np.ascontiguousarray(turned).tobytes(), LEVEL)


def unpack_parcel(packed: bytes) -> ParcelRows:
    """(n,) PARCEL_ROW."""
    turned = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(PARCEL_ROW.itemsize, -1)
    rows: ParcelRows = np.ascontiguousarray(turned.T).view(PARCEL_ROW).reshape(-1)
    return rows


def rows_by_box(parcels: Sequence[bytes]) -> dict[int, ParcelRows]:
    """Box -> its rows of all these parcels, in time order."""
    if not parcels:
        return {}
    rows = np.concatenate([unpack_parcel(packed) for packed in parcels])
    rows = rows[np.lexsort((rows["told_ms"], rows["box"]))]
    begins = np.flatnonzero(np.diff(rows["box"].astype(np.int64), prepend=-1))
    return dict(zip(rows["box"][begins].tolist(), np.split(rows, begins[1:]), strict=True))


def of_box(rows: ParcelRows, number: int, start_ms: int, end_ms: int) -> ParcelRows:
    """Those of one Box in [start_ms, end_ms)."""
    told_ms = rows["told_ms"]
    own: ParcelRows = rows[(rows["box"] == number) & (told_ms >= start_ms) & (told_ms < end_ms)]
    return own


def measurements_of(box_id: str, rows: ParcelRows) -> Iterator[Measurement]:
    """Of one Box, as objects."""
    for told_ms, row in zip(rows["told_ms"].tolist(), unpacked_rows(rows["row"]), strict=True):
        yield unpacked_measurement(box_id, told_ms, row[1], row)


def parcel_block(rows: ParcelRows) -> bytes | None:
    """The block of rows of one Box, in time order; None: they are too far from each other."""
    first_ms, first = int(rows["told_ms"][0]), int(rows["row"]["sequence"][0])
    offsets = rows["told_ms"] - first_ms
    if int(offsets[-1]) >= 1 << 32:
        return None
    inner = rows["row"].copy()
    inner["offset_ms"] = offsets
    inner["sequence"] -= first
    return packed_columns(first_ms, first, inner)
