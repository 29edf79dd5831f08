"""Which findings are one, and which belong together: pure, used by both stores.

Two findings of one Box and class are the same when their spans meet within both uncertainties;
one incident is all findings that are linked by gaps of at most `join_ns` plus both
uncertainties. Both are closures: the result does not depend on the order of arrival, and a
finding put twice changes nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from opq_proto.messages import Finding, Incident, StoredFinding

SAME_CLOCK_LIMIT_NS = 20_000_000
"""One Box has one clock, whose error is common to its findings: at most a cycle of 50 Hz counts
counts, else sags of a Box with free time (uncertainty 4.3 s) would be taken for one."""

_ITIC = ("no_interruption_in_function", "no_damage", "prohibited")
_F47 = ("not_applicable", "pass", "fail")


@dataclass(frozen=True, slots=True)
class Known:
    """A stored finding with every event that saw it."""

    finding_id: int
    incident_id: int
    event_ids: tuple[int, ...]
    finding: Finding


@dataclass(frozen=True, slots=True)
class Plan:
    """What a store has to write, in this order; every step can be repeated."""

    moved: tuple[tuple[int, int], ...]
    """(incident, into the earlier incident)."""
    written: tuple[Known, ...]
    """New ones and changed ones, as they shall be."""
    removed: tuple[int, ...]
    """Finding ids that another has taken in."""
    answer: tuple[Known, ...]
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
    if one.box_id != other.box_id or one.kind != other.kind:
        return False
    return gap_ns(one, other) <= clocks_apart_ns(one, other)


def near(one: Finding, other: Finding, join_ns: int) -> bool:
    """Whether two findings belong to one incident, directly."""
    return gap_ns(one, other) <= join_ns + clocks_apart_ns(one, other)


def widened(one: Finding, other: Finding) -> Finding:
    """Both in one: the span of both, and of each figure the worse. Symmetric, associative."""
    residual = max(one, other, key=_residual)
    longest = max(one, other, key=lambda f: (*_number(f.duration_cycles), f.ieee1159 or ""))
    last = max(one, other, key=lambda f: (f.end_ns, f.closed))
    return replace(
        one,
        start_ns=min(one.start_ns, other.start_ns),
        end_ns=last.end_ns,
        closed=last.closed,
        uncertainty_ns=max(one.uncertainty_ns, other.uncertainty_ns),
        residual_v=residual.residual_v,
        residual_percent=residual.residual_percent,
        because=residual.because,
        duration_cycles=longest.duration_cycles,
        ieee1159=longest.ieee1159,
        itic=_worse(one.itic, other.itic, _ITIC),
        semi_f47=_worse(one.semi_f47, other.semi_f47, _F47),
        confidence=max((c for c in (one.confidence, other.confidence) if c is not None), default=None),
        measurement_type=max(one.measurement_type, other.measurement_type),
    )


def _residual(finding: Finding) -> tuple[float | str, ...]:
    percent = finding.residual_percent
    off = -1.0 if percent is None else abs(percent - 100.0)
    return off, -(percent or 0.0), *_number(finding.residual_v), finding.because


def _number(value: float | None) -> tuple[float, float]:
    """Sorts None below every number."""
    return (0.0, 0.0) if value is None else (1.0, value)


def _worse(one: str | None, other: str | None, order: Sequence[str]) -> str | None:
    def rank(verdict: str | None) -> tuple[int, str]:
        return (order.index(verdict) if verdict in order else -1, verdict or "")

    return max(one, other, key=rank)


def join(
    known: Iterable[Known],
    put: Sequence[Finding],
    event_id: int,
    join_ns: int,
    next_finding: Callable[[], int],
    next_incident: Callable[[], int],
) -> Plan:
    """Take `put` in among `known`, the stored findings of their neighbourhood.

    Ids are taken only for what is really new, in time order.
    """
    before = {one.finding_id: one for one in known}
    clusters: list[_Cluster] = [_Cluster((one,), one.finding, one.event_ids) for one in before.values()]
    clusters.extend(_Cluster((), finding, (event_id,)) for finding in put)
    clusters = _closure(clusters)
    clusters.sort(key=lambda c: (c.finding.start_ns, c.finding.end_ns, c.finding.box_id, c.finding.kind))
    moved: dict[int, int] = {}
    placed: list[Known] = []
    for component in _components(clusters, join_ns):
        ids = sorted({one.incident_id for cluster in component for one in cluster.known})
        incident_id = ids[0] if ids else next_incident()
        moved.update(dict.fromkeys(ids[1:], incident_id))
        for cluster in component:
            finding_id = min((one.finding_id for one in cluster.known), default=0) or next_finding()
            placed.append(Known(finding_id, incident_id, cluster.event_ids, cluster.finding))
    kept = {one.finding_id for one in placed}
    return Plan(
        moved=tuple(sorted(moved.items())),
        written=tuple(one for one in placed if before.get(one.finding_id) != one),
        removed=tuple(sorted(set(before) - kept)),
        answer=tuple(next(one for one in placed if _holds(one.finding, finding)) for finding in put),
    )


@dataclass(frozen=True, slots=True)
class _Cluster:
    known: tuple[Known, ...]
    finding: Finding
    event_ids: tuple[int, ...]


def _closure(clusters: list[_Cluster]) -> list[_Cluster]:
    """Unite what is the same until nothing more is."""
    done: list[_Cluster] = []
    for cluster in clusters:
        grown = True
        while grown:
            grown = False
            for place, other in enumerate(done):
                if same(cluster.finding, other.finding):
                    cluster = _Cluster(
                        other.known + cluster.known,
                        widened(other.finding, cluster.finding),
                        tuple(sorted({*other.event_ids, *cluster.event_ids})),
                    )
                    del done[place]
                    grown = True
                    break
        done.append(cluster)
    return done


def _components(clusters: list[_Cluster], join_ns: int) -> list[list[_Cluster]]:
    components: list[list[_Cluster]] = []
    for cluster in clusters:
        linked = [c for c in components if any(near(cluster.finding, one.finding, join_ns) for one in c)]
        rest = [c for c in components if c not in linked]
        components = [*rest, [*(one for c in linked for one in c), cluster]]
    return sorted(components, key=lambda c: min(one.finding.start_ns for one in c))


def _holds(whole: Finding, part: Finding) -> bool:
    inside = whole.start_ns <= part.start_ns and part.end_ns <= whole.end_ns
    return inside and whole.box_id == part.box_id and whole.kind == part.kind


def stored(known: Known) -> StoredFinding:
    """As the interface answers it; of several events the first."""
    return StoredFinding(known.finding_id, known.incident_id, min(known.event_ids), known.finding)


def incident_of(known: Sequence[Known]) -> Incident:
    """The incident that its findings make; `known` are all findings of one incident, at least one."""
    findings = sorted(known, key=lambda one: (one.finding.start_ns, one.finding_id))
    residuals = [f.finding.residual_percent for f in findings if f.finding.residual_percent is not None]
    kinds = {part for one in findings for part in one.finding.kind.split("+")}
    boxes = {one.finding.box_id for one in findings}
    return Incident(
        incident_id=findings[0].incident_id,
        kind="+".join(sorted(kinds)),
        box_ids=tuple(sorted(boxes, key=lambda box_id: (len(box_id), box_id))),
        event_ids=tuple(sorted({event_id for one in findings for event_id in one.event_ids})),
        start_ns=min(one.finding.start_ns for one in findings),
        end_ns=max(one.finding.end_ns for one in findings),
        closed=all(one.finding.closed for one in findings),
        residual_percent=max(residuals, key=lambda percent: abs(percent - 100.0), default=None),
        findings=tuple(stored(one) for one in findings),
    )
