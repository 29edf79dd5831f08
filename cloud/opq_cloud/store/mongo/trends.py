"""Trends in MongoDB: the original's minutes (docs/reference/opq-interop.md, D.2), and the longer levels in
`opq_rollups`.

The original's readers take every document of `trends` for a minute, so longer levels are in a collection of
their own. A mark in `opq_rollups_due` counts the minutes that were put (`puts`). It is deleted only if no
minute was put while its row was made, so that a process may be killed at any step.
"""

import time
from collections.abc import Callable, Iterable

from bson.binary import Binary
from bson.int64 import Int64
from pymongo import ASCENDING

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.retention import FOR_EVER_S
from opq_cloud.store.mongo.part import MongoPart
from opq_cloud.store.mongo.server import ROLLUPS_FILL, MongoServer, store_errors, upsert
from opq_cloud.store.rows import METRIC_FIELDS
from opq_cloud.store.trends.pyramid import (
    FILL_ROWS,
    LEVELS_MS,
    SETTLE_MS,
    TEN_MINUTES_KEPT_S,
    TEN_MINUTES_MS,
    level_above,
    level_below,
    merged,
    read_level,
)
from opq_proto.messages import TREND_MS, Trend
from opq_proto.wire.trend_histogram import TrendHistogram

MARKED_AHEAD_MS = 60_000
"""A mark due later than this still exists, once made: machines' clocks may differ by up to this."""
MARKS_KNOWN = 50_000


