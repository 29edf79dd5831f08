"""Findings in memory that are joined as a store would, and a sag to begin with."""

from collections.abc import Collection
from dataclasses import replace
from itertools import count

from opq_cloud.mauka.joining.planning import plan_join
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.incidents.join_plan import (
    FindingOnset,
    GivenNumbers,
    IncidentFacts,
    JoinPlan,
    KnownFinding,
    carried_out,
    onset,
)
from opq_proto.messages import Finding

MS = 1_000_000


def sag(start_ms: int, end_ms: int, box_id: str = "1", uncertainty_ms: int = 0, **more: object) -> Finding:
    finding = Finding("sag", box_id, start_ms * MS, end_ms * MS, uncertainty_ms * MS)
    return replace(finding, **more)  # type: ignore[arg-type]


class Table:
    """Findings in memory: read for a plan, and written as it says."""

    def __init__(self, places: dict[str, BoxPlace] | None = None) -> None:
        self.known: dict[int, KnownFinding] = {}
        self.facts: dict[int, IncidentFacts] = {}
        self._findings, self._incidents = count(1), count(1)
        self._places = places or {}
        self.read = 0

    def join_revision(self) -> int:
        return 0

    def findings_of_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
        every = [one for one in self.known.values() if one.finding.box_id == box_id]
        return [one for one in every if one.finding.end_ns >= start_ns and one.finding.start_ns <= end_ns]

    def findings_of_boxes(self, box_ids: Collection[str], start_ns: int, end_ns: int) -> list[KnownFinding]:
        return [one for box_id in box_ids for one in self.findings_of_box(box_id, start_ns, end_ns)]

    def findings_of_incident(self, incident_id: int) -> list[KnownFinding]:
        found = [one for one in self.known.values() if one.incident_id == incident_id]
        self.read += len(found)
        return found

    def onsets(self, start_ns: int, end_ns: int, leading: bool = False) -> list[FindingOnset]:
        every = [onset(one) for one in self.known.values()]
        found = [one for one in every if start_ns <= one.start_ns <= end_ns]
        self.read += len(found)
        return [one for one in found if one.leads is not False or not leading]

    def incident_facts(self, incident_id: int) -> IncidentFacts | None:
        return self.facts.get(incident_id)

    def place_of(self, box_id: str, t_ns: int) -> BoxPlace:
        return self._places.get(box_id, BoxPlace())

    def put(self, findings: list[Finding], event_id: int = 1) -> JoinPlan:
        return self.carry_out(plan_join(self, findings, event_id, self.place_of))

    def carry_out(self, plan: JoinPlan) -> JoinPlan:
        numbers = GivenNumbers(
            [next(self._findings) for _ in range(plan.new_findings())],
            [next(self._incidents) for _ in range(plan.new_incidents())],
        )
        for move in plan.moved:
            place = numbers.incident(move.incident_id)
            known = self.known[move.finding_id]
            self.known[move.finding_id] = replace(known, incident_id=place, leads=move.leads)
        for known in map(numbers.known, plan.written):
            self.known[known.finding_id] = known
        for gone in plan.removed:
            del self.known[gone]
        for facts in map(numbers.facts, plan.facts):
            self.facts[facts.incident_id] = facts
        for number in plan.gone:
            del self.facts[number]
        assert set(self.facts) == {known.incident_id for known in self.known.values()}
        self.answer = carried_out(plan, numbers)
        return plan

    def incidents(self) -> set[frozenset[Finding]]:
        return set(self._groups().values())

    def _groups(self) -> dict[int, frozenset[Finding]]:
        groups: dict[int, set[Finding]] = {}
        for known in self.known.values():
            groups.setdefault(known.incident_id, set()).add(known.finding)
        return {number: frozenset(group) for number, group in groups.items()}

    def contents(self) -> set[tuple[frozenset[Finding], frozenset[Finding] | None, IncidentFacts]]:
        """Each incident, the one that it follows, and its facts; without numbers."""
        groups = self._groups()
        return {
            (
                groups[number],
                None if facts.follows is None else groups[facts.follows],
                replace(facts, incident_id=0, follows=None),
            )
            for number, facts in self.facts.items()
        }
