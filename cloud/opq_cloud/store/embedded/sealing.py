"""Sealing: moves Measurements from the append table and parcels into one packed block per Box.

A pass reads and packs outside the write lock and writes blocks in slices. Queries do not see these yet,
because they find blocks through their row in `segments`; a last, short job adds that row and deletes the
moved rows. A pass that was killed, or that another process overtook, leaves only such unseen blocks, which
`sweep` deletes. `box_rows` reads a Box's rows wherever they are, and `UnsealedRows` finds those of the append
table.
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

from opq_cloud.store.embedded.block_rows import NO_ROWS, by_time, newest_written, unpack_blocks
from opq_cloud.store.embedded.parcel_slots import LIVE, seal_parcels
from opq_cloud.store.embedded.parcels import rows_by_box, rows_of_box
from opq_cloud.store.embedded.schema import BOXES_PER_SEGMENT, block_sum, next_number
from opq_cloud.store.embedded.sequence_runs import SequenceRuns
from opq_proto.kit.sqlite_database import SqliteDatabase
from opq_proto.measurement.packed import PackedRows, joined, pack, pack_row
from opq_proto.messages import Measurement

SEAL_AFTER_S = 3600
"""Rows are sealed after this time even if few follow, so that they expire."""
SLICE_BLOCKS = 500
"""Blocks that one job writes: about 5 ms."""
LATEST_MS = 2**62

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
    start_ms, end_ms = LATEST_MS, -LATEST_MS
    with database.read() as connection:
        (last_id,) = connection.execute("SELECT max(id) FROM measurements").fetchone()
        known = {
            box: rest
            for box, *rest in connection.execute("SELECT box, spans, plain_high_ms, newest FROM box_marks")
        }
        single = _appended(connection)
        parcels = connection.execute(
            f"SELECT parcel, boxes, packed FROM parcels WHERE {LIVE} ORDER BY parcel"
        ).fetchall()
        last_parcel = parcels[-1][0] if parcels else 0
        of_boxes = rows_by_box([(boxes, packed) for _, boxes, packed in parcels])
        parcel_rows = sum(map(len, of_boxes.values()))
        for box in sorted(single.keys() | of_boxes.keys()):
            made = _block(joined([single.get(box, NO_ROWS), of_boxes.get(box, NO_ROWS)]))
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


def _appended(connection: sqlite3.Connection) -> dict[int, PackedRows]:
    """Returns Box -> its rows in the append table, in the order of writing."""
    tail = connection.execute("SELECT box, packed FROM measurements ORDER BY box, id")
    return {
        box: unpack_blocks(packed for _, packed in group) for box, group in groupby(tail, key=itemgetter(0))
    }


def _block(rows: PackedRows) -> BoxBlock:
    """Makes the block of one Box, from rows of the append table in the order of writing, and of parcels."""
    newest, rising = newest_written(rows), by_time(rows)
    table, numbered = rising.table, rising.numbered
    plain_ms = table["timestamp_ms"][~numbered]
    return BoxBlock(
        int(table["timestamp_ms"][0]),
        int(table["timestamp_ms"][-1]),
        len(rows),
        pack(rising),
        pack_row(rows, newest),
        table["sequence"][numbered].tolist(),
        int(plain_ms[-1]) if len(plain_ms) else None,
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
    return known if newest_written(unpack_blocks((known, made))) == 0 else made


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


def delete_box(connection: sqlite3.Connection, number: int) -> None:
    """Deletes all of the Box with this number that is not in a parcel; other processes then read again."""
    for (segment,) in connection.execute("SELECT segment FROM segments").fetchall():
        block = segment * BOXES_PER_SEGMENT + number
        gone = connection.execute("SELECT rows FROM blocks WHERE block = ?", (block,)).fetchone()
        if gone is not None:
            connection.execute("DELETE FROM blocks WHERE block = ?", (block,))
            connection.execute("UPDATE segments SET rows = rows - ? WHERE segment = ?", (*gone, segment))
            connection.execute("DELETE FROM segments WHERE segment = ? AND rows <= 0", (segment,))
    connection.execute("DELETE FROM measurements WHERE box = ?", (number,))
    connection.execute("DELETE FROM box_marks WHERE box = ?", (number,))
    next_number(connection, "seal_generation")


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


def box_rows(
    connection: sqlite3.Connection, number: int, start_ms: int, end_ms: int, unsealed: UnsealedRows | None
) -> PackedRows:
    """Returns a Box's rows in time order; without `unsealed` the whole append table is read."""
    blocks = connection.execute(
        f"SELECT packed FROM segments CROSS JOIN blocks ON block = segment * {BOXES_PER_SEGMENT} + ? "
        "WHERE segments.end_ms >= ? AND segments.start_ms < ? AND blocks.end_ms >= ? AND blocks.start_ms < ?",
        (number, start_ms, end_ms, start_ms, end_ms),
    )
    which = "box = ?" if unsealed is None else "id IN (SELECT value FROM json_each(?))"
    tail = connection.execute(
        f"SELECT packed FROM measurements WHERE {which} AND timestamp_ms >= ? AND timestamp_ms < ?",
        (number if unsealed is None else str(unsealed.ids(connection, number)), start_ms, end_ms),
    )
    found = unpack_blocks(packed for (packed,) in (*blocks, *tail))
    rows = joined([found, *parcel_rows(connection, number, start_ms, end_ms)])
    return by_time(rows.within(start_ms, end_ms))


