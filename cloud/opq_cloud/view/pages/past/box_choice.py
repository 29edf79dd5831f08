"""Reads which Boxes an address names: `?box=1,4`, or the group of `?of=site:mill`, `of=region:north`.

A group holds those of its Boxes that the visitor sees: for a visitor who sees two of a region's Boxes, the
region consists of these two. A region and a grid also hold Boxes whose owners show them as figures of their
region only: `hidden`, which count in medians, and only where those of a region have enough owners.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from fastapi import HTTPException

from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.records.accounts import BoxAccess
from opq_cloud.view.pages.visible.counted import HiddenBox, enough_owners, owner_of
from opq_cloud.view.pages.visible.registry import BOX_ID, BoxRegistry, natural_order, sampled
from opq_cloud.view.pages.visible.registry import Groups as Groups
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.visitors import Visitor

MAX_NAMED = 50
"""The most Boxes that one address may name."""
BOXES_READ = 50
"""Boxes of a group: always the same ones, spread over the whole group."""
GROUP_CHARACTERS = 100
GROUPS_OFFERED = 500
KINDS: Final = ("site", "feeder", "region", "grid")


@dataclass(frozen=True, slots=True)
class BoxChoice:
    """The Boxes of an address; empty where none was named."""

    boxes: tuple[ShownBox, ...] = ()
    kind: str = "box"
    """`box`, or one of KINDS."""
    name: str = ""
    """The name of the group."""
    hidden: tuple[HiddenBox, ...] = ()
    """Boxes that count in medians only."""

    @property
    def box_ids(self) -> tuple[str, ...]:
        return tuple(box.box_id for box in self.boxes)

    def read(self) -> tuple[list[ShownBox], list[HiddenBox]]:
        """Returns those of `boxes` and of `hidden` whose values are read."""
        seen = set(sampled((each.box_id for each in self.boxes), BOXES_READ))
        counted = set(sampled((each.box.box_id for each in self.hidden), BOXES_READ))
        return (
            [each for each in self.boxes if each.box_id in seen],
            [each for each in self.hidden if each.box.box_id in counted],
        )

    @property
    def incident_fields(self) -> dict[str, str] | None:
        """Fields of `/incidents` for these Boxes; None where its address cannot name them."""
        if len(self.boxes) > 1 and self.kind in ("site", "region"):
            return {self.kind: self.name}
        return {"box": ",".join(self.box_ids)} if 0 < len(self.boxes) <= MAX_NAMED else None

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
    """The groups of all Boxes that count for the visitor, seen and hidden ones; sites and feeders where the
    place may be known."""
    registry, visitor = services.registry.now(), context.visitor
    accesses = services.visitors.accesses()
    found = registry.groups if visitor.everything else _seen_groups(registry, visitor, accesses)
    return {
        kind: {
            name: named[name]
            for name in islice((name for name in named if len(name) <= GROUP_CHARACTERS), GROUPS_OFFERED)
        }
        for kind, named in found.items()
    }


def _seen_groups(registry: BoxRegistry, visitor: Visitor, accesses: Mapping[str, BoxAccess]) -> Groups:
    hidden: dict[str, list[str]] = {}
    for box_id in visitor.regional - registry.unplugged:
        if (region := registry.place(box_id).region) and not visitor.sees(box_id):
            hidden.setdefault(region, []).append(box_id)
    counted = {
        box_id
        for boxes in hidden.values()
        if enough_owners(owner_of(accesses, box_id) for box_id in boxes)
        for box_id in boxes
    }
    of_region = visitor.full | visitor.public | counted
    of_kind = {"site": visitor.full, "feeder": visitor.full, "region": of_region, "grid": of_region}
    seen = {
        kind: {name: tuple(filter(of_kind[kind].__contains__, ids)) for name, ids in named.items()}
        for kind, named in registry.groups.items()
    }
    return {kind: {name: ids for name, ids in named.items() if ids} for kind, named in seen.items()}


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


def _hidden(services: ViewServices, box_id: str) -> HiddenBox:
    registry, nominal = services.registry.now(), services.nominal
    record, region = registry.records[box_id], registry.place(box_id).region or ""
    volts, hertz = record.nominal_v or nominal.volts, record.nominal_hz or nominal.hz
    owner = owner_of(services.visitors.accesses(), box_id)
    return HiddenBox(ShownBox(box_id, "", None, volts, hertz, False), owner, region)
