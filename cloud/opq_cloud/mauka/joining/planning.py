"""Joining: makes a plan of what to write from new findings. Pure; it reads the store through `JoinStore`.

Findings of one Box and one family whose spans meet become one (`clusters.py`).
Findings with a sharp onset are grouped by their onsets (`onset_rule.py`); a steady state is a separate
incident, with all parts of it that were seen at the Boxes where it began at the same time (`steady_rule.py`).
The result depends on neither the order of arrival nor repetition, except for the numbers.

`placing.py` and `steady_placing.py` find where they belong, `incident_facts.py` makes the facts of each
incident that changes, `preceding.py` finds which one it follows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from opq_cloud.mauka.joining.clusters import Cluster, holds, stored_cluster, united
from opq_cloud.mauka.joining.incident_facts import PlaceOf, facts_of, grown
from opq_cloud.mauka.joining.onset_rule import AROUND_NS, OnsetGroup, OnsetKey, onset_key
from opq_cloud.mauka.joining.placing import PlacedOnset, place_onsets
from opq_cloud.mauka.joining.preceding import PrecedingIncidents
from opq_cloud.mauka.joining.steady_placing import StatePlacing
from opq_cloud.mauka.measuring.sightings import family
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.store.incidents.join_plan import (
    FindingMove,
    FindingOnset,
    IncidentFacts,
    JoinPlan,
    KnownFinding,
    onset,
)
from opq_cloud.store.store import JoinStore
from opq_proto.messages import Finding


def plan_join(reader: JoinStore, put: Sequence[Finding], event_id: int, place_of: PlaceOf) -> JoinPlan:
    """Plans how to add the findings `put` of one event to the stored ones."""
    return JoinPlanning(reader, event_id, place_of).plan(put)


@dataclass(slots=True)
class Touched:
    """An incident that gains findings, or whose facts are made from all of its findings again."""

    added: list[KnownFinding] = field(default_factory=list)
    again: bool = False


class JoinPlanning:
    """One plan while it is made; `replacing.py` overrides how clusters are found.

    Each stored finding that it needs is read once.

    Attributes:
        of_box: by Box, its findings near the new ones, by number, as they will be.
        since: by Box, the first finding there that has changed.
    """

    def __init__(self, reader: JoinStore, event_id: int, place_of: PlaceOf) -> None:
        self._reader, self._event_id, self._place_of = reader, event_id, place_of
        self.of_box: dict[str, dict[int, KnownFinding]] = {}
        self.since: dict[str, OnsetKey] = {}
        self._moved: dict[int, FindingMove] = {}
        """By number: findings that belong to another incident now."""
        self._renamed: dict[int, KnownFinding] = {}
        """By number: stored lines that have another name because of their neighbours."""
        self._added: set[int] = set()
        """Numbers of new parts of steady states that leave no earlier part's end to be judged."""
        self._removed: set[int] = set()
        """Numbers of findings that will be no more."""
        self._gone: list[KnownFinding] = []
        """Stored findings that were not found again."""
        self._ahead: dict[str, list[KnownFinding]] = {}
        """By Box: its findings of the span `_ahead_ns`."""
        self._ahead_ns = (0, 0)
        self._facts: dict[int, IncidentFacts | None] = {}
        self._members: dict[int, dict[int, KnownFinding]] = {}

    def plan(self, put: Sequence[Finding]) -> JoinPlan:
        revision = self._reader.join_revision()
        clusters = self._united(put)
        fresh = 0
        for cluster in clusters:
            finding_id = min((one.finding_id for one in cluster.known), default=0)
            if finding_id == 0:
                fresh -= 1
                finding_id = fresh
            cluster.become(finding_id)
            self._removed.update(one.finding_id for one in cluster.known if one.finding_id != finding_id)
        self._removed.update(one.finding_id for one in self._gone)
        changed = [each for each in clusters if each.known != (each.place,)]
        of_box: dict[str, list[Cluster]] = {}
        for each in clusters:
            of_box.setdefault(each.reach.box_id, []).append(each)
        in_place: list[Cluster] = []
        elsewhere: list[Cluster] = []
        for each in changed:
            (in_place if each.in_place(self._beside(each, of_box)) else elsewhere).append(each)
        placed_again = [each for each in clusters if each not in elsewhere and self._is_placed_again(each)]
        in_place = [each for each in in_place if each not in placed_again]
        self._join([*elsewhere, *placed_again], in_place)
        changed += [each for each in placed_again if each not in changed and each.known != (each.place,)]
        for each in changed:
            self._note(each)
        for one in self._gone:
            self._changed_at(one.finding)
            self.of_box[one.finding.box_id].pop(one.finding_id, None)
        touched = self._touched(clusters, changed)
        written = {each.place.finding_id: each.place for each in changed} | self._renamed
        facts, gone = self._facts_of_touched(touched, written)
        return JoinPlan(
            revision,
            self._event_id,
            moved=tuple(self._moved.values()),
            written=tuple(sorted(written.values(), key=lambda one: one.finding_id < 0)),
            removed=tuple(sorted(self._removed)),
            facts=facts,
            gone=gone,
            answer=tuple(
                next(each.place for each in of_box[finding.box_id] if holds(each.reach, finding))
                for finding in put
            ),
        )

    def _is_placed_again(self, cluster: Cluster) -> bool:
        """Whether a disturbance with the onset that it had may belong elsewhere now."""
        return False

    def _united(self, put: Sequence[Finding]) -> list[Cluster]:
        """Returns the new findings, united with stored ones of the same disturbance, in time order."""
        self._read_ahead(put)
        found: list[Cluster] = []
        for box_id, own in groupby(sorted(put, key=lambda one: one.box_id), key=lambda one: one.box_id):
            found += self._united_of_box(box_id, list(own))
        return sorted(found, key=lambda c: (c.reach.start_ns, c.reach.end_ns, c.reach.box_id, c.reach.kind))

    def _united_of_box(self, box_id: str, put: list[Finding]) -> list[Cluster]:
        start_ns, end_ns = min(one.start_ns for one in put), max(one.end_ns for one in put)
        while True:
            known = self._read_box(box_id, start_ns, end_ns)
            fresh = [Cluster.of((), (one,), (self._event_id,), True) for one in put]
            touched = [each for each in united([*map(stored_cluster, known), *fresh]) if each.is_put]
            first = min(each.reach.start_ns for each in touched)
            last = max(each.reach.end_ns for each in touched)
            if first >= start_ns and last <= end_ns:
                return touched
            start_ns, end_ns = min(first, start_ns), max(last, end_ns)

    def _beside(self, cluster: Cluster, of_box: Mapping[str, Iterable[Cluster]]) -> Iterator[Finding]:
        """Yields the other findings near a cluster at its Box: those stored, and what the others become."""
        box_id = cluster.reach.box_id
        yield from (one.finding for one in self.of_box[box_id].values() if one not in cluster.known)
        yield from (each.place.finding for each in of_box[box_id] if each is not cluster)

    def _join(self, clusters: list[Cluster], in_place: list[Cluster]) -> None:
        """Finds the incident of each of `clusters`, which are new or have another onset.

        Those `in_place` are written too: where others move them, they are written in their new place.
        """
        groups: dict[int, tuple[OnsetGroup, bool]] = {}
        sharp = []
        steady = [each for each in in_place if is_steady(each.place.finding.kind)]
        before = [onset(one) for one in self._gone if not is_steady(one.finding.kind)]
        for each in clusters:
            before += [onset(one) for one in each.known if not is_steady(one.finding.kind)]
            one = onset(each.place)
            if not is_steady(one.kind):
                sharp.append(one)
                continue
            steady.append(each)
        own = {box_id: [onset(one) for one in known.values()] for box_id, known in self.of_box.items()}
        places = place_onsets(self._reader, sharp, before, own, self._grid_of)
        groups |= {each.one.finding_id: (each.group, each.leads) for each in places.placed_again}
        places.moved += self._placed_steady(steady, groups)
        unique = {id(group): group for group, _ in groups.values()}
        unique |= {id(each.group): each.group for each in places.moved}
        fresh = [group for group in unique.values() if group.incident_id is None]
        for number, group in enumerate(sorted(fresh, key=lambda one: onset_key(one.leader)), start=1):
            group.incident_id = -number
        for each in (*clusters, *steady):
            group, leads = groups[each.place.finding_id]
            assert group.incident_id is not None
            each.place = replace(each.place, incident_id=group.incident_id, leads=leads)
        written = {each.place.finding_id: each for each in in_place}
        for move in sorted(places.moved, key=lambda one: onset_key(one.one), reverse=True):
            each_moved = written.get(move.one.finding_id)
            if each_moved is None:
                self._move(move)
                continue
            assert move.group.incident_id is not None
            each_moved.place = replace(each_moved.place, incident_id=move.group.incident_id, leads=move.leads)
        for number, renamed in self._renamed.items():
            if (moved := self._moved.get(number)) is not None:
                self._renamed[number] = replace(renamed, incident_id=moved.incident_id, leads=moved.leads)

    def _grid_of(self, box_id: str, t_ns: int) -> str:
        return self._place_of(box_id, t_ns).grid

    def _placed_steady(
        self, clusters: list[Cluster], groups: dict[int, tuple[OnsetGroup, bool]]
    ) -> list[PlacedOnset]:
        """Adds the incidents of these parts of steady states to `groups`; returns stored parts that move."""
        before: dict[str, list[KnownFinding]] = {}
        for one in (*self._gone, *(known for each in clusters for known in each.known)):
            if is_steady(one.finding.kind):
                before.setdefault(family(one.finding.kind), []).append(one)
        of_family: dict[str, list[Cluster]] = {name: [] for name in before}
        for each in clusters:
            of_family.setdefault(family(each.place.finding.kind), []).append(each)
        moved: list[PlacedOnset] = []
        used: set[int] = set()
        for name, own in of_family.items():
            boxes = {each.reach.box_id for each in own}
            near = [one for box_id in boxes for one in self.of_box[box_id].values()]
            placing = StatePlacing(self._reader, self._members_of, self._grid_of)
            places = placing.place([each.place for each in own], before.get(name, ()), near, used)
            numbers = {group.incident_id for _, group in (*places.placed, *places.moved)}
            used.update(number for number in numbers if number is not None)
            groups |= {one.finding_id: (group, False) for one, group in places.placed}
            moved += [PlacedOnset(onset(one), group, leads=False) for one, group in places.moved]
            self._added |= places.added
            self._name_lines({each.place.finding_id: each for each in own}, places.named)
        return moved

    def _name_lines(self, own: dict[int, Cluster], named: Iterable[tuple[KnownFinding, Finding]]) -> None:
        for one, finding in named:
            cluster = own.get(one.finding_id)
            sightings = one.pieces or (one.finding,) if cluster is None else cluster.sightings
            known = replace(one, finding=finding, pieces=() if sightings == (finding,) else sightings)
            if cluster is not None:
                cluster.place = known
            elif known != one:
                self._renamed[one.finding_id] = known

    # The findings that are read, and where they will be

    def _read_ahead(self, put: Sequence[Finding]) -> None:
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

    def _read_box(self, box_id: str, start_ns: int, end_ns: int) -> list[KnownFinding]:
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

    def _members_of(self, number: int) -> dict[int, KnownFinding]:
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

    def _move(self, move: PlacedOnset) -> None:
        """Moves a stored finding to another incident."""
        one, number = move.one, move.group.incident_id
        assert number is not None
        self._moved[one.finding_id] = FindingMove(one.finding_id, number, move.leads)
        if one.finding_id not in self.of_box.get(one.box_id, {}):  # or read for another time
            known = dict(self.of_box.get(one.box_id, {}))
            self._read_box(one.box_id, one.start_ns, one.end_ns)
            self.of_box[one.box_id] |= known
        self._changed_at(one)

    def _changed_at(self, one: FindingOnset | Finding) -> None:
        """Notes that what its Box has from this onset on is another than before."""
        key = onset_key(one)
        self.since[one.box_id] = min(self.since.get(one.box_id, key), key)

    def _note(self, cluster: Cluster) -> None:
        """Puts the finding that a cluster becomes in place of those that it was."""
        own = self.of_box[cluster.place.finding.box_id]
        for known in cluster.known:
            self._changed_at(known.finding)
            own.pop(known.finding_id, None)
        own[cluster.place.finding_id] = cluster.place
        self._changed_at(cluster.place.finding)

    def as_moved(self, known: Iterable[KnownFinding]) -> list[FindingOnset]:
        """Returns the sharp onsets of findings in the incidents where they will be."""
        rows = [
            onset(one)
            for one in known
            if one.finding_id not in self._removed and not is_steady(one.finding.kind)
        ]
        return [
            one
            if (move := self._moved.get(one.finding_id)) is None
            else replace(one, incident_id=move.incident_id, leads=move.leads)
            for one in rows
        ]

    # Facts of the incidents

    def _touched(self, clusters: list[Cluster], changed: list[Cluster]) -> dict[int, Touched]:
        touched: dict[int, Touched] = {}
        for each in clusters:  # unchanged ones too: a crash may have come before their facts were written
            number = each.place.incident_id
            facts = self.facts_of(number) if number > 0 else None
            if number > 0 and number not in touched and (facts is None or not facts.witnesses):
                touched[number] = Touched(again=True)
        for each in changed:
            own = touched.setdefault(each.place.incident_id, Touched())
            if not each.known:
                own.added.append(each.place)
                ends = is_steady(each.place.finding.kind) and each.place.finding_id not in self._added
                own.again |= ends  # earlier open parts may be over now
            for known in each.known:
                own.again = True
                touched.setdefault(known.incident_id, Touched()).again = True
        for gone in self._gone:
            touched.setdefault(gone.incident_id, Touched()).again = True
        for one in self._renamed.values():
            touched.setdefault(one.incident_id, Touched()).again = True
        if not self._moved:
            return touched
        before = {one.finding_id: one for own in self.of_box.values() for one in own.values()}
        for move in self._moved.values():
            touched.setdefault(move.incident_id, Touched()).again = True
            touched.setdefault(before[move.finding_id].incident_id, Touched()).again = True
        return touched

    def _facts_of_touched(
        self, touched: dict[int, Touched], written: dict[int, KnownFinding]
    ) -> tuple[tuple[IncidentFacts, ...], tuple[int, ...]]:
        whole_ones = self._whole_incidents([n for n, each in touched.items() if each.again], written)
        facts: dict[int, IncidentFacts] = {}
        gone: list[int] = []
        for number, each in touched.items():
            known = None if number < 0 else self.facts_of(number)
            if not each.again and known is not None:
                facts[number] = grown(known, each.added, self._new_boxes(number, each.added), self._place_of)
                continue
            members = whole_ones.get(number, []) if each.again else each.added
            if members:
                described = facts_of(number, members, self._place_of)
                facts[number] = replace(described, follows=None if known is None else known.follows)
            elif number > 0:
                gone.append(number)
        PrecedingIncidents(self._reader, self, facts).set_follows(whole_ones)
        return tuple(facts[number] for number in sorted(facts, key=_number_key)), tuple(sorted(gone))

    def _whole_incidents(
        self, numbers: Sequence[int], written: dict[int, KnownFinding]
    ) -> dict[int, list[KnownFinding]]:
        """Returns all findings of these incidents, as they will be."""
        every: dict[int, KnownFinding] = {}
        for number in numbers:
            if number > 0:
                every |= self._members_of(number)
        for finding_id, move in self._moved.items():
            every[finding_id] = replace(every[finding_id], incident_id=move.incident_id, leads=move.leads)
        every |= written
        found: dict[int, list[KnownFinding]] = {}
        for one in every.values():
            if one.finding_id not in self._removed:
                found.setdefault(one.incident_id, []).append(one)
        return {number: found[number] for number in numbers if number in found}

    def _new_boxes(self, number: int, added: Sequence[KnownFinding]) -> int:
        """Returns how many Boxes have their first findings in the incident with these."""
        fresh = {one.finding_id for one in added}
        return sum(
            not any(
                one.incident_id == number and one.finding_id not in fresh
                for one in self.of_box[box_id].values()
            )
            for box_id in {one.finding.box_id for one in added}
        )


def _number_key(number: int) -> tuple[bool, int]:
    """Sorts stored incidents first, then the new ones as they are numbered."""
    return number < 0, abs(number)
