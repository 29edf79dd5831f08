"""Findings and their incidents in the embedded store: reads them for a plan, and carries the plan out."""

import json
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter

from opq_cloud.store.documents.findings import incident_document, known_from_document
from opq_cloud.store.embedded.driver import SqliteDocuments
from opq_cloud.store.embedded.incident_index import forget_incident, index_plan, labels, successors_of
from opq_cloud.store.embedded.incident_parts import enter_parts, pairs_of
from opq_cloud.store.embedded.schema import EmbeddedPart, next_number, next_numbers
from opq_cloud.store.incidents.join_plan import (
    CarriedOut,
    FindingOnset,
    GivenNumbers,
    IncidentFacts,
    JoinPlan,
    KnownFinding,
    carried_out,
    incident_of,
    with_label,
)
from opq_cloud.store.records.part import box_locations
from opq_proto.messages import Incident

_ONSETS = (
    "SELECT incident_id, group_id, box_id, kind, start_ns, end_ns, uncertainty_ns, clock_id, leads, by_hand, "
    "samples_began_ns FROM incidents WHERE start_ns BETWEEN ? AND ?"
)


class EmbeddedFindings(EmbeddedPart):
    """Rows of `incidents`, one per finding; `group_id` is the incident, with facts in `incident_facts`."""

    def join_revision(self) -> int:
        with self._database.read() as connection:
            return _revision(connection)

    def findings_of_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM incidents WHERE box_id = ? AND end_ns >= ? AND start_ns <= ?",
                (box_id, start_ns, end_ns),
            )
            return [known_from_document(json.loads(text)) for (text,) in rows]

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM incidents WHERE box_id IN (SELECT value FROM json_each(?)) "
                "AND end_ns >= ? AND start_ns <= ?",
                (json.dumps(list(box_ids)), start_ns, end_ns),
            )
            return [known_from_document(json.loads(text)) for (text,) in rows]

    def findings_of_incident(self, incident_id: int) -> list[KnownFinding]:
        with self._database.read() as connection:
            rows = connection.execute("SELECT document FROM incidents WHERE group_id = ?", (incident_id,))
            return [known_from_document(json.loads(text)) for (text,) in rows]

    def onsets(self, start_ns: int, end_ns: int, leading: bool = False) -> list[FindingOnset]:
        only = " AND leads IS NOT 0" if leading else ""
        with self._database.read() as connection:
            rows = connection.execute(_ONSETS + only, (start_ns, end_ns))
            return [
                replace(
                    FindingOnset(*row), leads=None if row[8] is None else bool(row[8]), by_hand=bool(row[9])
                )
                for row in rows
            ]

    def incident_facts(self, incident_id: int) -> IncidentFacts | None:
        with self._database.read() as connection:
            return _facts(connection, [incident_id]).get(incident_id)

    def carry_out(self, plan: JoinPlan) -> CarriedOut | None:
        expire_at = int(time.time()) + self._ttls.incidents

        def job(connection: sqlite3.Connection) -> CarriedOut | None:
            if _revision(connection) != plan.revision:
                return None
            if plan.changes:
                next_number(connection, "joins")
            numbers = GivenNumbers(
                next_numbers(connection, "incident_id", plan.new_findings()),
                next_numbers(connection, "group_id", plan.new_incidents()),
            )
            _write_plan(connection, plan, numbers, expire_at)
            connection.executemany(  # the events of an incident are kept as long as the incident
                "UPDATE events SET expire_at = max(expire_at, ?) WHERE event_id = ?",
                ((expire_at, event_id) for event_id in (plan.event_id, *plan.more_events)),
            )
            return carried_out(plan, numbers)

        return self._database.write(job)

    def next_finding_id(self) -> int:
        return self._database.write(lambda connection: next_number(connection, "incident_id"))

    def incident(self, incident_id: int) -> Incident | None:
        return next(iter(self.incidents_of([incident_id])), None)

    def incidents_of(self, incident_ids: Sequence[int]) -> list[Incident]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT group_id, document FROM incidents WHERE group_id IN "
                "(SELECT value FROM json_each(?)) ORDER BY group_id",
                (json.dumps(list(incident_ids)),),
            ).fetchall()
            found = {each.incident_id: each for each in _incidents(connection, rows)}
        return [found[number] for number in incident_ids if number in found]

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
            return list(_incidents(connection, rows))


def _revision(connection: sqlite3.Connection) -> int:
    found = connection.execute("SELECT value FROM counters WHERE name = 'joins'").fetchone()
    return 0 if found is None else int(found[0])


