"""Facts about an incident as a whole: its worst finding, scope, severity, order of arrival, centre. Pure.

All of them are made of figures of bounded size that may be joined in any order (largest, smallest, the first
fifty, integer sums), so that adding one Box to an incident of 10,000 costs as much as one Box, and the result
is the same as from all its findings at once.

Scope, from what is known of the Boxes: one place is local;
several of one feeder: feeder; several feeders: region; several regions, or a frequency that several feeders
share: wide_area.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain

from opq_cloud.mauka.causes.hypotheses import hypotheses_for
from opq_cloud.mauka.causes.sides import sides_of
from opq_cloud.mauka.causes.signs import shows_onset, signs_of
from opq_cloud.mauka.measuring.onset_figures import WITHIN_MS
from opq_cloud.mauka.measuring.sightings import family
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.incidents.box_events import is_steady
from opq_cloud.store.incidents.join_plan import (
    RANK_PENALTY,
    IncidentFacts,
    KnownFinding,
    severity_key,
    worst_rank,
)
from opq_cloud.store.incidents.severity import severity_of
from opq_cloud.store.incidents.witness import IncidentWitness, heaviest
from opq_measure.classification.jump_levels import what_happened
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, BoxArrival, BoxSide, CauseHypothesis, Finding

ARRIVALS_LISTED = 50
"""Largest number of Boxes in the order of arrival."""
FINDINGS_AT_ONCE = 100
_NAMES_KEPT = 3
"""Different names that are kept: two, and perhaps the mark of an unknown one."""

PlaceOf = Callable[[str, int], BoxPlace]
"""Box and moment in ns -> where it was then."""


def facts_of(incident_id: int, known: Sequence[KnownFinding], place_of: PlaceOf) -> IncidentFacts:
    """Returns the facts of all findings of an incident, at least one, together."""
    boxes = {one.finding.box_id for one in known}
    facts = _together(_few_of(incident_id, known, place_of), len(boxes))
    return _judged(replace(facts, closed=_is_closed([one.finding for one in known])))


def _is_closed(findings: Sequence[Finding]) -> bool:
    """Returns True if all of it is over.

    For steady states only the last part decides: the earlier parts went on in it.
    """
    if not all(is_steady(one.kind) for one in findings):
        return all(one.closed for one in findings)
    last = {
        (one.box_id, family(one.kind)): one.closed
        for one in sorted(findings, key=lambda one: (one.end_ns, not one.closed))
    }
    return all(last.values())


def grown(
    facts: IncidentFacts, added: Sequence[KnownFinding], new_boxes: int, place_of: PlaceOf
) -> IncidentFacts:
    """Returns the facts with new findings added; `new_boxes` of their Boxes had no finding in it before."""
    own = _few_of(facts.incident_id, added, place_of)
    return _judged(_together([facts, *own], facts.boxes + new_boxes))


def _few_of(incident_id: int, known: Sequence[KnownFinding], place_of: PlaceOf) -> list[IncidentFacts]:
    """Returns the findings' facts in groups of `FINDINGS_AT_ONCE`: 10,000 at once would keep memory busy."""
    return [
        _together(
            [_of_one(incident_id, one.finding, place_of) for one in known[first : first + FINDINGS_AT_ONCE]],
            0,
        )
        for first in range(0, len(known), FINDINGS_AT_ONCE)
    ]


def _of_one(incident_id: int, one: Finding, place_of: PlaceOf) -> IncidentFacts:
    rank, place = worst_rank(one), place_of(one.box_id, one.start_ns)
    weights = (0, 0, 0)
    if place.latitude is not None and place.longitude is not None:
        weight = 1 + round(max(severity_key(one)[0], 0.0))
        micro = round(place.latitude * 1e6), round(place.longitude * 1e6)
        weights = weight, weight * micro[0], weight * micro[1]
    return IncidentFacts(
        incident_id,
        one.kind,
        one.residual_percent,
        one.start_ns,
        one.end_ns,
        one.closed,
        1,
        severity=severity_of(one),
        arrivals=(_arrival(one),),
        worst=rank,
        places=(place.place or "",),
        feeders=(place.feeder or "",),
        regions=_few([place.regions or ("",)]),
        common_regions=place.regions,
        frequency_alone=one.kind == "frequency_deviation",
        weights=weights,
        kinds=tuple(sorted(set(what_happened(one.kind).split("+")))),
        witnesses=(_witness(one, place),),
    )


def _arrival(one: Finding) -> BoxArrival:
    """Returns the arrival, by the clock of the Box that its waveform was compared with, if any.

    Where the waveform shows how finely it is known, that adds to the clock's uncertainty.
    """
    by = one.alignment
    shown_ns = 1e6 * dict(one.figures).get(WITHIN_MS, 0.0)
    if by is None or by.box_id == one.box_id:
        within_ns = _both(one.uncertainty_ns, shown_ns)
        return BoxArrival(one.box_id, one.start_ns, within_ns, None if by is None else one.box_id)
    within_ns = _both(by.uncertainty_ns, shown_ns)
    return BoxArrival(one.box_id, one.start_ns + by.offset_ns, within_ns, by.box_id)


