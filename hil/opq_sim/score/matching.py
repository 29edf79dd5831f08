"""Assigns stored incidents to true disturbances. The order of neither matters.

An incident and a disturbance can belong together if they share a Box on which their spans meet, or their
onsets are within the reach by which incidents are joined. Spans also meet up to a cycle after the
disturbance's end, because its edge is its own effect, whatever class it has. Each incident belongs to the one
that fits best:

    1. spans meet, class of one family      2. onsets near, class of one family
    3. spans meet, another class            4. onsets near, another class

and among several, to the one with the nearest onset. An incident of another class that begins more than
10 s after its disturbance belongs to it only if another incident does: else a step within minutes of a low
frequency would find the lost unit. A disturbance that is the best of no incident, but lies
under an incident of its family, was joined with that incident's own disturbance.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from opq_sim.score.records import EDGE_NS, JOIN_NS, LONGEST_NS, BoxSpan, FoundIncident, TrueDisturbance

# Ranks of a pair of a true disturbance and a found one, the best first.
SAME_TIME = 0
"""They share time and family, or the found one begins where the true one ends."""
NEARBY = 1
"""They share the family; the found one begins within its `reach_ns` of the true one's start."""
SAME_TIME_OTHER = 2
"""They share time, but not the family."""
NEARBY_OTHER = 3
"""As NEARBY, but not of one family."""
FAR_NS = 10_000_000_000
"""The longest waveform that is asked for."""
Fit = tuple[int, int, bool]
"""(rank, distance of the onsets in ns, whether it begins at the disturbance's end): smaller is better."""


@dataclass(frozen=True, slots=True)
class ScoreMatch:
    """The assignment, by position in the two sequences.

    `of_truth[t]` are the incidents of disturbance t, its own first, those of its end last. `of_found[f]` are
    the disturbances of incident f, its own first. Empty: missed; false.
    """

    of_truth: tuple[tuple[int, ...], ...]
    of_found: tuple[tuple[int, ...], ...]


def match_incidents(truth: Sequence[TrueDisturbance], found: Sequence[FoundIncident]) -> ScoreMatch:
    """Matches all; costs some 10 us per pair of spans that lie near each other."""
    index = _BoxIndex(truth)
    fits = [index.fits(incident) for incident in found]
    own = [
        min(each, key=lambda t: (each[t], truth[t].number, t)) if each else None for each in fits
    ]  # the number decides between equals, so that the order of the lines does not
    shown = {t for f, t in enumerate(own) if t is not None and not _is_far(fits[f][t])}
    own = [t if t in shown else None for t in own]
    of_truth: list[list[int]] = [[] for _ in truth]
    for f, t in enumerate(own):
        if t is not None:
            of_truth[t].append(f)
    of_found: list[list[int]] = [[t] if t is not None else [] for t in own]
    covering: dict[int, list[int]] = defaultdict(list)
    for f, each in enumerate(fits):
        for t, (rank, *_) in each.items():
            if rank == SAME_TIME and not of_truth[t]:
                covering[t].append(f)
    for t, over in covering.items():
        best = min(over, key=lambda f: (fits[f][t], found[f].number, f))
        of_truth[t].append(best)
        of_found[best].append(t)
    of_truth = [
        sorted(each, key=lambda f, t=t: (*_order(truth[t], found[f], fits[f][t]), f))  # type: ignore[misc]
        for t, each in enumerate(of_truth)
    ]
    return ScoreMatch(tuple(map(tuple, of_truth)), tuple(map(tuple, of_found)))


def _order(true: TrueDisturbance, found: FoundIncident, fit: Fit) -> tuple[bool, int, int, int, int, int]:
    """Sort key of the incidents of a disturbance: first the one that began with it and has most of its Boxes.

    Boxes that it reaches later, as phases that the breaker makes dead, may have their own incident.
    """
    rank, distance_ns, at_end = fit
    shared = true.boxes.keys() & found.boxes.keys()
    began_ns = min((found.boxes[box_id].start_ns for box_id in shared), default=0)
    first_ns = min(span.start_ns for span in true.boxes.values())
    return at_end, rank, abs(began_ns - first_ns) // JOIN_NS, -len(shared), distance_ns, found.number


class _BoxIndex:
    """The spans of all disturbances by Box, in the order of their starts."""

    def __init__(self, truth: Sequence[TrueDisturbance]) -> None:
        gathered: dict[str, list[tuple[int, int, BoxSpan]]] = defaultdict(list)
        for t, disturbance in enumerate(truth):
            for box_id, span in disturbance.boxes.items():
                gathered[box_id].append((span.start_ns, t, span))
        self._by_box = {}
        for box_id, spans in gathered.items():
            spans.sort(key=lambda each: each[:2])
            latest_end = list(accumulate((span.end_ns for _, _, span in spans), max))
            self._by_box[box_id] = (spans, [start for start, _, _ in spans], latest_end)

    def fits(self, incident: FoundIncident) -> dict[int, Fit]:
        """Disturbance -> how well it fits, the best over all Boxes."""
        found: dict[int, Fit] = {}
        for box_id, span in incident.boxes.items():
            for t, fit in self._near(box_id, span):
                if t not in found or fit < found[t]:
                    found[t] = fit
        return found

    def _near(self, box_id: str, span: BoxSpan) -> Iterable[tuple[int, Fit]]:
        spans, starts, latest_end = self._by_box.get(box_id, ([], [], []))
        for at in range(bisect_right(starts, max(span.end_ns, span.start_ns + LONGEST_NS)) - 1, -1, -1):
            if latest_end[at] + EDGE_NS < span.start_ns - LONGEST_NS:
                return  # no earlier one lasts that long either
            fit = _fit(spans[at][2], span)
            if fit is not None:
                yield spans[at][1], fit


def _fit(true: BoxSpan, found: BoxSpan) -> Fit | None:
    distance_ns = abs(found.start_ns - true.start_ns)
    meet = found.start_ns <= true.end_ns + EDGE_NS and true.start_ns <= found.end_ns
    if not meet and distance_ns > found.reach_ns:
        return None
    since_end_ns = abs(found.start_ns - true.end_ns)
    if since_end_ns <= EDGE_NS:
        return SAME_TIME, min(distance_ns, since_end_ns), since_end_ns < distance_ns
    family = bool(true.families & found.families)
    if meet:
        return (SAME_TIME if family else SAME_TIME_OTHER, distance_ns, False)
    return (NEARBY if family else NEARBY_OTHER, distance_ns, False)


def _is_far(fit: Fit) -> bool:
    rank, distance_ns, _ = fit
    return rank == SAME_TIME_OTHER and distance_ns > FAR_NS
