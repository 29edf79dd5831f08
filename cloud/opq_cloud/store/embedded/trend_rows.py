"""Rows of trends in SQLite: minutes (`minutes.py`), and one packed row per Box, level and start in
`rollups`."""

import json
import sqlite3
import struct
from collections.abc import Sequence

from opq_cloud.store.driver import TrendPlace
from opq_cloud.store.embedded.minutes import (
    ALL_MINUTES,
    expire_minutes,
    merge_hour,
    other_metrics,
    put_minute,
    read_minutes,
    settle,
    sweep_settled,
    widened,
)
from opq_cloud.store.trends.pyramid import HOUR_MS, LEVELS_MS, kept_s
from opq_proto.messages import TREND_MS, Trend
from opq_proto.wire.trend_histogram import HISTOGRAM_METRICS, TrendHistogram

_PACKED = struct.Struct("<B12d4H")
"""Bits of the metrics present; min, max, average of each; bytes of each histogram, which follow."""


class SqliteTrendRows:
    """`driver.TrendRows` on one connection; rows have no `expire_at`: the TTL in force counts for all."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, box_id: str, length_ms: int, start_ms: int, end_ms: int) -> list[Trend]:
        if length_ms == TREND_MS:
            return read_minutes(self._connection, box_id, start_ms, end_ms)
        rows = self._connection.execute(
            "SELECT start_ms, covered_ms, packed, other FROM rollups "
            "WHERE box_id = ? AND length_ms = ? AND start_ms >= ? AND start_ms < ? ORDER BY start_ms",
            (box_id, length_ms, start_ms, end_ms),
        )
        return [_unpack(box_id, length_ms, *row) for row in rows]

    def put_minute(self, row: Trend, location: str, expire_at: int, widen: bool) -> bool:
        known = next(iter(read_minutes(self._connection, row.box_id, row.start_ms, row.start_ms + 1)), None)
        if widen:
            row = widened(row, known)
        if widen or known is None or known.length_ms == TREND_MS:
            put_minute(self._connection, row, location)
        return known is not None

    def put_row(self, row: Trend, expire_at: int) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?, ?, ?)",
            (row.box_id, row.length_ms, row.start_ms, row.covered_ms, _pack(row), other_metrics(row)),
        )

    def settled_hour(self, box_id: str, start_ms: int) -> list[Trend]:
        settle(self._connection, box_id, start_ms, start_ms + HOUR_MS)
        whole = read_minutes(self._connection, box_id, start_ms, start_ms + 1)
        return [row for row in whole if row.length_ms == HOUR_MS]

    def merge_hour(self, box_id: str, start_ms: int) -> None:
        merge_hour(self._connection, box_id, start_ms)

    def sweep_settled(self) -> None:
        sweep_settled(self._connection)

    def unmarked(self, limit: int) -> list[TrendPlace] | None:
        position = self._connection.execute("SELECT box_id, start_ms FROM rollups_fill").fetchone()
        if position is None:
            return None
        return self._connection.execute(
            "SELECT box_id, start_ms FROM trends WHERE (box_id, start_ms) > (?, ?) "
            "ORDER BY box_id, start_ms LIMIT ?",
            (*position, limit),
        ).fetchall()

    def note_marked(self, last: TrendPlace | None) -> None:
        if last is None:
            self._connection.execute("DELETE FROM rollups_fill")
        else:
            self._connection.execute("UPDATE rollups_fill SET box_id = ?, start_ms = ?", last)

    def expire_minutes(self, now_s: int, ttl_s: int | None, minutes_s: int | None, limit: int) -> int:
        return expire_minutes(self._connection, now_s, ttl_s, minutes_s, limit)

    def old_rows(self, now_s: int, ttl_s: int | None, minutes_s: int | None, limit: int) -> list[object]:
        """Searches by Box, because an index by time would be written with every row."""
        old: list[object] = []
        for length_ms in LEVELS_MS[1:]:
            seconds = kept_s(length_ms, ttl_s, minutes_s)
            if seconds is not None:
                old += self._connection.execute(_OLD_ROWS, (length_ms, (now_s - seconds) * 1000, limit))
        return old[:limit]

    def remove_rows(self, old: Sequence[object]) -> int:
        delete = "DELETE FROM rollups WHERE box_id = ? AND length_ms = ? AND start_ms = ?"
        return self._connection.executemany(delete, old).rowcount  # type: ignore[arg-type]  # of `old_rows`

    def count(self) -> int:
        return int(self._connection.execute(f"SELECT count(*) FROM {ALL_MINUTES}").fetchone()[0])


_OLD_ROWS = """
    WITH RECURSIVE boxes (id) AS (
        SELECT min(box_id) FROM rollups UNION ALL
        SELECT (SELECT min(box_id) FROM rollups WHERE box_id > boxes.id) FROM boxes
        WHERE boxes.id IS NOT NULL)
    SELECT box_id, length_ms, start_ms FROM boxes CROSS JOIN rollups
    ON box_id = boxes.id AND length_ms = ?1 AND start_ms < ?2 LIMIT ?3"""
"""Finds the Boxes with one search of the key per Box."""


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
