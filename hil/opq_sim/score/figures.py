"""The figures of a score as in docs/reference/contracts.md: recall and precision by class, splits, joins,
errors."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypedDict

import numpy as np

from opq_sim.power_system.map_places import distance_km
from opq_sim.score.matching import ScoreMatch, match_incidents
from opq_sim.score.records import COMPOUND_NS, FOLLOWS_NS, JOIN_NS, LINES, FoundIncident, TrueDisturbance

MISSED = "missed"
"""Confusion matrix: column of disturbances without an incident."""
NOTHING = "none"
"""Confusion matrix: row of incidents without a disturbance."""


class ClassFigures(TypedDict):
    """Figures of one class; None where the divisor is 0."""

    precision: float | None
    recall: float | None
    f1: float | None


class StartError(TypedDict):
    """Absolute milliseconds between true and stored onset; None if nothing was found."""

    median: float | None
    p99: float | None
    within_1_ms: float | None
    """Share within 1 ms."""


class PlaceDistance(TypedDict):
    """From an incident's centre to the true place, km, where both are known."""

    median: float | None
    p90: float | None
    incidents: int


class ScoreFigures(TypedDict):
    truth: int
    found: int
    missed: int
    incidents: int
    false: int
    split: int
    wrongly_split: int
    joined: int
    wrongly_joined: int
    later_parts: int
    incidents_per_cause: float | None
    recall: float | None
    precision: float | None
    by_class: dict[str, ClassFigures]
    confusion: dict[str, dict[str, int]]
    start_error_ms: StartError
    start_error_ms_sharp: StartError
    start_error_ms_by_class: dict[str, StartError]
    scope_right: float | None
    scope_right_sharp: float | None
    cause_right: float | None
    side_right: float | None
    sides: int
    place_error_km: PlaceDistance


"""Counts and shares of a whole run.

`truth`: disturbances; `found`: those with an incident, whatever its class; `false`: incidents without one;
`split`: disturbances with several, `wrongly_split`: with more than the rule requires; `joined`: incidents of
several, `wrongly_joined`: of several that the rule separates. `later_parts`: incidents that follow another
one of their disturbance and name it, as a reclosing does; `incidents_per_cause`: the others, false ones
too, by found disturbances. `start_error_ms_sharp`: without steady states;
`start_error_ms_by_class`: by true class. `scope_right`: of found ones whose incident
has a scope; `scope_right_sharp`: without steady states.
`cause_right`: of found ones whose incident was judged, by the first cause that it names. `side_right`: of the
`sides`, the Boxes of found ones for which the incident states whether they are downstream. `place_error_km`:
an incident's centre is the mean of its Boxes, so its error depends on how dense they are.
"""


def score(truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident]) -> ScoreFigures:
    """Compares a run's truth with the stored incidents."""
    match = match_incidents(truth, found)
    seen = sum(1 for each in match.of_truth if each)
    false = sum(1 for each in match.of_found if not each)
    every = {each.number: each for each in found}
    later = _later_parts(match, found, every)
    errors_ms = list(_start_errors_ms(truth, found, match))
    sharp_ms = [off for _, best, off in errors_ms if not best.steady]
    by_class_ms: dict[str, list[float]] = defaultdict(list)
    for one, _, off in errors_ms:
        by_class_ms[one.kind].append(off)
    sides = _sides_right(truth, found, match)
    return {
        "truth": len(truth),
        "found": seen,
        "missed": len(truth) - seen,
        "incidents": len(found),
        "false": false,
        "split": sum(1 for each in match.of_truth if len(each) > 1),
        "wrongly_split": sum(
            _wrongly_split(one, [found[f] for f in each], every)
            for one, each in zip(truth, match.of_truth, strict=True)
        ),
        "joined": sum(1 for each in match.of_found if len(each) > 1),
        "wrongly_joined": sum(1 for each in match.of_found if _wrongly_joined([truth[t] for t in each])),
        "later_parts": later,
        "incidents_per_cause": _share(len(found) - later, seen),
        "recall": _share(seen, len(truth)),
        "precision": _share(len(found) - false, len(found)),
        "by_class": _by_class(truth, found, match),
        "confusion": _confusion(truth, found, match),
        "start_error_ms": _start_error([off for _, _, off in errors_ms]),
        "start_error_ms_sharp": _start_error(sharp_ms),
        "start_error_ms_by_class": {kind: _start_error(by_class_ms[kind]) for kind in sorted(by_class_ms)},
        "scope_right": _scope_right(truth, found, match, steady=True),
        "scope_right_sharp": _scope_right(truth, found, match, steady=False),
        "cause_right": _cause_right(truth, found, match),
        "side_right": _share(sum(sides), len(sides)),
        "sides": len(sides),
        "place_error_km": _place_distance(truth, found, match),
    }


