"""Which incident each one follows: what ended where it began, or what changed last at its first Box.

Pure; it reads the store through `NearFindings`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from opq_cloud.mauka.joining.near_findings import AROUND_NS, NearFindings
from opq_cloud.mauka.joining.onset_rule import (
    SAME_MOMENT_NS,
    OnsetKey,
    follows,
    last_change_ns,
    onset_key,
    same_moment,
)
from opq_cloud.mauka.measuring.sightings import is_steady
from opq_cloud.store.incidents.join_plan import FindingOnset, IncidentFacts, KnownFinding, onset
from opq_cloud.store.store import JoinStore

MAX_BEGINNINGS = 12
"""Of an incident of at most this many Boxes, all that saw its beginning show which incident it follows; of a
larger one its first Box alone, so that it grows without being read."""


class PrecedingIncidents:
    """Completes the facts of one plan."""

    def __init__(self, reader: JoinStore, near: NearFindings, facts: dict[int, IncidentFacts]) -> None:
        """`facts`: those of the plan, by incident; `follows` is set in them."""
        self._reader, self._near, self._facts = reader, near, facts

    def set_follows(
        self, whole_ones: dict[int, list[KnownFinding]], written: dict[int, KnownFinding]
    ) -> None:
        """Sets the preceding incident of each incident for which it may have changed.

        Args:
            whole_ones: all findings of the incidents that were read.
        """
        leaders = self._changed_before()
        for number in whole_ones.keys() | leaders.keys() | self._now_large():
            known = self._facts_now(number)
            if known is None:
                continue
            leader = leaders.get(number)
            if known.boxes > MAX_BEGINNINGS and leader is not None:
                began = [leader]
            else:
                members = whole_ones.get(number) or self._grown_incident(number, written)
                began = _beginnings(members, known.boxes)
            if began and (before := self._preceding(number, began)) != known.follows:
                self._facts[number] = replace(known, follows=before)

    def _grown_incident(self, number: int, written: dict[int, KnownFinding]) -> list[KnownFinding]:
        """Returns all findings of an incident to which this plan only adds."""
        every = dict(self._near.members_of(number)) if number > 0 else {}
        every |= {known.finding_id: known for known in written.values() if known.incident_id == number}
        return [one for one in every.values() if one.finding_id not in self._near.removed]

    def _now_large(self) -> set[int]:
        """Returns the incidents that have more than `MAX_BEGINNINGS` Boxes since this plan."""
        before = {number: self._near.facts_of(number) for number in self._facts if number > 0}
        return {
            number
            for number, known in before.items()
            if known is not None and known.boxes <= MAX_BEGINNINGS < self._facts[number].boxes
        }

    def _changed_before(self) -> dict[int, FindingOnset | None]:
        """Returns the incidents that have another past at a Box, with their first onset if it is there."""
        found: dict[int, FindingOnset | None] = {}
        for box_id, since in self._near.since.items():
            own = self._near.of_box[box_id].values()
            later = [one for one in own if onset_key(one.finding) >= since]
            if not any(self._shows_beginning(one) for one in later):
                continue  # as nearly all findings of a large incident
            rows = self._near.as_moved(own)
            for one in rows:
                known = None if onset_key(one) < since else self._facts_now(one.incident_id)
                if known is None or (not one.leads and known.boxes > MAX_BEGINNINGS):
                    continue
                if known.follows is None and not any(follows(each, one) for each in rows):
                    continue
                found[one.incident_id] = one if one.leads else found.get(one.incident_id)
        return found

    def _preceding(self, number: int, began: Sequence[FindingOnset]) -> int | None:
        """Returns what ended where this one began, else what changed last at its first Box."""
        first_ns, last_ns = began[0].start_ns - AROUND_NS, began[0].start_ns + AROUND_NS
        stored = self._reader.findings_of_boxes([one.box_id for one in began], first_ns, last_ns)
        earlier: list[tuple[bool, int, OnsetKey, int]] = []
        for one in began:
            known = {each.finding_id: each for each in stored if each.finding.box_id == one.box_id}
            known |= self._near.of_box.get(one.box_id, {})
            for each in self._near.as_moved(known.values()):
                if each.incident_id == number or not follows(each, one):
                    continue
                ended = abs(each.end_ns - one.start_ns) <= SAME_MOMENT_NS
                if ended or one is began[0]:
                    order_ns = -each.start_ns if ended else last_change_ns(each, one)
                    earlier.append((ended, order_ns, onset_key(each), each.incident_id))
        return max(earlier)[-1] if earlier else None

    def _facts_now(self, number: int) -> IncidentFacts | None:
        return self._facts.get(number) or (None if number < 0 else self._near.facts_of(number))

    def _shows_beginning(self, one: KnownFinding) -> bool:
        if is_steady(one.finding.kind):
            return False
        if one.leads is not False or one.finding_id in self._near.moved:
            return True
        known = self._facts_now(one.incident_id)
        return known is not None and known.boxes <= MAX_BEGINNINGS


def _beginnings(members: Iterable[KnownFinding], boxes: int) -> list[FindingOnset]:
    """Returns the first onset of an incident, then those of other Boxes at the same moment if it has few."""
    sharp = sorted((onset(one) for one in members if not is_steady(one.finding.kind)), key=onset_key)
    leader = next((one for one in sharp if one.leads), None)
    if leader is None:
        return []
    first = {leader.box_id: leader}
    if boxes <= MAX_BEGINNINGS:
        for one in sharp:
            if onset_key(one) > onset_key(leader) and same_moment(leader, one):
                first.setdefault(one.box_id, one)
    return list(first.values())
