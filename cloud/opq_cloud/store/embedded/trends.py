"""Trends in the embedded store: one-minute rows, and the longer levels that are rolled up from them.

`rollups` has one packed row per Box, level and start. `rollups_due` has the rows that are due, in order of
time, so that those of all Boxes for one span are in a few pages. One job of the writer reads the lower level,
writes the row and deletes its mark, so that a killed process leaves the mark or the row, never neither.
"""

import json
import sqlite3
import struct
from collections.abc import Callable, Iterable

from opq_cloud.store.embedded.minutes import (
    expire_minutes,
    merge_hour,
    other_metrics,
    put_minute,
    read_minutes,
    replace_minute,
    settle,
    sweep_settled,
    widened,
)
from opq_cloud.store.embedded.schema import EmbeddedPart
from opq_cloud.store.trends.pyramid import (
    FILL_ROWS,
    HOUR_MS,
    LEVELS_MS,
    MINUTES_KEPT_S,
    SETTLE_MS,
    TEN_MINUTES_KEPT_S,
    TEN_MINUTES_MS,
    level_above,
    level_below,
    merged,
    read_level,
)
from opq_proto.messages import TREND_MS, Trend
from opq_proto.wire.trend_histogram import HISTOGRAM_METRICS, TrendHistogram

_PACKED = struct.Struct("<B12d4H")
"""Bits of the metrics present; min, max, average of each; bytes of each histogram, which follow."""
SWEPT_ROWS = 20_000
"""Copied minutes that are deleted in one write."""

Due = tuple[int, int, str]
PutMinute = Callable[[sqlite3.Connection, Trend, Trend | None], object]
"""(connection, the minute, the stored one)."""