def _wrongly_split(
    one: TrueDisturbance, incidents: Sequence[FoundIncident], every: Mapping[int, FoundIncident]
) -> bool:
    """True if one disturbance has more incidents than the rule requires.

    The rule requires one for each class of a steady state, one for each part that follows another, and one
    for Boxes that it reaches more than 200 ms after the others, such as phases that the breaker makes dead.
    """
    begun: dict[str, list[int]] = defaultdict(list)
    for each in incidents:
        if each.steady or not _follows(each, incidents, every):
            name = "line" if each.kind in LINES else each.kind if each.steady else ""
            begun[name].append(_true_onset_ns(one, each))
    return any(
        later - earlier <= JOIN_NS for each in begun.values() for earlier, later in pairwise(sorted(each))
    )


def _later_parts(
    match: ScoreMatch, found: Sequence[FoundIncident], every: Mapping[int, FoundIncident]
) -> int:
    """Returns how many incidents follow another one of the same disturbance, and name it."""
    of_truth = [[found[f] for f in each] for each in match.of_truth]
    return len({one.number for own in of_truth for one in own if _follows(one, own, every)})


def _true_onset_ns(one: TrueDisturbance, incident: FoundIncident) -> int:
    """Returns when the disturbance reaches the first Box of the incident, or else the first of all."""
    reached = {box_id: span.start_ns for box_id, span in one.boxes.items()}
    own = [reached[box_id] for box_id in incident.boxes if box_id in reached]
    return min(own or reached.values())


def _follows(
    later: FoundIncident, incidents: Sequence[FoundIncident], every: Mapping[int, FoundIncident]
) -> bool:
    """True if it follows one of these within 60 s at a Box, and names it, or one between that does.

    By the rule an incident names the previous one: if a fault comes while a neutral is lost, the incident of
    the returning neutral names the fault.
    """
    own = {each.number for each in incidents}
    if later.follows in own:
        return True
    earlier, passed = later, {later.number}
    while earlier.follows is not None and earlier.follows in every and earlier.follows not in passed:
        earlier = every[earlier.follows]
        passed.add(earlier.number)
        if earlier.number in own and any(
            later.boxes[box_id].start_ns - earlier.boxes[box_id].end_ns <= FOLLOWS_NS
            for box_id in later.boxes.keys() & earlier.boxes.keys()
        ):
            return True
    return False


def _wrongly_joined(disturbances: Sequence[TrueDisturbance]) -> bool:
    """True if one incident has disturbances that the rule separates.

    The rule joins what begins within a second at one Box, and what begins within 200 ms anywhere.
    """
    if len(disturbances) < 2:
        return False
    first, *others = sorted(disturbances, key=lambda each: min(s.start_ns for s in each.boxes.values()))
    return not all(_one_by_rule(first, each) for each in others)


