"""Measurements of the embedded store: appended in the order they come, then sealed into blocks per Box.

Uniqueness needs no index: each process has in memory, per Box, the runs of stored sequence numbers and the
highest time of rows without one. They are saved at each sealing (`box_marks`). What other processes appended
since then is read, inside the write lock, from the end of `measurements` and from the new parcels.
"""

import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator

import numpy as np

from opq_cloud.store.embedded.block_rows import newest_of_each, unpack_blocks
from opq_cloud.store.embedded.column_blocks import ColumnBlock, column_blocks, put_column_blocks
from opq_cloud.store.embedded.embedded_driver import SqliteDriver
from opq_cloud.store.embedded.parcel_slots import LIVE, ParcelSlots
from opq_cloud.store.embedded.parcels import (
    MIN_ROWS,
    ParcelRows,
    pack_parcel,
    rows_of_columns,
    unpack_parcel,
)
from opq_cloud.store.embedded.sealing import (
    SEAL_AFTER_S,
    UnsealedRows,
    box_rows,
    counter,
    delete_box,
    expire,
    last_minutes,
    parcel_rows,
    seal,
    set_counter,
)
from opq_cloud.store.embedded.sequence_runs import SequenceRuns
from opq_cloud.store.records.part import StorePart
from opq_cloud.store.store import QUERY_ROWS
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.kit.sqlite_database import SqliteDatabase
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.packed import PackedRows, joined, pack_one, packed_rows
from opq_proto.messages import Measurement

Numbered = tuple[str, int, int | None]
"""Box, time in ms and sequence number of a row, by which it is stored once."""
SEAL_ROWS = 50_000
"""Unsealed rows after which sealing starts: a query of one Box also reads past the parcels of the others. Two
blocks of 50 rows fill a page; with 40 a quarter of it stays empty."""
SINGLE_ROWS = 20_000
"""Rows in the append table after which sealing starts: a query reads them all (about 4 ms)."""
NEWEST_MS = (
    "SELECT max(end_ms) FROM (SELECT max(end_ms) AS end_ms FROM segments"
    f" UNION ALL SELECT max(end_ms) FROM parcels WHERE {LIVE}"
    " UNION ALL SELECT max(timestamp_ms) FROM measurements)"
)
SEAL_ROWS_PER_BOX = 10
"""Sealing waits for at least this many rows per Box; else blocks would be small at 10,000 Boxes."""


class _Box:
    """What this process knows about a Box's stored rows."""

    __slots__ = ("box", "plain_high_ms", "spans")

    def __init__(self, box: int, spans: bytes = b"", plain_high_ms: int | None = None) -> None:
        self.box = box
        self.spans = SequenceRuns(spans)
        self.plain_high_ms = plain_high_ms

    def note(self, timestamp_ms: int, sequence: int | None) -> None:
        if sequence is not None:
            self.spans.add(sequence)
        elif self.plain_high_ms is None or timestamp_ms > self.plain_high_ms:
            self.plain_high_ms = timestamp_ms


