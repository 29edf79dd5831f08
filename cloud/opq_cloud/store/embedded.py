"""The store in one SQLite file: the default, no server and nothing to install.

Each table's work is in a file of its own; this one only puts them behind the interface.
"""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from opq_cloud.store.database import BUSY_S, Database
from opq_cloud.store.documents import box_document, box_from_document
from opq_cloud.store.event_table import EventTable, expire_events
from opq_cloud.store.finding_table import FindingTable, expire_findings
from opq_cloud.store.measurement_log import SEAL_ROWS, MeasurementLog
from opq_cloud.store.retention import Ttls
from opq_cloud.store.store import BoxRecord, EventRecord, Trend
from opq_cloud.store.trend_table import TrendTable, expire_trends
from opq_proto.messages import Event, Finding, Incident, Measurement, StoredFinding, Trigger, Waveform


class EmbeddedStore:
    """`store.Store` on the file at `path`; several processes may hold it at once."""

    def __init__(
        self, path: Path, ttls: Ttls | None = None, busy_s: float = BUSY_S, seal_rows: int = SEAL_ROWS
    ) -> None:
        self._ttls = ttls or Ttls()
        self._database = Database(path, busy_s)
        self._log = MeasurementLog(self._database, self._ttls.measurements, seal_rows)
        self._trends = TrendTable(self._database)
        self._events = EventTable(self._database, self._ttls.events)
        self._findings = FindingTable(self._database, self._ttls.incidents)

    def close(self) -> None:
        self._log.close()
        self._database.close()

    def put_box(self, box: BoxRecord) -> None:
        text = json.dumps(box_document(box))
        self._database.write(
            lambda connection: (
                connection.execute(
                    "INSERT INTO opq_boxes VALUES (?, ?) ON CONFLICT (box_id) DO UPDATE SET document = "
                    "json_patch(document, excluded.document)",
                    (box.box_id, text),
                ).rowcount
            )
        )

    def boxes(self) -> list[BoxRecord]:
        with self._database.read() as connection:
            rows = connection.execute("SELECT document FROM opq_boxes ORDER BY length(box_id), box_id")
            return [box_from_document(json.loads(text)) for (text,) in rows]

    def box(self, box_id: str) -> BoxRecord | None:
        with self._database.read() as connection:
            row = connection.execute("SELECT document FROM opq_boxes WHERE box_id = ?", (box_id,)).fetchone()
        return None if row is None else box_from_document(json.loads(row[0]))

    def append_measurements(self, rows: Iterable[Measurement]) -> int:
        return self._log.append(rows)

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = 100_000
    ) -> list[Measurement]:
        return self._log.query(box_id, start_ms, end_ms, limit)

    def latest_measurements(self) -> dict[str, Measurement]:
        return self._log.latest()

    def sequences(self, box_id: str, first: int, last: int) -> list[int]:
        return list(self._log.spans(box_id).between(first, last))

    def highest_sequence(self, box_id: str) -> int | None:
        return self._log.spans(box_id).highest

    def put_trend(self, trend: Trend, location: str | None = None) -> None:
        self._trends.put(trend, location)

    def trends(self, box_id: str, start_ms: int, end_ms: int) -> list[Trend]:
        return self._trends.query(box_id, start_ms, end_ms)

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

    def expire(self, now_s: int, slice_rows: int = 1000) -> int:
        def job(connection: sqlite3.Connection) -> int:
            return (
                expire_events(connection, now_s, max(1, slice_rows // 100))
                + expire_findings(connection, now_s, slice_rows)
                + expire_trends(connection, now_s, self._ttls.trends, slice_rows)
            )

        return self._log.expire(now_s, slice_rows) + self._database.write(job)

    def counts(self) -> dict[str, int]:
        with self._database.read() as connection:
            counts = {"measurements": self._log.count(connection)}
            for collection, table in _TABLES.items():
                counts[collection] = int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
        return counts


_TABLES = {
    "trends": "trends", "events": "events", "box_events": "box_events",
    "incidents": "incidents", "opq_boxes": "opq_boxes", "fs.files": "files",
}  # fmt: skip