def parcel_rows(
    connection: sqlite3.Connection, number: int, start_ms: int = -LATEST_MS, end_ms: int = LATEST_MS
) -> Iterator[PackedRows]:
    """Yields a Box's rows of each parcel that overlaps [start_ms, end_ms), in the order of storing."""
    found = connection.execute(
        f"SELECT slot, boxes FROM parcels WHERE {LIVE} AND end_ms >= ? AND start_ms < ? ORDER BY parcel",
        (start_ms, end_ms),
    ).fetchall()
    for slot, boxes in found:
        rows = rows_of_box(boxes, partial(_packed, connection, slot), number)
        if len(rows):
            yield rows


def _packed(connection: sqlite3.Connection, slot: int) -> bytes:
    (packed,) = connection.execute("SELECT packed FROM parcels WHERE slot = ?", (slot,)).fetchone()
    return bytes(packed)


def last_minutes(connection: sqlite3.Connection, length_ms: int, limit: int) -> Iterator[list[Measurement]]:
    """Does `CloudStore.last_minutes` in one pass over the unsealed rows; reads only the needed blocks."""
    segments = connection.execute("SELECT segment, start_ms, end_ms FROM segments ORDER BY end_ms").fetchall()
    starts_ms = np.array([each[1] for each in segments], np.int64)
    ends_ms = np.array([each[2] for each in segments], np.int64)
    marks = connection.execute("SELECT box, box_id, newest FROM box_marks ORDER BY box").fetchall()
    single = _appended(connection)
    of_parcels = rows_by_box(
        connection.execute(f"SELECT boxes, packed FROM parcels WHERE {LIVE} ORDER BY parcel").fetchall()
    )
    for number, box_id, newest in marks:
        unsealed = joined([single.get(number, NO_ROWS), of_parcels.get(number, NO_ROWS)])
        known = unsealed if newest is None else joined([unpack_blocks([newest]), unsealed])
        if not len(known):
            continue
        newest_ms = int(known.table["timestamp_ms"][newest_written(known)])
        start_ms = newest_ms - length_ms
        rows = by_time(unsealed.within(start_ms, newest_ms + 1))
        near = np.flatnonzero((ends_ms >= start_ms) & (starts_ms <= newest_ms))
        for place in near[::-1]:
            if len(rows) >= limit and ends_ms[place] < rows.table["timestamp_ms"][-limit]:
                break
            key = segments[place][0] * BOXES_PER_SEGMENT + number
            block = connection.execute("SELECT packed FROM blocks WHERE block = ?", (key,)).fetchone()
            if block is not None:
                rows = by_time(joined([rows, unpack_blocks(block).within(start_ms, newest_ms + 1)]))
        if len(rows):
            yield rows.run(max(0, len(rows) - limit), len(rows)).measurements(box_id)
