"""Which rows of `measurements` are whose: that table has no index, and each query would read all of it.

A reader keeps the ids by Box and reads on from the last one it knows; a sealing pass, which takes the rows
away, raises `seal_generation`, and they are read again. At 10,000 Boxes 100,000 rows wait.
"""

import sqlite3
import threading
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

import numpy as np

from opq_cloud.store.parcel_slots import LIVE
from opq_cloud.store.parcels import measurements_of, rows_by_box
from opq_cloud.store.rows import MeasurementRow, measurement_from_row, unpack_block
from opq_cloud.store.schema import BOXES_PER_SEGMENT
from opq_cloud.store.sealing import COLUMNS, EVER, counter
from opq_proto.messages import Measurement

_NONE = np.empty(0, np.int64)
_FRESH = (
    "SELECT group_concat(id), group_concat(box) FROM "
    "(SELECT id, box FROM measurements WHERE id > ? ORDER BY id)"
)


class UnsealedRows:
    """`ids` may be called from any thread, inside a reader's transaction.

    Never inside a writer's: the ids of what is rolled back are given again to rows of other Boxes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation: int | None = None
        self._ids = self._boxes = _NONE

    def ids(self, connection: sqlite3.Connection, box: int) -> list[int]:
        """Ids of the rows of the Box with this number; some may be newer than what the transaction sees."""
        with self._lock:
            generation = counter(connection, "seal_generation")
            if generation != self._generation:
                self._ids, self._boxes, self._generation = _NONE, _NONE, generation
            known = int(self._ids[-1]) if len(self._ids) else 0
            ids, boxes = connection.execute(_FRESH, (known,)).fetchone()
            if ids is not None:  # as text, for a third of the time of as many tuples
                self._ids = np.concatenate((self._ids, np.fromstring(ids, np.int64, sep=",")))
                self._boxes = np.concatenate((self._boxes, np.fromstring(boxes, np.int64, sep=",")))
            found: list[int] = self._ids[self._boxes == box].tolist()
            return found


def last_minutes(connection: sqlite3.Connection, length_ms: int, limit: int) -> Iterator[list[Measurement]]:
    """As `CloudStore.last_minutes`: one pass over the unsealed rows, and the blocks that are needed."""
    segments = connection.execute("SELECT segment, start_ms, end_ms FROM segments ORDER BY end_ms").fetchall()
    starts_ms = np.array([each[1] for each in segments], np.int64)
    ends_ms = np.array([each[2] for each in segments], np.int64)
    marks = connection.execute("SELECT box, box_id, newest FROM box_marks ORDER BY box").fetchall()
    tail = connection.execute(f"SELECT box, {COLUMNS} FROM measurements ORDER BY box, timestamp_ms")
    groups = groupby(tail, key=itemgetter(0))
    waiting = next(groups, None)
    of_parcels = rows_by_box(
        connection.execute(f"SELECT boxes, packed FROM parcels WHERE {LIVE} ORDER BY parcel").fetchall()
    )
    for number, box_id, packed in marks:
        rows: list[Measurement] = []
        if waiting is not None and waiting[0] == number:
            of_box = [columns for _, *columns in waiting[1]]
            rows = [measurement_from_row(box_id, MeasurementRow._make(each)) for each in of_box[-limit:]]
            waiting = next(groups, None)
        if number in of_parcels:
            rows.extend(measurements_of(box_id, of_parcels[number][-limit:]))
            rows.sort(key=lambda each: each.timestamp_ms)
        newest_ms = rows[-1].timestamp_ms if rows else -EVER
        if packed is not None:
            newest_ms = max(newest_ms, next(unpack_block(box_id, packed, -EVER, EVER)).timestamp_ms)
        start_ms = newest_ms - length_ms
        near = np.flatnonzero((ends_ms >= start_ms) & (starts_ms <= newest_ms))
        for place in near[::-1]:
            if len(rows) >= limit and ends_ms[place] < rows[-limit].timestamp_ms:
                break
            key = segments[place][0] * BOXES_PER_SEGMENT + number
            block = connection.execute("SELECT packed FROM blocks WHERE block = ?", (key,)).fetchone()
            if block is not None:
                rows.extend(unpack_block(box_id, block[0], start_ms, newest_ms + 1))
                rows.sort(key=lambda each: each.timestamp_ms)
        kept = [each for each in rows[-limit:] if each.timestamp_ms >= start_ms]
        if kept:
            yield kept
