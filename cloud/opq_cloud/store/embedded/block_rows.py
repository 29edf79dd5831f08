"""Reads the rows of stored blocks, and finds the row that was written last."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from opq_proto.measurement.packed import ROW, PackedRows, unpack_all

NO_ROWS = PackedRows(np.empty(0, ROW))


def unpack_blocks(blocks: Iterable[bytes]) -> PackedRows:
    """Returns the rows of blocks, one after the other."""
    found = list(blocks)
    return unpack_all(found) if found else NO_ROWS


def by_time(rows: PackedRows) -> PackedRows:
    """Returns rows in time order; those of one time stay in theirs."""
    timestamp_ms = rows.table["timestamp_ms"]
    if (np.diff(timestamp_ms) >= 0).all():
        return rows
    return rows.part(np.argsort(timestamp_ms, kind="stable"))


def newest_of_each(boxes: NDArray[np.int64], rows: PackedRows) -> dict[int, int]:
    """Returns Box -> its row that was written last; the rows are in the order of writing.

    The sequence numbers decide, and where no row has one, the order: after the Box's clock was set back the
    newest row is not the one with the latest time. Between rows with and without a number the time decides.
    """
    numbered, timestamp_ms = rows.numbered, rows.table["timestamp_ms"]
    found = _last_of_each(boxes, np.flatnonzero(numbered), rows.table["sequence"])
    if not numbered.all():
        for box, plain in _last_of_each(boxes, np.flatnonzero(~numbered), None).items():
            if box not in found or timestamp_ms[plain] > timestamp_ms[found[box]]:
                found[box] = plain
    return found


def newest_written(rows: PackedRows) -> int:
    """Returns which of the rows of one Box, at least one, was written last."""
    if rows.numbered.all():
        return int(rows.table["sequence"].argmax())
    return newest_of_each(np.zeros(len(rows), np.int64), rows)[0]


def _last_of_each(
    boxes: NDArray[np.int64], places: NDArray[np.int64], sequence: NDArray[np.int64] | None
) -> dict[int, int]:
    """Returns Box -> that of its places with the highest number, without numbers the last."""
    whose = boxes[places]
    order = np.lexsort((whose,) if sequence is None else (sequence[places], whose))
    last = order[np.flatnonzero(np.diff(whose[order], append=-1))]
    return dict(zip(whose[last].tolist(), places[last].tolist(), strict=True))
