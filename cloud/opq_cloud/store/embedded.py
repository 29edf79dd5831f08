"""The store in one SQLite file: the default, no server and nothing to install.

Minute trends are kept here; Boxes, measurements, events and findings are parts in files of their own.
"""

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from opq_cloud.store.embedded_boxes import EmbeddedBoxes
from opq_cloud.store.embedded_events import EmbeddedEvents, expire_events
from opq_cloud.store.embedded_findings import EmbeddedFindings, expire_findings
from opq_cloud.store.measurement_log import SEAL_ROWS, MeasurementLog
from opq_cloud.store.rows import METRIC_FIELDS
from opq_cloud.store.schema import open_database
from opq_cloud.store.store import TREND_MS, Trend, Ttls
from opq_proto.sqlite_file import BUSY_S

MINUTE_TRENDS_S = 90 * 86_400
"""Trends of one minute become trends of one hour when they are older."""
HOUR_MS = 3_600_000
_COLUMNS = [f"{field}_{part}" for field in METRIC_FIELDS.values() for part in ("min", "max", "average")]
_TABLES = {
    "trends": "trends", "events": "events", "box_events": "box_events",
    "incidents": "incidents", "opq_boxes": "opq_boxes", "fs.files": "files",
}  # fmt: skip


class EmbeddedStore(MeasurementLog, EmbeddedBoxes, EmbeddedEvents, EmbeddedFindings):
    """`store.CloudStore` on the file at `path`; several processes may hold it at once."""

    def __init__(
        self, path: Path, ttls: Ttls | None = None, busy_s: float = BUSY_S, seal_rows: int = SEAL_ROWS
    ) -> None:
        super().__init__(open_database(path, busy_s), ttls or Ttls(), seal_rows)

    def put_trends(self, trends: Iterable[Trend], location: str | None = None) -> None:
        rows = list(trends)

        def job(connection: sqlite3.Connection) -> None:
            for row in rows:
                _widen(connection, row, location)

        if rows:
            self._database.write(job)

    def trends(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT start_ms, {', '.join(_COLUMNS)}, other FROM trends "
                "WHERE box_id = ? AND start_ms >= ? AND start_ms < ? ORDER BY start_ms",
                (box_id, start_ms, end_ms),
            )
            return [_trend(box_id, row) for row in rows]

    def expire(self, now_s: int, slice_rows: int = 1000) -> int:
        def job(connection: sqlite3.Connection) -> int:
            return (
                expire_events(connection, now_s, max(1, slice_rows // 100))
                + expire_findings(connection, now_s, slice_rows)
                + expire_trends(connection, now_s, self._ttls.trends, slice_rows)
            )

        return self._expire_measurements(now_s, slice_rows) + self._database.write(job)

    def counts(self) -> dict[str, int]:
        with self._database.read() as connection:
            (rows,) = connection.execute(
                "SELECT (SELECT count(*) FROM measurements) + (SELECT coalesce(sum(rows), 0) FROM segments)"
            ).fetchone()
            counts = {"measurements": int(rows)}
            for collection, table in _TABLES.items():
                counts[collection] = int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        return counts


def _widen(connection: sqlite3.Connection, trend: Trend, location: str | None) -> None:
    known = connection.execute(
        f"SELECT start_ms, {', '.join(_COLUMNS)}, other FROM trends WHERE box_id = ? AND start_ms = ?",
        (trend.box_id, trend.start_ms),
    ).fetchone()
    metrics = widen_metrics(_trend(trend.box_id, known).metrics, trend.metrics) if known else trend.metrics
    other = {key: three for key, three in metrics.items() if key not in METRIC_FIELDS}
    values = [value for key in METRIC_FIELDS for value in metrics.get(key, (None, None, None))]
    connection.execute(
        f"INSERT OR REPLACE INTO trends (box_id, start_ms, location, {', '.join(_COLUMNS)}, other) "
        f"VALUES ({', '.join('?' * (len(_COLUMNS) + 4))})",
        (
            trend.box_id, trend.start_ms, location or "unknown", *values,
            json.dumps(other) if other else None,
        ),
    )  # fmt: skip


def widen_metrics(
    old: dict[str, tuple[float, float, float]], new: dict[str, tuple[float, float, float]]
) -> dict[str, tuple[float, float, float]]:
    """Both in one: the outer limits, and the mean of the later one (so that a repeat changes nothing)."""
    joined = dict(old)
    for key, (low, high, average) in new.items():
        if key in old:
            joined[key] = (min(low, old[key][0]), max(high, old[key][1]), average)
        else:
            joined[key] = (low, high, average)
    return joined


def _trend(box_id: str, row: tuple[object, ...]) -> Trend:
    start_ms, *values, other = row
    metrics: dict[str, tuple[float, float, float]] = {}
    for place, key in enumerate(METRIC_FIELDS):
        low, high, average = values[3 * place : 3 * place + 3]
        if isinstance(low, float) and isinstance(high, float) and isinstance(average, float):
            metrics[key] = (low, high, average)
    if isinstance(other, str):
        metrics.update({key: (three[0], three[1], three[2]) for key, three in json.loads(other).items()})
    assert isinstance(start_ms, int)
    return Trend(box_id, start_ms, metrics)


def expire_trends(connection: sqlite3.Connection, now_s: int, ttl_s: int | None, slice_rows: int) -> int:
    """Delete what a time limit (if any) says; else turn minutes older than 90 days into hours."""
    if ttl_s is not None:
        limit_ms = (now_s - ttl_s) * 1000
        return connection.execute(
            "DELETE FROM trends WHERE (box_id, start_ms) IN "
            "(SELECT box_id, start_ms FROM trends WHERE start_ms < ? LIMIT ?)",
            (limit_ms, slice_rows),
        ).rowcount
    limit_ms = (now_s - MINUTE_TRENDS_S) * 1000 // HOUR_MS * HOUR_MS
    hours = connection.execute(
        f"SELECT DISTINCT box_id, start_ms / {HOUR_MS} FROM trends WHERE length_ms = {TREND_MS} "
        "AND start_ms < ? LIMIT ?",
        (limit_ms, max(1, slice_rows // 60)),
    ).fetchall()
    return sum(_merge_hour(connection, box_id, hour * HOUR_MS) for box_id, hour in hours)


def _merge_hour(connection: sqlite3.Connection, box_id: str, start_ms: int) -> int:
    """Minutes of one Box and hour into one row; returns how many rows went."""
    parts = ", ".join(
        f"{'avg' if column.endswith('average') else column[-3:]}({column})" for column in _COLUMNS
    )
    span = (box_id, start_ms, start_ms + HOUR_MS)
    where = "box_id = ? AND start_ms >= ? AND start_ms < ?"
    row = connection.execute(f"SELECT count(*), max(location), {parts} FROM trends WHERE {where}", span)
    rows, location, *values = row.fetchone()
    connection.execute(f"DELETE FROM trends WHERE {where}", span)
    connection.execute(
        f"INSERT INTO trends (box_id, start_ms, length_ms, location, {', '.join(_COLUMNS)}) "
        f"VALUES ({', '.join('?' * (len(_COLUMNS) + 4))})",
        (box_id, start_ms, HOUR_MS, location, *values),
    )
    return int(rows) - 1
