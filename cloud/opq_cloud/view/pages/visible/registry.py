"""All Boxes and their places, read once for all visitors, and again when the store reports a change.

A page that names a few of 10,000 Boxes reads them here: the cost of a page does not grow with the fleet.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from opq_cloud.operations.site_now import sites_of
from opq_cloud.store.box_place import DEFAULT_GRID, BoxPlace, box_place, box_regions
from opq_cloud.store.box_record import BoxRecord, LocationRecord
from opq_cloud.store.store import CloudStore
from opq_cloud.view.web.single_maker import SingleMaker

BOX_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
"""What an address or a form may name as a Box."""
BOXES_SAMPLED = 50
"""Boxes of a large group that are read, for figures of the whole group."""
Regions = Mapping[str, tuple[str, ...]]
Groups = Mapping[str, Regions]
"""`site`, `feeder`, `region`, `grid` -> name -> Boxes, by number."""


@dataclass(frozen=True, slots=True)
class BoxRegistry:
    """All stored Boxes, by id in numerical order; not to be changed."""

    revision: int
    records: Mapping[str, BoxRecord]
    places: Mapping[str, BoxPlace]
    locations: Mapping[str, LocationRecord]
    of_location: Regions
    """Location -> its regions."""
    groups: Groups
    """All groups, sorted by name, each with the Boxes that are or were in it."""
    region_boxes: Regions
    """Region -> the Boxes that are there now."""
    sites: Mapping[str, tuple[BoxRecord, ...]]
    """Site -> its Boxes in the order of their phases; without retired ones."""
    unplugged: frozenset[str]
    """Boxes that are not expected to send."""

    def place(self, box_id: str) -> BoxPlace:
        return self.places.get(box_id) or BoxPlace()

    def place_of(self, box: BoxRecord) -> BoxPlace:
        """The place of a Box by these facts, which may be those of before."""
        return box_place(box, self.locations, self.of_location)

    def members(self, groups: Iterable[tuple[str, str]]) -> list[str]:
        """The Boxes that are or were in each of these groups, given as kind and name."""
        lists = [self.groups[kind].get(name, ()) for kind, name in groups]
        if not lists:
            return list(self.records)
        others = [frozenset(each) for each in lists[1:]]
        return [box_id for box_id in lists[0] if all(box_id in each for each in others)]

    def is_in(self, kind: str, name: str, box: BoxRecord) -> bool:
        """Whether a Box with these facts is at a `site` or `feeder`, or in a `region` or `grid`."""
        if kind in ("site", "feeder"):
            return bool(name == getattr(box, kind))
        if kind == "grid":
            return name == (box.grid or DEFAULT_GRID)
        return name in box_regions(box, self.of_location)


def groups_of(records: Mapping[str, BoxRecord], places: Mapping[str, Iterable[BoxPlace]]) -> Groups:
    """Groups Boxes, which are in numerical order, by where they are and were."""
    found: dict[str, dict[str, list[str]]] = {"site": {}, "feeder": {}, "region": {}, "grid": {}}
    for box_id, own in places.items():
        record = records[box_id]
        regions = (name for place in own for name in place.regions)
        grids = (place.grid for place in own)
        named = (record.values_of("site"), record.values_of("feeder"), regions, grids)
        for kind, names in zip(found, named, strict=True):
            for name in filter(None, dict.fromkeys(names)):
                found[kind].setdefault(name, []).append(box_id)
    return {
        kind: {name: tuple(boxes) for name, boxes in sorted(named.items())} for kind, named in found.items()
    }


_NOTHING = BoxRegistry(-1, {}, {}, {}, {}, groups_of({}, {}), {}, {}, frozenset())


def sampled(box_ids: Iterable[str], most: int = BOXES_SAMPLED) -> list[str]:
    """At most `most` Boxes, spread over all, always the same ones."""
    return sorted(box_ids, key=lambda box_id: (zlib.crc32(box_id.encode()), box_id))[:most]


def natural_order(box_id: str) -> tuple[int, str]:
    """Sorts `2` before `10`, and names after numbers."""
    return (int(box_id), "") if box_id.isascii() and box_id.isdigit() else (2**63, box_id)


class RegistryReader:
    """`now` may be called from any thread."""

    def __init__(self, store: CloudStore, forget: Callable[[Iterable[str]], None] = lambda _: None) -> None:
        """`forget` is called with Boxes that were deleted."""
        self._store, self._forget = store, forget
        self._maker = SingleMaker()
        self._registry = _NOTHING
        self._deletions: Mapping[str, int] = {}
        """Box -> its deletion that was passed to `forget`."""
        self._every: tuple[BoxRegistry, int, list[str]] = (_NOTHING, 0, [])

    def now(self) -> BoxRegistry:
        """The stored Boxes, with changes of this and other processes.

        Raises:
            StoreError: the store cannot be read.
        """
        revision = self._store.boxes_revision()
        if self._registry.revision != revision:
            with self._maker.made_here(RegistryReader):  # other callers wait and then find it complete
                if self._registry.revision != revision:
                    registry = self._read(revision, self._registry)
                    self._forget_deleted(registry)
                    self._registry = registry  # last: what fails before is done at the next call
        return self._registry

    def _forget_deleted(self, registry: BoxRegistry) -> None:
        """Each deletion once, because the number may be given to a Box without a record."""
        deletions = self._store.people.deletions()
        new = {box_id for box_id, at_ms in deletions.items() if self._deletions.get(box_id) != at_ms}
        if self._registry is _NOTHING:  # the number may have been given again before this start
            new -= registry.records.keys()
        self._forget(new)
        self._deletions = deletions

    def every_id(self, box_count: int, box_ids: Callable[[], list[str]]) -> list[str]:
        """The ids of all Boxes, stored or in `box_ids`, in numerical order; not to be changed.

        box_count: the length of `box_ids`; a Box is forgotten only with a new registry, so an equal number
            means the same Boxes.
        """
        registry = self.now()
        kept = self._every
        if kept[0] is not registry or kept[1] != box_count:
            known = registry.records
            unlisted = [box_id for box_id in box_ids() if box_id not in known]
            ids = sorted((*known, *unlisted), key=natural_order) if unlisted else list(known)
            kept = self._every = registry, box_count, ids
        return kept[2]

    def _read(self, revision: int, before: BoxRegistry) -> BoxRegistry:
        """Reads the store; only the places of changed Boxes and locations are computed again."""
        store = self._store
        locations, of_location = store.locations(), store.regions()
        found = {box.box_id: box for box in store.boxes()}
        records = {box_id: found[box_id] for box_id in sorted(found, key=natural_order)}
        kept = before.records if (locations, of_location) == (before.locations, before.of_location) else {}
        places = {
            box_id: before.places[box_id]
            if kept.get(box_id) is box
            else box_place(box, locations, of_location)
            for box_id, box in records.items()
        }
        now_places = {box_id: [place] for box_id, place in places.items()}
        past = {
            box_id: [
                box_place(span.box, locations, of_location)
                for span in box.all_spans(("location", "region", "grid"))
            ]
            for box_id, box in records.items()
            if box.stated
        }
        groups, sites = groups_of(records, {**now_places, **past}), sites_of(records.values())
        unplugged = frozenset(box_id for box_id, box in records.items() if box.unplugged)
        regions = groups_of(records, now_places)["region"]
        return BoxRegistry(
            revision, records, places, locations, of_location, groups, regions, sites, unplugged
        )
