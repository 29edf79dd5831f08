"""What is said of an incident as a whole: its worst finding, scope, severity, order of arrival, centre. Pure.

All of it is made of figures of bounded size that may be joined in any order (largest, smallest, the first
fifty, whole sums), so that an incident of 10,000 Boxes grows by one at the cost of one, and the result is
that of all its findings at once.

Scope, from what is known of the Boxes: one place is local; several of one feeder: feeder; several
feeders: region; several regions, or a frequency that several feeders share: wide_area.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache

from opq_cloud.mauka.cause_hypotheses import hypotheses_for
from opq_cloud.mauka.cause_signs import signs_of
from opq_cloud.mauka.incident_sides import sides_of
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.incident_witness import WITNESSES, IncidentWitness, heaviest
from opq_cloud.store.join_plan import IncidentFacts, KnownFinding, badness, worst_rank
from opq_cloud.store.severity import severity_of
from opq_proto.messages import BoxArrival, BoxSide, CauseHypothesis, Finding

ARRIVALS = 50
"""Boxes that the order of arrival names."""
_KEPT = 3
"""Different names that are kept: two, and perhaps the mark of what is not known."""

PlaceOf = Callable[[str], BoxPlace]


def facts_of(incident_id: int, known: Sequence[KnownFinding], place_of: PlaceOf) -> IncidentFacts:
    """What all findings of an incident, at least one, say together."""
    boxes = {one.finding.box_id for one in known}
    facts: IncidentFacts | None = None
    for one in known:
        facts = _and(facts, _of_one(incident_id, one.finding, place_of(one.finding.box_id)))
    assert facts is not None
    return _judged(replace(facts, boxes=len(boxes)))


def grown(
    facts: IncidentFacts, added: Sequence[KnownFinding], new_boxes: int, place_of: PlaceOf
) -> IncidentFacts:
    """The same, with findings that are new; `new_boxes` of their Boxes had none in it."""
    boxes = facts.boxes + new_boxes
    for one in added:
        own = _of_one(facts.incident_id, one.finding, place_of(one.finding.box_id))
        facts = _and(facts, own)
    return _judged(replace(facts, boxes=boxes))


def _of_one(incident_id: int, one: Finding, place: BoxPlace) -> IncidentFacts:
    rank = worst_rank(one)
    weights = (0, 0, 0)
    if place.latitude is not None and place.longitude is not None:
        weight = 1 + round(max(rank[0], 0.0))
        micro = round(place.latitude * 1e6), round(place.longitude * 1e6)
        weights = weight, weight * micro[0], weight * micro[1]
    return IncidentFacts(
        incident_id, one.kind, one.residual_percent, one.start_ns, one.end_ns, one.closed, 1,
        severity=severity_of(one),
        arrivals=(_arrival(one),),
        worst=rank,
        places=(place.place or "",), feeders=(place.feeder or "",), regions=(place.region or "",),
        frequency_alone=one.kind == "frequency_deviation", weights=weights,
        kinds=tuple(sorted(set(one.kind.split("+")))), witnesses=(_witness(one, place),),
    )  # fmt: skip


def _arrival(one: Finding) -> BoxArrival:
    """By the clock of the Box that its waveform was compared with, where one was."""
    by = one.alignment
    if by is None:
        return BoxArrival(one.box_id, one.start_ns, one.uncertainty_ns)
    if by.box_id == one.box_id:
        return BoxArrival(one.box_id, one.start_ns, one.uncertainty_ns, one.box_id)
    return BoxArrival(one.box_id, one.start_ns + by.offset_ns, by.uncertainty_ns, by.box_id)


def _witness(one: Finding, place: BoxPlace) -> IncidentWitness:
    return IncidentWitness(
        one.box_id, one.kind, one.start_ns, one.end_ns, (*badness(one), -one.start_ns, one.kind),
        one.residual_percent, place.place, place.feeder, place.phase, one.uncertainty_ns, one.figures,
    )  # fmt: skip


def _and(one: IncidentFacts | None, other: IncidentFacts) -> IncidentFacts:
    """Both; neither's order matters, but for `boxes`, which the caller counts."""
    if one is None:
        return other
    worst = max((one, other), key=lambda each: tuple(each.worst))
    weights = one.weights, other.weights
    return replace(
        one,
        kind=worst.kind,
        residual_percent=worst.residual_percent,
        worst=worst.worst,
        start_ns=min(one.start_ns, other.start_ns),
        end_ns=max(one.end_ns, other.end_ns),
        closed=one.closed and other.closed,
        severity=max(one.severity or 0.0, other.severity or 0.0),
        arrivals=_first(one.arrivals, other.arrivals),
        places=_few(one.places, other.places),
        feeders=_few(one.feeders, other.feeders),
        regions=_few(one.regions, other.regions),
        frequency_alone=one.frequency_alone and other.frequency_alone,
        kinds=tuple(sorted({*one.kinds, *other.kinds})),
        witnesses=_heaviest(one.witnesses, other.witnesses),
        weights=(weights[0][0] + weights[1][0], weights[0][1] + weights[1][1], weights[0][2] + weights[1][2]),
    )


def _few(one: Iterable[str], other: Iterable[str]) -> tuple[str, ...]:
    """ "" sorts first, so what is not known is never lost."""
    return tuple(sorted({*one, *other})[:_KEPT])


def _first(one: Sequence[BoxArrival], other: Sequence[BoxArrival]) -> tuple[BoxArrival, ...]:
    if len(one) == ARRIVALS and len(other) == 1 and _arrival_key(other[0]) > _arrival_key(one[-1]):
        return tuple(one)
    first: dict[str, BoxArrival] = {}
    for each in sorted((*one, *other), key=_arrival_key):
        first.setdefault(each.box_id, each)
    return tuple(first.values())[:ARRIVALS]


def _heaviest(
    one: Sequence[IncidentWitness], other: Sequence[IncidentWitness]
) -> tuple[IncidentWitness, ...]:
    if len(one) == WITNESSES and len(other) == 1 and other[0].weight < one[-1].weight:
        return tuple(one)
    return heaviest((*one, *other))


def _arrival_key(one: BoxArrival) -> tuple[int, str, int]:
    return one.start_ns, one.box_id, one.uncertainty_ns


def _judged(facts: IncidentFacts) -> IncidentFacts:
    scope = scope_of(facts)
    hypotheses, sides = _why(facts.kinds, scope, facts.witnesses)
    return replace(facts, scope=scope, hypotheses=hypotheses, sides=sides)


@lru_cache(maxsize=256)
def _why(
    kinds: tuple[str, ...], scope: str | None, witnesses: tuple[IncidentWitness, ...]
) -> tuple[tuple[CauseHypothesis, ...], tuple[BoxSide, ...]]:
    """Most findings of a large incident change none of these three."""
    return hypotheses_for(signs_of(frozenset(kinds), scope, witnesses)), sides_of(witnesses)


def scope_of(facts: IncidentFacts) -> str | None:
    """How far it reached; None when what is known of its Boxes does not say."""
    if facts.places == ("",) and facts.feeders == ("",) and facts.regions == ("",):
        return None
    if facts.boxes == 1 or (len(facts.places) == 1 and facts.places != ("",)):
        return "local"
    feeders = [each for each in facts.feeders if each]
    regions = [each for each in facts.regions if each]
    if len(regions) > 1 or (facts.frequency_alone and len(feeders) > 1):
        return "wide_area"
    if len(feeders) > 1:
        return "region"
    if "" not in facts.feeders:
        return "feeder"
    return "region" if "" not in facts.regions else None