class MeasurementLog(StorePart):
    """Appends and queries Measurements, from any thread; sealing runs in a thread of its own."""

    def __init__(self, database: SqliteDatabase, seal_rows: int = SEAL_ROWS) -> None:
        super().__init__(SqliteDriver(lambda: database))
        self._database = database
        self._seal_rows = seal_rows
        # Only the writer thread uses what follows; where `_generation` is None, it is all read again.
        self._generation: int | None = None
        self._first_id = self._last_id = self._last_parcel = self._parcel_rows = 0
        self._slots = ParcelSlots()
        self._boxes: dict[str, _Box] = {}
        self._by_number: dict[int, _Box] = {}
        database.on_rollback(self._discard_cached)
        self._unsealed = UnsealedRows()
        self._sealing = threading.Lock()
        self._sealer: threading.Thread | None = None

    def _discard_cached(self) -> None:
        self._generation = None
        self._slots.discard_free()

    def _close_log(self) -> None:
        """Waits for a running sealing pass, bounded by the number of unsealed rows."""
        sealer = self._sealer
        if sealer is not None:
            sealer.join()

    def append_measurements(self, rows: Iterable[Measurement], columns: Iterable[Measurements] = ()) -> int:
        single, parcel = list(rows), []
        for each in columns:
            numbered = each.sequence >= 0
            single += [] if numbered.all() else each.part(~numbered).rows()
            if numbered.any():
                parcel.append(each if numbered.all() else each.part(numbered))
        whole = [row for row in single if row.sequence is not None]
        if len(whole) + sum(map(len, parcel)) < MIN_ROWS:
            single += [measurement for each in parcel for measurement in each.rows()]
            ids, packed = [], None
        else:
            single = [row for row in single if row.sequence is None]
            ids = [row.box_id for row in whole] + [box_id for each in parcel for box_id in _ids(each)]
            packed = joined([*([packed_rows(whole)] if whole else []), *map(rows_of_columns, parcel)])
        wanted = [((row.box_id, row.timestamp_ms, row.sequence), pack_one(row)) for row in single]
        if not wanted and packed is None:
            return 0

        def job(connection: sqlite3.Connection) -> tuple[int, int, int]:
            self._catch_up(connection)
            new = self._append(connection, wanted, ids, packed)
            return new, self._last_id - self._first_id, self._parcel_rows

        new, single_rows, of_parcels = self._database.write(job)
        per_box = SEAL_ROWS_PER_BOX * len(self._boxes)
        if single_rows >= max(SINGLE_ROWS, per_box) or single_rows + of_parcels >= max(
            self._seal_rows, per_box
        ):
            self._start_sealing()
        return new

    def append_columns(self, columns: Measurements) -> int:
        if (columns.sequence >= 0).any():
            return self.append_measurements((), (columns,))
        blocks = column_blocks(columns)
        if blocks is not None:
            with self._sealing:  # a running pass would find another generation at its end, and give up
                if self._database.write(lambda connection: self._append_blocks(connection, blocks)):
                    return len(columns)
        return self.append_measurements(columns.rows())

    def _append_blocks(self, connection: sqlite3.Connection, blocks: list[ColumnBlock]) -> bool:
        """Writes the blocks; False, with nothing written, where a Box may have some of these rows already."""
        self._catch_up(connection)
        boxes = [self._boxes.get(each.box_id) or self._box(connection, each.box_id) for each in blocks]
        for box, each in zip(boxes, blocks, strict=True):
            if box.plain_high_ms is not None and each.first_ms <= box.plain_high_ms:
                return False
        self._generation = put_column_blocks(
            connection, blocks, [box.box for box in boxes], self._ttls.measurements
        )
        for box, each in zip(boxes, blocks, strict=True):
            box.note(each.last_ms, None)
        return True

    def _append(
        self,
        connection: sqlite3.Connection,
        wanted: list[tuple[Numbered, bytes]],
        ids: list[str],
        parcel: PackedRows | None,
    ) -> int:
        """Appends rows, and a parcel with a Box for each of its rows; returns how many rows were new."""
        boxes = self._fresh(connection, [row for row, _ in wanted])
        single = [
            (box.box, timestamp_ms, sequence, packed)
            for box, ((_, timestamp_ms, sequence), packed) in zip(boxes, wanted, strict=True)
            if box is not None
        ]
        fresh: ParcelRows | None = None
        if parcel is not None:
            table = parcel.table
            times = zip(ids, table["timestamp_ms"].tolist(), table["sequence"].tolist(), strict=True)
            numbers = np.array([0 if box is None else box.box for box in self._fresh(connection, times)])
            if numbers.any():
                fresh = ParcelRows(numbers[numbers > 0], parcel.part(numbers > 0))
        if single or fresh:
            self._begin_tail(connection)
        insert = "INSERT INTO measurements (box, timestamp_ms, sequence, packed) VALUES (?, ?, ?, ?)"
        connection.executemany(insert, single)
        self._last_id += len(single)
        return len(single) + (self._append_parcel(connection, fresh) if fresh else 0)

    def _fresh(self, connection: sqlite3.Connection, rows: Iterable[Numbered]) -> list[_Box | None]:
        """Returns the Box of each row that is new, and notes it as stored; None for the others."""
        found: list[_Box | None] = []
        plain: set[tuple[int, int]] = set()
        for box_id, timestamp_ms, sequence in rows:
            box = self._boxes.get(box_id) or self._box(connection, box_id)
            if sequence is not None:
                new = box.spans.add(sequence)
            else:
                known = (box.box, timestamp_ms) in plain
                new = not known and not self._has_plain(connection, box_id, box, timestamp_ms)
                if new:
                    plain.add((box.box, timestamp_ms))
                    box.note(timestamp_ms, None)
            found.append(box if new else None)
        return found

    def _append_parcel(self, connection: sqlite3.Connection, parcel: ParcelRows) -> int:
        timestamp_ms = parcel.rows.table["timestamp_ms"]
        self._last_parcel += 1
        span = int(timestamp_ms.min()), int(timestamp_ms.max()), len(timestamp_ms)
        self._slots.store(connection, self._last_parcel, span, *pack_parcel(parcel))
        self._parcel_rows += len(timestamp_ms)
        return len(timestamp_ms)

    def _begin_tail(self, connection: sqlite3.Connection) -> None:
        if self._last_id == self._first_id and not self._parcel_rows:
            set_counter(connection, "tail_since_s", int(time.time()))

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Reads what other processes (or a failed job of this one) changed since the last job."""
        generation = counter(connection, "seal_generation")
        if generation != self._generation:
            self._boxes.clear()
            self._by_number.clear()
            (first_id,) = connection.execute("SELECT min(id) FROM measurements").fetchone()
            self._first_id = self._last_id = (first_id or 1) - 1
            self._last_parcel, self._parcel_rows = counter(connection, "parcels_sealed"), 0
            self._slots.discard_free()
            self._generation = generation
            marks = connection.execute("SELECT box, box_id, spans, plain_high_ms FROM box_marks")
            for number, box_id, spans, plain_high_ms in marks:
                box = _Box(number, spans, plain_high_ms)
                self._boxes[box_id] = self._by_number[number] = box
        tail = connection.execute(
            "SELECT id, box, timestamp_ms, sequence FROM measurements WHERE id > ? ORDER BY id",
            (self._last_id,),
        )
        for row_id, number, timestamp_ms, sequence in tail:
            self._last_id = row_id
            self._numbered(connection, number).note(timestamp_ms, sequence)
        newer = connection.execute(
            "SELECT parcel, boxes, packed FROM parcels WHERE parcel > ? ORDER BY parcel", (self._last_parcel,)
        )
        for parcel, boxes, packed in newer.fetchall():
            whose, rows = unpack_parcel(boxes, packed)
            self._last_parcel, self._parcel_rows = parcel, self._parcel_rows + len(rows)
            for number, sequence in zip(whose.tolist(), rows.table["sequence"].tolist(), strict=True):
                self._numbered(connection, number).spans.add(sequence)

    def _numbered(self, connection: sqlite3.Connection, number: int) -> _Box:
        box = self._by_number.get(number)
        if box is None:  # another process has seen this Box first
            row = connection.execute("SELECT box_id FROM box_marks WHERE box = ?", (number,)).fetchone()
            box = self._boxes[row[0]] = self._by_number[number] = _Box(number)
        return box

    def _box(self, connection: sqlite3.Connection, box_id: str) -> _Box:
        connection.execute("INSERT OR IGNORE INTO box_marks (box_id) VALUES (?)", (box_id,))
        row = connection.execute("SELECT box FROM box_marks WHERE box_id = ?", (box_id,)).fetchone()
        box = self._boxes[box_id] = self._by_number[row[0]] = _Box(row[0])
        return box

    def _has_plain(self, connection: sqlite3.Connection, box_id: str, box: _Box, timestamp_ms: int) -> bool:
        if box.plain_high_ms is None or timestamp_ms > box.plain_high_ms:
            return False
        near = box_rows(connection, box.box, timestamp_ms, timestamp_ms + 1, None)
        return not near.numbered.all()

    def _start_sealing(self) -> None:
        if self._sealing.acquire(blocking=False):
            self._sealer = threading.Thread(target=self._seal_aside, name="store-sealer", daemon=True)
            self._sealer.start()

    def _seal_aside(self) -> None:
        try:
            self.seal()
        except StoreError as error:  # no row was moved; the next append starts another pass
            log.get().warning("store.not_sealed", why=str(error))
        finally:
            self._sealing.release()

    def seal(self) -> int:
        """Moves the present rows into blocks, in the calling thread; returns how many."""
        return seal(self._database, self._ttls.measurements, self._catch_up, self._moved)

    def _moved(self, generation: int, last_id: int, parcel_rows: int) -> None:
        """Updates what sealing changes of this process's knowledge: the rows' ids and numbers."""
        self._generation = generation
        self._parcel_rows -= parcel_rows
        self._slots.discard_free()
        self._first_id = last_id
        if self._last_id == last_id:  # the table is empty, its ids begin again
            self._first_id = self._last_id = 0

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]:
        with self._database.read() as connection:
            number = _number(connection, box_id)
            if number is None:
                return []
            found = box_rows(connection, number, start_ms, end_ms, self._unsealed)
        return found.run(0, limit).measurements(box_id)

    def last_minutes(self, length_ms: int, limit: int) -> Iterator[list[Measurement]]:
        with self._database.read() as connection:
            yield from last_minutes(connection, length_ms, limit)

    def latest_measurements(self) -> dict[str, Measurement]:
        with self._database.read() as connection:
            marks = connection.execute("SELECT box, box_id, newest FROM box_marks").fetchall()
            tail = connection.execute(  # with max(), SQLite takes the other columns from its row
                "SELECT box, packed, max(coalesce(sequence, id)) FROM measurements "
                "GROUP BY box, sequence IS NULL"
            ).fetchall()
            parcels = connection.execute(
                f"SELECT boxes, packed FROM parcels WHERE {LIVE} ORDER BY parcel"
            ).fetchall()
        names = {number: box_id for number, box_id, _ in marks}
        single = [(number, newest) for number, _, newest in marks if newest is not None]
        single += [(number, packed) for number, packed, _ in tail]
        alone = ParcelRows(
            np.array([each[0] for each in single], np.int64), unpack_blocks(each[1] for each in single)
        )
        parts = [alone, *(unpack_parcel(*each) for each in parcels)]
        rows = joined([each.rows for each in parts])
        newest = newest_of_each(np.concatenate([each.boxes for each in parts]), rows)
        found = rows.part(np.array(list(newest.values()), np.int64))
        ids = [names[number] for number in newest]
        return dict(zip(ids, found.measurements(ids), strict=True))

    def newest_ms(self) -> int | None:
        with self._database.read() as connection:
            (found,) = connection.execute(NEWEST_MS).fetchone()
        return None if found is None else int(found)

    def sequences(self, box_id: str, first: int, last: int) -> list[int]:
        return list(self._stored_sequences(box_id).between(first, last))

    def highest_sequence(self, box_id: str) -> int | None:
        return self._stored_sequences(box_id).highest

    def _stored_sequences(self, box_id: str) -> SequenceRuns:
        """Returns the stored sequence numbers of a Box; expired ones count as stored."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT box, spans FROM box_marks WHERE box_id = ?", (box_id,)
            ).fetchone()
            if row is None:
                return SequenceRuns()
            spans = SequenceRuns(row[1])
            tail = connection.execute(
                "SELECT sequence FROM measurements WHERE box = ? AND sequence IS NOT NULL", (row[0],)
            )
            for (sequence,) in tail:
                spans.add(sequence)
            for rows in parcel_rows(connection, row[0]):
                for sequence in rows.table["sequence"].tolist():
                    spans.add(sequence)
        return spans

    def _delete_log(self, box_id: str) -> None:
        """Deletes a Box's rows and numbers; parcels, which are of several Boxes, are sealed first.

        Raises:
            StoreError: its rows still arrive, or another process seals at the same moment.
        """
        with self._sealing:
            self.seal()
            if not self._database.write(lambda connection: self._delete_box(connection, box_id)):
                raise StoreError(f"Box {box_id} still sends, or the store is busy; try again in a minute")

    def _delete_box(self, connection: sqlite3.Connection, box_id: str) -> bool:
        number = _number(connection, box_id)
        if number is None:
            return True
        if any(len(rows) for rows in parcel_rows(connection, number)):
            return False
        delete_box(connection, number)
        self._discard_cached()
        return True

    def _count_log(self) -> int:
        with self._database.read() as connection:
            (rows,) = connection.execute(
                "SELECT (SELECT count(*) FROM measurements) + (SELECT coalesce(sum(rows), 0) FROM segments)"
                f" + (SELECT coalesce(sum(rows), 0) FROM parcels WHERE {LIVE})"
            ).fetchone()
        return int(rows)

    def _expire_log(self, now_s: int, slice_rows: int) -> int:
        """Deletes a slice of expired rows; unsealed rows that have waited too long are sealed first."""
        with self._database.read() as connection:
            since_s = counter(connection, "tail_since_s")
            has_tail = any(
                connection.execute(f"SELECT 1 FROM {rows} LIMIT 1").fetchone() is not None
                for rows in ("measurements", f"parcels WHERE {LIVE}")
            )
        if has_tail and since_s + SEAL_AFTER_S <= now_s:
            with self._sealing:
                self.seal()
        return self._database.write(lambda connection: expire(connection, now_s, slice_rows))


def _ids(columns: Measurements) -> list[str]:
    """Returns the Box of each row of `rows_of_columns`."""
    others = columns.irregular
    if not others.any():
        return columns.ids
    ids = np.array(columns.ids)
    return [*ids[~others].tolist(), *ids[others].tolist()]


def _number(connection: sqlite3.Connection, box_id: str) -> int | None:
    row = connection.execute("SELECT box FROM box_marks WHERE box_id = ?", (box_id,)).fetchone()
    return None if row is None else int(row[0])
