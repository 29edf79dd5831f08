"""Measurements of the embedded store: appended in time order, sealed into blocks per Box.

Uniqueness needs no index: each process holds, per Box, the runs of stored sequence numbers and
the highest time of rows without one. They are saved at each sealing (`box_marks`); what other
processes appended since is read, inside the write lock, from the end of `measurements`.
"""

import sqlite3
import time
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

from opq_cloud.store.database import Database
from opq_cloud.store.rows import Row, measurement_from_row, pack_block, row_from_measurement, unpack_block
from opq_cloud.store.schema import next_number
from opq_cloud.store.spans import Spans
from opq_proto.messages import Measurement

SEAL_ROWS = 20_000
"""Rows that wait unsealed; a query reads them all (about 4 ms)."""
SEAL_ROWS_PER_BOX = 10
"""…but so many per Box, else blocks get small at 10,000 Boxes."""
SEAL_AFTER_S = 3600
"""Rows that nothing follows are sealed after this time, so that they expire."""

_COLUMNS = "timestamp_ms, sequence, voltage, frequency, thd, transient, more"
_EVER = 2**62


class _Box:
    """What this process knows of a Box's stored rows."""

    __slots__ = ("box", "plain_high_ms", "spans")

    def __init__(self, box: int, spans: bytes = b"", plain_high_ms: int | None = None) -> None:
        self.box = box
        self.spans = Spans(spans)
        self.plain_high_ms = plain_high_ms

    def note(self, timestamp_ms: int, sequence: int | None) -> None:
        if sequence is not None:
            self.spans.add(sequence)
        elif self.plain_high_ms is None or timestamp_ms > self.plain_high_ms:
            self.plain_high_ms = timestamp_ms