def _both(clock_ns: int, shown_ns: float) -> int:
    """Returns two independent uncertainties together; beyond the largest, it is not known."""
    return math.ceil(min(math.hypot(clock_ns, shown_ns), UNKNOWN_UNCERTAINTY_NS))


def _witness(one: Finding, place: BoxPlace) -> IncidentWitness:
    off, length_ns = severity_key(one)
    if not shows_onset(one.kind, one.residual_percent, dict(one.figures)):
        off -= RANK_PENALTY  # it shows less of the cause
    return IncidentWitness(
        one.box_id,
        one.kind,
        one.start_ns,
        one.end_ns,
        (off, length_ns, -one.start_ns, one.kind),
        one.residual_percent,
        place.place,
        place.feeder,
        place.phase,
        one.uncertainty_ns,
        one.figures,
    )


def _together(parts: Sequence[IncidentFacts], boxes: int) -> IncidentFacts:
    """Joins facts, at least one, in any order; the caller counts the Boxes."""
    if len(parts) == 1:
        return replace(parts[0], boxes=boxes)
    worst = max(parts, key=lambda each: tuple(each.worst))
    return replace(
        parts[0],
        kind=worst.kind,
        residual_percent=worst.residual_percent,
        worst=worst.worst,
        start_ns=min(each.start_ns for each in parts),
        end_ns=max(each.end_ns for each in parts),
        closed=all(each.closed for each in parts),
        boxes=boxes,
        severity=max(each.severity or 0.0 for each in parts),
        arrivals=_first(chain.from_iterable(each.arrivals for each in parts)),
        places=_few(each.places for each in parts),
        feeders=_few(each.feeders for each in parts),
        regions=_few(each.regions for each in parts),
        common_regions=_common([each.common_regions for each in parts if each.regions != ("",)]),
        frequency_alone=all(each.frequency_alone for each in parts),
        kinds=tuple(sorted({kind for each in parts for kind in each.kinds})),
        witnesses=heaviest(chain.from_iterable(each.witnesses for each in parts)),
        weights=_sums([each.weights for each in parts]),
    )


def _sums(weights: Sequence[tuple[int, int, int]]) -> tuple[int, int, int]:
    whole, latitude, longitude = zip(*weights, strict=True)
    return sum(whole), sum(latitude), sum(longitude)


def _few(names: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Keeps the first names; "" sorts first, so an unknown name is never lost."""
    return tuple(sorted(set(chain.from_iterable(names)))[:_NAMES_KEPT])


def _common(names: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Returns the names that are in each of these."""
    return tuple(sorted(set[str]().union(*names).intersection(*names)))


def _first(arrivals: Iterable[BoxArrival]) -> tuple[BoxArrival, ...]:
    first: dict[str, BoxArrival] = {}
    for each in sorted(arrivals, key=_arrival_key):
        first.setdefault(each.box_id, each)
        if len(first) == ARRIVALS_LISTED:
            break
    return tuple(first.values())


def _arrival_key(one: BoxArrival) -> tuple[int, str, int, str]:
    return one.start_ns, one.box_id, one.uncertainty_ns, one.aligned_to or ""


def _judged(facts: IncidentFacts) -> IncidentFacts:
    scope = scope_of(facts)
    of_boxes = "local" if facts.boxes == 1 and scope is not None else scope
    hypotheses, sides = _why(facts.kinds, of_boxes, facts.witnesses)
    return replace(facts, scope=scope, hypotheses=hypotheses, sides=sides)


@lru_cache(maxsize=256)
def _why(
    kinds: tuple[str, ...], scope: str | None, witnesses: tuple[IncidentWitness, ...]
) -> tuple[tuple[CauseHypothesis, ...], tuple[BoxSide, ...]]:
    """Cached: most findings of a large incident change none of these three."""
    return hypotheses_for(signs_of(frozenset(kinds), scope, witnesses)), sides_of(witnesses)


def scope_of(facts: IncidentFacts) -> str | None:
    """Returns how far it reached; None where too little is known of its Boxes."""
    if facts.places == ("",) and facts.feeders == ("",) and facts.regions == ("",):
        return None
    if len(facts.places) == 1 and (facts.boxes == 1 or facts.places != ("",)):
        return "local"
    feeders = [each for each in facts.feeders if each]
    regions = [each for each in facts.regions if each]
    if (len(regions) > 1 and not facts.common_regions) or (facts.frequency_alone and len(feeders) > 1):
        return "wide_area"
    if len(feeders) > 1:
        return "region"
    if "" not in facts.feeders:
        return "feeder"
    return "region" if "" not in facts.regions else None
