"""The store in MongoDB: the original's collections, fields and file names (opq-interop, part D).

An original database opens as it is, original tools read ours; what is ours are added fields,
and three collections of ours: `opq_counters`, `opq_locks` and `opq_boxes`' own added fields.
"""

from collections.abc import Iterable, Sequence

from pymongo import ASCENDING

from opq_cloud.store.documents import box_document, box_from_document
from opq_cloud.store.mongo_events import MongoEvents
from opq_cloud.store.mongo_findings import MongoFindings
from opq_cloud.store.mongo_measurements import MongoMeasurements
from opq_cloud.store.mongo_server import MongoServer, told, upsert
from opq_cloud.store.store import BoxRecord, EventRecord, Trend
from opq_proto.messages import Event, Finding, Incident, Measurement, StoredFinding, Trigger, Waveform

COLLECTIONS = ("measurements", "trends", "events", "box_events", "incidents", "opq_boxes", "fs.files")


class MongoStore:
    """`store.Store` on the database of a `mongodb://…` address (its path, else `opq`)."""

    def __init__(self, uri: str) -> None:
        self._server = MongoServer(uri)
        self._rows = MongoMeasurements(self._server)
        self._events = MongoEvents(self._server)
        self._findings = MongoFindings(self._server, self._events)

    def close(self) -> None:
        self._server.client.close()

    @told
    def put_box(self, box: BoxRecord) -> None:
        change = {"$set": box_document(box)}
        boxes = self._server.db.opq_boxes
        upsert(lambda: boxes.update_one({"box_id": box.box_id}, change, upsert=True))

    @told
    def boxes(self) -> list[BoxRecord]:
        found = [box_from_document(d) for d in self._server.db.opq_boxes.find().sort("box_id", ASCENDING)]
        return sorted(found, key=lambda box: (len(box.box_id), box.box_id))

    @told
    def box(self, box_id: str) -> BoxRecord | None:
        found = self._server.db.opq_boxes.find_one({"box_id": box_id})
        return None if found is None else box_from_document(found)

    def append_measurements(self, rows: Iterable[Measurement]) -> int:
        return self._rows.append(rows)

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = 100_000
    ) -> list[Measurement]:
        return self._rows.query(box_id, start_ms, end_ms, limit)

    def latest_measurements(self) -> dict[str, Measurement]:
        return self._rows.latest()

    def sequences(self, box_id: str, first: int, last: int) -> list[int]:
        return self._rows.sequences(box_id, first, last)

    def highest_sequence(self, box_id: str) -> int | None:
        return self._rows.highest_sequence(box_id)

    def put_trend(self, trend: Trend, location: str | None = None) -> None:
        self._rows.put_trend(trend, location)

    def trends(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        return self._rows.trends(box_id, start_ms, end_ms)

    def next_event_id(self) -> int:
        return self._events.next_id()

    def open_event(self, trigger: Trigger, description: str) -> int:
        return self._events.open(trigger, description)

    def put_waveform(self, event_id: int, wave: Waveform) -> bool:
        return self._events.put_waveform(event_id, wave)

    def mark_missing(self, event_id: int, box_id: str, why: str) -> None:
        self._events.mark_missing(event_id, box_id, why)

    def finish_event(self, event_id: int) -> bool:
        return self._events.finish(event_id)

    def unfinished_events(self) -> list[EventRecord]:
        return self._events.unfinished()

    def unanalysed_events(self) -> list[EventRecord]:
        return self._events.unanalysed()

    def mark_analysed(self, event_id: int) -> None:
        self._events.mark_analysed(event_id)

    def event(self, event_id: int) -> Event | None:
        return self._events.event(event_id)

    def event_record(self, event_id: int) -> EventRecord | None:
        return self._events.record(event_id)

    def events(
        self, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[EventRecord]:
        return self._events.records(start_ns, end_ns, limit)

    def put_findings(
        self, event_id: int, findings: Sequence[Finding], join_ns: int = 200_000_000
    ) -> list[StoredFinding]:
        return self._findings.put(event_id, findings, join_ns)

    def incident(self, incident_id: int) -> Incident | None:
        return self._findings.incident(incident_id)

    def incidents(
        self, after_id: int = 0, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[Incident]:
        return self._findings.incidents(after_id, start_ns, end_ns, limit)

    @told
    def expire(self, now_s: int, slice_rows: int = 1000) -> int:
        gone = 0
        for rows in (self._server.db.measurements, self._server.db.trends):
            due = [d["_id"] for d in rows.find({"expire_at": {"$lte": now_s}}, {"_id": 1}).limit(slice_rows)]
            gone += rows.delete_many({"_id": {"$in": due}}).deleted_count if due else 0
        gone += self._events.expire(now_s, max(1, slice_rows // 100))
        return gone + self._findings.expire(now_s, slice_rows)

    @told
    def counts(self) -> dict[str, int]:
        return {name: self._server.db[name].estimated_document_count() for name in COLLECTIONS}
