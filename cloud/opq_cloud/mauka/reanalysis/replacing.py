"""Replacing: the findings of another analysis of stored events replace those of the first one. Pure.

Findings keep their numbers and their incidents where they are still the same; findings that are not found
again are removed, unless a person labelled their incident or placed them by hand. A finding that also
rests on events which are not analysed again stays, and so do the findings of analyses that did not run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from opq_cloud.mauka.joining.clusters import Cluster, gap_ns, same, united
from opq_cloud.mauka.joining.incident_facts import PlaceOf
from opq_cloud.mauka.joining.planning import JoinPlanning, Touched
from opq_cloud.mauka.running.known.provenance import GROWN_BY_MEASUREMENTS
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.store.incidents.join_plan import IncidentFacts, JoinPlan, KnownFinding
from opq_cloud.store.store import JoinStore
from opq_proto.messages import Finding


@dataclass(frozen=True, slots=True)
class ReplacedEvent:
    """An event that was analysed again: the Boxes with samples in it, their span, and the findings."""

    event_id: int
    start_ns: int
    end_ns: int
    box_ids: tuple[str, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Replacement:
    """Events that share findings, all analysed again.

    Attributes:
        analyses: those that ran.
        unnamed: whether findings that do not name their analysis are theirs.
        labelled: incidents that a person gave a class.
    """

    events: tuple[ReplacedEvent, ...]
    analyses: frozenset[str]
    unnamed: bool = False
    labelled: frozenset[int] = field(default_factory=frozenset)

    def gives_anew(self, sighting: Finding) -> bool:
        """Returns True if one of the analyses that ran had made the sighting."""
        return self.unnamed if sighting.analysis is None else sighting.analysis in self.analyses


def plan_replacement(
    reader: JoinStore, replacement: Replacement, place_of: PlaceOf
) -> tuple[JoinPlan, list[KnownFinding]]:
    """Plans to store the new findings in place of the earlier ones of these events.

    Returns:
        The plan, and the findings that were not found again and stay because of a person.
    """
    events = replacement.events
    planning = _Replacing(reader, replacement, place_of)
    plan = planning.plan([one for event in events for one in event.findings])
    more = tuple(event.event_id for event in replacement.events[1:])
    return replace(plan, more_events=more), planning.kept


def findings_of_events(
    reader: JoinStore, events: Iterable[ReplacedEvent]
) -> tuple[dict[int, KnownFinding], dict[str, tuple[int, int]]]:
    """Returns (number -> stored finding of these events, Box -> the span that was read)."""
    found: dict[int, KnownFinding] = {}
    spans: dict[str, tuple[int, int]] = {}
    ids = set()
    for event in events:
        ids.add(event.event_id)
        for box_id in event.box_ids:
            start_ns, end_ns = spans.get(box_id, (event.start_ns, event.end_ns))
            spans[box_id] = min(start_ns, event.start_ns), max(end_ns, event.end_ns)
    for box_id, (start_ns, end_ns) in spans.items():
        for one in reader.findings_of_box(box_id, start_ns, end_ns):
            if ids.intersection(one.event_ids):
                found[one.finding_id] = one
                first, last = spans[box_id]
                spans[box_id] = min(first, one.finding.start_ns), max(last, one.finding.end_ns)
    return found, spans


class _Replacing(JoinPlanning):
    """One plan while it is made."""

    def __init__(self, reader: JoinStore, replacement: Replacement, place_of: PlaceOf) -> None:
        super().__init__(reader, replacement.events[0].event_id, place_of)
        self._replacement = replacement
        self.kept: list[KnownFinding] = []
        self._changed_incidents: frozenset[int] = frozenset()
        """Incidents of which a finding is changed."""

    def _is_placed_again(self, cluster: Cluster) -> bool:
        """What is stated of its Box for then may have been corrected: its grid decides what it joins."""
        return not cluster.place.by_hand and not is_steady(cluster.place.finding.kind)

    def _touched(self, clusters: list[Cluster], changed: list[Cluster]) -> dict[int, Touched]:
        """Feeder, phase, region and place decide what is said of each incident."""
        found = super()._touched(clusters, changed)
        self._changed_incidents = frozenset(found)
        for each in clusters:
            found.setdefault(each.place.incident_id, Touched()).again = True
        return found

    def _facts_of_touched(
        self, touched: dict[int, Touched], written: dict[int, KnownFinding]
    ) -> tuple[tuple[IncidentFacts, ...], tuple[int, ...]]:
        facts, gone = super()._facts_of_touched(touched, written)
        unlike = (each for each in facts if each != self.facts_of(each.incident_id))
        written_anew = self._changed_incidents | {each.incident_id for each in unlike}
        return tuple(each for each in facts if each.incident_id in written_anew), gone

    def _united(self, put: Sequence[Finding]) -> list[Cluster]:
        _, spans = findings_of_events(self._reader, self._replacement.events)
        for event in self._replacement.events:
            for one in event.findings:
                start_ns, end_ns = spans.get(one.box_id, (one.start_ns, one.end_ns))
                spans[one.box_id] = min(start_ns, one.start_ns), max(end_ns, one.end_ns)
        found: list[Cluster] = []
        for box_id, span in sorted(spans.items()):
            found += self._replaced_of_box(box_id, span)
        return sorted(found, key=lambda c: (c.reach.start_ns, c.reach.end_ns, c.reach.box_id, c.reach.kind))

    def _replaced_of_box(self, box_id: str, span: tuple[int, int]) -> list[Cluster]:
        start_ns, end_ns = span
        while True:
            stored = self._read_box(box_id, start_ns, end_ns)
            gone, kept = self._parted(stored)
            fresh = [
                Cluster.of((), (one,), (event.event_id,), True)
                for event in self._replacement.events
                for one in event.findings
                if one.box_id == box_id
            ]
            every = united([*kept, *fresh])
            touched = [each for each in every if each.is_put]
            first = min((each.reach.start_ns for each in touched), default=start_ns)
            last = max((each.reach.end_ns for each in touched), default=end_ns)
            if first >= start_ns and last <= end_ns:
                break
            start_ns, end_ns = min(first, start_ns), max(last, end_ns)
        lost = _matched(gone, touched)
        self.kept += [one for one in lost if self._is_kept(one)]
        self._gone += [one for one in lost if not self._is_kept(one)]
        return touched

    def _parted(self, stored: Sequence[KnownFinding]) -> tuple[list[KnownFinding], list[Cluster]]:
        """Returns (findings whose sightings are all made again, clusters that stay as others saw them)."""
        gone: list[KnownFinding] = []
        kept: list[Cluster] = []
        events = self._replacement.events
        for known in stored:
            seen_again = {each.event_id for each in events if known.finding.box_id in each.box_ids}
            sightings = known.pieces or (known.finding,)
            if not seen_again.issuperset(known.event_ids):
                kept.append(Cluster.of((known,), sightings, known.event_ids, False))
                continue
            left = [one for one in sightings if not self._replacement.gives_anew(one)]
            if len(left) == len(sightings) or any(one.analysis != GROWN_BY_MEASUREMENTS for one in left):
                kept.append(Cluster.of((known,), left, known.event_ids, True))
                continue
            gone.append(known)
            # sightings from Measurements belong to whatever is found there now, or to nothing
            kept += [Cluster.of((), (one,), known.event_ids, False) for one in left]
        return gone, kept

    def _is_kept(self, one: KnownFinding) -> bool:
        return one.by_hand or one.incident_id in self._replacement.labelled


def _matched(gone: Sequence[KnownFinding], touched: Sequence[Cluster]) -> list[KnownFinding]:
    """Gives each cluster the stored findings that it now represents; returns those without a cluster."""
    left = sorted(gone, key=lambda one: one.finding_id)
    for is_one in (_is_same, _is_other_class):
        still = []
        for one in left:
            near = [each for each in touched if is_one(one.finding, each)]
            if near:
                best = min(near, key=lambda each: (gap_ns(one.finding, each.reach), each.reach.start_ns))
                best.known = (*best.known, one)
            else:
                still.append(one)
        left = still
    return left


def _is_same(before: Finding, now: Cluster) -> bool:
    return same(before, now.reach)


def _is_other_class(before: Finding, now: Cluster) -> bool:
    """Returns True if the same stretch of the same Box has another class now."""
    if now.known or before.box_id != now.reach.box_id or is_steady(before.kind) != is_steady(now.reach.kind):
        return False
    return gap_ns(before, now.reach) <= 0
