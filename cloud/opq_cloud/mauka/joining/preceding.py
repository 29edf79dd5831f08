"""Finds the incident that each one follows: the one that ended where it began, or changed last at its first
Box.

It began where the first Boxes in its order of arrival saw it at the same moment. An incident's facts name
them, so that one of 10,000 Boxes is not read for it.
Pure; it reads the store through `JoinStore`.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Protocol

from opq_cloud.mauka.joining.onset_rule import (
    AROUND_NS,
    SAME_MOMENT_NS,
    OnsetKey,
    follows,
    last_change_ns,
    onset_key,
    same_moment,
)
from opq_cloud.store.incidents.join_plan import FindingOnset, IncidentFacts, KnownFinding
from opq_cloud.store.store import JoinStore


class PlannedFindings(Protocol):
    """Findings as a plan leaves them (`planning.JoinPlanning`)."""

    of_box: dict[str, dict[int, KnownFinding]]
    since: dict[str, OnsetKey]

    def as_moved(self, known: Iterable[KnownFinding]) -> list[FindingOnset]: ...

    def facts_of(self, number: int) -> IncidentFacts | None: ...


class PrecedingIncidents:
    """Completes the facts of one plan."""

    def __init__(self, reader: JoinStore, planned: PlannedFindings, facts: dict[int, IncidentFacts]) -> None:
        """`facts`: those of the plan, by incident; `follows` is set in them."""
        self._reader, self._planned, self._facts = reader, planned, facts

    def set_follows(self, again: Iterable[int]) -> None:
        """Sets the preceding incident of each incident for which it may have changed.

        Args:
            again: incidents whose facts are made from all of their findings.
        """
        for number in {*again, *self._changed_before()}:
            known = self._facts_now(number)
            if known is not None and (before := self._preceding(known)) != known.follows:
                self._facts[number] = replace(known, follows=before)

    def _changed_before(self) -> set[int]:
        """Returns the incidents that have another past or another beginning at one of their first Boxes."""
        found: set[int] = set()
        for box_id, since in self._planned.since.items():
            rows = self._planned.as_moved(self._planned.of_box[box_id].values())
            for one in rows:
                known = None if onset_key(one) < since else self._facts_now(one.incident_id)
                if known is None or all(each.box_id != box_id for each in known.arrivals):
                    continue
                if known.follows is not None or any(follows(each, one) for each in rows):
                    found.add(one.incident_id)
        return found

    def _preceding(self, incident: IncidentFacts) -> int | None:
        """Returns what ended where this one began, else what changed last at its first Box."""
        moment_ns = incident.start_ns - SAME_MOMENT_NS, incident.start_ns + SAME_MOMENT_NS
        there = self._onsets({each.box_id for each in incident.arrivals}, *moment_ns)
        began: list[FindingOnset] = []
        for one in sorted(there, key=onset_key):
            is_own = one.incident_id == incident.incident_id
            if is_own and (not began or same_moment(began[0], one)):
                began.append(one)
        if not began:
            return None
        earlier: list[tuple[bool, int, OnsetKey, int]] = []
        for one in began:
            rows = there
            if one is began[0]:
                rows = self._onsets([one.box_id], one.start_ns - AROUND_NS, one.start_ns)
            for each in rows:
                if each.box_id != one.box_id or each.incident_id == one.incident_id or not follows(each, one):
                    continue
                ended = abs(each.end_ns - one.start_ns) <= SAME_MOMENT_NS
                if ended or one is began[0]:
                    order_ns = -each.start_ns if ended else last_change_ns(each, one)
                    earlier.append((ended, order_ns, onset_key(each), each.incident_id))
        return max(earlier)[-1] if earlier else None

    def _onsets(self, box_ids: Collection[str], first_ns: int, last_ns: int) -> list[FindingOnset]:
        """Returns the sharp onsets of these Boxes' findings within this span, as they will be."""
        known = {one.finding_id: one for one in self._reader.findings_of_boxes(box_ids, first_ns, last_ns)}
        for box_id in box_ids:
            known |= self._planned.of_box.get(box_id, {})
        return [
            one
            for one in self._planned.as_moved(known.values())
            if one.end_ns >= first_ns and one.start_ns <= last_ns
        ]

    def _facts_now(self, number: int) -> IncidentFacts | None:
        return self._facts.get(number) or (None if number < 0 else self._planned.facts_of(number))
