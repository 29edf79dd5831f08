"""Rows of trends in SQLite: minutes, and one packed row per Box, level and start in `rollups`.

`trends` is ordered by Box, a page or more each, so that a minute of every Box would write a page for each. So
minutes go into `trends_new`, which is ordered by time, and are copied to `trends` an hour at a time, when
that hour is rolled up. If a minute is in both tables, the row in `trends_new` is complete: it came in two
parts, or will be deleted soon. Minutes are merged into hours when they are old.
"""

import json
import sqlite3
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from opq_cloud.store.documents.readable import READ_ERRORS, ReadableDocuments
from opq_cloud.store.driver import TrendPlace
from opq_cloud.store.trends.pyramid import LEVELS_MS, kept_s, merged
from opq_proto.measurement.fields import ORIGINAL_FIELDS
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.messages import TREND_MS, Trend
from opq_proto.time_units import HOUR_MS
from opq_proto.trend_histogram import HISTOGRAM_METRICS, TrendHistogram

_COLUMNS = [f"{field}_{part}" for field in ORIGINAL_FIELDS.values() for part in ("min", "max", "average")]
_MINUTE = f"start_ms, length_ms, covered_ms, {', '.join(_COLUMNS)}, other"
_ALL_MINUTES = (
    "(SELECT 1 FROM trends UNION ALL SELECT 1 FROM trends_new AS new WHERE NOT EXISTS "
    "(SELECT 1 FROM trends WHERE box_id = new.box_id AND start_ms = new.start_ms))"
)
"""A subquery for counting: a minute in both tables counts once."""
_EVER_MS = 1 << 62
_SWEPT_ROWS = 20_000
"""Copied minutes that are deleted in one write."""
_PUT = (
    f"INSERT OR REPLACE INTO {{}} (box_id, location, {_MINUTE}) "
    f"VALUES ({', '.join('?' * (len(_COLUMNS) + 6))})"
)
"""A statement to be formatted with the table's name."""
_OF_BOX = "box_id = ? AND start_ms >= ? AND start_ms < ?"
_OLD_ROWS = """
    WITH RECURSIVE boxes (id) AS (
        SELECT min(box_id) FROM rollups UNION ALL
        SELECT (SELECT min(box_id) FROM rollups WHERE box_id > boxes.id) FROM boxes
        WHERE boxes.id IS NOT NULL)
    SELECT box_id, length_ms, start_ms FROM boxes CROSS JOIN rollups
    ON box_id = boxes.id AND length_ms = ?1 AND start_ms < ?2 LIMIT ?3"""
"""Finds the Boxes with one search of the key per Box."""
_PACKED = struct.Struct("<B12d4H")
"""Bits of the metrics present; min, max, average of each; bytes of each histogram, which follow."""
Three = tuple[float, float, float]


