"""Which findings are one, and which belong together: pure, used by both stores.

Two findings of one Box and family of classes are the same when their spans meet within both
uncertainties (a voltage is below its limit or not, whatever each waveform made of it); which
figures the one then has is said in `sightings.py`. One incident is all findings that are linked
by gaps of at most `join_ns` plus both uncertainties. Both are closures: the result does not
depend on the order of arrival, and a finding put twice changes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from opq_cloud.store.sightings import SAME_CLOCK_LIMIT_NS, family, is_steady, kept, reach, whole
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Finding, Incident, StoredFinding


@dataclass(frozen=True, slots=True)
class KnownFinding:
    """A stored finding with every event that saw it."""

    finding_id: int
    incident_id: int
    event_ids: tuple[int, ...]
    finding: Finding
    pieces: tuple[Finding, ...] = ()
    """The sightings that no other one covers, unless the finding is the only one."""


@dataclass(frozen=True, slots=True)
class JoinPlan:
    """What a store has to write, in this order; every step can be repeated."""

    moved: tuple[tuple[int, int], ...]
    """(incident, into the earlier incident)."""
    written: tuple[KnownFinding, ...]
    """New ones and changed ones, as they shall be."""
    removed: tuple[int, ...]
    """Finding ids that another has taken in."""
    answer: tuple[KnownFinding, ...]
    """Per finding that was put, what it is now."""


def gap_ns(one: Finding, other: Finding) -> int:
    """Time between two spans; 0 or less when they touch or overlap."""
    return max(one.start_ns, other.start_ns) - min(one.end_ns, other.end_ns)


def clocks_apart_ns(one: Finding, other: Finding) -> int:
    """How far the stamps of two findings may be off each other: both uncertainties, one Box's hardly."""
    both = one.uncertainty_ns + other.uncertainty_ns
    return min(both, SAME_CLOCK_LIMIT_NS) if one.box_id == other.box_id else both


def same(one: Finding, other: Finding) -> bool:
    """Whether two findings are the same disturbance at the same Box."""
    if one.box_id != other.box_id or family(one.kind) != family(other.kind):
        return False
    return gap_ns(one, other) <= clocks_apart_ns(one, other)


def near(one: Finding, other: Finding, join_ns: int) -> bool:
    """Whether two findings belong to one incident, directly; a steady state is one of its own, per Box."""
    if (is_steady(one.kind) or is_steady(other.kind)) and (one.kind, one.box_id) != (
        other.kind,
        other.box_id,
    ):
        return False
    return gap_ns(one, other) <= join_ns + clocks_apart_ns(one, other)


def neighbourhood(
    between: Callable[[int, int], list[KnownFinding]], put: Sequence[Finding], join_ns: int
) -> list[KnownFinding]:
    """The stored findings that `put`, at least one, may change or belong with.

    `between(start_ns, end_ns)` finds those that meet the span. A finding that is the same as one of
    `put` may reach further than it, and then has neighbours of its own.
    """
    far_ns = join_ns + max(finding.uncertainty_ns for finding in put) + UNKNOWN_UNCERTAINTY_NS
    start_ns, end_ns = min(finding.start_ns for finding in put), max(finding.end_ns for finding in put)
    while True:
        known = between(start_ns - far_ns, end_ns + far_ns)
        one = _closure([*map(_stored, known), *(_cluster((), (finding,), ()) for finding in put)])
        touched = [cluster.reach for cluster in one if any(_holds(cluster.reach, finding) for finding in put)]
        wider = min(around.start_ns for around in touched), max(around.end_ns for around in touched)
        if wider == (start_ns, end_ns):
            return known
        start_ns, end_ns = wider


def join(
    known: Iterable[KnownFinding],
    put: Sequence[Finding],
    event_id: int,
    join_ns: int,
    next_finding: Callable[[], int],
    next_incident: Callable[[], int],
) -> JoinPlan:
    """Take `put` in among `known`, the stored findings of their neighbourhood.

    Ids are taken only for what is really new, in time order.
    """
    before = {one.finding_id: one for one in known}
    clusters = [_stored(one) for one in before.values()]
    clusters.extend(_cluster((), (finding,), (event_id,)) for finding in put)
    clusters = _closure(clusters)
    clusters.sort(key=lambda c: (c.reach.start_ns, c.reach.end_ns, c.reach.box_id, c.reach.kind))
    moved: dict[int, int] = {}
    placed: list[KnownFinding] = []
    by_reach: list[tuple[Finding, KnownFinding]] = []
    for component in _components(clusters, join_ns):
        ids = sorted({one.incident_id for cluster in component for one in cluster.known})
        incident_id = ids[0] if ids else next_incident()
        moved.update(dict.fromkeys(ids[1:], incident_id))
        for cluster in component:
            finding_id = min((one.finding_id for one in cluster.known), default=0) or next_finding()
            place = KnownFinding(finding_id, incident_id, cluster.event_ids, *_told(cluster.sightings))
            placed.append(place)
            by_reach.append((cluster.reach, place))
    ids_kept = {one.finding_id for one in placed}
    return JoinPlan(
        moved=tuple(sorted(moved.items())),
        written=tuple(one for one in placed if before.get(one.finding_id) != one),
        removed=tuple(sorted(set(before) - ids_kept)),
        answer=tuple(next(place for around, place in by_reach if _holds(around, finding)) for finding in put),
    )


