"""Rows of trends in MongoDB: the original's minutes (docs/reference/opq-interop.md, D.2), and the longer
levels in `opq_rollups`, because the original's readers take every document of `trends` for a minute."""

from collections.abc import Sequence
from typing import Any

from bson.binary import Binary
from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING

from opq_cloud.store.documents import box_id_of, box_text
from opq_cloud.store.driver import Fields, TrendPlace
from opq_cloud.store.mongo.filters import NUMBERS, of_boxes
from opq_cloud.store.mongo.first_documents import ROLLUPS_FILL
from opq_cloud.store.mongo.mongo_server import MongoServer, delete_by_id, delete_where, expire, upsert
from opq_proto.measurement.fields import ORIGINAL_FIELDS
from opq_proto.messages import TREND_MS, Trend
from opq_proto.trend_histogram import TrendHistogram


class MongoTrendRows:
    """`driver.TrendRows`; each row has its own `expire_at`, and minutes are not merged into hours."""

    def __init__(self, server: MongoServer) -> None:
        self._minutes, self._rollups = server.db.trends, server.db.opq_rollups
        self._counters, self._readable = server.db.opq_counters, server.readable

    def rows(self, box_id: str, length_ms: int, start_ms: int, end_ms: int) -> list[Trend]:
        """Searches minutes by their end, because an original one has only that."""
        if length_ms == TREND_MS:
            span = {"$gte": start_ms + TREND_MS, "$lt": end_ms + TREND_MS}
            found = self._minutes.find({**of_boxes([box_id]), "timestamp_ms": span})
            return list(self._readable.read_all("trends", _trend, found.sort("timestamp_ms", ASCENDING)))
        where = {"box_id": box_id, "length_ms": length_ms, "start_ms": {"$gte": start_ms, "$lt": end_ms}}
        found = self._rollups.find(where).sort("start_ms", ASCENDING)
        return list(self._readable.read_all("opq_rollups", _rollup, found))

    def put_minute(self, row: Trend, location: str, expire_at: int, widen: bool) -> bool:
        """Widens with the server's own operators, so that two processes may put the same minute."""
        fixed: Fields = {
            "box_id": row.box_id,
            "timestamp_ms": Int64(row.start_ms + TREND_MS),
            "start_ms": Int64(row.start_ms),
            "location": location,
            "expire_at": Int64(expire_at),
        }
        if row.length_ms != TREND_MS:  # an hour that was merged in the embedded store
            fixed["length_ms"] = row.length_ms
        key = f"{row.box_id}/{row.start_ms}"
        change = {"$setOnInsert": fixed, **(_widening(row) if widen else _replacing(row))}
        where = {"_id": key, "box_id": row.box_id}  # with the shard key (docs/schema.md)
        done = upsert(lambda: self._minutes.update_one(where, change, upsert=True))
        return done.matched_count > 0

    def put_row(self, row: Trend, expire_at: int) -> None:
        document: Fields = {
            "box_id": row.box_id,
            "length_ms": row.length_ms,
            "start_ms": Int64(row.start_ms),
            "covered_ms": Int64(row.time_ms),
            "expire_at": Int64(expire_at),
            **_values(row),
        }
        key = f"{row.box_id}/{row.length_ms}/{row.start_ms}"
        where = {"_id": key, "box_id": row.box_id}
        upsert(lambda: self._rollups.replace_one(where, document, upsert=True))

    def settled_hour(self, box_id: str, start_ms: int) -> list[Trend]:
        return []

    def merge_hour(self, box_id: str, start_ms: int) -> None: ...

    def sweep_settled(self) -> None: ...

    def unmarked(self, limit: int) -> tuple[list[TrendPlace], object] | None:
        """Finds Boxes that are named by a text first, then those named by a number."""
        at = self._counters.find_one({"_id": ROLLUPS_FILL})
        if at is None or at["done"]:
            return None
        box_id = at["box_id"]
        of_box = {"box_id": box_id, "timestamp_ms": {"$gt": int(at["timestamp_ms"])}}
        numbers = [{"box_id": NUMBERS}] if isinstance(box_id, str) else []
        for where in (of_box, {"box_id": {"$gt": box_id}}, *numbers):
            rows = self._minutes.find(where, {"box_id": 1, "timestamp_ms": 1})
            found = list(rows.sort([("box_id", ASCENDING), ("timestamp_ms", ASCENDING)]).limit(limit))
            if found:
                places = [
                    (str(box_text(row["box_id"])), int(row["timestamp_ms"]) - TREND_MS) for row in found
                ]
                return places, (found[-1]["box_id"], Int64(found[-1]["timestamp_ms"]))
        return [], None

    def note_marked(self, last: Any) -> None:
        position: Fields = {"done": True}
        if last is not None:
            position = {"box_id": last[0], "timestamp_ms": last[1]}
        self._counters.update_one({"_id": ROLLUPS_FILL}, {"$set": position})

    def expire_minutes(self, now_s: int, ttl_s: int | None, minutes_s: int | None, limit: int) -> int:
        return expire(self._minutes, now_s, limit)

    def old_rows(self, now_s: int, ttl_s: int | None, minutes_s: int | None, limit: int) -> list[object]:
        due = self._rollups.find({"expire_at": {"$lte": now_s}}, {"_id": 1}).limit(limit)
        return [document["_id"] for document in due]

    def remove_rows(self, old: Sequence[object]) -> int:
        return delete_by_id(self._rollups, old)

    def remove_box(self, box_id: str, limit: int) -> int:
        of_box = of_boxes([box_id])
        return sum(delete_where(rows, of_box) for rows in (self._minutes, self._rollups))

    def count(self) -> int:
        return int(self._minutes.estimated_document_count())

    def spans(self, length_ms: int) -> dict[str, tuple[int, int]]:
        rows, where, field, ahead = self._rollups, {"length_ms": length_ms}, "start_ms", 0
        if length_ms == TREND_MS:
            rows, where, field, ahead = self._minutes, {}, "timestamp_ms", TREND_MS
        found: dict[str, tuple[int, int]] = {}
        for box_id in {box_text(each) for each in rows.distinct("box_id", where)}:
            if not isinstance(box_id, str):
                continue
            of_box = {**where, **of_boxes([box_id]), field: NUMBERS}
            first = rows.find_one(of_box, {field: 1}, sort=[(field, ASCENDING)])
            last = rows.find_one(of_box, {field: 1}, sort=[(field, DESCENDING)])
            if first is not None and last is not None:
                found[box_id] = int(first[field]) - ahead, int(last[field]) - ahead
        return found

    def locations(self, box_id: str, start_ms: int, end_ms: int) -> dict[int, str]:
        span = {"$gte": start_ms + TREND_MS, "$lt": end_ms + TREND_MS}
        found = self._minutes.find(
            {**of_boxes([box_id]), "timestamp_ms": span}, {"timestamp_ms": 1, "location": 1}
        )
        return {
            int(each["timestamp_ms"]) - TREND_MS: str(each.get("location") or "unknown") for each in found
        }


