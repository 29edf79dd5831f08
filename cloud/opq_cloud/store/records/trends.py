"""Trends: one-minute rows, and the longer levels that are rolled up from them (`trends/pyramid.py`).

DUE has a mark for each row that is due, in the order of time, so that those of all Boxes for one span stand
together. A job reads the lower level, writes the row and removes its mark, so that a killed process leaves
the mark or the row, never neither. Where a job is not one transaction, a mark counts the minutes that were
put (`puts`); it is removed only if none was put while its row was made.
"""

import time
from collections.abc import Iterable, Sequence
from functools import partial

from opq_cloud.store.documents.retention import FOR_EVER_S
from opq_cloud.store.driver import Documents, Driver, Fields, TrendPlace
from opq_cloud.store.records.part import StorePart, box_locations, expires
from opq_cloud.store.records.tables import DUE
from opq_cloud.store.trends.pyramid import (
    FILL_ROWS,
    LEVELS_MS,
    MINUTES_KEPT_S,
    SETTLE_MS,
    kept_s,
    level_above,
    level_below,
    merged,
    read_level,
)
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.messages import TREND_MS, Trend
from opq_proto.time_units import HOUR_MS

MARKED_AHEAD_MS = 60_000
"""A mark due later than this still exists, once made: machines' clocks may differ by up to this."""
MARKS_KNOWN = 50_000
PUT_ROWS = 1000
"""Rows of another store that one job puts."""
WAIT_MS = 3_600_000
"""A row that is due for longer than this waits for others, as in a store of years at its first start."""