class SqliteTrendRows:
    """`driver.TrendRows` on one connection; rows have no `expire_at`: the TTL in force counts for all."""

    def __init__(self, connection: sqlite3.Connection, readable: ReadableDocuments) -> None:
        self._connection, self._run = connection, connection.execute
        self._readable = readable

    def rows(self, box_id: str, length_ms: int, start_ms: int, end_ms: int) -> list[Trend]:
        if length_ms == TREND_MS:
            return self._minutes(box_id, start_ms, end_ms)
        rows = self._run(
            "SELECT start_ms, covered_ms, packed, other FROM rollups "
            "WHERE box_id = ? AND length_ms = ? AND start_ms >= ? AND start_ms < ? ORDER BY start_ms",
            (box_id, length_ms, start_ms, end_ms),
        )
        return self._read("rollups", partial(_unpack, box_id, length_ms), box_id, rows)

    def _minutes(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        span = box_id, start_ms, end_ms
        rows = self._run(f"SELECT {_MINUTE} FROM trends WHERE {_OF_BOX} ORDER BY start_ms", span)
        minute = partial(_minute, box_id)
        found = self._read("trends", minute, box_id, rows)
        if newer := self._read("trends", minute, box_id, self._run(_new_minutes(_MINUTE), span)):
            by_start = {row.start_ms: row for row in (*found, *newer)}
            found = [by_start[at_ms] for at_ms in sorted(by_start)]
        return found

    def _read(
        self, table: str, read: Callable[..., Trend], box_id: str, rows: Iterable[Sequence[Any]]
    ) -> list[Trend]:
        """Returns the rows that can be read, of columns that begin with the start; others are counted."""
        found = []
        for row in rows:
            try:
                found.append(read(*row))
            except (*READ_ERRORS, struct.error) as error:
                self._readable.note(table, {"_id": f"Box {box_id} from {row[0]} ms"}, error)
        return found

    def put_minute(self, row: Trend, location: str, expire_at: int, widen: bool) -> bool:
        known = next(iter(self._minutes(row.box_id, row.start_ms, row.start_ms + 1)), None)
        if widen:
            row = _widened(row, known)
        if widen or known is None or known.length_ms == TREND_MS:
            self._put(row, location)
        return known is not None

    def _put(self, row: Trend, location: str) -> None:
        values = [value for key in ORIGINAL_FIELDS for value in row.metrics.get(key, (None, None, None))]
        head = row.box_id, location, row.start_ms, row.length_ms, row.covered_ms
        table = "trends_new" if row.length_ms == TREND_MS else "trends"
        self._run(_PUT.format(table), (*head, *values, _other_metrics(row)))

    def put_row(self, row: Trend, expire_at: int) -> None:
        self._run(
            "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?, ?, ?)",
            (row.box_id, row.length_ms, row.start_ms, row.covered_ms, _pack(row), _other_metrics(row)),
        )

    def settled_hour(self, box_id: str, start_ms: int) -> list[Trend]:
        new = self._run(_new_minutes(f"box_id, location, {_MINUTE}"), (box_id, start_ms, start_ms + HOUR_MS))
        # row by row: INSERT with SELECT writes each page to a temporary file too
        self._connection.executemany(_PUT.format("trends"), new.fetchall())
        return [row for row in self._minutes(box_id, start_ms, start_ms + 1) if row.length_ms == HOUR_MS]

    def merge_hour(self, box_id: str, start_ms: int) -> int:
        self.settled_hour(box_id, start_ms)
        rows = self._minutes(box_id, start_ms, start_ms + HOUR_MS)
        span = (box_id, start_ms, start_ms + HOUR_MS)
        (location,) = self._run(f"SELECT max(location) FROM trends WHERE {_OF_BOX}", span).fetchone()
        for table in ("trends", "trends_new"):
            self._run(f"DELETE FROM {table} WHERE {_OF_BOX}", span)
        self._put(merged(box_id, start_ms, HOUR_MS, rows), location)
        return len(rows) - 1

    def sweep_settled(self) -> None:
        """Deletes the oldest copied minutes: those before any ten minutes or hour that is still due."""
        (due_ms,) = self._run(
            "SELECT min(start_ms) FROM ("
            "SELECT min(start_ms) AS start_ms FROM rollups_due WHERE length_ms = ? UNION ALL "
            "SELECT min(start_ms) FROM rollups_due WHERE length_ms = ?)",
            (TEN_MINUTES_MS, HOUR_MS),
        ).fetchone()
        settled = "SELECT start_ms, box_id FROM trends_new WHERE start_ms < ? ORDER BY start_ms LIMIT ?"
        limits = (_EVER_MS if due_ms is None else due_ms, _SWEPT_ROWS)
        self._run(f"DELETE FROM trends_new WHERE (start_ms, box_id) IN ({settled})", limits)

    def unmarked(self, limit: int) -> tuple[list[TrendPlace], object] | None:
        return None  # only this program writes trends here

    def note_marked(self, last: object) -> None: ...

    def expire_minutes(self, now_s: int, ttl_s: int | None, minutes_s: int | None, limit: int) -> int:
        if ttl_s is not None:
            return self._run(
                "DELETE FROM trends WHERE (box_id, start_ms) IN (SELECT box_id, start_ms FROM trends "
                f"WHERE length_ms IN ({TREND_MS}, {HOUR_MS}) AND start_ms < ? LIMIT ?)",
                ((now_s - ttl_s) * 1000, limit),
            ).rowcount
        if minutes_s is None:
            return 0
        limit_ms = (now_s - minutes_s) * 1000 // HOUR_MS * HOUR_MS
        hours = self._run(
            f"SELECT DISTINCT box_id, start_ms / {HOUR_MS} FROM trends WHERE length_ms = {TREND_MS} "
            "AND start_ms < ? LIMIT ?",
            (limit_ms, max(1, limit // 60)),
        ).fetchall()
        return sum(self.merge_hour(box_id, hour * HOUR_MS) for box_id, hour in hours)

    def old_rows(self, now_s: int, ttl_s: int | None, minutes_s: int | None, limit: int) -> list[object]:
        """Searches by Box, because an index by time would be written with every row."""
        old: list[object] = []
        for length_ms in LEVELS_MS[1:]:
            seconds = kept_s(length_ms, ttl_s, minutes_s)
            if seconds is not None:
                old += self._run(_OLD_ROWS, (length_ms, (now_s - seconds) * 1000, limit))
        return old[:limit]

    def remove_rows(self, old: Sequence[object]) -> int:
        delete = "DELETE FROM rollups WHERE box_id = ? AND length_ms = ? AND start_ms = ?"
        return self._connection.executemany(delete, old).rowcount  # type: ignore[arg-type]  # of `old_rows`

    def remove_box(self, box_id: str, limit: int) -> int:
        gone = self._run("DELETE FROM trends_new WHERE box_id = ?", (box_id,)).rowcount
        for table, keys in (("trends", "box_id, start_ms"), ("rollups", "box_id, length_ms, start_ms")):
            some = f"SELECT {keys} FROM {table} WHERE box_id = ? LIMIT ?"
            gone += self._run(f"DELETE FROM {table} WHERE ({keys}) IN ({some})", (box_id, limit)).rowcount
        return gone

    def count(self) -> int:
        return int(self._run(f"SELECT count(*) FROM {_ALL_MINUTES}").fetchone()[0])

    def spans(self, length_ms: int) -> dict[str, tuple[int, int]]:
        rows = "SELECT box_id, start_ms FROM trends UNION ALL SELECT box_id, start_ms FROM trends_new"
        if length_ms != TREND_MS:
            rows = f"SELECT box_id, start_ms FROM rollups WHERE length_ms = {length_ms}"
        found = self._run(f"SELECT box_id, min(start_ms), max(start_ms) FROM ({rows}) GROUP BY box_id")
        return {box_id: (first_ms, last_ms) for box_id, first_ms, last_ms in found}

    def locations(self, box_id: str, start_ms: int, end_ms: int) -> dict[int, str]:
        span = box_id, start_ms, end_ms
        found = dict(self._run(f"SELECT start_ms, location FROM trends WHERE {_OF_BOX}", span).fetchall())
        return found | dict(self._run(_new_minutes("start_ms, location"), span).fetchall())


def _new_minutes(columns: str) -> str:
    """Returns the query for a Box's rows of `trends_new`, in order; it steps from minute to minute by key."""
    return (
        "WITH RECURSIVE minutes (at_ms) AS ("
        "SELECT min(start_ms) FROM trends_new WHERE start_ms >= ?2 UNION ALL "
        "SELECT (SELECT min(start_ms) FROM trends_new WHERE start_ms > at_ms) FROM minutes WHERE at_ms < ?3) "
        f"SELECT {columns} FROM minutes CROSS JOIN trends_new ON start_ms = at_ms AND box_id = ?1 "
        "WHERE at_ms < ?3"
    )


def _minute(
    box_id: str, start_ms: int, length_ms: int, covered_ms: int | None, *values: float | str | None
) -> Trend:
    metrics: dict[str, Three] = {}
    for place, key in enumerate(ORIGINAL_FIELDS):
        low, high, average = values[3 * place : 3 * place + 3]
        if isinstance(low, float) and isinstance(high, float) and isinstance(average, float):
            metrics[key] = (low, high, average)
    if isinstance(values[-1], str):
        metrics.update(_read_other(values[-1]))
    return Trend(box_id, start_ms, metrics, length_ms, covered_ms)


def _other_metrics(row: Trend) -> str | None:
    """Returns the metrics other than the original's four as JSON; None where there are none."""
    other = {key: three for key, three in row.metrics.items() if key not in ORIGINAL_FIELDS}
    return json.dumps(other) if other else None


def _read_other(text: str) -> dict[str, Three]:
    return {key: (low, high, mean) for key, (low, high, mean) in json.loads(text).items()}


def _widened(row: Trend, known: Trend | None) -> Trend:
    """Returns a minute that is widened by the stored one, or the stored hour with it.

    The later one's mean stays, so that a repeat changes nothing.
    """
    if known is None:
        return row
    if known.length_ms > TREND_MS:  # the hour is one row already
        return merged(row.box_id, row.start_ms, known.length_ms, [known, row])
    covered = [each.covered_ms for each in (known, row) if each.covered_ms is not None]
    metrics = dict(known.metrics)
    for key, (low, high, average) in row.metrics.items():
        before = known.metrics.get(key, (low, high, average))
        metrics[key] = (min(low, before[0]), max(high, before[1]), average)
    return Trend(row.box_id, row.start_ms, metrics, covered_ms=max(covered) if covered else None)


def _pack(row: Trend) -> bytes:
    known = 0
    values: list[float] = []
    histograms = [row.histograms.get(key, TrendHistogram()).packed for key in HISTOGRAM_METRICS]
    for place, key in enumerate(HISTOGRAM_METRICS):
        three = row.metrics.get(key)
        known |= (three is not None) << place
        values.extend(three or (0.0, 0.0, 0.0))
    return _PACKED.pack(known, *values, *map(len, histograms)) + b"".join(histograms)


def _unpack(
    box_id: str, length_ms: int, start_ms: int, covered_ms: int, packed: bytes, other: str | None
) -> Trend:
    known, *numbers = _PACKED.unpack_from(packed)
    metrics: dict[str, Three] = {}
    histograms: dict[str, TrendHistogram] = {}
    at = _PACKED.size
    for place, key in enumerate(HISTOGRAM_METRICS):
        size = numbers[12 + place]
        if known & 1 << place:
            metrics[key] = (numbers[3 * place], numbers[3 * place + 1], numbers[3 * place + 2])
            histograms[key] = TrendHistogram(packed[at : at + size])
        at += size
    if len(packed) != at:
        raise ValueError(f"a packed row of {len(packed)} bytes is damaged")
    if other is not None:
        metrics.update(_read_other(other))
    return Trend(box_id, start_ms, metrics, length_ms, covered_ms, histograms)