class EmbeddedTrends(EmbeddedPart):
    """Rows of `trends` and `rollups`."""

    _swept_hour: int | None = None

    def put_trends(self, trends: Iterable[Trend], location: str | None = None) -> set[tuple[str, int]]:
        return self._put_minutes(
            trends, lambda connection, row, known: put_minute(connection, widened(row, known), location)
        )

    def replace_trends(self, trends: Iterable[Trend]) -> None:
        self._put_minutes(trends, replace_minute)

    def _put_minutes(self, trends: Iterable[Trend], put: PutMinute) -> set[tuple[str, int]]:
        rows = sorted(trends, key=lambda row: (row.start_ms, row.box_id))  # the order of the table

        def job(connection: sqlite3.Connection) -> set[tuple[str, int]]:
            existed = set()
            for row in rows:
                known = next(iter(read_minutes(connection, row.box_id, row.start_ms, row.start_ms + 1)), None)
                put(connection, row, known)
                _mark_due(connection, row.box_id, TEN_MINUTES_MS, row.start_ms)
                if known is not None:
                    existed.add((row.box_id, row.start_ms))
            return existed

        return self._database.write(job) if rows else set()

    def trends(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        with self._database.read() as connection:
            return read_minutes(connection, box_id, start_ms, end_ms)

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        with self._database.read() as connection:

            def stored(length_ms: int, start_ms: int, end_ms: int) -> list[Trend]:
                if length_ms == TREND_MS:
                    return read_minutes(connection, box_id, start_ms, end_ms)
                return _rollups(connection, box_id, length_ms, start_ms, end_ms)

            return read_level(stored, box_id, start_ms, end_ms, length_ms)

    def roll_up(self, now_ms: int, slice_rows: int = 50) -> int:
        with self._database.read() as connection:  # mostly nothing is due: then no write is made
            idle = not _due(connection, now_ms, 1) and _fill_position(connection) is None
            (first_ms,) = connection.execute("SELECT min(start_ms) FROM trends_new").fetchone()
        if idle:
            if first_ms is not None and first_ms < now_ms - HOUR_MS - SETTLE_MS:
                self._database.write(lambda connection: sweep_settled(connection, SWEPT_ROWS))
            return 0
        return self._database.write(lambda connection: _roll_up(connection, now_ms, slice_rows))

    def _expire_trends(self, now_s: int, slice_rows: int) -> int:
        ttl_s = self._ttls.trends
        minutes = self._database.write(
            lambda connection: expire_minutes(connection, now_s, ttl_s, slice_rows)
        )
        if minutes or self._swept_hour == now_s // 3600:
            return minutes
        gone = 0
        for length_ms in LEVELS_MS[1:]:
            kept_s = ttl_s if ttl_s is not None or length_ms > TEN_MINUTES_MS else TEN_MINUTES_KEPT_S
            if kept_s is not None:
                gone += self._expire_rollups(length_ms, (now_s - kept_s) * 1000, slice_rows)
        if not gone:
            self._swept_hour = now_s // 3600
        return gone

    def _expire_rollups(self, length_ms: int, limit_ms: int, slice_rows: int) -> int:
        """Deletes old rows by Box, because an index by time would be written with every row."""
        with self._database.read() as connection:
            old = [
                (box_id, length_ms, start_ms)
                for (box_id,) in connection.execute(_BOXES_OF_ROLLUPS)
                for (start_ms,) in connection.execute(
                    "SELECT start_ms FROM rollups "
                    "WHERE box_id = ? AND length_ms = ? AND start_ms < ? LIMIT ?",
                    (box_id, length_ms, limit_ms, slice_rows),
                )
            ][:slice_rows]
        delete = "DELETE FROM rollups WHERE box_id = ? AND length_ms = ? AND start_ms = ?"
        return (
            self._database.write(lambda connection: connection.executemany(delete, old).rowcount)
            if old
            else 0
        )


_BOXES_OF_ROLLUPS = """
    WITH RECURSIVE boxes (id) AS (
        SELECT min(box_id) FROM rollups UNION ALL
        SELECT (SELECT min(box_id) FROM rollups WHERE box_id > boxes.id) FROM boxes
        WHERE boxes.id IS NOT NULL)
    SELECT id FROM boxes WHERE id IS NOT NULL"""
"""Finds the Boxes with one search of the key per Box."""


def _mark_due(connection: sqlite3.Connection, box_id: str, length_ms: int, at_ms: int) -> None:
    """Marks the row of this level at a moment as due."""
    connection.execute(
        "INSERT OR IGNORE INTO rollups_due VALUES (?, ?, ?)",
        (length_ms, at_ms // length_ms * length_ms, box_id),
    )


def _due(connection: sqlite3.Connection, now_ms: int, limit: int) -> list[Due]:
    """Returns due rows of the lowest level that has any, so that an hour is made after its ten minutes."""
    for length_ms in LEVELS_MS[1:]:
        rows = connection.execute(
            "SELECT length_ms, start_ms, box_id FROM rollups_due WHERE length_ms = ? AND start_ms <= ? "
            "ORDER BY start_ms, box_id LIMIT ?",
            (length_ms, now_ms - length_ms - SETTLE_MS, limit),
        ).fetchall()
        if rows:
            return rows
    return []


def _roll_up(connection: sqlite3.Connection, now_ms: int, slice_rows: int) -> int:
    due = _due(connection, now_ms, slice_rows)
    if not due:
        return _fill(connection)
    old_ms = now_ms - MINUTES_KEPT_S * 1000
    for length_ms, start_ms, box_id in due:
        if length_ms == TEN_MINUTES_MS:
            _roll_minutes(connection, box_id, start_ms, old_ms)
        else:
            _roll_rows(connection, box_id, start_ms, length_ms)
    connection.executemany("DELETE FROM rollups_due WHERE length_ms = ? AND start_ms = ? AND box_id = ?", due)
    return len(due)


def _roll_minutes(connection: sqlite3.Connection, box_id: str, start_ms: int, old_ms: int) -> None:
    found = read_minutes(connection, box_id, start_ms, start_ms + TEN_MINUTES_MS)
    minutes = [row for row in found if row.length_ms == TREND_MS]
    if len(minutes) < len(found):  # an hour already merged, by a version without roll-ups
        _mark_due(connection, box_id, HOUR_MS, start_ms)
    if not minutes:
        return
    known = _rollups(connection, box_id, TEN_MINUTES_MS, start_ms, start_ms + 1) if start_ms < old_ms else []
    gone = bool(known) and sum(row.time_ms for row in minutes) < known[0].time_ms
    if gone:  # the other minutes are merged into an hour by now: late ones are added, also to the hour
        minutes = known + minutes
    _put_rollup(connection, merged(box_id, start_ms, TEN_MINUTES_MS, minutes))
    _mark_due(connection, box_id, HOUR_MS, start_ms)
    if gone:
        merge_hour(connection, box_id, start_ms // HOUR_MS * HOUR_MS)


def _roll_rows(connection: sqlite3.Connection, box_id: str, start_ms: int, length_ms: int) -> None:
    """Makes an hour or longer row from the level below; an hour from its merged trend if that covers more."""
    if length_ms == HOUR_MS:
        settle(connection, box_id, start_ms, start_ms + HOUR_MS)
    rows = _rollups(connection, box_id, level_below(length_ms), start_ms, start_ms + length_ms)
    parts = [merged(box_id, start_ms, length_ms, rows)] if rows else []
    if length_ms == HOUR_MS:
        whole = read_minutes(connection, box_id, start_ms, start_ms + 1)
        parts += [row for row in whole if row.length_ms == HOUR_MS]
    if not parts:
        return
    best = max(parts, key=lambda row: (row.coverage, bool(row.histograms)))
    _put_rollup(connection, best if best.histograms else merged(box_id, start_ms, length_ms, [best]))
    above_ms = level_above(length_ms)
    if above_ms is not None:
        _mark_due(connection, box_id, above_ms, start_ms)


def _put_rollup(connection: sqlite3.Connection, row: Trend) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?, ?, ?)",
        (row.box_id, row.length_ms, row.start_ms, row.covered_ms, _pack(row), other_metrics(row)),
    )


def _pack(row: Trend) -> bytes:
    known = 0
    values: list[float] = []
    histograms = [row.histograms.get(key, TrendHistogram()).packed for key in HISTOGRAM_METRICS]
    for place, key in enumerate(HISTOGRAM_METRICS):
        three = row.metrics.get(key)
        known |= (three is not None) << place
        values.extend(three or (0.0, 0.0, 0.0))
    return _PACKED.pack(known, *values, *map(len, histograms)) + b"".join(histograms)


def _rollups(
    connection: sqlite3.Connection, box_id: str, length_ms: int, start_ms: int, end_ms: int
) -> list[Trend]:
    rows = connection.execute(
        "SELECT start_ms, covered_ms, packed, other FROM rollups "
        "WHERE box_id = ? AND length_ms = ? AND start_ms >= ? AND start_ms < ? ORDER BY start_ms",
        (box_id, length_ms, start_ms, end_ms),
    )
    return [_unpack(box_id, length_ms, *row) for row in rows]


def _unpack(
    box_id: str, length_ms: int, start_ms: int, covered_ms: int, packed: bytes, other: str | None
) -> Trend:
    known, *numbers = _PACKED.unpack_from(packed)
    metrics: dict[str, tuple[float, float, float]] = {}
    histograms: dict[str, TrendHistogram] = {}
    at = _PACKED.size
    for place, key in enumerate(HISTOGRAM_METRICS):
        size = numbers[12 + place]
        if known & 1 << place:
            metrics[key] = (numbers[3 * place], numbers[3 * place + 1], numbers[3 * place + 2])
            histograms[key] = TrendHistogram(packed[at : at + size])
        at += size
    if other is not None:
        metrics.update({key: (low, high, mean) for key, (low, high, mean) in json.loads(other).items()})
    return Trend(box_id, start_ms, metrics, length_ms, covered_ms, histograms)


def _fill_position(connection: sqlite3.Connection) -> tuple[str, int] | None:
    row = connection.execute("SELECT box_id, start_ms FROM rollups_fill").fetchone()
    return None if row is None else (row[0], row[1])


def _fill(connection: sqlite3.Connection) -> int:
    """Marks the next trends stored by a version without roll-ups as due; returns 0 where all are marked."""
    position = _fill_position(connection)
    if position is None:
        return 0
    rows = connection.execute(
        "SELECT box_id, start_ms FROM trends WHERE (box_id, start_ms) > (?, ?) "
        "ORDER BY box_id, start_ms LIMIT ?",
        (*position, FILL_ROWS),
    ).fetchall()
    if not rows:
        connection.execute("DELETE FROM rollups_fill")
        return 0
    for box_id, start_ms in {(box_id, at_ms // TEN_MINUTES_MS * TEN_MINUTES_MS) for box_id, at_ms in rows}:
        _mark_due(connection, box_id, TEN_MINUTES_MS, start_ms)
    connection.execute("UPDATE rollups_fill SET box_id = ?, start_ms = ?", rows[-1])
    return len(rows)
