"""Parcels: the rows of many Boxes that one commit stores, as packed blocks.

A row of the append table costs 113 bytes, written twice, and 8 us; in a parcel some 47 bytes at most. A row
without a sequence number goes into the append table, because its order of writing counts. Sealing turns both
into one block per Box.

    boxes    the Box of each row, in rising order (a byte per row), and the length of each stretch
    packed   the rows in that order, in stretches: a block each

So a query of one Box skips parcels without it, and mostly unpacks one stretch of the others.
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.embedded.block_rows import NO_ROWS
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.packed import ALL_KNOWN, BITS, ROW, PackedRows, joined, pack, packed_rows, unpack

MIN_ROWS = 20
"""Fewer rows go into the append table: a parcel takes at least a page."""
_BOXES_HEAD = struct.Struct("<?II")
"""Whether steps have four bytes each, else one; the first Box; rows. Lengths (u4) and steps follow."""
STRETCH_ROWS = 200
"""Part of the form, never changed. Compresses as well as all rows at once; unpacked in 65 us."""

Stored = tuple[bytes, bytes]
"""`boxes` and `packed` of a parcel."""


class ParcelRows(NamedTuple):
    """Rows of several Boxes."""

    boxes: NDArray[np.int64]
    """(n,) the number of each Box in `box_marks`."""
    rows: PackedRows


def rows_of_columns(columns: Measurements) -> PackedRows:
    """Returns columns as rows; those that the columns do not say whole come last."""
    others = columns.irregular
    if others.any():
        rest = rows_of_columns(columns.part(~others))
        return joined([rest, packed_rows([columns.extra[at] for at in np.flatnonzero(others).tolist()])])
    table = np.empty(len(columns), ROW)
    table["timestamp_ms"], table["sequence"] = columns.timestamp_ms, columns.sequence
    table["start_ns"], table["end_ns"] = columns.start_ns, columns.end_ns
    table["uncertainty_ns"], table["oldest_sequence"] = columns.uncertainty_ns, columns.oldest_sequence
    table["clock_id"], table["source"] = columns.clock_id, columns.source
    table["backfilled"], table["crossing"] = columns.backfilled, False
    table["metrics"] = columns.metrics
    table["known"] = ALL_KNOWN
    for names, unknown in (
        (("start_ns", "end_ns", "uncertainty_ns"), ~columns.stated),
        (("sequence",), columns.sequence < 0),
        (("oldest_sequence",), columns.oldest_sequence < 0),
        (("clock_id",), columns.clock_id == 0),
    ):
        if unknown.any():
            table["known"][unknown] -= sum(BITS[name] for name in names)
    return PackedRows(table)


def pack_parcel(parcel: ParcelRows) -> tuple[bytes, bytes]:
    """Returns `boxes` and `packed`."""
    order = np.argsort(parcel.boxes, kind="stable")
    whose, rows = parcel.boxes[order], parcel.rows.part(order)
    begins = range(0, len(whose), STRETCH_ROWS)
    stretches = [pack(rows.run(at, at + STRETCH_ROWS), rising=False) for at in begins]
    steps = np.diff(whose)
    wide = bool(steps.max(initial=0) >= 1 << 8)
    head = _BOXES_HEAD.pack(wide, int(whose[0]), len(whose))
    lengths = np.array([len(each) for each in stretches], "<u4")
    return head + lengths.tobytes() + steps.astype("<u4" if wide else "u1").tobytes(), b"".join(stretches)


def unpack_parcel(boxes: bytes, packed: bytes) -> ParcelRows:
    """Returns all rows, in the order of their Boxes."""
    whose, lengths = _unpack_boxes(boxes)
    return ParcelRows(whose, _unpack_rows(lengths, packed, 0, len(whose)))


def rows_of_box(boxes: bytes, read_packed: Callable[[], bytes], number: int) -> PackedRows:
    """Returns the rows of one Box; `read_packed` is called only where there may be any."""
    whose, lengths = _unpack_boxes(boxes)
    first, stop = np.searchsorted(whose, (number, number + 1)).tolist()
    return NO_ROWS if first == stop else _unpack_rows(lengths, read_packed(), first, stop)


def _unpack_rows(lengths: NDArray[np.int64], packed: bytes, first: int, stop: int) -> PackedRows:
    """Returns rows first to stop, from the stretches that contain them."""
    ends = np.cumsum(lengths).tolist()
    parts = []
    for stretch in range(first // STRETCH_ROWS, (stop - 1) // STRETCH_ROWS + 1):
        begin = stretch * STRETCH_ROWS
        low, high = max(first, begin) - begin, min(stop, begin + STRETCH_ROWS) - begin
        parts.append(unpack(packed[ends[stretch] - int(lengths[stretch]) : ends[stretch]], low, high))
    return joined(parts)


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


def rows_by_box(parcels: Sequence[Stored]) -> dict[int, PackedRows]:
    """Returns Box -> its rows in all parcels, in the order of writing."""
    if not parcels:
        return {}
    unpacked = [unpack_parcel(*each) for each in parcels]
    whose, rows = np.concatenate([each.boxes for each in unpacked]), joined([each.rows for each in unpacked])
    order = np.argsort(whose, kind="stable")
    whose, rows = whose[order], rows.part(order)
    begins = np.flatnonzero(np.diff(whose, prepend=-1)).tolist()
    ends = [*begins[1:], len(whose)]
    return {int(whose[begin]): rows.run(begin, end) for begin, end in zip(begins, ends, strict=True)}
