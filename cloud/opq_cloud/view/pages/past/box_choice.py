"""Reads which Boxes an address names: `?box=1,4`, `?region=north`, `?feeder=F12`; only visible ones.

A group holds only those of its Boxes that the visitor sees: for a visitor who sees two of a region's Boxes,
the region consists of these two.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fastapi import HTTPException

from opq_cloud.view.pages.visible.registry import BOX_ID, natural_order
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words

MAX_NAMED = 50
"""The most Boxes that one address may name."""
GROUP_CHARACTERS = 100
GROUPS_OFFERED = 500


@dataclass(frozen=True, slots=True)
class GroupNames:
    """Groups of the Boxes that the visitor sees: name -> Boxes, sorted by name and number."""

    regions: Mapping[str, tuple[str, ...]]
    feeders: Mapping[str, tuple[str, ...]]
    """Only of Boxes whose place the visitor may know."""


@dataclass(frozen=True, slots=True)
class BoxChoice:
    """The Boxes of an address; `boxes` is sorted by number, and empty where none was named."""

    boxes: tuple[ShownBox, ...]
    named: tuple[str, ...] = ()
    region: str = ""
    feeder: str = ""

    @property
    def box_ids(self) -> tuple[str, ...]:
        return tuple(box.box_id for box in self.boxes)

    @property
    def words(self) -> str:
        """The choice in words: `Box 1, kitchen`; `region north, 12 Boxes`; `3 Boxes`."""
        count = len(self.boxes)
        counted = words.counted(count, "Box", "Boxes")
        if self.region:
            return f"region {self.region}, {counted}"
        if self.feeder:
            return f"feeder {self.feeder}, {counted}"
        if count == 1:
            return self.boxes[0].label
        return counted if count else "no Box"

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an address for this choice."""
        return {"box": ",".join(self.named), "region": self.region, "feeder": self.feeder}


def read_groups(context: VisitorContext) -> GroupNames:
    """Groups of all Boxes that the visitor sees."""
    places = context.places()
    visitor = context.visitor
    known = {box_id: place for box_id, place in places.items() if visitor.sees_place(box_id)}
    return GroupNames(
        _by_name((box_id, place.region) for box_id, place in places.items()),
        _by_name((box_id, place.feeder) for box_id, place in known.items()),
    )


def read_box_choice(
    context: VisitorContext, box: Iterable[str], region: str, feeder: str, groups: GroupNames
) -> BoxChoice:
    """Reads the choice; a region, or else a feeder, replaces single Boxes.

    Raises:
        HTTPException: 404 where the visitor does not see the Box or group; 400 where too many are named.
    """
    named = tuple(dict.fromkeys(each.strip() for text in box for each in text.split(",") if each.strip()))
    if region or feeder:
        members = groups.regions.get(region, ()) if region else groups.feeders.get(feeder, ())
        if not members:
            nobody = "No region of this name has a Box." if region else "No feeder of this name has a Box."
            raise HTTPException(404, nobody)
        shown = tuple(context.box(box_id) for box_id in members)
        return BoxChoice(shown, region=region, feeder="" if region else feeder)
    if len(named) > MAX_NAMED:
        raise HTTPException(
            400,
            f"box names {len(named)} Boxes; want {MAX_NAMED} or fewer, or a region.",
        )
    ids = sorted(named, key=natural_order)
    for box_id in ids:
        if not BOX_ID.fullmatch(box_id) or context.store.box(box_id) is None:
            raise HTTPException(404, "No Box with this id is known.")
    return BoxChoice(tuple(context.box(box_id) for box_id in ids), tuple(ids))


def _by_name(pairs: Iterable[tuple[str, str | None]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for box_id, name in pairs:
        if name and len(name) <= GROUP_CHARACTERS:
            found.setdefault(name, []).append(box_id)
    return {name: tuple(sorted(found[name], key=natural_order)) for name in sorted(found)[:GROUPS_OFFERED]}
