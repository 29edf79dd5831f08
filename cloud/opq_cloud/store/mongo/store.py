"""The store in MongoDB: the original's collections, fields and file names (opq-interop, part D).

An original database can be opened unchanged, and original tools can read this store's. This project adds
fields, and the collections `opq_counters`, `opq_locks`, `opq_rollups`, `opq_rollups_due`, those of the
incidents' index and those of accounts (`records.accounts.TABLES`). This module has Measurements (D.1);
trends, Boxes, events and findings have modules of their own.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain

from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING
from pymongo.errors import BulkWriteError, OperationFailure

from opq_cloud.store.documents import Document
from opq_cloud.store.documents.events import measurement_fields
from opq_cloud.store.mongo.accounts import MongoDocuments
from opq_cloud.store.mongo.boxes import MongoBoxes, MongoMakai
from opq_cloud.store.mongo.findings import MongoFindings
from opq_cloud.store.mongo.server import MongoServer, store_errors
from opq_cloud.store.mongo.trends import MongoTrends
from opq_cloud.store.records.accounts import AccountRecords
from opq_cloud.store.rows import METRIC_FIELDS
from opq_cloud.store.store import QUERY_ROWS
from opq_proto.measurement_columns import MeasurementColumns, NumberedColumns
from opq_proto.messages import Measurement, Metric, TimeSource

COLLECTIONS = ("measurements", "trends", "events", "box_events", "incidents", "opq_boxes", "fs.files")
DUPLICATE_KEY = 11000
OLDER_ROWS = 10
"""Rows of a Box that are tried for its latest Measurement, where the newest one cannot be read."""
NO_METRICS = dict.fromkeys(METRIC_FIELDS.values())
"""The original's get_event_data.py reads all four from each row; a crossing Measurement has only `rms`."""


