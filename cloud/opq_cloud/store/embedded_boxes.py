"""Boxes and the places where they stand, in the embedded store: documents of the original's form.

A part of its own, for `boxes set` and Makai write the same row from two processes, each its own fields.
"""

import json
import sqlite3
import time
from collections.abc import Mapping
from types import MappingProxyType

from opq_cloud.store.box_documents import (
    REVISION,
    box_changes,
    box_from_document,
    location_document,
    location_from_document,
)
from opq_cloud.store.schema import EmbeddedPart, next_number
from opq_cloud.store.store import BoxRecord, LocationRecord


class EmbeddedBoxes(EmbeddedPart):
    """Rows of `opq_boxes`, `locations` and `regions`; each change of one raises the revision."""

    _read_boxes: Mapping[str, BoxRecord] = MappingProxyType({})
    """Document -> what it says, of those read last: of 10,000 Boxes mostly one has changed."""

    def boxes_revision(self) -> int:
        with self._database.read() as connection:
            row = connection.execute("SELECT value FROM counters WHERE name = ?", (REVISION,)).fetchone()
        return 0 if row is None else int(row[0])

    def put_box(self, box: BoxRecord) -> None:
        now_ms = time.time_ns() // 1_000_000

        def job(connection: sqlite3.Connection) -> None:
            row = connection.execute(
                "SELECT document FROM opq_boxes WHERE box_id = ?", (box.box_id,)
            ).fetchone()
            known = None if row is None else json.loads(row[0])
            document = json.dumps({**(known or {}), **box_changes(known, box, now_ms)})
            if row is not None and document == row[0]:
                return
            next_number(connection, REVISION)
            connection.execute("INSERT OR REPLACE INTO opq_boxes VALUES (?, ?)", (box.box_id, document))

        self._database.write(job)

    def boxes(self) -> list[BoxRecord]:
        with self._database.read() as connection:
            rows = connection.execute("SELECT document FROM opq_boxes ORDER BY length(box_id), box_id")
            texts = [text for (text,) in rows]
        known = self._read_boxes
        found = [known.get(text) or box_from_document(json.loads(text)) for text in texts]
        self._read_boxes = dict(zip(texts, found, strict=True))
        return found

    def box(self, box_id: str) -> BoxRecord | None:
        with self._database.read() as connection:
            row = connection.execute("SELECT document FROM opq_boxes WHERE box_id = ?", (box_id,)).fetchone()
        return None if row is None else box_from_document(json.loads(row[0]))

    def put_location(self, location: LocationRecord) -> None:
        row = location.slug, json.dumps(location_document(location))

        def job(connection: sqlite3.Connection) -> None:
            next_number(connection, REVISION)
            connection.execute("INSERT OR REPLACE INTO locations VALUES (?, ?)", row)

        self._database.write(job)

    def remove_location(self, slug: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            next_number(connection, REVISION)
            connection.execute("DELETE FROM locations WHERE slug = ?", (slug,))
            connection.execute("DELETE FROM regions WHERE location = ?", (slug,))

        self._database.write(job)

    def locations(self) -> dict[str, LocationRecord]:
        with self._database.read() as connection:
            rows = connection.execute("SELECT document FROM locations ORDER BY slug").fetchall()
        known = (location_from_document(json.loads(text)) for (text,) in rows)
        return {location.slug: location for location in known if location is not None}

    def put_region(self, region: str, location: str) -> None:
        def job(connection: sqlite3.Connection) -> None:
            next_number(connection, REVISION)
            connection.execute("INSERT OR IGNORE INTO regions VALUES (?, ?)", (location, region))

        self._database.write(job)

    def regions(self) -> dict[str, tuple[str, ...]]:
        with self._database.read() as connection:
            rows = connection.execute("SELECT location, region FROM regions ORDER BY location, region")
            found: dict[str, tuple[str, ...]] = {}
            for location, region in rows:
                found[location] = (*found.get(location, ()), region)
        return found
