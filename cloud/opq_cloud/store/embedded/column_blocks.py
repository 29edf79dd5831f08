"""Measurements that come as columns are written directly as blocks, without rows in the append table.

The append table and sealing exist for Measurements that come one by one. A simulated history has a whole
minute of every Box, so its rows are packed from arrays, to the same bytes.
"""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from opq_cloud.store.embedded.schema import BOXES_PER_SEGMENT, next_number
from opq_cloud.store.embedded.sealing import newer_block, put_blocks
from opq_cloud.store.rows import FIXED_FLAGS, FIXED_ROW, METRIC_ORDER, fixed_head
from opq_proto.wire.measurement_columns import MeasurementColumns

MIN_ROWS = 30
"""Least rows per Box: a smaller block costs more in every query than sealing its rows."""
MAX_OFFSET = 1 << 32
"""Limit of a row's offset from the block's first row, ms."""


@dataclass(frozen=True, slots=True)
class ColumnBlock:
    """The packed rows of one Box."""

    box_id: str
    first_ms: int
    last_ms: int
    rows: int
    packed: bytes
    newest: bytes
    """The last row, as a block of its own."""


def column_blocks(columns: MeasurementColumns) -> list[ColumnBlock] | None:
    """Makes a block per Box; None where rows are too few, not in order of time, or not of the fixed form."""
    length_ns = columns.end_ns - columns.start_ns
    if not columns.finite or not (0 <= columns.uncertainty_ns < 1 << 32):
        return None
    order = np.argsort(columns.which, kind="stable")
    box, timestamp_ms = columns.which[order], columns.timestamp_ms[order]
    begins = np.flatnonzero(np.diff(box, prepend=-1))
    if len(columns) < MIN_ROWS * len(begins):
        return None
    later = np.diff(timestamp_ms) > 0
    later[begins[1:] - 1] = True
    first_ms = timestamp_ms[begins].repeat(np.diff(begins, append=len(box)))
    if not later.all() or int((timestamp_ms - first_ms).max()) >= MAX_OFFSET:
        return None
    rows = np.zeros(len(columns), FIXED_ROW)
    metrics = columns.metrics[order][:, METRIC_ORDER]
    rows["offset_ms"] = timestamp_ms - first_ms
    rows["averages"] = metrics[:, :, 2]
    rows["flags"] = FIXED_FLAGS | int(columns.source) << 4
    rows["end_offset_ns"] = columns.end_ns[order] - timestamp_ms * 1_000_000
    rows["duration_ns"] = length_ns[order]
    rows["uncertainty_ns"] = columns.uncertainty_ns
    rows["ends"] = metrics[:, :, :2].reshape(len(rows), -1)
    return list(
        _blocks(columns, box[begins].tolist(), begins.tolist(), timestamp_ms.tolist(), rows.tobytes())
    )


def _blocks(
    columns: MeasurementColumns, boxes: list[int], begins: list[int], timestamp_ms: list[int], data: bytes
) -> Iterator[ColumnBlock]:
    size = FIXED_ROW.itemsize
    for box, begin, end in zip(boxes, begins, [*begins[1:], len(timestamp_ms)], strict=True):
        last = b"\0\0\0\0" + data[(end - 1) * size + 4 : end * size]  # at offset 0 of its own block
        yield ColumnBlock(
            columns.boxes.ids[box],
            timestamp_ms[begin],
            timestamp_ms[end - 1],
            end - begin,
            fixed_head(timestamp_ms[begin], end - begin) + data[begin * size : end * size],
            fixed_head(timestamp_ms[end - 1], 1) + last,
        )


def put_column_blocks(
    connection: sqlite3.Connection, blocks: list[ColumnBlock], numbers: list[int], ttl_s: int
) -> int:
    """Stores the blocks as a segment and updates `box_marks`; returns the new generation of sealed rows.

    Args:
        numbers: the numbers of the blocks' Boxes in `box_marks`.
    """
    segment = next_number(connection, "segment")
    at = segment * BOXES_PER_SEGMENT
    rows = (
        (at + number, each.first_ms, each.last_ms, each.rows, each.packed)
        for number, each in zip(numbers, blocks, strict=True)
    )
    put_blocks(connection, rows)
    connection.execute(
        "INSERT INTO segments VALUES (?, ?, ?, ?, ?)",
        (
            segment,
            min(each.first_ms for each in blocks),
            max(each.last_ms for each in blocks),
            sum(each.rows for each in blocks),
            int(time.time()) + ttl_s,
        ),
    )
    for number, each in zip(numbers, blocks, strict=True):
        (known,) = connection.execute("SELECT newest FROM box_marks WHERE box = ?", (number,)).fetchone()
        connection.execute(
            "UPDATE box_marks SET plain_high_ms = max(coalesce(plain_high_ms, ?1), ?1), newest = ?2"
            " WHERE box = ?3",
            (each.last_ms, newer_block(known, each.newest), number),
        )
    return next_number(connection, "seal_generation")