class MongoStore(MongoTrends, MongoBoxes, MongoMakai, MongoFindings):
    """`store.CloudStore` on the database of a `mongodb://…` address (its path, else `opq`)."""

    def __init__(self, uri: str) -> None:
        super().__init__(MongoServer(uri))
        self._rows = self._db.measurements
        self.people = AccountRecords(MongoDocuments(self._server))

    @property
    def unreadable(self) -> dict[str, int]:
        return dict(self._readable.unreadable)

    def close(self) -> None:
        self._server.client.close()

    @store_errors
    def append_measurements(
        self, rows: Iterable[Measurement], columns: Iterable[NumberedColumns] = ()
    ) -> int:
        expire_at = self._server.expires(self._server.ttls.measurements)
        all_rows = chain(rows, *(each.measurements() for each in columns))
        fresh = {d["_id"]: d for d in (_document(row, expire_at) for row in all_rows)}
        plain = [d for d in fresh.values() if "sequence" not in d]
        for document in plain:  # an original row has another _id, so search by time
            key = {"box_id": document["box_id"], "timestamp_ms": document["timestamp_ms"]}
            if self._rows.find_one({**key, "sequence": {"$exists": False}}, {"_id": 1}) is not None:
                del fresh[document["_id"]]
        if not fresh:
            return 0
        try:
            return len(self._rows.insert_many(fresh.values(), ordered=False).inserted_ids)
        except BulkWriteError as error:
            if any(write["code"] != DUPLICATE_KEY for write in error.details["writeErrors"]):
                raise
            return int(error.details["nInserted"])

    def append_columns(self, columns: MeasurementColumns) -> int:
        return self.append_measurements(columns.measurements())

    @store_errors
    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]:
        span = {"box_id": box_id, "timestamp_ms": {"$gte": start_ms, "$lt": end_ms}}
        return self._read_rows(self._rows.find(span).sort("timestamp_ms", ASCENDING).limit(limit))

    @store_errors
    def latest_measurements(self) -> dict[str, Measurement]:
        """Makes one indexed query per Box, from the last Box to the first."""
        newest: dict[str, Measurement] = {}
        order = [("box_id", DESCENDING), ("timestamp_ms", DESCENDING)]
        found = self._rows.find_one({"box_id": {"$gte": ""}}, sort=order)  # no id that is no text
        while found is not None:
            older = self._rows.find({"box_id": found["box_id"]}).sort("timestamp_ms", DESCENDING)
            every = chain([found], older.skip(1).limit(OLDER_ROWS))  # the others only if it cannot be read
            row = next(self._readable.read_all("measurements", measurement_from_document, every), None)
            if row is not None:
                newest[row.box_id] = row
            found = self._rows.find_one({"box_id": {"$lt": found["box_id"]}}, sort=order)
        return newest

    def last_minutes(self, length_ms: int, limit: int) -> Iterator[list[Measurement]]:
        for box_id, newest in self.latest_measurements().items():
            yield self._last_of(box_id, newest.timestamp_ms, length_ms, limit)

    @store_errors
    def _last_of(self, box_id: str, newest_ms: int, length_ms: int, limit: int) -> list[Measurement]:
        span = {"box_id": box_id, "timestamp_ms": {"$gte": newest_ms - length_ms, "$lte": newest_ms}}
        return self._read_rows(self._rows.find(span).sort("timestamp_ms", DESCENDING).limit(limit))[::-1]

    def _read_rows(self, found: Iterable[Document]) -> list[Measurement]:
        return list(self._readable.read_all("measurements", measurement_from_document, found))

    @store_errors
    def sequences(self, box_id: str, first: int, last: int) -> list[int]:
        span = {"box_id": box_id, "sequence": {"$gte": Int64(first), "$lte": Int64(last)}}
        found = self._rows.find(span, {"_id": 0, "sequence": 1}).sort("sequence", ASCENDING)
        return [int(document["sequence"]) for document in found]

    @store_errors
    def highest_sequence(self, box_id: str) -> int | None:
        found = self._rows.find_one(
            {"box_id": box_id, "sequence": {"$gte": 0}}, {"sequence": 1}, sort=[("sequence", DESCENDING)]
        )
        return None if found is None else int(found["sequence"])

    @store_errors
    def expire(self, now_s: int, slice_rows: int = 1000) -> int:
        gone = 0
        for rows in (self._rows, self._trends, self._rollups):
            due = [d["_id"] for d in rows.find({"expire_at": {"$lte": now_s}}, {"_id": 1}).limit(slice_rows)]
            gone += rows.delete_many({"_id": {"$in": due}}).deleted_count if due else 0
        gone += self._expire_traffic(now_s, slice_rows)
        gone += self._expire_events(now_s, max(1, slice_rows // 100))
        return gone + self._expire_findings(now_s, slice_rows)

    @store_errors
    def counts(self) -> dict[str, int]:
        return {name: self._db[name].estimated_document_count() for name in COLLECTIONS}

    @store_errors
    def sizes(self) -> dict[str, int]:
        found = {}
        for name in (*COLLECTIONS, "fs.chunks"):
            with suppress(OperationFailure):  # another server with MongoDB's protocol may lack the command
                stats = self._db.command("collStats", name)
                found[name] = int(stats["size"]) + int(stats.get("totalIndexSize", 0))
        return found


def _document(row: Measurement, expire_at: Int64) -> Document:
    sequenced = row.sequence is not None
    document: Document = {
        "_id": f"{row.box_id}:{row.sequence}" if sequenced else f"{row.box_id}@{row.timestamp_ms}",
        **NO_METRICS,
        **measurement_fields(row),
        "expire_at": expire_at,
        "metrics": {
            key: {"min": float(m.min), "max": float(m.max), "average": float(m.average)}
            for key, m in row.metrics.items()
        },
        "time_source": int(row.source),
    }
    document["timestamp_ms"] = Int64(row.timestamp_ms)
    for name in ("start_ns", "end_ns", "uncertainty_ns", "sequence", "oldest_sequence", "clock_id"):
        if (value := getattr(row, name)) is not None:
            document[name] = Int64(value)
    for name in ("backfilled", "crossing"):
        if getattr(row, name):
            document[name] = True
    return document


def measurement_from_document(document: Document) -> Measurement:
    """Reads a Measurement; an original one has only averages, which become minimum and maximum too."""
    metrics = {
        key: Metric(float(three["min"]), float(three["max"]), float(three["average"]))
        for key, three in document.get("metrics", {}).items()
    }
    if "metrics" not in document:
        for key, field in METRIC_FIELDS.items():
            if (average := document.get(field)) is not None:
                metrics[key] = Metric(float(average), float(average), float(average))
    whole = {
        name: None if document.get(name) is None else int(document[name])
        for name in ("start_ns", "end_ns", "uncertainty_ns", "sequence", "oldest_sequence", "clock_id")
    }
    return Measurement(
        box_id=str(document["box_id"]),
        timestamp_ms=int(document["timestamp_ms"]),
        metrics=metrics,
        source=TimeSource(int(document.get("time_source", 0))),
        backfilled=bool(document.get("backfilled", False)),
        crossing=bool(document.get("crossing", False)),
        **whole,
    )
