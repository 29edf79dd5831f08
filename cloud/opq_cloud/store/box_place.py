"""Where a Box stands, as far as the store says: what Makai, Mauka and `opq-tools boxes` know of it.

Short, and not in `box_documents.py`: it reads records, and no document.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_cloud.store.store import BoxRecord, LocationRecord

DEFAULT_GRID = "1"
"""The grid of a Box for which nobody named one (contracts.md, Findings and incidents)."""


@dataclass(frozen=True, slots=True)
class BoxPlace:
    """Where a Box stands; None: not known."""

    grid: str = DEFAULT_GRID
    place: str | None = None
    """The name of its location."""
    feeder: str | None = None
    region: str | None = None
    latitude: float | None = None
    """In degrees, WGS 84, as `longitude`."""
    longitude: float | None = None
    phase: str | None = None
    """a, b or c, to neutral."""


def box_place(
    box: BoxRecord, locations: Mapping[str, LocationRecord], regions: Mapping[str, tuple[str, ...]]
) -> BoxPlace:
    """The place of a Box, from `CloudStore.locations` and `CloudStore.regions`.

    Its region is the one that was set for the Box itself, else the first that its location lies in.
    """
    at = locations.get(box.location or "")
    return BoxPlace(
        grid=box.grid or DEFAULT_GRID,
        place=box.location,
        feeder=box.feeder,
        region=box.region or next(iter(regions.get(box.location or "", ())), None),
        latitude=None if at is None else at.latitude,
        longitude=None if at is None else at.longitude,
        phase=box.phase,
    )