def _incidents(connection: sqlite3.Connection, rows: Sequence[tuple[int, str]]) -> Iterator[Incident]:
    """Yields the incidents of these findings; rows are (group_id, document), grouped by incident."""
    numbers = list(dict.fromkeys(number for number, _ in rows))
    facts, given = _facts(connection, numbers), labels(connection, numbers)
    for number, group in groupby(rows, key=itemgetter(0)):
        known = [known_from_document(json.loads(text)) for _, text in group]
        yield with_label(incident_of(known, facts.get(number)), given.get(number))


def _facts(connection: sqlite3.Connection, numbers: Sequence[int]) -> dict[int, IncidentFacts]:
    """Returns incident -> facts, for incidents that have any."""
    rows = connection.execute(
        "SELECT group_id, document FROM incident_facts WHERE group_id IN (SELECT value FROM json_each(?))",
        (json.dumps(numbers),),
    )
    return {number: IncidentFacts.of_document(json.loads(text)) for number, text in rows}


def _write_plan(
    connection: sqlite3.Connection, plan: JoinPlan, numbers: GivenNumbers, expire_at: int
) -> None:
    successors = successors_of(connection, plan)
    stored = [one.finding_id for one in plan.written if one.finding_id > 0]
    placed = [*stored, *(one.finding_id for one in plan.moved), *plan.removed]
    changed, pairs = _left_by(connection, placed), pairs_of(connection, placed)
    for move in plan.moved:
        connection.execute(
            "UPDATE incidents SET group_id = ?1, document = "
            "json_set(document, '$.group_id', ?1, '$.leads', json(?2)) WHERE incident_id = ?3",
            (numbers.incident(move.incident_id), json.dumps(move.leads), move.finding_id),
        )
    written = [numbers.known(one) for one in plan.written]
    _write(connection, written, expire_at)
    connection.executemany("DELETE FROM incidents WHERE incident_id = ?", ((gone,) for gone in plan.removed))
    connection.executemany(
        "INSERT OR REPLACE INTO incident_facts VALUES (?, ?)",
        (
            (facts.incident_id, json.dumps(facts.as_document()))
            for facts in (numbers.facts(one) for one in plan.facts)
        ),
    )
    connection.executemany("DELETE FROM incident_facts WHERE group_id = ?", ((gone,) for gone in plan.gone))
    entered = [numbers.facts(one) for one in plan.facts]
    added = [(known.incident_id, known.finding.box_id) for known in written]
    moved = [numbers.incident(one.incident_id) for one in plan.moved]
    index_plan(connection, entered, added, sorted({*changed, *moved} - {*plan.gone}), plan.gone, successors)
    enter_parts(
        connection, [*pairs, *pairs_of(connection, placed), *added], written, {*numbers.incidents} - {*moved}
    )


def _left_by(connection: sqlite3.Connection, finding_ids: Sequence[int]) -> list[int]:
    """Returns the incidents that contain these findings, whose Boxes may change."""
    rows = connection.execute(
        "SELECT DISTINCT group_id FROM incidents WHERE incident_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(finding_ids)),),
    )
    return [int(number) for (number,) in rows]


def _write(connection: sqlite3.Connection, written: Sequence[KnownFinding], expire_at: int) -> None:
    locations = box_locations(SqliteDocuments(connection), {one.finding.box_id for one in written})
    connection.executemany(
        "INSERT INTO incidents VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (incident_id) DO UPDATE SET "
        "group_id = excluded.group_id, start_ns = excluded.start_ns, end_ns = excluded.end_ns, "
        "expire_at = excluded.expire_at, document = excluded.document",
        (
            (
                known.finding_id, known.incident_id, known.finding.start_ns, known.finding.end_ns, expire_at,
                json.dumps(incident_document(known, expire_at, locations.get(known.finding.box_id, ""))),
            )
            for known in written
        ),
    )  # fmt: skip


def expire_findings(connection: sqlite3.Connection, now_s: int, slice_rows: int) -> int:
    due = connection.execute(
        "SELECT incident_id, group_id, box_id FROM incidents WHERE expire_at <= ? LIMIT ?",
        (now_s, slice_rows),
    ).fetchall()
    connection.executemany("DELETE FROM incidents WHERE incident_id = ?", ((row[0],) for row in due))
    for number in {row[1] for row in due}:
        if connection.execute("SELECT 1 FROM incidents WHERE group_id = ?", (number,)).fetchone() is None:
            connection.execute("DELETE FROM incident_facts WHERE group_id = ?", (number,))
            forget_incident(connection, number)
    enter_parts(connection, [(row[1], row[2]) for row in due])
    return len(due)