@dataclass(frozen=True, slots=True)
class _Cluster:
    known: tuple[KnownFinding, ...]
    sightings: tuple[Finding, ...]
    event_ids: tuple[int, ...]
    reach: Finding


def _cluster(known: tuple[KnownFinding, ...], seen: Iterable[Finding], event_ids: Iterable[int]) -> _Cluster:
    sightings = kept(seen)
    return _Cluster(known, sightings, tuple(sorted(set(event_ids))), reach(sightings))


def _stored(known: KnownFinding) -> _Cluster:
    return _cluster((known,), known.pieces or (known.finding,), known.event_ids)


def _told(sightings: tuple[Finding, ...]) -> tuple[Finding, tuple[Finding, ...]]:
    """The finding, and its pieces where they say more than it."""
    finding = whole(sightings)
    return finding, () if sightings == (finding,) else sightings


def _closure(clusters: list[_Cluster]) -> list[_Cluster]:
    """Unite what is the same until nothing more is."""
    done: list[_Cluster] = []
    for cluster in clusters:
        grown = True
        while grown:
            grown = False
            for place, other in enumerate(done):
                if same(cluster.reach, other.reach):
                    cluster = _cluster(
                        other.known + cluster.known,
                        other.sightings + cluster.sightings,
                        other.event_ids + cluster.event_ids,
                    )
                    del done[place]
                    grown = True
                    break
        done.append(cluster)
    return done


def _components(clusters: list[_Cluster], join_ns: int) -> list[list[_Cluster]]:
    components: list[list[_Cluster]] = []
    for cluster in clusters:
        linked = [c for c in components if any(near(cluster.reach, one.reach, join_ns) for one in c)]
        rest = [c for c in components if c not in linked]
        components = [*rest, [*(one for c in linked for one in c), cluster]]
    return sorted(components, key=lambda c: min(one.reach.start_ns for one in c))


def _holds(around: Finding, part: Finding) -> bool:
    inside = around.start_ns <= part.start_ns and part.end_ns <= around.end_ns
    return inside and around.box_id == part.box_id and family(around.kind) == family(part.kind)


def stored(known: KnownFinding) -> StoredFinding:
    """As the interface answers it; of several events the first."""
    return StoredFinding(known.finding_id, known.incident_id, min(known.event_ids), known.finding)


def _badness(finding: Finding) -> tuple[float, int]:
    """Furthest from nominal, then longest; a class without a residual comes after those that have one."""
    percent = finding.residual_percent
    return -1.0 if percent is None else abs(percent - 100.0), finding.end_ns - finding.start_ns


def worst_of(findings: Sequence[Finding]) -> Finding:
    """The one that an incident of these is named by; at least one."""
    return max(findings, key=_badness)


def incident_of(known: Sequence[KnownFinding]) -> Incident:
    """The incident that its findings make; `known` are all findings of one incident, at least one."""
    findings = sorted(known, key=lambda one: (one.finding.start_ns, one.finding_id))
    residuals = [f.finding.residual_percent for f in findings if f.finding.residual_percent is not None]
    worst = worst_of([one.finding for one in findings])
    boxes = {one.finding.box_id for one in findings}
    return Incident(
        incident_id=findings[0].incident_id,
        kind=worst.kind,
        box_ids=tuple(sorted(boxes, key=lambda box_id: (len(box_id), box_id))),
        event_ids=tuple(sorted({event_id for one in findings for event_id in one.event_ids})),
        start_ns=min(one.finding.start_ns for one in findings),
        end_ns=max(one.finding.end_ns for one in findings),
        closed=all(one.finding.closed for one in findings),
        residual_percent=max(residuals, key=lambda percent: abs(percent - 100.0), default=None),
        findings=tuple(stored(one) for one in findings),
    )
