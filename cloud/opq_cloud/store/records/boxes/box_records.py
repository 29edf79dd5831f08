"""Boxes, locations and regions, as the original's documents (docs/reference/opq-interop.md, D.8).

`boxes set` and Makai write the same Box from two processes, each its own fields.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from opq_cloud.store.box_record import BoxLoss, BoxRecord, LocationRecord, box_order
from opq_cloud.store.documents.box_documents import (
    LOST,
    REVISION,
    box_changes,
    box_document,
    box_from_document,
    location_document,
    location_from_document,
    losses_of,
    original_box,
)
from opq_cloud.store.driver import Documents, Fields
from opq_cloud.store.records.part import StorePart
from opq_cloud.store.records.tables import BOXES, LOCATIONS, REGIONS

LOST_KEPT = 20
"""Holes that are kept of a Box, the newest."""
FOREIGN_S = 5.0
"""The original's View writes a MongoDB without counting; its changes are seen after this time."""


class BoxRecords(StorePart):
    """Each change of a Box, location or region raises the revision, after the write.

    So a reader may cache what it read under a revision.
    """

    _read_boxes: tuple[tuple[Fields, BoxRecord], ...] = ()
    """Documents of the last read and their records: mostly only one of 10,000 Boxes has changed."""
    _latest_boxes: tuple[int | None, list[BoxRecord]] = (None, [])
    """The last read and its revision, where every change raises that."""

    def boxes_revision(self) -> int:
        with self._driver.read() as documents:
            revision = documents.number(REVISION) or 0
            return revision if documents.atomic else revision + int(time.monotonic() / FOREIGN_S)

    def put_box(self, box: BoxRecord, since_ms: int | None = None) -> None:
        now_ms = time.time_ns() // 1_000_000

        def job(documents: Documents) -> bool:
            def changed(known: Fields | None) -> Fields:
                after = {**(known or {}), **box_changes(known, box, now_ms, since_ms)}
                return original_box(after) if documents.original else after

            return documents.change(BOXES, (box.box_id,), changed)

        self._write_counted(job)

    def note_lost(self, box_id: str, lost: Sequence[BoxLoss]) -> None:
        def job(documents: Documents) -> bool:
            def changed(known: Fields | None) -> Fields:
                before = known or box_document(BoxRecord(box_id, f"Box {box_id}"))
                losses = list(losses_of(before))
                for each in lost:
                    if not any(map(each.is_within, losses)):
                        losses = [*(one for one in losses if not one.is_within(each)), each]
                after = {**before, LOST: [asdict(each) for each in losses[-LOST_KEPT:]]}
                return original_box(after) if documents.original else after

            return documents.change(BOXES, (box_id,), changed)

        self._write_counted(job)

    def forget_lost(self, box_id: str) -> None:
        def changed(known: Fields | None) -> Fields | None:
            return {**known, LOST: []} if known and known.get(LOST) else None

        self._write_counted(lambda documents: documents.change(BOXES, (box_id,), changed))

    def boxes(self) -> list[BoxRecord]:
        with self._driver.read() as documents:
            revision = documents.number(REVISION) if documents.atomic else None
            before_revision, boxes = self._latest_boxes
            if revision is not None and revision == before_revision:
                return list(boxes)
            by_box: dict[object, Fields] = {}
            for each in documents.find(BOXES, sort=("-box_id",)):  # texts before numbers, as `get` does
                by_box.setdefault(each.get("box_id"), each)
        known = {each["box_id"]: (each, record) for each, record in self._read_boxes}
        read: list[tuple[Fields, BoxRecord]] = []
        for each in by_box.values():
            before = known.get(each.get("box_id"))
            if before is not None and (before[0] is each or before[0] == each):
                read.append(before)
            else:
                read += ((each, record) for record in self._read_all(BOXES, box_from_document, [each]))
        self._read_boxes = tuple(read)
        boxes = sorted((record for _, record in read), key=lambda box: box_order(box.box_id))
        self._latest_boxes = revision, boxes
        return list(boxes)

    def box(self, box_id: str) -> BoxRecord | None:
        with self._driver.read() as documents:
            found = documents.get(BOXES, box_id)
        return next(iter(self._read_all(BOXES, box_from_document, [] if found is None else [found])), None)

    def put_location(self, location: LocationRecord) -> None:
        new = location_document(location)
        self._write_counted(
            lambda documents: documents.change(
                LOCATIONS, (location.slug,), lambda known: {**(known or {}), **new}
            )
        )

    def remove_location(self, slug: str) -> None:
        def job(documents: Documents) -> bool:
            gone = documents.remove(LOCATIONS, [("slug", "=", slug)])
            return bool(gone + documents.remove(REGIONS, [("locationSlug", "=", slug)]))

        self._write_counted(job)

    def locations(self) -> dict[str, LocationRecord]:
        with self._driver.read() as documents:
            found = list(documents.find(LOCATIONS, sort=("slug",)))
        known = self._read_all(LOCATIONS, location_from_document, found)
        return {location.slug: location for location in known if location is not None}

    def put_region(self, region: str, location: str) -> None:
        pair = {"locationSlug": location, "regionSlug": region}
        self._write_counted(
            lambda documents: documents.change(REGIONS, (location, region), lambda known: pair)
        )

    def regions(self) -> dict[str, tuple[str, ...]]:
        with self._driver.read() as documents:
            pairs = list(documents.find(REGIONS))
        found: dict[str, set[str]] = {}
        for pair in pairs:
            if pair.get("locationSlug") and pair.get("regionSlug"):
                found.setdefault(str(pair["locationSlug"]), set()).add(str(pair["regionSlug"]))
        return {location: tuple(sorted(regions)) for location, regions in sorted(found.items())}

    def _write_counted(self, job: Callable[[Documents], bool]) -> None:
        def counted(documents: Documents) -> None:
            if job(documents):
                documents.raise_number(REVISION)

        self._driver.write(counted)
