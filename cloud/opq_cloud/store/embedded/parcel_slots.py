"""The rows in which parcels are stored: they are reused, so that a commit needs no new page.

A deleted row frees its pages and the next one takes others; then each commit also wrote the list of free
pages and the file's header, half as much again as the parcel. So a sealed parcel stays in its row (its slot)
until another parcel of about its size replaces it, padded to the same length, which SQLite writes into the
same pages. Parcel numbers are never reused; slots of parcels up to `parcels_sealed` are free.
"""

import sqlite3
from bisect import bisect_left, insort

_SEALED = "(SELECT coalesce(max(value), 0) FROM counters WHERE name = 'parcels_sealed')"
LIVE = f"parcel > {_SEALED}"
"""Condition for a row of `parcels` that is not sealed yet."""
GRAIN_BYTES = 512
"""A new slot is as long as its first parcel, rounded up to a multiple of this."""
WASTE_DIVISOR = 4
"""A parcel takes no slot longer than itself by more than GRAIN_BYTES and 1/WASTE_DIVISOR of its length."""


class ParcelSlots:
    """The free slots that the writer knows; used only inside its transactions."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] | None = None
        """Length in bytes and slot, rising; None where they must be read before the next parcel."""

    def discard_free(self) -> None:
        """Discards the free slots, after sealing or a rollback."""
        self._free = None

    def store(
        self,
        connection: sqlite3.Connection,
        parcel: int,
        span: tuple[int, int, int],
        boxes: bytes,
        packed: bytes,
    ) -> None:
        """Stores a parcel; `span` is its first and last time in ms, and its number of rows."""
        needed = len(boxes) + len(packed)
        for _ in range(2):  # the second time with the slots read again: another process may use them
            length, slot = self._allocate(connection, needed)
            if slot is None:
                break
            written = connection.execute(
                "UPDATE parcels SET parcel = ?, start_ms = ?, end_ms = ?, rows = ?, boxes = ?, packed = ? "
                f"WHERE slot = ? AND parcel <= {_SEALED} AND length(boxes) + length(packed) = ?",
                (parcel, *span, boxes, packed + bytes(length - needed), slot, length),
            ).rowcount
            if written:
                return
            self._free = None
        length = -(-needed // GRAIN_BYTES) * GRAIN_BYTES
        connection.execute(
            "INSERT INTO parcels (parcel, start_ms, end_ms, rows, boxes, packed) VALUES (?, ?, ?, ?, ?, ?)",
            (parcel, *span, boxes, packed + bytes(length - needed)),
        )

    def _allocate(self, connection: sqlite3.Connection, needed: int) -> tuple[int, int | None]:
        """Takes the shortest slot that fits; returns its length and number, or `needed` and None."""
        if self._free is None:
            self._free = []
            found = connection.execute(
                f"SELECT length(boxes) + length(packed), slot FROM parcels WHERE parcel <= {_SEALED}"
            )
            for length, slot in found:
                insort(self._free, (length, slot))
        at = bisect_left(self._free, (needed, 0))
        if at < len(self._free) and self._free[at][0] <= needed + needed // WASTE_DIVISOR + GRAIN_BYTES:
            return self._free.pop(at)
        return needed, None


def seal_parcels(connection: sqlite3.Connection, last_parcel: int) -> None:
    """Marks parcels up to this one as sealed; deletes slots that no parcel took since the last call."""
    connection.execute(f"DELETE FROM parcels WHERE parcel <= {_SEALED}")
    connection.execute(
        "INSERT INTO counters VALUES ('parcels_sealed', ?1) "
        "ON CONFLICT (name) DO UPDATE SET value = max(value, ?1)",
        (last_parcel,),
    )