class TrendRecords(StorePart):
    """Minutes, longer rows, and the marks of those that are due."""

    _swept_hour: int | None = None

    def __init__(self, driver: Driver) -> None:
        super().__init__(driver)
        self._minutes_s: int | None = MINUTES_KEPT_S
        """Minutes become part of their hour after this time; None: never."""
        self._marked: set[TrendPlace] = set()
        """Spans of ten minutes that this process marked, and that no process can have rolled up yet."""

    def keep_minutes(self, days: int) -> None:
        self._minutes_s = days * 86_400 or None

    def put_trends(self, trends: Iterable[Trend], location: str | None = None) -> set[tuple[str, int]]:
        return self._put_minutes(trends, location, widen=True)

    def replace_trends(self, trends: Iterable[Trend]) -> None:
        self._put_minutes(trends, None, widen=False)

    def put_trend_rows(self, rows: Iterable[Trend]) -> None:
        def job(documents: Documents, part: Sequence[Trend]) -> None:
            for row in part:
                known = documents.trends.rows(row.box_id, row.length_ms, row.start_ms, row.start_ms + 1)
                if not known or known[0].time_ms < row.time_ms:
                    self._put_row(documents, row)

        each = list(rows)
        for first in range(0, len(each), PUT_ROWS):
            self._driver.write(partial(job, part=each[first : first + PUT_ROWS]))

    def _put_minutes(
        self, trends: Iterable[Trend], location: str | None, widen: bool
    ) -> set[tuple[str, int]]:
        rows = sorted(trends, key=lambda row: (row.start_ms, row.box_id))  # the order of SQLite's table
        expire_at = self._expire_at(TREND_MS)

        def job(documents: Documents) -> set[tuple[str, int]]:
            places = {} if location else box_locations(documents, {row.box_id for row in rows})
            put, existed, spans = documents.trends.put_minute, set(), set()
            for row in rows:
                if put(row, location or places.get(row.box_id) or "unknown", expire_at, widen):
                    existed.add((row.box_id, row.start_ms))
                span = row.box_id, row.start_ms // TEN_MINUTES_MS * TEN_MINUTES_MS
                if documents.atomic:
                    spans.add(span)
                elif not self._is_marked(span):
                    _mark(documents, TEN_MINUTES_MS, [span])
            _mark(documents, TEN_MINUTES_MS, spans)
            return existed

        return self._driver.write(job) if rows else set()

    def _expire_at(self, length_ms: int) -> int:
        seconds = kept_s(length_ms, self._ttls.trends, self._minutes_s)
        return expires(FOR_EVER_S if seconds is None else seconds)

    def _is_marked(self, span: TrendPlace) -> bool:
        """Whether ten minutes were marked while they last: such a mark cannot be removed yet."""
        due_ms = span[1] + TEN_MINUTES_MS + SETTLE_MS
        if time.time_ns() // 1_000_000 >= due_ms - MARKED_AHEAD_MS:
            return False
        if span in self._marked:
            return True
        if len(self._marked) >= MARKS_KNOWN:
            self._marked.clear()
        self._marked.add(span)
        return False

    def trends(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        with self._driver.read() as documents:
            return documents.trends.rows(box_id, TREND_MS, start_ms, end_ms)

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        with self._driver.read() as documents:
            return read_level(documents.trends.rows, box_id, start_ms, end_ms, length_ms)

    def trends_wait(self, now_ms: int) -> bool:
        with self._driver.read() as documents:
            return bool(_due(documents, now_ms - WAIT_MS, 1)) or documents.trends.unmarked(1) is not None

    def _roll_up_trends(self, now_ms: int, slice_rows: int) -> int:
        with self._driver.read() as documents:  # mostly nothing is due: then no write is made
            if not _due(documents, now_ms, 1) and documents.trends.unmarked(1) is None:
                return 0
        return self._driver.write(lambda documents: self._roll_up(documents, now_ms, slice_rows))

    def _roll_up(self, documents: Documents, now_ms: int, slice_rows: int) -> int:
        due = _due(documents, now_ms, slice_rows)
        if not due:
            return _fill(documents)
        old_ms = 0 if self._minutes_s is None else now_ms - self._minutes_s * 1000
        for mark in due:
            box_id, length_ms, start_ms = str(mark["box_id"]), int(mark["length_ms"]), int(mark["start_ms"])
            if length_ms == TEN_MINUTES_MS:
                self._roll_minutes(documents, box_id, start_ms, old_ms)
            else:
                self._roll_rows(documents, box_id, start_ms, length_ms)
            if not documents.atomic:
                documents.remove(DUE, [(name, "=", mark[name]) for name in (*DUE.key, "puts")])
        if documents.atomic:  # these are the first of their level
            level = ("length_ms", "=", length_ms)
            documents.remove(DUE, [level, ("start_ms", "<", start_ms)])
            documents.remove(DUE, [level, ("start_ms", "=", start_ms), ("box_id", "<=", box_id)])
        if length_ms == HOUR_MS:
            documents.trends.sweep_settled()
        return len(due)

    def _roll_minutes(self, documents: Documents, box_id: str, start_ms: int, old_ms: int) -> None:
        trends = documents.trends
        found = trends.rows(box_id, TREND_MS, start_ms, start_ms + TEN_MINUTES_MS)
        minutes = [row for row in found if row.length_ms == TREND_MS]
        if len(minutes) < len(found):  # an hour already merged, because its minutes were old
            _mark(documents, HOUR_MS, [(box_id, start_ms)])
        if not minutes:
            return
        known = trends.rows(box_id, TEN_MINUTES_MS, start_ms, start_ms + 1) if start_ms < old_ms else []
        gone = bool(known) and sum(row.time_ms for row in minutes) < known[0].time_ms
        if gone:  # the other minutes are merged into an hour by now: late ones are added, also to the hour
            minutes = known + minutes
        self._put_row(documents, merged(box_id, start_ms, TEN_MINUTES_MS, minutes))
        if gone:
            trends.merge_hour(box_id, start_ms // HOUR_MS * HOUR_MS)

    def _roll_rows(self, documents: Documents, box_id: str, start_ms: int, length_ms: int) -> None:
        """Makes an hour or longer row of the level below; an hour of its merged trend if that covers more.

        Without rows below, the stored one stays, which has histograms, unless the merged trend covers more.
        """
        parts = documents.trends.settled_hour(box_id, start_ms) if length_ms == HOUR_MS else []
        rows = documents.trends.rows(box_id, level_below(length_ms), start_ms, start_ms + length_ms)
        if not rows:
            parts += documents.trends.rows(box_id, length_ms, start_ms, start_ms + 1)
        if rows:
            parts = [merged(box_id, start_ms, length_ms, rows), *parts]
        if parts:
            best = max(parts, key=lambda row: (row.coverage, bool(row.histograms)))
            if not best.histograms:
                best = merged(box_id, start_ms, length_ms, [best])
            self._put_row(documents, best)

    def _put_row(self, documents: Documents, row: Trend) -> None:
        documents.trends.put_row(row, self._expire_at(row.length_ms))
        above_ms = level_above(row.length_ms)
        if above_ms is not None:
            _mark(documents, above_ms, [(row.box_id, row.start_ms)])

    def _expire_trends(self, now_s: int, slice_rows: int) -> int:
        ttl_s, minutes_s = self._ttls.trends, self._minutes_s
        minutes = self._driver.write(
            lambda documents: documents.trends.expire_minutes(now_s, ttl_s, minutes_s, slice_rows)
        )
        if minutes or self._swept_hour == now_s // 3600:
            return minutes
        with self._driver.read() as documents:
            old = documents.trends.old_rows(now_s, ttl_s, minutes_s, slice_rows)
        if not old:
            self._swept_hour = now_s // 3600
            return 0
        return self._driver.write(lambda documents: documents.trends.remove_rows(old))


def _mark(documents: Documents, length_ms: int, places: Iterable[TrendPlace]) -> None:
    """Marks the rows of this level at these Boxes and moments as due."""
    marks: list[Fields] = [
        {"length_ms": length_ms, "start_ms": at_ms // length_ms * length_ms, "box_id": box_id, "puts": 1}
        for box_id, at_ms in places
    ]
    if documents.atomic:
        documents.put(DUE, marks)
        return
    for mark in marks:
        while not documents.insert(DUE, mark):
            if documents.change(DUE, tuple(mark[name] for name in DUE.key), _counted):
                break


def _counted(mark: Fields | None) -> Fields | None:
    """Counts a further minute; None: the mark was removed meanwhile."""
    return mark and {**mark, "puts": mark["puts"] + 1}


def _due(documents: Documents, now_ms: int, limit: int) -> list[Fields]:
    """Returns marks of the lowest level that has any due, so that an hour is made after its ten minutes."""
    for length_ms in LEVELS_MS[1:]:
        over = [("length_ms", "=", length_ms), ("start_ms", "<=", now_ms - length_ms - SETTLE_MS)]
        if found := list(documents.find(DUE, over, sort=("start_ms", "box_id"), limit=limit)):
            return found
    return []


def _fill(documents: Documents) -> int:
    """Marks the next trends that the original stored as due for roll-up; returns 0 where all are marked."""
    found = documents.trends.unmarked(FILL_ROWS)
    if found is None:
        return 0
    places, last = found
    spans = {(box_id, start_ms // TEN_MINUTES_MS * TEN_MINUTES_MS) for box_id, start_ms in places}
    _mark(documents, TEN_MINUTES_MS, sorted(spans))
    documents.trends.note_marked(last)
    return len(places)