class MeasurementLog:
    """Append, query and seal; jobs run in the writer thread, queries in any."""

    def __init__(self, database: Database, ttl_s: int, seal_rows: int = SEAL_ROWS) -> None:
        self._database = database
        self._ttl_s = ttl_s
        self._seal_rows = seal_rows
        # The writer thread alone touches what follows; `_generation` None: read it all again.
        self._generation: int | None = None
        self._last_id = 0
        self._boxes: dict[str, _Box] = {}
        self._by_number: dict[int, _Box] = {}
        database.on_rollback(self._forget)

    def _forget(self) -> None:
        self._generation = None

    def append(self, rows: Iterable[Measurement]) -> int:
        wanted = [(measurement, row_from_measurement(measurement)) for measurement in rows]
        if not wanted:
            return 0
        new, seal = self._database.write(lambda connection: self._append(connection, wanted))
        if seal:
            self._database.submit(self._seal)
        return new

    def _append(
        self, connection: sqlite3.Connection, wanted: list[tuple[Measurement, Row]]
    ) -> tuple[int, bool]:
        self._catch_up(connection)
        fresh: list[tuple[int | str | float | bytes | None, ...]] = []
        plain: set[tuple[int, int]] = set()
        for measurement, row in wanted:
            box = self._box(connection, measurement.box_id)
            if measurement.sequence is not None:
                if not box.spans.add(measurement.sequence):
                    continue
            else:
                known = (box.box, row.timestamp_ms) in plain
                if known or self._has_plain(connection, measurement.box_id, box, row.timestamp_ms):
                    continue
                plain.add((box.box, row.timestamp_ms))
                box.note(row.timestamp_ms, None)
            fresh.append((box.box, *row))
        if fresh and not self._last_id:
            _set_counter(connection, "tail_since_s", int(time.time()))
        connection.executemany(
            f"INSERT INTO measurements (box, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", fresh
        )
        self._last_id += len(fresh)
        enough = max(self._seal_rows, SEAL_ROWS_PER_BOX * len(self._boxes))
        return len(fresh), self._last_id >= enough

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Learn what other processes (or a failed job of ours) changed since the last job."""
        generation = _counter(connection, "seal_generation")
        if generation != self._generation:
            self._boxes.clear()
            self._by_number.clear()
            self._last_id = 0
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

    def _numbered(self, connection: sqlite3.Connection, number: int) -> _Box:
        box = self._by_number.get(number)
        if box is None:  # a Box that another process was the first to see
            row = connection.execute("SELECT box_id FROM box_marks WHERE box = ?", (number,)).fetchone()
            box = self._boxes[row[0]] = self._by_number[number] = _Box(number)
        return box

    def _box(self, connection: sqlite3.Connection, box_id: str) -> _Box:
        box = self._boxes.get(box_id)
        if box is None:
            connection.execute("INSERT OR IGNORE INTO box_marks (box_id) VALUES (?)", (box_id,))
            row = connection.execute("SELECT box FROM box_marks WHERE box_id = ?", (box_id,)).fetchone()
            box = self._boxes[box_id] = self._by_number[row[0]] = _Box(row[0])
        return box

    def _has_plain(self, connection: sqlite3.Connection, box_id: str, box: _Box, timestamp_ms: int) -> bool:
        if box.plain_high_ms is None or timestamp_ms > box.plain_high_ms:
            return False
        near = _query(connection, box.box, box_id, timestamp_ms, timestamp_ms + 1)
        return any(measurement.sequence is None for measurement in near)

    def _seal(self, connection: sqlite3.Connection) -> int:
        """Move every row into blocks; returns how many."""
        self._catch_up(connection)
        tail = connection.execute(f"SELECT box, {_COLUMNS} FROM measurements ORDER BY box, timestamp_ms")
        rows = 0
        start_ms, end_ms = _EVER, -_EVER
        segment = next_number(connection, "segment")
        newest_known = dict(connection.execute("SELECT box, newest FROM box_marks"))
        for number, group in groupby(tail, key=itemgetter(0)):
            of_box = [Row(*columns) for _, *columns in group]
            first_ms, last_ms = of_box[0].timestamp_ms, of_box[-1].timestamp_ms
            start_ms, end_ms, rows = min(start_ms, first_ms), max(end_ms, last_ms), rows + len(of_box)
            connection.execute(
                "INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?)",
                (segment, number, first_ms, last_ms, len(of_box), pack_block(of_box)),
            )
            newest = pack_block(of_box[-1:])
            known = newest_known[number]
            if known is not None and any(unpack_block("", known, last_ms + 1, _EVER)):
                newest = known
            box = self._by_number[number]
            connection.execute(
                "UPDATE box_marks SET spans = ?, plain_high_ms = ?, newest = ? WHERE box = ?",
                (box.spans.pack(), box.plain_high_ms, newest, number),
            )
        if rows:
            since_s = max(_counter(connection, "tail_since_s"), 0)
            expire_at = min(int(time.time()), since_s + SEAL_AFTER_S) + self._ttl_s
            connection.execute(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?)", (segment, start_ms, end_ms, rows, expire_at)
            )
            connection.execute("DELETE FROM measurements")
            self._generation = next_number(connection, "seal_generation")
            self._last_id = 0
        return rows

    def query(self, box_id: str, start_ms: int, end_ms: int, limit: int) -> list[Measurement]:
        with self._database.read() as connection:
            number = _number(connection, box_id)
            if number is None:
                return []
            found = _query(connection, number, box_id, start_ms, end_ms)
        return found[:limit]

    def latest(self) -> dict[str, Measurement]:
        newest: dict[str, Measurement] = {}
        with self._database.read() as connection:
            names = {}
            for number, box_id, packed in connection.execute("SELECT box, box_id, newest FROM box_marks"):
                names[number] = box_id
                if packed is not None:
                    newest[box_id] = next(unpack_block(box_id, packed, -_EVER, _EVER))
            tail = connection.execute(  # with max() the other columns are those of its row
                f"SELECT box, max(timestamp_ms), {_COLUMNS} FROM measurements GROUP BY box"
            )
            for number, _, *columns in tail:
                latest = measurement_from_row(names[number], Row(*columns))
                known = newest.get(latest.box_id)
                if known is None or latest.timestamp_ms >= known.timestamp_ms:
                    newest[latest.box_id] = latest
        return newest

    def spans(self, box_id: str) -> Spans:
        """The sequence numbers stored of a Box; those that expired count as stored."""
        with self._database.read() as connection:
            row = connection.execute(
                "SELECT box, spans FROM box_marks WHERE box_id = ?", (box_id,)
            ).fetchone()
            if row is None:
                return Spans()
            spans = Spans(row[1])
            tail = connection.execute(
                "SELECT sequence FROM measurements WHERE box = ? AND sequence IS NOT NULL", (row[0],)
            )
            for (sequence,) in tail:
                spans.add(sequence)
        return spans

    def count(self, connection: sqlite3.Connection) -> int:
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM measurements) + (SELECT coalesce(sum(rows), 0) FROM segments)"
        ).fetchone()
        return int(rows[0])

    def expire(self, now_s: int, slice_rows: int) -> int:
        """Delete the blocks of one segment that is due, at most `slice_rows` of them."""
        with self._database.read() as connection:
            since_s = _counter(connection, "tail_since_s")
            has_tail = connection.execute("SELECT 1 FROM measurements LIMIT 1").fetchone() is not None
        if has_tail and since_s + SEAL_AFTER_S <= now_s:
            self._database.write(self._seal)
        return self._database.write(lambda connection: _expire(connection, now_s, slice_rows))


def _expire(connection: sqlite3.Connection, now_s: int, slice_rows: int) -> int:
    due = connection.execute(
        "SELECT segment FROM segments WHERE expire_at <= ? ORDER BY segment LIMIT 1", (now_s,)
    ).fetchone()
    if due is None:
        return 0
    segment = due[0]
    gone = connection.execute(
        "SELECT box, rows FROM blocks WHERE segment = ? ORDER BY box LIMIT ?", (segment, slice_rows)
    ).fetchall()
    rows: int = sum(row[1] for row in gone)
    connection.execute(
        "DELETE FROM blocks WHERE segment = ? AND box <= ?", (segment, gone[-1][0] if gone else 0)
    )
    connection.execute("UPDATE segments SET rows = rows - ? WHERE segment = ?", (rows, segment))
    connection.execute("DELETE FROM segments WHERE segment = ? AND rows <= 0", (segment,))
    return rows


def _query(
    connection: sqlite3.Connection, number: int, box_id: str, start_ms: int, end_ms: int
) -> list[Measurement]:
    blocks = connection.execute(
        "SELECT packed FROM segments CROSS JOIN blocks ON blocks.segment = segments.segment AND box = ? "
        "WHERE segments.end_ms >= ? AND segments.start_ms < ? AND blocks.end_ms >= ? AND blocks.start_ms < ?",
        (number, start_ms, end_ms, start_ms, end_ms),
    )
    found = [m for (packed,) in blocks for m in unpack_block(box_id, packed, start_ms, end_ms)]
    tail = connection.execute(
        f"SELECT {_COLUMNS} FROM measurements WHERE box = ? AND timestamp_ms >= ? AND timestamp_ms < ?",
        (number, start_ms, end_ms),
    )
    found.extend(measurement_from_row(box_id, Row(*columns)) for columns in tail)
    found.sort(key=lambda measurement: measurement.timestamp_ms)
    return found


def _number(connection: sqlite3.Connection, box_id: str) -> int | None:
    row = connection.execute("SELECT box FROM box_marks WHERE box_id = ?", (box_id,)).fetchone()
    return None if row is None else int(row[0])


def _counter(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM counters WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def _set_counter(connection: sqlite3.Connection, name: str, value: int) -> None:
    connection.execute(
        "INSERT INTO counters VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )
