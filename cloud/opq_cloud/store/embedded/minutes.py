"""One-minute trends of the embedded store, as rows: read, widened, and merged into hours when they are old.

`trends` is ordered by Box, a page or more each, so that a minute of every Box would write a page for each. So
minutes go into `trends_new`, which is ordered by time, and are copied to `trends` an hour at a time, when
that hour is rolled up. If a minute is in both tables, the row in `trends_new` is complete: it came in two
parts, or will be deleted soon.
"""

import json
import sqlite3

from opq_cloud.store.rows import METRIC_FIELDS
from opq_cloud.store.trends.pyramid import HOUR_MS, TEN_MINUTES_MS, merged
from opq_proto.messages import TREND_MS, Trend

_COLUMNS = [f"{field}_{part}" for field in METRIC_FIELDS.values() for part in ("min", "max", "average")]
_MINUTE = f"start_ms, length_ms, covered_ms, {', '.join(_COLUMNS)}, other"
ALL_MINUTES = (
    "(SELECT 1 FROM trends UNION ALL SELECT 1 FROM trends_new AS new WHERE NOT EXISTS "
    "(SELECT 1 FROM trends WHERE box_id = new.box_id AND start_ms = new.start_ms))"
)
"""A subquery for counting: a minute in both tables counts once."""
EVER_MS = 1 << 62
SWEPT_ROWS = 20_000
"""Copied minutes that are deleted in one write."""
_PUT = (
    f"INSERT OR REPLACE INTO {{}} (box_id, location, {_MINUTE}) "
    f"VALUES ({', '.join('?' * (len(_COLUMNS) + 6))})"
)
"""A statement to be formatted with the table's name."""
_OF_BOX = "box_id = ? AND start_ms >= ? AND start_ms < ?"


def _new_minutes(columns: str) -> str:
    """Returns the query for a Box's rows of `trends_new`, in order; it steps from minute to minute by key."""
    return (
        "WITH RECURSIVE minutes (at_ms) AS ("
        "SELECT min(start_ms) FROM trends_new WHERE start_ms >= ?2 UNION ALL "
        "SELECT (SELECT min(start_ms) FROM trends_new WHERE start_ms > at_ms) FROM minutes WHERE at_ms < ?3) "
        f"SELECT {columns} FROM minutes CROSS JOIN trends_new ON start_ms = at_ms AND box_id = ?1 "
        "WHERE at_ms < ?3"
    )


