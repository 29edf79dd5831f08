"""The Boxes of an incident on the map: where it came first, and in which order, from stored arrivals.

Pure. Times are those of the disturbance at each Box, with their uncertainty; a Box whose clock cannot give
the order is marked as such. Boxes that are not later than the first beyond doubt are all first.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from opq_cloud.store.incidents.arrival_order import may_be_first
from opq_cloud.view.pages.map.fuzz import Place
from opq_cloud.view.pages.map.map_frame import HEIGHT, WIDTH, MapFrame, frame_of
from opq_cloud.view.web import words
from opq_proto.messages import Incident

FIRST_NAMED = 3
"""Boxes that were first are named in the sentence up to so many, and else counted."""
APART_UNITS = 62.0
"""The least distance of two marks of the drawing, so that their numbers can be read on a phone too."""
MAX_MOVED = 60
"""With more Boxes the marks are not moved apart: there is no room."""
MOVES = 60
NO_ORDER = (
    "The clocks of these Boxes are not good enough to say where it came first: the numbers are the order in "
    "which they stamped it."
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One Box, in the order of arrival."""

    number: int
    """Counts from 1."""
    rank: int
    """Its place in the order; 1 for all that may have been first."""
    box_id: str
    name: str
    after_words: str
    doubt_words: str
    x: float
    y: float
    placed: bool
    """Without a place it is only in the list."""
    moved_from: tuple[float, float] | None = None
    """The place of its Box, where its mark was moved away from another."""


@dataclass(frozen=True, slots=True)
class ArrivalMap:
    """The order of arrival, with a mark for each Box that has a place."""

    frame: MapFrame
    arrivals: tuple[Arrival, ...]
    sentence: str


def arrival_map(
    incident: Incident, places: Mapping[str, Place], labels: Mapping[str, str]
) -> ArrivalMap | None:
    """The map; None where fewer than two Boxes have an arrival, so that there is nothing to show.

    `places`: the public place of each Box, the only one that is used; `labels`: its name.
    """
    stamped = sorted(incident.arrivals, key=lambda each: (each.start_ns, each.box_id))
    if len(stamped) < 2:
        return None
    frame = frame_of(places[each.box_id] for each in stamped if each.box_id in places)
    first_ns, firsts = stamped[0].start_ns, may_be_first(stamped)
    references = {each.aligned_to for each in stamped}
    arrivals = []
    for number, each in enumerate(sorted(stamped, key=lambda each: each.box_id not in firsts), start=1):
        at = places.get(each.box_id)
        x, y = (0.0, 0.0) if at is None else frame.units(at)
        is_first = each.box_id in firsts
        doubt = words.uncertainty(each.uncertainty_ns)
        arrivals.append(
            Arrival(
                number,
                1 if is_first else number,
                each.box_id,
                labels.get(each.box_id, f"Box {each.box_id}"),
                words.arrived(each, first_ns, is_first),
                doubt + words.clock_words(each, each.box_id in references),
                round(x, 1),
                round(y, 1),
                at is not None,
            )
        )
    arrivals = _apart(arrivals)
    return ArrivalMap(frame, tuple(arrivals), _sentence(incident, arrivals) if firsts else NO_ORDER)


def _apart(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Moves overlapping marks apart until each can be read, by as little as possible."""
    placed = [each for each in arrivals if each.placed]
    if len(placed) > MAX_MOVED:
        return list(arrivals)
    at = {each.number: [each.x, each.y] for each in placed}
    for _move in range(MOVES):
        moved = [_push(at, one, other) for one in at for other in at if one < other]
        if not any(moved):
            break
    return [
        replace(
            each, x=round(at[each.number][0], 1), y=round(at[each.number][1], 1), moved_from=(each.x, each.y)
        )
        if each.placed and math.dist(at[each.number], (each.x, each.y)) > 1.0
        else each
        for each in arrivals
    ]


def _push(at: dict[int, list[float]], one: int, other: int) -> bool:
    """Moves two marks away from each other, within the drawing; returns whether they were too near."""
    off_x, off_y = at[other][0] - at[one][0], at[other][1] - at[one][1]
    away = math.hypot(off_x, off_y)
    if away >= APART_UNITS - 0.5:
        return False
    if away < 1.0:  # at one place: move to a side that depends on their numbers
        turn = 2.4 * other
        off_x, off_y, away = math.cos(turn), math.sin(turn), 1.0
    step = (APART_UNITS - min(away, APART_UNITS)) / 2 / away
    for number, sign in ((one, -1), (other, 1)):
        at[number][0] = min(max(at[number][0] + sign * step * off_x, 32.0), WIDTH - 32.0)
        at[number][1] = min(max(at[number][1] + sign * step * off_y, 32.0), HEIGHT - 32.0)
    return True


def _sentence(incident: Incident, arrivals: Sequence[Arrival]) -> str:
    first = [each.name for each in arrivals if each.rank == 1]
    count = len(first)
    names = words.listed(first) if count <= FIRST_NAMED else words.counted(count, "Box", "Boxes")
    if count == len(arrivals):
        sentence = "It came to all of them at once, as finely as their waveforms and clocks show"
    else:
        sentence = f"It came to {names} first and to {arrivals[-1].name} {arrivals[-1].after_words}"
    more = len(incident.box_ids) - len(arrivals)
    if more <= 0:
        return f"{sentence}."
    return f"{sentence}; {more} more of its Boxes {'has' if more == 1 else 'have'} no time of arrival."
