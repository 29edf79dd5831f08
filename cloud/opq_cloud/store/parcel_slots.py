"""Where parcels lie: places that are written again and again, so that a commit takes no new page.

A row that is deleted gives its pages back, and the next one takes others: with each commit the list of free
pages and the head of the file were written too, half as much again as the parcel. So a sealed parcel stays in
its place until another one of about its size takes it, filled up to the same length, for which SQLite writes
into the pages that are there. Parcels are numbered for ever; those up to `parcels_sealed` are free places.
"""

import sqlite3
from bisect import bisect_left, insort

_SEALED = "(SELECT coalesce(max(value), 0) FROM counters WHERE name = 'parcels_sealed')"
LIVE = f"parcel > {_SEALED}"
"""Condition for a row of `parcels` that is not sealed yet."""
GRAIN_BYTES = 512
"""A new place is as long as its first parcel, up to a multiple of this."""
WASTE = 4
"""A parcel takes no place that is longer than itself by more than a GRAIN and this part of it."""


class ParcelSlots:
    """The free places as the writer knows them; used inside its transactions alone."""

    def __init__(self) -> None:
        self._free: list[tuple[int, int]] | None = None
        """Length in bytes and slot, rising; None: they are read before the next parcel."""

    def forget(self) -> None:
        """Something was sealed, or undone."""
        self._free = None

    def put(
        self,
        connection: sqlite3.Connection,
        parcel: int,
        span: tuple[int, int, int],
        boxes: bytes,
        packed: bytes,
    ) -> None:
        """span: first and last time in ms, rows."""
        needed = len(boxes) + len(packed)
        for _ in range(2):  # the second time with what another process has left
            length, slot = self._take(connection, needed)
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

    def _take(self, connection: sqlite3.Connection, needed: int) -> tuple[int, int | None]:
        """The shortest place that fits; None: there is none."""
        if self._free is None:
            self._free = []
            found = connection.execute(
                f"SELECT length(boxes) + length(packed), slot FROM parcels WHERE parcel <= {_SEALED}"
            )
            for length, slot in found:
                if length is not None:  # a parcel of schema 9 has no `boxes`
                    insort(self._free, (length, slot))
        at = bisect_left(self._free, (needed, 0))
        if at < len(self._free) and self._free[at][0] <= needed + needed // WASTE + GRAIN_BYTES:
            return self._free.pop(at)
        return needed, None


def seal_parcels(connection: sqlite3.Connection, last_parcel: int) -> None:
    """Those up to this one are in blocks. Places that no parcel took since the last call are given back."""
    unused = f"parcel <= {_SEALED} OR (boxes IS NULL AND parcel <= ?)"  # and what is of schema 9
    connection.execute(f"DELETE FROM parcels WHERE {unused}", (last_parcel,))
    connection.execute(
        "INSERT INTO counters VALUES ('parcels_sealed', ?1) "
        "ON CONFLICT (name) DO UPDATE SET value = max(value, ?1)",
        (last_parcel,),
    )
