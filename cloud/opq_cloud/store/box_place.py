"""The place of a Box from the store's records, for Makai, Mauka, View and `opq-tools boxes`.

Separate from `documents/box_documents.py` because it reads records, not documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_cloud.store.box_record import BoxRecord, LocationRecord

DEFAULT_GRID = "1"
"""The grid of a Box for which none is set (docs/reference/contracts.md, Findings and incidents)."""
PLACES_TRIED = 1000
"""Places of its own that a Box may have had."""
_PHASES = {"a": "a1r", "b": "b2s", "c": "c3t"}
"""Names in use: a, A, L1, 1, R; IEC 60445 has L1, L2, L3."""


@dataclass(frozen=True, slots=True)
class BoxPlace:
    """The place of a Box; None where a field is unknown."""

    grid: str = DEFAULT_GRID
    place: str | None = None
    """The name of its location."""
    feeder: str | None = None
    region: str | None = None
    """The Box's own one, else the first of its location."""
    further_regions: tuple[str, ...] = ()
    """The other regions of its location: the Box is in each."""
    latitude: float | None = None
    """Degrees, WGS 84; so is `longitude`."""
    longitude: float | None = None
    phase: str | None = None
    """The phase a, b or c, against neutral."""

    @property
    def regions(self) -> tuple[str, ...]:
        return () if self.region is None else (self.region, *self.further_regions)


def box_place(
    box: BoxRecord, locations: Mapping[str, LocationRecord], regions: Mapping[str, tuple[str, ...]]
) -> BoxPlace:
    """Returns the place of a Box, from `CloudStore.locations` and `CloudStore.regions`."""
    at = locations.get(box.location or "")
    of_location = box_regions(box, regions)
    return BoxPlace(
        grid=box.grid or DEFAULT_GRID,
        place=box.location,
        feeder=box.feeder,
        region=next(iter(of_location), None),
        further_regions=of_location[1:],
        latitude=None if at is None else at.latitude,
        longitude=None if at is None else at.longitude,
        phase=box.phase,
    )


def box_regions(box: BoxRecord, regions: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Returns the region set for the Box itself, else those of its location."""
    return (box.region,) if box.region else regions.get(box.location or "", ())


def slug_of_its_own(
    known: Mapping[str, LocationRecord], box_id: str, latitude: float, longitude: float
) -> str:
    """Returns the slug of a place that a Box alone has: `box-7`, or `box-7-2` after a move.

    A place keeps its coordinates, so that what was measured before a move stays where it was.

    Raises:
        ValueError: the Box has been at too many places.
    """
    for number in range(1, PLACES_TRIED):
        slug = _numbered(box_id, number)
        there = known.get(slug)
        if there is None or (there.latitude, there.longitude) == (latitude, longitude):
            return slug
    raise ValueError(f"Box {box_id} has been at {PLACES_TRIED} places of its own")


def own_places(box: BoxRecord) -> list[str]:
    """Returns the slugs of all places of its own at which a Box is or was."""
    first = _numbered(box.box_id, 1)
    return [
        slug
        for slug in box.values_of("location")
        if slug == first or (slug.startswith(f"{first}-") and slug.removeprefix(f"{first}-").isdecimal())
    ]


def _numbered(box_id: str, number: int) -> str:
    slug = f"box-{box_id}".lower()
    return slug if number == 1 else f"{slug}-{number}"


def phase_letter(phase: str | None) -> str | None:
    """Returns a, b or c for a common name of a phase."""
    name = (phase or "").strip().lower().removeprefix("l")
    return next((letter for letter, names in _PHASES.items() if len(name) == 1 and name in names), None)
