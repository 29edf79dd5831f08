"""Boxes, their places, and Makai's settings and counters in the embedded store, as the original's documents.

`boxes set` and Makai write the same row from two processes, each its own fields.
"""

import json
import secrets
import sqlite3
import time
from collections.abc import Mapping
from types import MappingProxyType

from opq_cloud.store.box_record import BoxRecord, LocationRecord
from opq_cloud.store.documents.boxes import (
    REVISION,
    box_changes,
    box_from_document,
    location_document,
    location_from_document,
)
from opq_cloud.store.documents.makai import (
    IDENTITY,
    BrokerTraffic,
    MakaiConfig,
    makai_config_document,
    makai_config_from_document,
    traffic_document,
    traffic_from_document,
)
from opq_cloud.store.embedded.schema import EmbeddedPart, next_number
from opq_cloud.store.embedded.sealing import counter


class EmbeddedBoxes(EmbeddedPart):
    """Rows of `opq_boxes`, `locations` and `regions`; each change of one raises the revision."""

    _read_boxes: Mapping[str, BoxRecord] = MappingProxyType({})
    """Document -> its record, of the last read: mostly only one of 10,000 Boxes has changed."""

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


class EmbeddedMakai(EmbeddedPart):
    """Rows of `makai_config` and `makai_metrics`, and the store's name."""

    def identity(self) -> str:
        drawn = secrets.randbits(63)

        def job(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT OR IGNORE INTO counters VALUES (?, ?)", (IDENTITY, drawn))
            return counter(connection, IDENTITY)

        return f"{self._database.write(job):016x}"

    def makai_config(self) -> MakaiConfig | None:
        with self._database.read() as connection:
            row = connection.execute("SELECT document FROM makai_config").fetchone()
        return None if row is None else makai_config_from_document(json.loads(row[0]))

    def put_makai_config(self, config: MakaiConfig | None) -> None:
        rows = [] if config is None or config.is_empty else [(json.dumps(makai_config_document(config)),)]

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM makai_config")
            connection.executemany("INSERT INTO makai_config VALUES (?)", rows)

        self._database.write(job)

    def put_traffic(self, traffic: BrokerTraffic) -> None:
        expire_at = int(time.time()) + self._ttls.measurements
        row = traffic.timestamp_ms, expire_at, json.dumps(traffic_document(traffic))

        def job(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO makai_metrics VALUES (?, ?, ?)", row)

        self._database.write(job)

    def traffic(self, start_ms: int, end_ms: int) -> list[BrokerTraffic]:
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT document FROM makai_metrics WHERE timestamp_ms >= ? AND timestamp_ms < ? "
                "ORDER BY timestamp_ms",
                (start_ms, end_ms),
            ).fetchall()
        return [traffic_from_document(json.loads(text)) for (text,) in rows]


def expire_traffic(connection: sqlite3.Connection, now_s: int, slice_rows: int) -> int:
    return connection.execute(
        "DELETE FROM makai_metrics WHERE rowid IN "
        "(SELECT rowid FROM makai_metrics WHERE expire_at <= ? LIMIT ?)",
        (now_s, slice_rows),
    ).rowcount
