"""Reads which Boxes an address names: `?box=1,4`, or the group of `?of=site:mill`, `of=region:north`.

A group holds those of its Boxes that the visitor sees: for a visitor who sees two of a region's Boxes, the
region consists of these two. A region and a grid also hold Boxes whose owners show them as figures of their
region only: `hidden`, which count in medians, and only where a region has enough of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from fastapi import HTTPException

from opq_cloud.store.box_place import phase_letter
from opq_cloud.view.pages.visible.registry import BOX_ID, natural_order
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words

MAX_NAMED = 50
"""The most Boxes that one address may name."""
GROUP_CHARACTERS = 100
GROUPS_OFFERED = 500
FEWEST_HIDDEN = 3
"""The least number of Boxes of a region that are shown only as figures; fewer do not count at all."""
KINDS: Final = ("site", "feeder", "region", "grid")
Groups = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Kind -> name -> Boxes, seen and hidden ones, by number."""


@dataclass(frozen=True, slots=True)
class BoxChoice:
    """The Boxes of an address; empty where none was named."""

    boxes: tuple[ShownBox, ...] = ()
    kind: str = "box"
    """`box`, or one of KINDS."""
    name: str = ""
    """Of the group."""
    hidden: tuple[ShownBox, ...] = ()
    """Boxes that count in medians only."""

    @property
    def box_ids(self) -> tuple[str, ...]:
        return tuple(box.box_id for box in self.boxes)

    @property
    def words(self) -> str:
        """`Box 1, kitchen`; `region north, 12 Boxes`; `3 Boxes`."""
        count = len(self.boxes) + len(self.hidden)
        counted = words.counted(count, "Box", "Boxes")
        if self.name:
            return f"{self.kind} {self.name}, {counted}"
        return self.boxes[0].label if count == 1 else counted if count else "no Box"

    @property
    def fields(self) -> dict[str, str]:
        """The fields of an address for this choice."""
        if self.name:
            return {"of": f"{self.kind}:{self.name}"}
        return {"box": ",".join(self.box_ids)} if self.boxes else {}


def read_groups(context: VisitorContext, services: ViewServices) -> Groups:
    """The groups of all Boxes that count for the visitor; sites and feeders where the place may be known."""
    registry, visitor = services.registry.now(), context.visitor
    found: dict[str, dict[str, list[str]]] = {kind: {} for kind in KINDS}

    def put(kind: str, name: str | None, box_id: str) -> None:
        if name and len(name) <= GROUP_CHARACTERS:
            found[kind].setdefault(name, []).append(box_id)

    for box_id, place in context.places().items():
        put("region", place.region, box_id)
        put("grid", place.grid, box_id)
        if visitor.sees_place(box_id):
            put("feeder", place.feeder, box_id)
            put("site", registry.records[box_id].site, box_id)
    hidden = [box_id for box_id in visitor.regional if not visitor.sees(box_id) and box_id in registry.places]
    many = Counter(registry.place(box_id).region for box_id in hidden)
    for box_id in hidden:
        place = registry.place(box_id)
        if place.region and many[place.region] >= FEWEST_HIDDEN and box_id not in registry.unplugged:
            put("region", place.region, box_id)
            put("grid", place.grid, box_id)
    return {
        kind: {
            name: tuple(sorted(found[kind][name], key=natural_order))
            for name in sorted(found[kind])[:GROUPS_OFFERED]
        }
        for kind in KINDS
    }


def read_box_choice(
    context: VisitorContext, services: ViewServices, box: Iterable[str], group: str, groups: Groups
) -> BoxChoice:
    """Reads the choice; a group, `region:north`, replaces single Boxes.

    Raises:
        HTTPException: 404 where the visitor does not see the Box or group; 400 where too many are named.
    """
    if group:
        kind, _, name = group.partition(":")
        members = groups.get(kind, {}).get(name, ())
        if not members:
            one = kind if kind in KINDS else "group"
            raise HTTPException(404, f"No {one} of this name has a Box that is shown to you.")
        seen = [box_id for box_id in members if context.visitor.sees(box_id)]
        hidden = [_hidden(services, box_id) for box_id in members if not context.visitor.sees(box_id)]
        if kind == "site":
            return BoxChoice(tuple(_phases(context, services, seen)), kind, name)
        return BoxChoice(tuple(context.boxes(seen)), kind, name, tuple(hidden))
    named = dict.fromkeys(each.strip() for text in box for each in text.split(",") if each.strip())
    if len(named) > MAX_NAMED:
        raise HTTPException(400, f"box names {len(named)} Boxes; want {MAX_NAMED} or fewer, or a group.")
    for box_id in named:
        if not BOX_ID.fullmatch(box_id) or context.store.box(box_id) is None:
            raise HTTPException(404, "No Box with this id is known.")
    return BoxChoice(tuple(context.boxes(sorted(named, key=natural_order))))


def _phases(context: VisitorContext, services: ViewServices, box_ids: list[str]) -> Iterator[ShownBox]:
    """The Boxes of a site in the order of their phases, with the phase in their names."""
    records = services.registry.now().records
    order = sorted(
        box_ids, key=lambda box_id: (phase_letter(records[box_id].phase) or "z", natural_order(box_id))
    )
    for box in context.boxes(order):
        phase = records[box.box_id].phase
        yield replace(box, name=f"phase {phase}") if phase else box


def _hidden(services: ViewServices, box_id: str) -> ShownBox:
    record, nominal = services.registry.now().records[box_id], services.nominal
    return ShownBox(
        box_id, "", None, record.nominal_v or nominal.volts, record.nominal_hz or nominal.hz, False
    )
