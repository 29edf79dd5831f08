"""Findings and the incidents they make, in the embedded store."""

import json
import sqlite3
import time
from collections.abc import Sequence
from functools import partial
from itertools import groupby

from opq_cloud.store.documents import incident_document, known_from_document
from opq_cloud.store.embedded_events import box_location
from opq_cloud.store.join import JoinPlan, KnownFinding, incident_of, join, neighbourhood, stored
from opq_cloud.store.schema import EmbeddedPart, next_number
from opq_cloud.store.store import JOIN_NS
from opq_proto.messages import Finding, Incident, StoredFinding


class EmbeddedFindings(EmbeddedPart):
    """Rows of `incidents`, one per finding; `group_id` is the incident."""

    def put_findings(
        self, event_id: int, findings: Sequence[Finding], join_ns: int = JOIN_NS
    ) -> list[StoredFinding]:
        if not findings:
            return []
        expire_at = int(time.time()) + self._ttls.incidents

        def job(connection: sqlite3.Connection) -> list[StoredFinding]:
            plan = _plan(connection, event_id, findings, join_ns)
            for later, earlier in plan.moved:
                connection.execute(
                    "UPDATE incidents SET group_id = ?1, document = json_set(document, '$.group_id', ?1) "
                    "WHERE group_id = ?2",
                    (earlier, later),
                )
            for known in plan.written:
                _write(connection, known, expire_at)
            connection.executemany(
                "DELETE FROM incidents WHERE incident_id = ?", ((gone,) for gone in plan.removed)
            )
            connection.execute(  # what an incident rests on is kept as long as the incident
                "UPDATE events SET expire_at = max(expire_at, ?) WHERE event_id = ?", (expire_at, event_id)
            )
            return [stored(known) for known in plan.answer]

        return self._database.write(job)

    def next_finding_id(self) -> int:
        return self._database.write(lambda connection: next_number(connection, "incident_id"))

    def incident(self, incident_id: int) -> Incident | None:
        with self._database.read() as connection:
            rows = connection.execute("SELECT document FROM incidents WHERE group_id = ?", (incident_id,))
            known = [known_from_document(json.loads(text)) for (text,) in rows]
        return incident_of(known) if known else None

    def incidents(
        self, after_id: int = 0, start_ns: int | None = None, end_ns: int | None = None, limit: int = 100
    ) -> list[Incident]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT group_id, document FROM incidents WHERE group_id IN (SELECT group_id FROM incidents "
                "WHERE group_id > ?1 GROUP BY group_id HAVING (?2 IS NULL OR max(end_ns) > ?2) "
                "AND (?3 IS NULL OR min(start_ns) < ?3) ORDER BY group_id DESC LIMIT ?4) "
                "ORDER BY group_id DESC",
                (after_id, start_ns, end_ns, limit),
            ).fetchall()
        groups = groupby(rows, key=lambda row: row[0])
        return [
            incident_of([known_from_document(json.loads(row[1])) for row in group]) for _, group in groups
        ]


def _plan(
    connection: sqlite3.Connection, event_id: int, findings: Sequence[Finding], join_ns: int
) -> JoinPlan:
    def between(start_ns: int, end_ns: int) -> list[KnownFinding]:
        rows = connection.execute(
            "SELECT document FROM incidents WHERE end_ns >= ? AND start_ns <= ?", (start_ns, end_ns)
        )
        return [known_from_document(json.loads(text)) for (text,) in rows]

    known = neighbourhood(between, findings, join_ns)
    next_finding = partial(next_number, connection, "incident_id")
    next_incident = partial(next_number, connection, "group_id")
    return join(known, findings, event_id, join_ns, next_finding, next_incident)


def _write(connection: sqlite3.Connection, known: KnownFinding, expire_at: int) -> None:
    document = incident_document(known, expire_at, box_location(connection, known.finding.box_id))
    connection.execute(
        "INSERT INTO incidents VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (incident_id) DO UPDATE SET "
        "group_id = excluded.group_id, start_ns = excluded.start_ns, end_ns = excluded.end_ns, "
        "expire_at = excluded.expire_at, document = excluded.document",
        (
            known.finding_id, known.incident_id, known.finding.start_ns, known.finding.end_ns,
            expire_at, json.dumps(document),
        ),
    )  # fmt: skip


def expire_findings(connection: sqlite3.Connection, now_s: int, slice_rows: int) -> int:
    done = connection.execute(
        "DELETE FROM incidents WHERE incident_id IN "
        "(SELECT incident_id FROM incidents WHERE expire_at <= ? LIMIT ?)",
        (now_s, slice_rows),
    )
    return done.rowcount
