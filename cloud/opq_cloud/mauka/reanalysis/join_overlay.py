"""JoinOverlay: a store's findings with the changes of plans that were not written; the store stays as it is.

A dry run plans against it as against the store itself. New findings and incidents get numbers from
`FIRST_NUMBER` on, which no store has.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from itertools import count, islice

from opq_cloud.store.incidents.join_plan import (
    CarriedOut,
    FindingOnset,
    GivenNumbers,
    IncidentFacts,
    JoinPlan,
    KnownFinding,
    carried_out,
    onset,
)
from opq_cloud.store.store import JoinStore

FIRST_NUMBER = 2**62
BUCKET_NS = 60 * 10**9
Key = tuple[str, str | int]


class JoinOverlay:
    """Belongs to one dry run; holds what the plans changed, and reads the rest from the store."""

    def __init__(self, store: JoinStore) -> None:
        self._store = store
        self._changed: dict[int, KnownFinding | None] = {}
        """None: removed."""
        self._facts: dict[int, IncidentFacts | None] = {}
        self._changed_at: dict[Key, set[int]] = {}
        """Box, incident or minute of the onset -> numbers of the changed findings that may be there."""
        self._plans = 0
        self._findings, self._incidents = count(FIRST_NUMBER), count(FIRST_NUMBER)

    def join_revision(self) -> int:
        return self._plans

    def findings_of_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
        changed = [
            one
            for one in self._changed_ones(("box", box_id))
            if one.finding.box_id == box_id
            and one.finding.end_ns >= start_ns
            and one.finding.start_ns <= end_ns
        ]
        return self._unchanged(self._store.findings_of_box(box_id, start_ns, end_ns)) + changed

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        return [one for box_id in box_ids for one in self.findings_of_box(box_id, start_ns, end_ns)]

    def findings_of_incident(self, incident_id: int) -> list[KnownFinding]:
        stored = self._store.findings_of_incident(incident_id) if incident_id < FIRST_NUMBER else []
        changed = self._changed_ones(("incident", incident_id))
        return self._unchanged(stored) + [one for one in changed if one.incident_id == incident_id]

    def onsets(self, start_ns: int, end_ns: int, leading: bool = False) -> list[FindingOnset]:
        stored = self._store.onsets(start_ns, end_ns, leading)
        found = [one for one in stored if one.finding_id not in self._changed]
        minutes = range(start_ns // BUCKET_NS, end_ns // BUCKET_NS + 1)
        near = {one.finding_id: one for minute in minutes for one in self._changed_ones(("minute", minute))}
        return found + [
            onset(one)
            for one in near.values()
            if start_ns <= one.finding.start_ns <= end_ns and (one.leads is not False or not leading)
        ]

    def incident_facts(self, incident_id: int) -> IncidentFacts | None:
        if incident_id in self._facts:
            return self._facts[incident_id]
        return self._store.incident_facts(incident_id)

    def carry_out(self, plan: JoinPlan) -> CarriedOut | None:
        """Works as a store's. A plan moves findings only of incidents that it contains facts about."""
        if plan.revision != self._plans:
            return None
        self._plans += 1
        before = {one.finding_id: one for one in self._members(plan)}
        numbers = GivenNumbers(
            list(islice(self._findings, plan.new_findings())),
            list(islice(self._incidents, plan.new_incidents())),
        )
        for move in plan.moved:
            place = numbers.incident(move.incident_id)
            self._note(replace(before[move.finding_id], incident_id=place, leads=move.leads))
        for known in map(numbers.known, plan.written):
            self._note(known)
        self._changed.update(dict.fromkeys(plan.removed))
        self._facts.update(dict.fromkeys(plan.gone))
        for facts in map(numbers.facts, plan.facts):
            self._facts[facts.incident_id] = facts
        return carried_out(plan, numbers)

    def _members(self, plan: JoinPlan) -> Iterable[KnownFinding]:
        """Returns the findings of the incidents that the plan changes, as they were before."""
        for number in {*(one.incident_id for one in plan.facts), *plan.gone}:
            yield from self.findings_of_incident(number)

    def _note(self, known: KnownFinding) -> None:
        one = known.finding
        self._changed[known.finding_id] = known
        keys: tuple[Key, ...] = (
            ("box", one.box_id), ("incident", known.incident_id), ("minute", one.start_ns // BUCKET_NS),
        )  # fmt: skip
        for key in keys:
            self._changed_at.setdefault(key, set()).add(known.finding_id)

    def _changed_ones(self, key: Key) -> list[KnownFinding]:
        numbers = self._changed_at.get(key, ())
        return [one for number in numbers if (one := self._changed[number]) is not None]

    def _unchanged(self, stored: Iterable[KnownFinding]) -> list[KnownFinding]:
        return [one for one in stored if one.finding_id not in self._changed]
