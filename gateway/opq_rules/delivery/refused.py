"""RefusedParcels: what a sink could not take, in order, first in memory, then on disk.

Nothing on disk is lost by a kill: each payload is a row of SQLite, written before it counts as kept.
When both are full the oldest goes, counted.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from opq_proto.sqlite_file import SqliteFile
from opq_rules.batch import Row

_MIGRATIONS = ("CREATE TABLE IF NOT EXISTS kept (n INTEGER PRIMARY KEY, parcel BLOB NOT NULL)",)


@dataclass(slots=True)
class Parcel:
    """Rows for one call of the sink, before the transform, with the id of each row and of each emission.

    Nobody changes one; it is not frozen because that made it take twice as long to make.
    """

    rows: list[Row]
    row_ids: tuple[str, ...]
    emission_ids: tuple[str, ...]
    single: bool = False


class RefusedParcels:
    """A queue of Parcels that opens where it was left. One owner, one thread.

    `path` None: memory only. Parcels on disk are older than those in memory never: once one is on
    disk, the next go there too until it is empty.
    """

    def __init__(self, path: Path | None, memory_limit: int, disk_limit: int) -> None:
        self.lost = 0
        self._memory: deque[Parcel] = deque()
        self._memory_limit, self._disk_limit = max(1, memory_limit), disk_limit
        self._disk: SqliteFile | None = None
        self._on_disk = 0
        if path is not None and disk_limit > 0:
            self._disk = SqliteFile(path, _MIGRATIONS, synchronous="NORMAL")
            self._on_disk = int(self._disk.query("SELECT COUNT(*) FROM kept")[0][0])

    def __len__(self) -> int:
        return len(self._memory) + self._on_disk

    def add(self, parcel: Parcel) -> tuple[str, ...]:
        """Behind all others; the emissions that had to go for it, or ()."""
        if self._disk is not None and (self._on_disk or len(self._memory) >= self._memory_limit):
            self._disk.execute("INSERT INTO kept (parcel) VALUES (?)", (msgspec.msgpack.encode(parcel),))
            self._on_disk += 1
            if self._on_disk <= self._disk_limit:
                return ()
            oldest = self.first()
            self.drop_first()
            self.lost += 1
            return oldest.emission_ids if oldest else ()
        self._memory.append(parcel)
        if self._disk is None and len(self._memory) > self._memory_limit:
            self.lost += 1
            return self._memory.popleft().emission_ids
        return ()

    def first(self) -> Parcel | None:
        if self._memory:
            return self._memory[0]
        if self._disk is None or not self._on_disk:
            return None
        found = self._disk.query_row("SELECT parcel FROM kept ORDER BY n LIMIT 1")
        return msgspec.msgpack.decode(found[0], type=Parcel) if found else None

    def drop_first(self) -> None:
        if self._memory:
            self._memory.popleft()
        elif self._disk is not None and self._on_disk:
            self._disk.execute("DELETE FROM kept WHERE n = (SELECT MIN(n) FROM kept)")
            self._on_disk -= 1

    def clear(self) -> None:
        self._memory.clear()
        if self._disk is not None:
            self._disk.execute("DELETE FROM kept")
            self._on_disk = 0

    def close(self) -> Sequence[str]:
        """Memory goes to disk, in front of what is there; what cannot go there is returned by id."""
        if self._disk is None:
            return [each for parcel in self._memory for each in parcel.emission_ids]
        first = self._disk.query("SELECT MIN(n) FROM kept")[0][0]
        below = (first if first is not None else 1) - len(self._memory)
        self._disk.execute_many(
            "INSERT INTO kept VALUES (?, ?)",
            [(n, msgspec.msgpack.encode(parcel)) for n, parcel in enumerate(self._memory, start=below)],
        )
        self._memory.clear()
        self._disk.close()
        return []