def _one_by_rule(first: TrueDisturbance, later: TrueDisturbance) -> bool:
    shared = first.boxes.keys() & later.boxes.keys()
    near_ns = min(span.start_ns for span in later.boxes.values()) - min(
        span.start_ns for span in first.boxes.values()
    )
    return near_ns <= JOIN_NS or any(
        later.boxes[box_id].start_ns - first.boxes[box_id].start_ns <= COMPOUND_NS for box_id in shared
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _by_class(
    truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident], match: ScoreMatch
) -> dict[str, ClassFigures]:
    """By class: true disturbances that an incident of it found, and incidents of it that are true."""
    figures: dict[str, ClassFigures] = {}
    true_ones, right_ones = Counter(each.kind for each in truth), Counter[str]()
    stored_ones, rightly_stored = Counter(each.kind for each in found), Counter[str]()
    for t, incidents in enumerate(match.of_truth):
        right_ones[truth[t].kind] += any(found[f].kind == truth[t].kind for f in incidents)
    for f, disturbances in enumerate(match.of_found):
        rightly_stored[found[f].kind] += any(truth[t].kind == found[f].kind for t in disturbances)
    for kind in sorted({*true_ones, *stored_ones}):
        recall = _share(right_ones[kind], true_ones[kind])
        precision = _share(rightly_stored[kind], stored_ones[kind])
        f1 = None
        if recall is not None:  # there is no figure for a class that never occurred
            both = (precision or 0.0) + recall
            f1 = 2 * (precision or 0.0) * recall / both if both else 0.0
        figures[kind] = {"precision": precision, "recall": recall, "f1": f1}
    return figures


def _confusion(
    truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident], match: ScoreMatch
) -> dict[str, dict[str, int]]:
    """True class -> class of its best incident -> count."""
    table: dict[str, Counter[str]] = defaultdict(Counter)
    for t, incidents in enumerate(match.of_truth):
        table[truth[t].kind][found[incidents[0]].kind if incidents else MISSED] += 1
    for f, disturbances in enumerate(match.of_found):
        if not disturbances:
            table[NOTHING][found[f].kind] += 1
    return {kind: dict(sorted(row.items())) for kind, row in sorted(table.items())}


def _start_errors_ms(
    truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident], match: ScoreMatch
) -> Iterator[tuple[TrueDisturbance, FoundIncident, float]]:
    """For each found one: earliest stored onset less earliest arrival, on the Boxes that both have."""
    for one, incidents in zip(truth, match.of_truth, strict=True):
        if not incidents:
            continue
        best = found[incidents[0]]
        shared = one.boxes.keys() & best.boxes.keys()
        first = min(one.boxes[box].start_ns for box in shared)
        yield one, best, abs(min(best.boxes[box].start_ns for box in shared) - first) / 1e6


def _start_error(errors_ms: Sequence[float]) -> StartError:
    if not errors_ms:
        return {"median": None, "p99": None, "within_1_ms": None}
    return {
        "median": round(float(np.median(errors_ms)), 3),
        "p99": round(float(np.percentile(errors_ms, 99)), 3),
        "within_1_ms": _share(sum(each <= 1.0 for each in errors_ms), len(errors_ms)),
    }


def _sides_right(
    truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident], match: ScoreMatch
) -> list[bool]:
    """For each Box of a found one whose side is known twice: True if both sides agree."""
    return [
        side == span.side
        for t, each in enumerate(match.of_truth)
        if each
        for box_id, side in found[each[0]].sides.items()
        if (span := truth[t].boxes.get(box_id)) is not None and span.side is not None
    ]


def _scope_right(
    truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident], match: ScoreMatch, steady: bool
) -> float | None:
    best = [(truth[t].scope, found[each[0]]) for t, each in enumerate(match.of_truth) if each]
    pairs = [(scope, incident.scope) for scope, incident in best if steady or not incident.steady]
    known = [(true, stored) for true, stored in pairs if true is not None and stored is not None]
    return _share(sum(true == stored for true, stored in known), len(known))


def _cause_right(
    truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident], match: ScoreMatch
) -> float | None:
    pairs = [(truth[t].cause, found[each[0]].cause) for t, each in enumerate(match.of_truth) if each]
    known = [(true, named) for true, named in pairs if true and named is not None]
    return _share(sum(true == named for true, named in known), len(known))


def _place_distance(
    truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident], match: ScoreMatch
) -> PlaceDistance:
    best = [(truth[t].at, found[each[0]].centre) for t, each in enumerate(match.of_truth) if each]
    off_km = [distance_km(at, centre) for at, centre in best if at is not None and centre is not None]
    median, p90 = (
        (None, None) if not off_km else (round(float(q), 3) for q in np.percentile(off_km, (50, 90)))
    )
    return {"median": median, "p90": p90, "incidents": len(off_km)}
