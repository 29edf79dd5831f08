"""Sealing: moves Measurements from the append table and parcels into one packed block per Box.

A pass reads and packs outside the write lock and writes blocks in slices. Queries do not see these yet,
because they find blocks through their row in `segments`; a last, short job adds that row and deletes the
moved rows. A pass that was killed, or that another process overtook, leaves only such unseen blocks, which
`sweep` deletes. `UnsealedRows` finds the rows of a Box before sealing.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import itemgetter

import numpy as np

from opq_cloud.store.embedded.parcel_slots import LIVE, seal_parcels
from opq_cloud.store.embedded.parcels import (
    ParcelRows,
    measurements_of,
    newest_of,
    parcel_block,
    rows_by_box,
    within,
)
from opq_cloud.store.embedded.schema import BOXES_PER_SEGMENT, block_sum, next_number
from opq_cloud.store.embedded.sequence_runs import SequenceRuns
from opq_cloud.store.rows import (
    MeasurementRow,
    measurement_from_row,
    newest_written,
    pack_block,
    row_from_measurement,
    unpack_block,
)
from opq_proto.kit.sqlite_database import SqliteDatabase
from opq_proto.messages import Measurement

SEAL_AFTER_S = 3600
"""Rows are sealed after this time even if few follow, so that they expire."""
SLICE_BLOCKS = 500
"""Blocks that one job writes: about 5 ms."""
COLUMNS = "timestamp_ms, sequence, voltage, frequency, thd, transient, more"
EVER = 2**62

Block = tuple[int, int, int, int, bytes]
Mark = tuple[bytes, int | None, bytes, int]


@dataclass(frozen=True, slots=True)
class BoxBlock:
    """The rows of one Box that a pass moves."""

    first_ms: int
    last_ms: int
    rows: int
    packed: bytes
    newest: bytes
    """The row that was written last, as a block of its own."""
    sequences: list[int]
    plain_high_ms: int | None
    """The newest time of rows without a sequence number."""


def seal(
    database: SqliteDatabase,
    ttl_s: int,
    before: Callable[[sqlite3.Connection], None],
    moved: Callable[[int, int, int], None],
) -> int:
    """Seals all present rows in one pass; returns how many went into blocks.

    In the last job, `before` runs ahead of the move and `moved(new generation, last moved id, moved rows of
    parcels)` after it. Raises StoreError; then nothing was moved.
    """
    # One job reads both: a pass that seals after it raises the generation, and this pass gives up.
    segment, generation = database.write(
        lambda connection: (next_number(connection, "segment"), counter(connection, "seal_generation"))
    )
    blocks: list[Block] = []
    marks: list[Mark] = []
    rows = 0
    start_ms, end_ms = EVER, -EVER
    with database.read() as connection:
        (last_id,) = connection.execute("SELECT max(id) FROM measurements").fetchone()
        known = {
            box: rest
            for box, *rest in connection.execute("SELECT box, spans, plain_high_ms, newest FROM box_marks")
        }
        tail = connection.execute(f"SELECT box, {COLUMNS} FROM measurements ORDER BY box, id")
        single = {
            box: [MeasurementRow(*columns) for _, *columns in group]
            for box, group in groupby(tail, key=itemgetter(0))
        }
        parcels = connection.execute(
            f"SELECT parcel, boxes, packed FROM parcels WHERE {LIVE} ORDER BY parcel"
        ).fetchall()
        last_parcel = parcels[-1][0] if parcels else 0
        of_boxes = rows_by_box([(boxes, packed) for _, boxes, packed in parcels])
        parcel_rows = sum(map(len, of_boxes.values()))
        for box in sorted(single.keys() | of_boxes.keys()):
            made = _block(single.get(box, []), of_boxes.get(box))
            start_ms, end_ms = min(start_ms, made.first_ms), max(end_ms, made.last_ms)
            rows += made.rows
            block = segment * BOXES_PER_SEGMENT + box
            blocks.append((block, made.first_ms, made.last_ms, made.rows, made.packed))
            marks.append(_mark(box, made, *known[box]))
            if len(blocks) >= SLICE_BLOCKS:
                database.write(partial(put_blocks, blocks=blocks))
                blocks = []
    if not rows:
        return 0
    database.write(partial(put_blocks, blocks=blocks))

    def move(connection: sqlite3.Connection) -> bool:
        before(connection)
        if counter(connection, "seal_generation") != generation:
            return False  # another process sealed these rows meanwhile
        now_s = int(time.time())
        expire_at = min(now_s, counter(connection, "tail_since_s") + SEAL_AFTER_S) + ttl_s
        connection.execute(
            "INSERT INTO segments VALUES (?, ?, ?, ?, ?)", (segment, start_ms, end_ms, rows, expire_at)
        )
        connection.executemany(
            "UPDATE box_marks SET spans = ?, plain_high_ms = ?, newest = ? WHERE box = ?", marks
        )
        connection.execute("DELETE FROM measurements WHERE id <= ?", (last_id,))
        if parcels:
            seal_parcels(connection, last_parcel)
        set_counter(connection, "tail_since_s", now_s)
        moved(next_number(connection, "seal_generation"), last_id or 0, parcel_rows)
        return True

    if database.write(move):
        return rows
    database.write(lambda connection: _drop(connection, segment))
    return 0


def _drop(connection: sqlite3.Connection, segment: int) -> None:
    connection.execute("DELETE FROM blocks WHERE block >= ? AND block < ?", _range(segment))


def _range(segment: int) -> tuple[int, int]:
    return segment * BOXES_PER_SEGMENT, (segment + 1) * BOXES_PER_SEGMENT


def put_blocks(connection: sqlite3.Connection, blocks: Iterable[Block]) -> None:
    """Stores blocks, each with its checksum."""
    insert = "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)"
    connection.executemany(insert, ((*each, block_sum(*each)) for each in blocks))


def _block(single: list[MeasurementRow], of_parcels: ParcelRows | None) -> BoxBlock:
    """Makes the block of one Box from rows of the append table, in the order of writing, and of parcels."""
    if of_parcels is not None and not single:
        packed, newest = parcel_block(of_parcels), parcel_block(newest_of(of_parcels))
        if packed is not None and newest is not None:
            timestamp_ms, sequences = of_parcels["timestamp_ms"], of_parcels["row"]["sequence"].tolist()
            return BoxBlock(
                int(timestamp_ms[0]), int(timestamp_ms[-1]), len(of_parcels), packed, newest, sequences, None
            )
    if of_parcels is not None:
        single = [*single, *map(row_from_measurement, measurements_of("", of_parcels))]
    newest_row = newest_written(single)
    single = sorted(single, key=lambda row: row.timestamp_ms)
    plain = [row.timestamp_ms for row in single if row.sequence is None]
    return BoxBlock(
        single[0].timestamp_ms,
        single[-1].timestamp_ms,
        len(single),
        pack_block(single),
        pack_block([newest_row]),
        [row.sequence for row in single if row.sequence is not None],
        max(plain, default=None),
    )


def _mark(box: int, made: BoxBlock, spans: bytes, plain_high_ms: int | None, newest: bytes | None) -> Mark:
    """Returns what `box_marks` keeps of a Box: its sequence numbers, highest plain time and newest row."""
    stored = SequenceRuns(spans)
    for sequence in made.sequences:
        stored.add(sequence)
    plain = [each for each in (plain_high_ms, made.plain_high_ms) if each is not None]
    newest = newer_block(newest, made.newest)
    return stored.pack(), max(plain, default=None), newest, box


def newer_block(known: bytes | None, made: bytes) -> bytes:
    """Returns which of two blocks of one row each, the second packed later, has the row written last."""
    if known is None:
        return made
    rows = [next(unpack_block("", each, -EVER, EVER)) for each in (known, made)]
    return known if newest_written(rows) is rows[0] else made


def expire(connection: sqlite3.Connection, now_s: int, slice_rows: int) -> int:
    """Deletes blocks of one expired segment, at most `slice_rows` blocks; returns the number of rows."""
    sweep(connection)
    due = connection.execute(
        "SELECT segment FROM segments WHERE expire_at <= ? ORDER BY segment LIMIT 1", (now_s,)
    ).fetchone()
    if due is None:
        return 0
    segment = due[0]
    first, stop = _range(segment)
    gone = connection.execute(
        "SELECT block, rows FROM blocks WHERE block >= ? AND block < ? ORDER BY block LIMIT ?",
        (first, stop, slice_rows),
    ).fetchall()
    rows: int = sum(row[1] for row in gone)
    last = gone[-1][0] if gone else 0
    connection.execute("DELETE FROM blocks WHERE block >= ? AND block <= ?", (first, last))
    connection.execute("UPDATE segments SET rows = rows - ? WHERE segment = ?", (rows, segment))
    connection.execute("DELETE FROM segments WHERE segment = ? AND rows <= 0", (segment,))
    return rows


def sweep(connection: sqlite3.Connection) -> None:
    """Deletes blocks of killed passes: those before the oldest row of `segments`."""
    connection.execute(
        f"DELETE FROM blocks WHERE block < (SELECT min(segment) * {BOXES_PER_SEGMENT} FROM segments)"
    )


def counter(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def set_counter(connection: sqlite3.Connection, name: str, value: int) -> None:
    connection.execute(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


_NONE = np.empty(0, np.int64)
_FRESH = (
    "SELECT group_concat(id), group_concat(box) FROM "
    "(SELECT id, box FROM measurements WHERE id > ? ORDER BY id)"
)


class UnsealedRows:
    """The ids of each Box's rows in `measurements`, which has no index: each query would read all of it.

    The ids are cached in memory and read on from the last known one. A sealing pass, which deletes the rows,
    raises `seal_generation`, after which all are read again.

    `ids` may be called from any thread, inside a reader's transaction. It must not be called inside a
    writer's: after a rollback its ids are given to rows of other Boxes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._generation: int | None = None
        self._ids = self._boxes = _NONE

    def ids(self, connection: sqlite3.Connection, box: int) -> list[int]:
        """Returns ids of the rows of the Box with this number; the transaction may not see the newest yet."""
        with self._lock:
            generation = counter(connection, "seal_generation")
            if generation != self._generation:
                self._ids, self._boxes, self._generation = _NONE, _NONE, generation
            known = int(self._ids[-1]) if len(self._ids) else 0
            ids, boxes = connection.execute(_FRESH, (known,)).fetchone()
            if ids is not None:  # as text, in a third of the time of tuples
                self._ids = np.concatenate((self._ids, np.fromstring(ids, np.int64, sep=",")))
                self._boxes = np.concatenate((self._boxes, np.fromstring(boxes, np.int64, sep=",")))
            found: list[int] = self._ids[self._boxes == box].tolist()
            return found