def read_minutes(connection: sqlite3.Connection, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
    span = box_id, start_ms, end_ms
    rows = connection.execute(f"SELECT {_MINUTE} FROM trends WHERE {_OF_BOX} ORDER BY start_ms", span)
    found = [_trend(box_id, *row) for row in rows]
    if newer := [_trend(box_id, *row) for row in connection.execute(_new_minutes(_MINUTE), span)]:
        by_start = {row.start_ms: row for row in (*found, *newer)}
        found = [by_start[at_ms] for at_ms in sorted(by_start)]
    return found


def settle(connection: sqlite3.Connection, box_id: str, start_ms: int, end_ms: int) -> None:
    """Copies a Box's new minutes in [start_ms, end_ms) to `trends`; may be repeated."""
    new = connection.execute(_new_minutes(f"box_id, location, {_MINUTE}"), (box_id, start_ms, end_ms))
    # row by row: INSERT with SELECT writes each page to a temporary file too
    connection.executemany(_PUT.format("trends"), new.fetchall())


def sweep_settled(connection: sqlite3.Connection) -> None:
    """Deletes the oldest copied minutes: those before any ten minutes or hour that is still due."""
    (due_ms,) = connection.execute(
        "SELECT min(start_ms) FROM (SELECT min(start_ms) AS start_ms FROM rollups_due WHERE length_ms = ? "
        "UNION ALL SELECT min(start_ms) FROM rollups_due WHERE length_ms = ?)",
        (TEN_MINUTES_MS, HOUR_MS),
    ).fetchone()
    settled = "SELECT start_ms, box_id FROM trends_new WHERE start_ms < ? ORDER BY start_ms LIMIT ?"
    connection.execute(
        f"DELETE FROM trends_new WHERE (start_ms, box_id) IN ({settled})",
        (EVER_MS if due_ms is None else due_ms, SWEPT_ROWS),
    )


def _trend(
    box_id: str, start_ms: int, length_ms: int, covered_ms: int | None, *values: float | str | None
) -> Trend:
    metrics: dict[str, tuple[float, float, float]] = {}
    for place, key in enumerate(METRIC_FIELDS):
        low, high, average = values[3 * place : 3 * place + 3]
        if isinstance(low, float) and isinstance(high, float) and isinstance(average, float):
            metrics[key] = (low, high, average)
    if isinstance(values[-1], str):
        metrics.update({key: (low, high, mean) for key, (low, high, mean) in json.loads(values[-1]).items()})
    return Trend(box_id, start_ms, metrics, length_ms, covered_ms)


def widened(trend: Trend, known: Trend | None) -> Trend:
    """Returns a minute that is widened by the stored one, or the stored hour with it."""
    if known is None:
        return trend
    if known.length_ms > TREND_MS:  # the hour is one row already
        return merged(trend.box_id, trend.start_ms, known.length_ms, [known, trend])
    covered = [each.covered_ms for each in (known, trend) if each.covered_ms is not None]
    metrics = widen_metrics(known.metrics, trend.metrics)
    return Trend(trend.box_id, trend.start_ms, metrics, covered_ms=max(covered) if covered else None)


def put_minute(connection: sqlite3.Connection, trend: Trend, location: str) -> None:
    other = other_metrics(trend)
    values = [value for key in METRIC_FIELDS for value in trend.metrics.get(key, (None, None, None))]
    head = (trend.box_id, location, trend.start_ms, trend.length_ms, trend.covered_ms)
    table = "trends_new" if trend.length_ms == TREND_MS else "trends"
    connection.execute(_PUT.format(table), (*head, *values, other))


def other_metrics(trend: Trend) -> str | None:
    """Returns the metrics other than the original's four as JSON; None where there are none."""
    other = {key: three for key, three in trend.metrics.items() if key not in METRIC_FIELDS}
    return json.dumps(other) if other else None


def widen_metrics(
    old: dict[str, tuple[float, float, float]], new: dict[str, tuple[float, float, float]]
) -> dict[str, tuple[float, float, float]]:
    """Merges two: outer limits and the later one's mean (so that a repeat changes nothing)."""
    joined = dict(old)
    for key, (low, high, average) in new.items():
        if key in old:
            joined[key] = (min(low, old[key][0]), max(high, old[key][1]), average)
        else:
            joined[key] = (low, high, average)
    return joined


def expire_minutes(
    connection: sqlite3.Connection, now_s: int, ttl_s: int | None, minutes_s: int | None, slice_rows: int
) -> int:
    """Deletes rows older than `ttl_s`; where that is None, merges those older than `minutes_s` into hours."""
    if ttl_s is not None:
        limit_ms = (now_s - ttl_s) * 1000
        return connection.execute(
            "DELETE FROM trends WHERE (box_id, start_ms) IN (SELECT box_id, start_ms FROM trends "
            f"WHERE length_ms IN ({TREND_MS}, {HOUR_MS}) AND start_ms < ? LIMIT ?)",
            (limit_ms, slice_rows),
        ).rowcount
    if minutes_s is None:
        return 0
    limit_ms = (now_s - minutes_s) * 1000 // HOUR_MS * HOUR_MS
    hours = connection.execute(
        f"SELECT DISTINCT box_id, start_ms / {HOUR_MS} FROM trends WHERE length_ms = {TREND_MS} "
        "AND start_ms < ? LIMIT ?",
        (limit_ms, max(1, slice_rows // 60)),
    ).fetchall()
    return sum(merge_hour(connection, box_id, hour * HOUR_MS) for box_id, hour in hours)


def merge_hour(connection: sqlite3.Connection, box_id: str, start_ms: int) -> int:
    """Merges the minutes of one Box and hour into one row; returns how many rows that saves."""
    settle(connection, box_id, start_ms, start_ms + HOUR_MS)
    rows = read_minutes(connection, box_id, start_ms, start_ms + HOUR_MS)
    span = (box_id, start_ms, start_ms + HOUR_MS)
    (location,) = connection.execute(f"SELECT max(location) FROM trends WHERE {_OF_BOX}", span).fetchone()
    for table in ("trends", "trends_new"):
        connection.execute(f"DELETE FROM {table} WHERE {_OF_BOX}", span)
    put_minute(connection, merged(box_id, start_ms, HOUR_MS, rows), location)
    return len(rows) - 1
