"""The common base of all parts of the store: the driver, the TTLs in force, and records made of documents."""

import time
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from opq_cloud.store.documents.retention import LiveTtls, Ttls, ttls_document
from opq_cloud.store.driver import Documents, Driver, Fields, Table
from opq_cloud.store.records.tables import BOXES, RETENTION

T = TypeVar("T")

NUMBERS_BEGIN_S = 1_735_689_600
"""2025-01-01 UTC, from which numbers count seconds; 31 bits last until 2093."""


class StorePart:
    """Some tables and the store's methods on them; the store inherits from all parts."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._live_ttls = LiveTtls(self._stored_ttls, Ttls())
        self._numbers_from_clock = False
        self.now_s: Callable[[], float] = time.time
        """The clock of numbers."""

    def _parts_are_seen(self) -> bool:
        """Whether there is somebody who sees only some Boxes."""
        return False

    def _numbers_come_from_clock(self) -> bool:
        """Whether there is, or was, somebody who sees only some Boxes."""
        self._numbers_from_clock = self._numbers_from_clock or self._parts_are_seen()
        return self._numbers_from_clock

    def _draw_numbers(self, documents: Documents, name: str, count: int = 1) -> list[int]:
        """Returns the next numbers of events, findings or incidents.

        Once somebody sees only a part of them, a number is the second in which it is drawn, or the next one
        after the last, so that a gap between visible numbers does not count hidden ones.
        """
        if count and self._numbers_come_from_clock():
            documents.raise_number(name, int(self.now_s()) - NUMBERS_BEGIN_S - 1)
        return documents.next_numbers(name, count)

    @property
    def _ttls(self) -> Ttls:
        return self._live_ttls.now()

    def ttls(self) -> Ttls:
        return self._live_ttls.reread()

    def put_ttls(self, ttls: Ttls) -> None:
        new = ttls_document(ttls)

        def changed(known: Fields | None) -> Fields:
            stored = (known or {}).get("ttls")
            return {**(known or {}), "ttls": {**(stored if isinstance(stored, dict) else {}), **new}}

        self._driver.write(lambda documents: documents.change(RETENTION, (), changed))
        self._live_ttls.reread()

    def _stored_ttls(self) -> object:
        with self._driver.read() as documents:
            return (documents.get(RETENTION) or {}).get("ttls")

    def _read_all(self, table: Table, read: Callable[[Fields], T], found: Iterable[Fields]) -> list[T]:
        """Returns records of the documents that can be read; others are counted and logged."""
        return list(self._driver.readable.read_all(table.collection or table.name, read, found))


def expires(ttl_s: int) -> int:
    """Returns the `expire_at` of what is stored now."""
    return int(time.time()) + ttl_s


def box_locations(documents: Documents, box_ids: Collection[str]) -> dict[str, str]:
    """Returns Box -> location, for Boxes that have one."""
    wanted = ("box_id", "location")
    found = documents.find(BOXES, [("box_id", "in", sorted(box_ids))], fields=wanted)
    return {str(box["box_id"]): str(box["location"]) for box in found if box.get("location")}