def last_minutes(connection: sqlite3.Connection, length_ms: int, limit: int) -> Iterator[list[Measurement]]:
    """Does `CloudStore.last_minutes` in one pass over the unsealed rows; reads only the needed blocks."""
    segments = connection.execute("SELECT segment, start_ms, end_ms FROM segments ORDER BY end_ms").fetchall()
    starts_ms = np.array([each[1] for each in segments], np.int64)
    ends_ms = np.array([each[2] for each in segments], np.int64)
    marks = connection.execute("SELECT box, box_id, newest FROM box_marks ORDER BY box").fetchall()
    tail = connection.execute(f"SELECT box, {COLUMNS} FROM measurements ORDER BY box, id")
    groups = groupby(tail, key=itemgetter(0))
    waiting = next(groups, None)
    of_parcels = rows_by_box(
        connection.execute(f"SELECT boxes, packed FROM parcels WHERE {LIVE} ORDER BY parcel").fetchall()
    )
    for number, box_id, packed in marks:
        newest = [] if packed is None else [next(unpack_block(box_id, packed, -EVER, EVER))]
        single: list[MeasurementRow] = []
        if waiting is not None and waiting[0] == number:
            single = [MeasurementRow._make(columns) for _, *columns in waiting[1]]
            newest.append(measurement_from_row(box_id, newest_written(single)))
            waiting = next(groups, None)
        if number in of_parcels:
            newest.extend(measurements_of(box_id, newest_of(of_parcels[number])))
        if not newest:
            continue
        newest_ms = newest_written(newest).timestamp_ms
        start_ms = newest_ms - length_ms
        single = [each for each in single if start_ms <= each.timestamp_ms <= newest_ms]
        single.sort(key=lambda each: each.timestamp_ms)
        rows = [measurement_from_row(box_id, each) for each in single[-limit:]]
        if number in of_parcels:
            near_rows = within(of_parcels[number], start_ms, newest_ms + 1)
            rows.extend(measurements_of(box_id, near_rows[-limit:]))
            rows.sort(key=lambda each: each.timestamp_ms)
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