def _widening(row: Trend) -> Fields:
    """Returns the operators that widen a minute."""
    lowest, highest, mean = {}, {}, {}
    for key, (low, high, average) in row.metrics.items():
        field = ORIGINAL_FIELDS.get(key, f"other.{key}")
        lowest[f"{field}.min"], highest[f"{field}.max"] = float(low), float(high)
        mean[f"{field}.average"] = float(average)
    if row.covered_ms is not None:
        highest["covered_ms"] = Int64(row.covered_ms)
    return {op: part for op, part in (("$min", lowest), ("$max", highest), ("$set", mean)) if part}


def _replacing(row: Trend) -> Fields:
    """Returns the operators that write a minute as it is."""
    values = _values(row)
    if row.covered_ms is not None:
        values["covered_ms"] = Int64(row.covered_ms)
    gone = dict.fromkeys({*ORIGINAL_FIELDS.values(), "other", "covered_ms"} - values.keys(), "")
    return {op: part for op, part in (("$set", values), ("$unset", gone)) if part}


def _values(row: Trend) -> Fields:
    values: Fields = {}
    for key, (low, high, average) in row.metrics.items():
        three: Fields = {"min": float(low), "max": float(high), "average": float(average)}
        if key in row.histograms:
            three["histogram"] = Binary(row.histograms[key].packed)
        if key in ORIGINAL_FIELDS:
            values[ORIGINAL_FIELDS[key]] = three
        else:
            values.setdefault("other", {})[key] = three
    return values


def _trend(document: Fields) -> Trend:
    """Reads a minute; an original one has no start."""
    covered_ms = document.get("covered_ms")
    return Trend(
        box_id_of(document),
        int(document.get("start_ms", int(document["timestamp_ms"]) - TREND_MS)),
        _metrics(document),
        int(document.get("length_ms", TREND_MS)),
        None if covered_ms is None else int(covered_ms),
    )


def _rollup(document: Fields) -> Trend:
    return Trend(
        str(document["box_id"]),
        int(document["start_ms"]),
        _metrics(document),
        int(document["length_ms"]),
        int(document["covered_ms"]),
        {
            key: TrendHistogram(bytes(document[field]["histogram"]))
            for key, field in ORIGINAL_FIELDS.items()
            if "histogram" in document.get(field, {})
        },
    )


def _metrics(document: Fields) -> dict[str, tuple[float, float, float]]:
    parts = {key: document[field] for key, field in ORIGINAL_FIELDS.items() if document.get(field)}
    parts.update(document.get("other", {}))
    found = {key: [part.get(name) for name in ("min", "max", "average")] for key, part in parts.items()}
    whole = {key: three for key, three in found.items() if None not in three}
    return {key: (float(low), float(high), float(mean)) for key, (low, high, mean) in whole.items()}
