"""The findings that a plan reads, and where they will be after it. It reads the store through `JoinStore`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from opq_cloud.mauka.joining.clusters import Cluster
from opq_cloud.mauka.joining.onset_rule import COMPOUND_NS, FOLLOWS_NS, OnsetKey, onset_key
from opq_cloud.mauka.joining.placing import PlacedOnset
from opq_cloud.mauka.measuring.sightings import is_steady
from opq_cloud.store.incidents.join_plan import (
    FindingMove,
    FindingOnset,
    IncidentFacts,
    KnownFinding,
    onset,
)
from opq_cloud.store.store import JoinStore
from opq_proto.messages import Finding

AROUND_NS = FOLLOWS_NS + COMPOUND_NS
"""A stored finding of the same Box may matter if it is at most this far from a new one."""


class NearFindings:
    """Findings near the new ones, and all of an incident where they are needed; each is read once.

    Attributes:
        of_box: by Box, its findings near the new ones, by number.
        moved: by number, those that belong to another incident now.
        removed: numbers of those that will be no more.
        since: by Box, the first finding there that has changed.
    """

    def __init__(self, reader: JoinStore) -> None:
        self._reader = reader
        self.of_box: dict[str, dict[int, KnownFinding]] = {}
        self.moved: dict[int, FindingMove] = {}
        self.removed: set[int] = set()
        self.since: dict[str, OnsetKey] = {}
        self._ahead: dict[str, list[KnownFinding]] = {}
        """By Box: its findings of the span `_ahead_ns`."""
        self._ahead_ns = (0, 0)
        self._facts: dict[int, IncidentFacts | None] = {}
        self._members: dict[int, dict[int, KnownFinding]] = {}

    def read_ahead(self, put: Sequence[Finding]) -> None:
        """Reads the stored findings of all Boxes at once, where the new ones are close in time."""
        self._ahead = {one.box_id: [] for one in put}
        self._ahead_ns = (
            min((one.start_ns for one in put), default=0) - AROUND_NS,
            max((one.end_ns for one in put), default=0) + AROUND_NS,
        )
        longest_ns = max((one.end_ns - one.start_ns for one in put), default=0)
        if len(self._ahead) == 1 or self._ahead_ns[1] - self._ahead_ns[0] > longest_ns + 4 * AROUND_NS:
            self._ahead = {}
            return
        for one in self._reader.findings_of_boxes(self._ahead, *self._ahead_ns):
            self._ahead[one.finding.box_id].append(one)

    def read_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
        """Returns a Box's findings near this span, which are those in `of_box` from then on."""
        first_ns, last_ns = start_ns - AROUND_NS, end_ns + AROUND_NS
        if box_id in self._ahead and self._ahead_ns[0] <= first_ns and last_ns <= self._ahead_ns[1]:
            ahead = self._ahead[box_id]
            known = [
                one for one in ahead if one.finding.end_ns >= first_ns and one.finding.start_ns <= last_ns
            ]
        else:
            known = self._reader.findings_of_box(box_id, first_ns, last_ns)
        self.of_box[box_id] = {one.finding_id: one for one in known}
        return known

    def members_of(self, number: int) -> dict[int, KnownFinding]:
        """Returns all findings of a stored incident; read once for placing and for the facts."""
        if number not in self._members:
            found = self._reader.findings_of_incident(number)
            self._members[number] = {one.finding_id: one for one in found}
        return self._members[number]

    def facts_of(self, number: int) -> IncidentFacts | None:
        """Returns the stored facts of an incident."""
        if number not in self._facts:
            self._facts[number] = self._reader.incident_facts(number)
        return self._facts[number]

    def move(self, move: PlacedOnset) -> None:
        """Moves a stored finding to another incident."""
        one, number = move.one, move.group.incident_id
        assert number is not None
        self.moved[one.finding_id] = FindingMove(one.finding_id, number, move.leads)
        if one.finding_id not in self.of_box.get(one.box_id, {}):  # or read for another time
            known = dict(self.of_box.get(one.box_id, {}))
            self.read_box(one.box_id, one.start_ns, one.end_ns)
            self.of_box[one.box_id] |= known
        self.changed_at(one)

    def changed_at(self, one: FindingOnset | Finding) -> None:
        """Notes that what its Box has from this onset on is another than before."""
        key = onset_key(one)
        self.since[one.box_id] = min(self.since.get(one.box_id, key), key)

    def note(self, cluster: Cluster) -> None:
        """Puts the finding that a cluster becomes in place of those that it was."""
        own = self.of_box[cluster.place.finding.box_id]
        for known in cluster.known:
            self.changed_at(known.finding)
            own.pop(known.finding_id, None)
        own[cluster.place.finding_id] = cluster.place
        self.changed_at(cluster.place.finding)

    def as_moved(self, known: Iterable[KnownFinding]) -> list[FindingOnset]:
        """Returns the sharp onsets of findings in the incidents where they will be."""
        rows = [
            onset(one)
            for one in known
            if one.finding_id not in self.removed and not is_steady(one.finding.kind)
        ]
        return [
            one if (move := self.moved.get(one.finding_id)) is None
            else replace(one, incident_id=move.incident_id, leads=move.leads)
            for one in rows
        ]  # fmt: skip
