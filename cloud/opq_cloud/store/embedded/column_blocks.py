"""Measurements that come as columns are written directly as blocks, without rows in the append table.

The append table and sealing exist for Measurements that come one by one. A simulated history has a whole
minute of every Box, so its rows are packed from arrays, to the same bytes: 3 us of CPU a Measurement, where
row by row, without sequence numbers, it is 25 us. A history of undisturbed Boxes would take twice as long.
"""

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from opq_cloud.store.embedded.schema import BOXES_PER_SEGMENT, next_number
from opq_cloud.store.embedded.sealing import newer_block, put_blocks
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.packed import ALL_KNOWN, BITS, ROW, PackedRows, pack, pack_row

MIN_ROWS = 30
"""Least rows per Box: a smaller block costs more in every query than sealing its rows."""
_KNOWN = ALL_KNOWN - BITS["sequence"] - BITS["oldest_sequence"] - BITS["clock_id"]


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


def column_blocks(columns: Measurements) -> list[ColumnBlock] | None:
    """Makes a block per Box; None where rows are too few, not in order of time, or a metric is unknown."""
    plain = columns.finite and not columns.extra and columns.all_stated and not columns.backfilled
    if not plain or columns.clock_id.any():
        return None
    order = np.argsort(columns.which, kind="stable")
    box, timestamp_ms = columns.which[order], columns.timestamp_ms[order]
    begins = np.flatnonzero(np.diff(box, prepend=-1))
    if len(columns) < MIN_ROWS * len(begins):
        return None
    later = np.diff(timestamp_ms) > 0
    later[begins[1:] - 1] = True
    if not later.all():
        return None
    table = np.zeros(len(columns), ROW)
    table["timestamp_ms"], table["metrics"] = timestamp_ms, columns.metrics[order]
    table["start_ns"], table["end_ns"] = columns.start_ns[order], columns.end_ns[order]
    table["uncertainty_ns"], table["source"] = columns.uncertainty_ns[order], columns.source[order]
    table["known"] = _KNOWN
    return list(_blocks(columns, box[begins].tolist(), begins.tolist(), PackedRows(table)))


def _blocks(
    columns: Measurements, boxes: list[int], begins: list[int], rows: PackedRows
) -> Iterator[ColumnBlock]:
    for box, begin, end in zip(boxes, begins, [*begins[1:], len(rows)], strict=True):
        mine = PackedRows(rows.table[begin:end])
        first_ms, last_ms = mine.table["timestamp_ms"][[0, -1]].tolist()
        box_id = columns.box_ids[box]
        packed = pack(mine, deflated=False)  # deflating doubles the time, and saves no page
        yield ColumnBlock(box_id, first_ms, last_ms, end - begin, packed, pack_row(mine, end - begin - 1))


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
