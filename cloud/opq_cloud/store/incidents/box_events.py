"""What an incident was at each of its Boxes: class, voltage and length of one Box's own event. Pure.

An incident is named by its worst event. The Boxes that had the same are counted with it; what the others had
is said apart, so that no list gives a Box the voltage, the class or the length of another.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from opq_cloud.store.incidents.join_plan import worst_of, worst_rank
from opq_cloud.store.incidents.severity import highest_severity
from opq_measure.classification.severity import STEADY_STATES
from opq_proto.messages import Finding, Incident

DOWNWARD = frozenset({"sag", "interruption", "undervoltage"})
UPWARD = frozenset({"swell", "overvoltage"})
SAME_PERCENT = 1.0
"""Residual voltages of two Boxes closer than this, in percent of nominal, are the same depth."""
SAME_NS = 20_000_000
SAME_SHARE = 0.2
"""Lengths that differ by less than SAME_NS, or by less than this share of the longer, are the same."""
_UNCOUNTED = STEADY_STATES - {"dc_offset"}
"""Classes whose words have no plural."""


def is_steady(kind: str) -> bool:
    """Returns True if every part of a class is a steady state."""
    return STEADY_STATES.issuperset(kind.split("+"))


def has_voltage(kind: str) -> bool:
    """Returns True if a voltage describes a class: it or a part of it is a dip or swell of some length."""
    return not (DOWNWARD | UPWARD).isdisjoint(kind.split("+"))


@dataclass(frozen=True, slots=True)
class BoxEvent:
    """The worst that one Box had in an incident."""

    box_id: str
    kind: str
    residual_percent: float | None
    start_ns: int
    end_ns: int
    latest_end_ns: int
    """The latest moment at which it may have ended; `end_ns` where its end is known."""
    closed: bool
    severity: float = 0.0
    rank: tuple[float, int, int, str] = (0.0, 0, 0, "")

    @property
    def length_ns(self) -> int:
        return self.end_ns - self.start_ns


@dataclass(frozen=True, slots=True)
class BoxGroup:
    """Boxes whose events have one class; `lowest` and `highest` are None for a class without a voltage."""

    kind: str
    box_ids: tuple[str, ...]
    lowest: float | None = None
    highest: float | None = None


def box_events(incident: Incident) -> list[BoxEvent]:
    """Returns one event for each Box of the incident that has a finding, the worst first."""
    own: dict[str, list[Finding]] = {}
    for item in incident.findings:
        own.setdefault(item.finding.box_id, []).append(item.finding)
    found = [_event(each) for each in own.values()]
    if is_steady(incident.kind):  # none has a voltage: the most severe is the worst
        return sorted(found, key=lambda one: (one.severity, one.rank), reverse=True)
    return sorted(found, key=lambda one: one.rank, reverse=True)


def naming_event(incident: Incident, events: Sequence[BoxEvent] | None = None) -> BoxEvent:
    """Returns the event that names the incident; one without findings has it at its first Box.

    `events`: those of `box_events`, where the caller has them.
    """
    found = box_events(incident) if events is None else events
    if found and is_steady(incident.kind):  # one state, also where several Boxes have it
        same = [each for each in found if each.kind == found[0].kind]
        last = max(same, key=lambda one: one.end_ns)
        return replace(
            found[0],
            start_ns=min(each.start_ns for each in same),
            end_ns=last.end_ns,
            latest_end_ns=max(each.latest_end_ns for each in same),
            closed=last.closed,
        )
    if found:
        return found[0]
    start_ns, end_ns = incident.start_ns, incident.end_ns
    box_id = next(iter(incident.box_ids), "")
    percent = incident.residual_percent
    return BoxEvent(box_id, incident.kind, percent, start_ns, end_ns, end_ns, incident.closed)


def groups_of(
    incident: Incident, events: Sequence[BoxEvent] | None = None
) -> tuple[BoxGroup, list[BoxGroup]]:
    """Returns the Boxes that had what the incident is named after, and the others by class, the worst first.

    A class that a person gave the incident stands for the events of the class that it replaces. `events` as
    in `naming_event`.
    """
    found = box_events(incident) if events is None else events
    if not found:
        return BoxGroup(incident.kind, incident.box_ids), []
    worst = found[0]
    order = {box_id: place for place, box_id in enumerate(incident.box_ids)}
    same = [each for each in found if _is_like(each, worst)]
    others: dict[str, list[BoxEvent]] = {}
    at_worst = {each.box_id for each in same}
    for each in found:
        if each.box_id not in at_worst:
            others.setdefault(each.kind, []).append(each)
    known = {each.box_id for each in found}
    silent = tuple(box_id for box_id in incident.box_ids if box_id not in known)  # stored without findings
    named = (*_in_order(same, order), *silent)
    percent = worst.residual_percent if has_voltage(incident.kind) else None
    return BoxGroup(incident.kind, named, percent, percent), [
        _group(kind, events, order) for kind, events in others.items()
    ]


def other_words(
    others: Sequence[BoxGroup],
    phrase: Callable[[str], str],
    percent: Callable[[float], str],
    boxes: Callable[[Sequence[str]], str],
    most_named: int = 2,
) -> list[str]:
    """Returns what the other Boxes had: `rapid voltage change at Box 4`, `sags to 10.7 to 79.3 % at 11 more`.

    Args:
        phrase: class -> its words within a sentence.
        percent: a percentage in words.
        boxes: Boxes in words; more than `most_named` are counted.
    """
    found = []
    for each in others:
        many = len(each.box_ids) > 1 and _UNCOUNTED.isdisjoint(each.kind.split("+")) and "+" not in each.kind
        text = phrase(each.kind) + ("s" if many else "")
        if each.lowest is not None and each.highest is not None:
            low, high = percent(each.lowest), percent(each.highest)
            text += f" to {high}" if low == high else f" to between {low} and {high}"
        count = len(each.box_ids)
        found.append(f"{text} at {boxes(each.box_ids) if count <= most_named else f'{count} more'}")
    return found


def narrowed(incident: Incident, box_ids: Collection[str] | None) -> Incident:
    """Returns what an incident was at these Boxes, with their findings alone: for a list of one place.

    Reach, causes and the rest that only the whole has stay, and so does the class that a person gave it, in
    place of the class that it replaces. It is unchanged where it was at no other Box, at none of these, or
    for None.
    """
    if box_ids is None:
        return incident
    there = frozenset(box_ids)
    findings = tuple(each for each in incident.findings if each.finding.box_id in there)
    if not findings or there.issuperset(incident.box_ids):
        return incident
    kept = [each.finding for each in findings]
    worst = worst_of(kept)
    return replace(
        incident,
        kind=incident.kind if worst.kind == incident.machine_kind else worst.kind,
        machine_kind=worst.kind if worst.kind == incident.machine_kind else None,
        box_ids=tuple(box_id for box_id in incident.box_ids if box_id in there),
        event_ids=tuple(sorted({each.event_id for each in findings})),
        start_ns=min(each.start_ns for each in kept),
        end_ns=max(each.end_ns for each in kept),
        closed=all(each.closed for each in kept),
        residual_percent=worst.residual_percent,
        findings=findings,
        severity=highest_severity(kept),
    )


def _event(findings: Sequence[Finding]) -> BoxEvent:
    ranks = [worst_rank(each) for each in findings]
    rank = max(ranks)
    worst = findings[ranks.index(rank)]
    parts = [worst]
    if worst.residual_percent is None and is_steady(worst.kind):
        parts = [each for each in findings if each.kind == worst.kind]  # one state, seen in pieces
    last = max(parts, key=lambda one: one.end_ns)
    return BoxEvent(
        worst.box_id,
        worst.kind,
        worst.residual_percent,
        min(each.start_ns for each in parts),
        last.end_ns,
        max(each.latest_end_ns for each in parts),
        last.closed,
        highest_severity(findings),
        rank,
    )


def _is_like(one: BoxEvent, worst: BoxEvent) -> bool:
    if one.kind != worst.kind:
        return False
    depths = one.residual_percent, worst.residual_percent
    if depths[0] is None or depths[1] is None:
        like = depths[0] is depths[1]
    else:
        like = abs(depths[0] - depths[1]) < SAME_PERCENT
    apart_ns = abs(one.length_ns - worst.length_ns)
    near = apart_ns < max(SAME_NS, SAME_SHARE * max(one.length_ns, worst.length_ns))
    return like and (near or is_steady(one.kind))


def _group(kind: str, events: Iterable[BoxEvent], order: dict[str, int]) -> BoxGroup:
    listed = list(events)
    percents = [each.residual_percent for each in listed if each.residual_percent is not None]
    known = has_voltage(kind) and bool(percents)
    return BoxGroup(
        kind,
        _in_order(listed, order),
        min(percents) if known else None,
        max(percents) if known else None,
    )


def _in_order(events: Collection[BoxEvent], order: dict[str, int]) -> tuple[str, ...]:
    return tuple(sorted((each.box_id for each in events), key=lambda box_id: order.get(box_id, len(order))))
