"""Minute trends in the embedded store, one row each; old ones become hours."""

import json
import sqlite3

from opq_cloud.store.database import Database
from opq_cloud.store.retention import MINUTE_TRENDS_S
from opq_cloud.store.rows import METRIC_FIELDS
from opq_cloud.store.store import Trend

HOUR_MS = 3_600_000
MINUTE_MS = 60_000
_COLUMNS = [f"{field}_{part}" for field in METRIC_FIELDS.values() for part in ("min", "max", "average")]


class TrendTable:
    """Rows of `trends`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, trend: Trend, location: str | None) -> None:
        def job(connection: sqlite3.Connection) -> None:
            known = connection.execute(
                f"SELECT start_ms, {', '.join(_COLUMNS)}, other FROM trends "
                "WHERE box_id = ? AND start_ms = ?",
                (trend.box_id, trend.start_ms),
            ).fetchone()
            metrics = (
                widen_metrics(_trend(trend.box_id, known).metrics, trend.metrics) if known else trend.metrics
            )
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

        self._database.write(job)

    def query(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT start_ms, {', '.join(_COLUMNS)}, other FROM trends "
                "WHERE box_id = ? AND start_ms >= ? AND start_ms < ? ORDER BY start_ms",
                (box_id, start_ms, end_ms),
            )
            return [_trend(box_id, row) for row in rows]


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
        f"SELECT DISTINCT box_id, start_ms / {HOUR_MS} FROM trends WHERE length_ms = {MINUTE_MS} "
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
