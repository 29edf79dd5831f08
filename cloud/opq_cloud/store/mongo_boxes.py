"""Boxes and the places where they stand, in the original's `opq_boxes`, `locations` and `regions` (D.8)."""

import time
from functools import partial

from bson.int64 import Int64
from pymongo import ASCENDING

from opq_cloud.store.box_documents import (
    REVISION,
    box_changes,
    box_from_document,
    location_document,
    location_from_document,
)
from opq_cloud.store.documents import Document
from opq_cloud.store.mongo_server import MongoPart, store_errors, upsert
from opq_cloud.store.store import BoxRecord, LocationRecord, box_order

FOREIGN_S = 5.0
"""The original's View writes these collections and counts nothing: what it wrote is seen after so long."""


class MongoBoxes(MongoPart):
    """The part of the store described above; a file of its own beside the embedded store's."""

    @store_errors
    def boxes_revision(self) -> int:
        found = self._db.opq_counters.find_one({"_id": REVISION})
        return (0 if found is None else int(found["value"])) + int(time.monotonic() / FOREIGN_S)

    def _count_change(self) -> None:
        """After the write: who reads before it may keep what it read under the number before."""
        change = {"$inc": {"value": Int64(1)}}
        upsert(lambda: self._db.opq_counters.update_one({"_id": REVISION}, change, upsert=True))

    @store_errors
    def put_box(self, box: BoxRecord) -> None:
        """A Box that another process moves at the same time is read again: no place is left out."""
        boxes, key = self._db.opq_boxes, {"box_id": box.box_id}
        while True:
            known = boxes.find_one(key)
            changes = _widths(box_changes(known, box, time.time_ns() // 1_000_000))
            if known is None:
                upsert(partial(boxes.update_one, key, {"$set": changes}, upsert=True))
                self._count_change()
                return
            if all(known.get(name) == value for name, value in changes.items()):
                return
            here = {**key, "location": known.get("location")} if box.location is not None else key
            if boxes.update_one(here, {"$set": changes}).matched_count == 1:
                self._count_change()
                return

    @store_errors
    def boxes(self) -> list[BoxRecord]:
        found = [box_from_document(d) for d in self._db.opq_boxes.find().sort("box_id", ASCENDING)]
        return sorted(found, key=lambda box: box_order(box.box_id))

    @store_errors
    def box(self, box_id: str) -> BoxRecord | None:
        found = self._db.opq_boxes.find_one({"box_id": box_id})
        return None if found is None else box_from_document(found)

    @store_errors
    def put_location(self, location: LocationRecord) -> None:
        change = {"$set": location_document(location)}
        places = self._db.locations
        upsert(lambda: places.update_one({"slug": location.slug}, change, upsert=True))
        self._count_change()

    @store_errors
    def remove_location(self, slug: str) -> None:
        self._db.locations.delete_one({"slug": slug})
        self._db.regions.delete_many({"locationSlug": slug})
        self._count_change()

    @store_errors
    def locations(self) -> dict[str, LocationRecord]:
        known = map(location_from_document, self._db.locations.find().sort("slug", ASCENDING))
        return {location.slug: location for location in known if location is not None}

    @store_errors
    def put_region(self, region: str, location: str) -> None:
        pair = {"regionSlug": region, "locationSlug": location}
        if self._db.regions.find_one(pair, {"_id": 1}) is None:
            self._db.regions.insert_one(dict(pair))
            self._count_change()

    @store_errors
    def regions(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, set[str]] = {}
        for pair in self._db.regions.find():
            if pair.get("locationSlug") and pair.get("regionSlug"):
                found.setdefault(str(pair["locationSlug"]), set()).add(str(pair["regionSlug"]))
        return {location: tuple(sorted(regions)) for location, regions in sorted(found.items())}


def _widths(document: Document) -> Document:
    """Times in milliseconds as the original's 64-bit integers."""
    found = dict(document)
    for name in ("location_start_time_ms", "retired_ms"):
        if name in found:
            found[name] = Int64(found[name])
    if "location_archive" in found:
        found["location_archive"] = [_widths_of_place(entry) for entry in found["location_archive"]]
    return found


def _widths_of_place(entry: Document) -> Document:
    since = entry.get("location_start_time_ms")
    return entry if since is None else {**entry, "location_start_time_ms": Int64(since)}
