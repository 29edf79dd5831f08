"""Boxes and their places in MongoDB (`opq_boxes`, `locations`, `regions`; D.8), and Makai's documents.

`makai_config` and `makai_metrics` are also collections of the original (D.7).
"""

import secrets
import time
from functools import partial

from bson.int64 import Int64
from pymongo import ASCENDING

from opq_cloud.store.box_record import BoxRecord, LocationRecord, box_order
from opq_cloud.store.documents import Document
from opq_cloud.store.documents.boxes import (
    REVISION,
    box_changes,
    box_from_document,
    location_document,
    location_from_document,
)
from opq_cloud.store.documents.makai import (
    IDENTITY,
    MAKAI_CONFIG_KEYS,
    BrokerTraffic,
    MakaiConfig,
    makai_config_document,
    makai_config_from_document,
    traffic_document,
    traffic_from_document,
)
from opq_cloud.store.mongo.server import MongoPart, store_errors, upsert
from opq_proto.errors import StoreError

FOREIGN_S = 5.0
"""The original's View writes these collections without counting; its changes are seen after this time."""


class MongoBoxes(MongoPart):
    """Boxes, locations and regions in MongoDB."""

    @store_errors
    def boxes_revision(self) -> int:
        found = self._db.opq_counters.find_one({"_id": REVISION})
        return (0 if found is None else int(found["value"])) + int(time.monotonic() / FOREIGN_S)

    def _count_change(self) -> None:
        """Counts a change, after the write, so that readers may cache what they read under a number."""
        change = {"$inc": {"value": Int64(1)}}
        upsert(lambda: self._db.opq_counters.update_one({"_id": REVISION}, change, upsert=True))

    @store_errors
    def put_box(self, box: BoxRecord) -> None:
        """Reads a Box again if another process moves it at the same time, so that the archive is complete."""
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
        every = self._db.opq_boxes.find().sort("box_id", ASCENDING)
        found = self._readable.read_all("opq_boxes", box_from_document, every)
        return sorted(found, key=lambda box: box_order(box.box_id))

    @store_errors
    def box(self, box_id: str) -> BoxRecord | None:
        found = self._db.opq_boxes.find_one({"box_id": box_id})
        return self._readable.read_one("opq_boxes", box_from_document, found)

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
        every = self._db.locations.find().sort("slug", ASCENDING)
        known = self._readable.read_all("locations", location_from_document, every)
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
    """Converts times in milliseconds, as the original has them, and numbers to 64-bit integers."""
    found = dict(document)
    for name in ("location_start_time_ms", "retired_ms", "gateway_id"):
        if name in found:
            found[name] = Int64(found[name])
    if "location_archive" in found:
        found["location_archive"] = [_widths_of_place(entry) for entry in found["location_archive"]]
    return found


def _widths_of_place(entry: Document) -> Document:
    since = entry.get("location_start_time_ms")
    return entry if since is None else {**entry, "location_start_time_ms": Int64(since)}


class MongoMakai(MongoPart):
    """Makai's configuration and traffic in MongoDB, and the store's name."""

    @store_errors
    def identity(self) -> str:
        counters, first = self._db.opq_counters, {"$setOnInsert": {"value": Int64(secrets.randbits(63))}}
        upsert(lambda: counters.update_one({"_id": IDENTITY}, first, upsert=True))
        found = counters.find_one({"_id": IDENTITY})
        if found is None:
            raise StoreError("opq_counters: the name that was just created is missing")
        return f"{int(found['value']):016x}"

    @store_errors
    def makai_config(self) -> MakaiConfig | None:
        return makai_config_from_document(self._db.makai_config.find_one())

    @store_errors
    def put_makai_config(self, config: MakaiConfig | None) -> None:
        """Changes the document in place, so that a reader always finds one."""
        if config is None or config.is_empty:
            self._db.makai_config.delete_many({})
            return
        document = makai_config_document(config)
        gone = {key: "" for key in MAKAI_CONFIG_KEYS if key not in document}
        change = {"$set": document} | ({"$unset": gone} if gone else {})
        upsert(lambda: self._db.makai_config.update_one({}, change, upsert=True))

    @store_errors
    def put_traffic(self, traffic: BrokerTraffic) -> None:
        document = traffic_document(traffic)
        for name in ("timestamp_ms", *traffic.counts):
            document[name] = Int64(document[name])
        document["expire_at"] = self._server.expires(self._server.ttls.measurements)
        self._db.makai_metrics.insert_one(document)

    @store_errors
    def traffic(self, start_ms: int, end_ms: int) -> list[BrokerTraffic]:
        span = {"timestamp_ms": {"$gte": start_ms, "$lt": end_ms}}
        found = self._db.makai_metrics.find(span, {"_id": 0}).sort("timestamp_ms", ASCENDING)
        return [traffic_from_document(document) for document in found]

    def _expire_traffic(self, now_s: int, slice_rows: int) -> int:
        """Deletes expired documents; those of the original have no `expire_at`."""
        rows = self._db.makai_metrics
        due = [d["_id"] for d in rows.find({"expire_at": {"$lte": now_s}}, {"_id": 1}).limit(slice_rows)]
        return rows.delete_many({"_id": {"$in": due}}).deleted_count if due else 0
