"""Reads which Boxes an address names: `?box=1,4`, or the group of `?of=site:mill`, `of=region:north`.

A group holds those Boxes that the visitor sees, and that are or were there: for a visitor who sees two of a
region's Boxes, the region consists of these two. For who may not know the place of a Box, it always was where
it is now. A region and a grid also hold Boxes whose owners show them as figures of their region only:
`hidden`, which count in medians, and only where those of a region have enough owners.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from fastapi import HTTPException

from opq_cloud.store.box_place import phase_letter
from opq_cloud.store.records.accounts.account_records import BoxAccess
from opq_cloud.store.stated_facts import LAST_NS
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
    was_empty: bool = False
    """Whether none of `boxes` was in the group in the span."""

    @property
    def box_ids(self) -> tuple[str, ...]:
        return tuple(box.box_id for box in self.boxes)

    def read(self) -> tuple[list[ShownBox], list[HiddenBox]]:
        """Returns those of `boxes` and of `hidden` whose values are read."""
        seen = set(sampled((each.box_id for each in self.boxes), BOXES_READ))
        counted = set(sampled({each.box.box_id for each in self.hidden}, BOXES_READ))
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
        """`Box 1, kitchen`; `region north, 12 Boxes`; `site yard, 0 Boxes`; `3 Boxes`."""
        shown = 0 if self.was_empty else len(self.boxes)
        count = shown + len({each.box.box_id for each in self.hidden})
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
    unseen = visitor.regional - visitor.full - visitor.public
    hidden = {name: unseen.intersection(ids) for name, ids in registry.groups["region"].items()}
    counted = {
        name: boxes
        for name, boxes in hidden.items()
        if enough_owners(owner_of(accesses, box_id) for box_id in boxes)
    }
    placed = visitor.full | visitor.former.of_box.keys()
    of_region = (placed | visitor.public).union(*counted.values())
    of_kind = {"site": placed, "feeder": placed, "region": of_region, "grid": of_region}
    known = visitor.public.intersection(registry.records)
    moved = {box_id for box_id in known - placed if registry.records[box_id].stated}
    for_a_time = placed & (visitor.since.of_box.keys() | visitor.former.of_box.keys())
    stays = {
        box_id: [each.box for first, last in visitor.place_spans(box_id) for each in box.spans(first, last)]
        for box_id in for_a_time
        if (box := registry.records.get(box_id)) is not None
    }

    def members(kind: str, name: str, ids: tuple[str, ...]) -> tuple[str, ...]:
        records, shown = registry.records, of_kind[kind]
        away = {each for each in moved.intersection(ids) if not registry.is_in(kind, name, records[each])}
        away |= {
            each
            for each in stays.keys() & set(ids)
            if not any(registry.is_in(kind, name, box) for box in stays[each])
        }
        if kind == "region" and name not in counted:
            away |= hidden[name]
        return tuple(each for each in ids if each in shown and each not in away)

    seen = {
        kind: {name: members(kind, name, ids) for name, ids in named.items()}
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
        reads = context.visitor.reads
        seen = [box_id for box_id in members if reads(box_id)]
        unseen = (box_id for box_id in members if not reads(box_id))
        hidden = (part for box_id in unseen for part in _hidden(services, kind, name, box_id))
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


def _hidden(services: ViewServices, kind: str, name: str, box_id: str) -> Iterator[HiddenBox]:
    """The parts of a hidden Box since it has its present owner: in each it was in service in the group, with
    the same facts."""
    registry, nominal = services.registry.now(), services.nominal
    accesses = services.visitors.accesses()
    owner, access = owner_of(accesses, box_id), accesses.get(box_id) or BoxAccess(box_id)
    stays: dict[tuple[str, float, float], list[tuple[int, int]]] = {}
    for span in registry.records[box_id].spans(access.since_ns, LAST_NS):
        box, region = span.box, registry.place_of(span.box).region
        if region and box.is_in_service and registry.is_in(kind, name, box):
            facts = region, box.nominal_v or nominal.volts, box.nominal_hz or nominal.hz
            stays.setdefault(facts, []).append((span.start_ns, span.end_ns))
    for (region, volts, hertz), own in stays.items():
        yield HiddenBox(ShownBox(box_id, "", None, volts, hertz, False), owner, region, tuple(own))


def hidden_in(hidden: Iterable[HiddenBox], span_ns: tuple[int, int]) -> tuple[HiddenBox, ...]:
    """Those that counted in a span, of regions in which enough owners had one then."""
    there = [
        each for each in hidden if any(first < span_ns[1] and span_ns[0] < last for first, last in each.stays)
    ]
    owners: dict[str, dict[str, str]] = {}
    for each in there:
        owners.setdefault(each.region, {})[each.box.box_id] = each.owner
    return tuple(each for each in there if enough_owners(owners[each.region].values()))
