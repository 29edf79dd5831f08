"""The Boxes of an incident on the map: where it came first, and in which order, from stored arrivals.

Pure. Times are those of the disturbance at each Box, with their uncertainty; a Box whose clock cannot give
the order is marked as such. Boxes that are not later than the first beyond doubt are all first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opq_cloud.store.box_record import BoxRecord
from opq_cloud.store.incidents.arrival_order import may_be_first
from opq_cloud.view.pages.map.map_frame import MapFrame, frame_of
from opq_cloud.view.pages.visible.fuzz import Place
from opq_cloud.view.web import words
from opq_proto.messages import Incident

FIRST_NAMED = 3
"""Boxes that were first are named in the sentence up to so many, and else counted."""
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
    at: Place | None
    """Without a place it is only in the list."""


@dataclass(frozen=True, slots=True)
class ArrivalMap:
    """The order of arrival, with a mark for each Box that has a place."""

    frame: MapFrame
    arrivals: tuple[Arrival, ...]
    sentence: str

    @property
    def marks(self) -> list[tuple[Place, str]]:
        """Each place once, with the places in the order of the Boxes there: `1`, `2, 4`."""
        ranks: dict[Place, list[int]] = {}
        for each in self.arrivals:
            if each.at is not None and each.rank not in ranks.setdefault(each.at, []):
                ranks[each.at].append(each.rank)
        return [(at, ", ".join(map(str, found))) for at, found in ranks.items()]


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
                places.get(each.box_id),
            )
        )
    return ArrivalMap(frame, tuple(arrivals), _sentence(incident, arrivals) if firsts else NO_ORDER)


def moved_since(records: Mapping[str, BoxRecord], t_ns: int) -> set[str]:
    """Boxes that were at another place at a moment; everybody sees only where a Box is now."""
    return {box_id for box_id, box in records.items() if box.at(t_ns).location != box.location}


def _sentence(incident: Incident, arrivals: Sequence[Arrival]) -> str:
    first = [each.name for each in arrivals if each.rank == 1]
    count = len(first)
    names = words.listed(first) if count <= FIRST_NAMED else words.counted(count, "Box", "Boxes")
    if count == len(arrivals):
        sentence = "It came to all of them at once, as far as their waveforms and clocks can show"
    else:
        sentence = f"It came to {names} first and to {arrivals[-1].name} {arrivals[-1].after_words}"
    more = len(incident.box_ids) - len(arrivals)
    if more <= 0:
        return f"{sentence}."
    return f"{sentence}; {more} more of its Boxes {'has' if more == 1 else 'have'} no time of arrival."