class MongoTrends(MongoPart):
    """Documents of `trends` and `opq_rollups`."""

    def __init__(self, server: MongoServer) -> None:
        super().__init__(server)
        self._trends = self._db.trends
        self._rollups = self._db.opq_rollups
        self._marks = self._db.opq_rollups_due
        self._marked: dict[tuple[str, int], None] = {}
        """Spans of ten minutes that this process marked, and that no process can have rolled up yet."""

    @store_errors
    def put_trends(self, trends: Iterable[Trend], location: str | None = None) -> set[tuple[str, int]]:
        """Widens trends with the server's own operators, so that two processes may put the same minute."""
        return self._put_minutes(trends, location, _widening)

    @store_errors
    def replace_trends(self, trends: Iterable[Trend]) -> None:
        self._put_minutes(trends, None, _replacing)

    def _put_minutes(
        self, trends: Iterable[Trend], location: str | None, change_of: Callable[[Trend], Document]
    ) -> set[tuple[str, int]]:
        rows = list(trends)
        places = {} if location else self._box_locations({row.box_id for row in rows})
        existed = set()
        for row in rows:
            if self._put_trend(row, location or places.get(row.box_id) or "unknown", change_of(row)):
                existed.add((row.box_id, row.start_ms))
            self._mark_minutes(row)
        return existed

    def _put_trend(self, trend: Trend, location: str, change: Document) -> bool:
        """Writes a minute; returns whether it existed."""
        ttl_s = self._ttls.trends
        fixed: Document = {
            "box_id": trend.box_id, "timestamp_ms": Int64(trend.start_ms + TREND_MS),
            "start_ms": Int64(trend.start_ms), "location": location,
            "expire_at": self._expires(FOR_EVER_S if ttl_s is None else ttl_s),
        }  # fmt: skip
        key = f"{trend.box_id}/{trend.start_ms}"
        whole = {"$setOnInsert": fixed, **change}
        done = upsert(lambda: self._trends.update_one({"_id": key}, whole, upsert=True))
        return done.matched_count > 0

    def _mark_minutes(self, trend: Trend) -> None:
        """Marks the ten minutes as due, only once while they last: such a mark cannot be deleted yet."""
        start_ms = trend.start_ms // TEN_MINUTES_MS * TEN_MINUTES_MS
        place = trend.box_id, start_ms
        due_ms = start_ms + TEN_MINUTES_MS + SETTLE_MS
        if time.time_ns() // 1_000_000 < due_ms - MARKED_AHEAD_MS:
            if place in self._marked:
                return
            if len(self._marked) >= MARKS_KNOWN:
                self._marked.clear()
            self._marked[place] = None
        self._mark(trend.box_id, TEN_MINUTES_MS, start_ms)

    def _mark(self, box_id: str, length_ms: int, at_ms: int) -> None:
        start_ms = at_ms // length_ms * length_ms
        change: Document = {
            "$setOnInsert": {"box_id": box_id, "length_ms": length_ms, "start_ms": Int64(start_ms)},
            "$inc": {"puts": 1},
        }
        key = f"{box_id}/{length_ms}/{start_ms}"
        upsert(lambda: self._marks.update_one({"_id": key}, change, upsert=True))

    @store_errors
    def trends(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        """Searches by end time, because an original trend has only that."""
        span = {"$gte": start_ms + TREND_MS, "$lt": end_ms + TREND_MS}
        found = self._trends.find({"box_id": box_id, "timestamp_ms": span}).sort("timestamp_ms", ASCENDING)
        return list(self._readable.read_all("trends", _trend, found))

    @store_errors
    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        def stored(length_ms: int, start_ms: int, end_ms: int) -> list[Trend]:
            if length_ms == TREND_MS:
                return self.trends(box_id, start_ms, end_ms)
            return self._rolled_up(box_id, length_ms, start_ms, end_ms)

        return read_level(stored, box_id, start_ms, end_ms, length_ms)

    def _rolled_up(self, box_id: str, length_ms: int, start_ms: int, end_ms: int) -> list[Trend]:
        where = {"box_id": box_id, "length_ms": length_ms, "start_ms": {"$gte": start_ms, "$lt": end_ms}}
        found = self._rollups.find(where).sort("start_ms", ASCENDING)
        return list(self._readable.read_all("opq_rollups", _rollup, found))

    @store_errors
    def roll_up(self, now_ms: int, slice_rows: int = 50) -> int:
        for length_ms in LEVELS_MS[1:]:
            where = {"length_ms": length_ms, "start_ms": {"$lte": now_ms - length_ms - SETTLE_MS}}
            due = list(self._marks.find(where).sort("start_ms", ASCENDING).limit(slice_rows))
            for mark in due:
                self._roll_row(str(mark["box_id"]), int(mark["start_ms"]), length_ms)
                self._marks.delete_one({"_id": mark["_id"], "puts": mark["puts"]})
            if due:
                return len(due)
        return self._fill()

    def _roll_row(self, box_id: str, start_ms: int, length_ms: int) -> None:
        below_ms = level_below(length_ms)
        end_ms = start_ms + length_ms
        if below_ms == TREND_MS:
            parts = self.trends(box_id, start_ms, end_ms)
        else:
            parts = self._rolled_up(box_id, below_ms, start_ms, end_ms)
        if not parts:
            return
        row = merged(box_id, start_ms, length_ms, parts)
        key = f"{box_id}/{length_ms}/{start_ms}"
        document = self._rollup_document(row)
        upsert(lambda: self._rollups.replace_one({"_id": key}, document, upsert=True))
        above_ms = level_above(length_ms)
        if above_ms is not None:
            self._mark(box_id, above_ms, start_ms)

    def _rollup_document(self, row: Trend) -> Document:
        ttl_s = self._ttls.trends
        if ttl_s is None:
            ttl_s = TEN_MINUTES_KEPT_S if row.length_ms == TEN_MINUTES_MS else FOR_EVER_S
        document: Document = {
            "box_id": row.box_id, "length_ms": row.length_ms, "start_ms": Int64(row.start_ms),
            "covered_ms": Int64(row.time_ms), "expire_at": self._expires(ttl_s),
        }  # fmt: skip
        for key, (low, high, average) in row.metrics.items():
            three: Document = {"min": low, "max": high, "average": average}
            if key in row.histograms:
                three["histogram"] = Binary(row.histograms[key].packed)
            if key in METRIC_FIELDS:
                document[METRIC_FIELDS[key]] = three
            else:
                document.setdefault("other", {})[key] = three
        return document

    def _fill(self) -> int:
        """Marks the next trends of a version without roll-ups as due; returns 0 where all are marked."""
        counters = self._db.opq_counters
        at = counters.find_one({"_id": ROLLUPS_FILL})
        if at is None or at["done"]:
            return 0
        box_id, since_ms = str(at["box_id"]), int(at["timestamp_ms"])
        order = [("box_id", ASCENDING), ("timestamp_ms", ASCENDING)]
        wanted = {"box_id": 1, "timestamp_ms": 1, "start_ms": 1}
        same_box = {"box_id": box_id, "timestamp_ms": {"$gt": since_ms}}
        found = list(self._trends.find(same_box, wanted).sort(order).limit(FILL_ROWS))
        if not found:
            found = list(self._trends.find({"box_id": {"$gt": box_id}}, wanted).sort(order).limit(FILL_ROWS))
        if found:
            starts = {(str(d["box_id"]), _start_ms(d) // TEN_MINUTES_MS * TEN_MINUTES_MS) for d in found}
            for of_box, start_ms in sorted(starts):
                self._mark(of_box, TEN_MINUTES_MS, start_ms)
        position: Document = {"done": True}
        if found:
            last_ms = Int64(int(found[-1]["timestamp_ms"]))
            position = {"box_id": found[-1]["box_id"], "timestamp_ms": last_ms}
        counters.update_one({"_id": ROLLUPS_FILL}, {"$set": position})
        return len(found)


def _widening(trend: Trend) -> Document:
    """Returns the operators that widen a minute."""
    lowest, highest, mean = {}, {}, {}
    for key, (low, high, average) in trend.metrics.items():
        field = METRIC_FIELDS.get(key, f"other.{key}")
        lowest[f"{field}.min"], highest[f"{field}.max"] = float(low), float(high)
        mean[f"{field}.average"] = float(average)
    if trend.covered_ms is not None:
        highest["covered_ms"] = Int64(trend.covered_ms)
    return {op: part for op, part in (("$min", lowest), ("$max", highest), ("$set", mean)) if part}


def _replacing(trend: Trend) -> Document:
    """Returns the operators that write a minute as it is."""
    values: Document = {}
    for key, (low, high, average) in trend.metrics.items():
        three = {"min": float(low), "max": float(high), "average": float(average)}
        if key in METRIC_FIELDS:
            values[METRIC_FIELDS[key]] = three
        else:
            values.setdefault("other", {})[key] = three
    if trend.covered_ms is not None:
        values["covered_ms"] = Int64(trend.covered_ms)
    gone = dict.fromkeys({*METRIC_FIELDS.values(), "other", "covered_ms"} - values.keys(), "")
    return {op: part for op, part in (("$set", values), ("$unset", gone)) if part}


def _start_ms(document: Document) -> int:
    """Returns the start of a trend; an original trend has only the time of its end."""
    return int(document.get("start_ms", int(document["timestamp_ms"]) - TREND_MS))


def _trend(document: Document) -> Trend:
    covered_ms = document.get("covered_ms")
    return Trend(
        box_id=str(document["box_id"]),
        start_ms=_start_ms(document),
        metrics=_metrics(document),
        covered_ms=None if covered_ms is None else int(covered_ms),
    )


def _rollup(document: Document) -> Trend:
    return Trend(
        str(document["box_id"]),
        int(document["start_ms"]),
        _metrics(document),
        int(document["length_ms"]),
        int(document["covered_ms"]),
        {
            key: TrendHistogram(bytes(document[field]["histogram"]))
            for key, field in METRIC_FIELDS.items()
            if "histogram" in document.get(field, {})
        },
    )


def _metrics(document: Document) -> dict[str, tuple[float, float, float]]:
    parts = {key: document[field] for key, field in METRIC_FIELDS.items() if document.get(field)}
    parts.update(document.get("other", {}))
    return {k: (float(p["min"]), float(p["max"]), float(p["average"])) for k, p in parts.items()}
