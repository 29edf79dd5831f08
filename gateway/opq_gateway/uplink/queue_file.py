"""QueueFile: the SQLite database of the queue; it reads and writes rows and decides nothing.

One table of Measurements by (box, sequence), one row per Box. WAL with synchronous=NORMAL: what is committed
survives kill -9 of the process; a power cut may lose the last seconds (the WAL reaches the disk at each
checkpoint), but never breaks the file. Numbers that must not be used twice are written with synchronous=FULL.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_gateway.gateway_status import Acknowledging
from opq_proto.kit.sqlite_file import SqliteFile, reading_address

SCHEMA = """
CREATE TABLE boxes (
    box INTEGER PRIMARY KEY, box_id TEXT NOT NULL UNIQUE, reserved INTEGER NOT NULL, last_end_ns INTEGER,
    acknowledging INTEGER NOT NULL, settled INTEGER NOT NULL, unsent TEXT NOT NULL,
    stores TEXT NOT NULL DEFAULT '');
CREATE TABLE measurements (
    box INTEGER NOT NULL, sequence INTEGER NOT NULL, end_ns INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (box, sequence)) WITHOUT ROWID;
CREATE TABLE ledger_places (
    box INTEGER NOT NULL, file INTEGER NOT NULL, place INTEGER NOT NULL,
    PRIMARY KEY (box, file)) WITHOUT ROWID;
"""
"""`ledger_places`: up to where the rows of each Box's ledger are in the queue."""
APPLICATION_ID = int.from_bytes(b"opqq")
WAL_PAGES = 16_384
"""64 MB, beyond which a writer moves the log, in case the checkpoint thread has died."""
BUSY_S = 1.0
SUFFIXES = ("", "-wal", "-shm")


@dataclass(slots=True)
class BoxRow:
    """The stored state of a Box, without its Measurements."""

    box: int
    box_id: str
    reserved: int
    """First number that was not used."""
    last_end_ns: int | None
    """End of the newest Measurement of whole windows that was queued."""
    acknowledging: Acknowledging
    settled: int
    """Every Measurement below it was handed to an open connection, or is listed in `unsent`."""
    unsent: str
    """Ranges `a-b,c-d` below `settled` that were not handed over."""
    stores: str = ""
    """`store:upto,store:upto` where several stores acknowledge; otherwise empty."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One Measurement: `body` is its wire form without sequence numbers."""

    box: int
    sequence: int
    end_ns: int
    """Its end, corrected for settings of the clock: its place on the queue's axis of age
    (HeldMeasurements.age)."""
    body: bytes


class QueueFile:
    """Every method raises sqlite3.Error when the disk or the file fails."""

    def __init__(self, path: Path, boxes: Iterable[tuple[str, int]]) -> None:
        """Opens or makes the file; `boxes` are ids, each with the first number for a new Box."""
        pragmas = (f"wal_autocheckpoint={WAL_PAGES}",)
        self._file = SqliteFile(
            path,
            (SCHEMA,),
            application_id=APPLICATION_ID,
            synchronous="NORMAL",
            busy_s=BUSY_S,
            pragmas=pragmas,
        )
        try:
            self._file.execute_many(
                "INSERT OR IGNORE INTO boxes (box_id, reserved, acknowledging, settled, unsent)"
                " VALUES (?, ?, 0, 0, '')",
                list(boxes),
            )
            self._page_bytes = self._number("PRAGMA page_size")
        except sqlite3.Error:
            self._file.close()
            raise

    def boxes(self) -> list[BoxRow]:
        columns = "box, box_id, reserved, last_end_ns, acknowledging, settled, unsent, stores"
        found = self._file.query(f"SELECT {columns} FROM boxes")
        return [
            BoxRow(box, box_id, reserved, last_end_ns, Acknowledging(acknowledging), settled, unsent, stores)
            for box, box_id, reserved, last_end_ns, acknowledging, settled, unsent, stores in found
        ]

    def places(self, box: int) -> dict[int, int]:
        """File of the Box's ledger -> place after the last row that was put into the queue."""
        return dict(self._file.query("SELECT file, place FROM ledger_places WHERE box=?", (box,)))

    def write(
        self,
        rows: list[Stored],
        boxes: list[BoxRow],
        upto: dict[int, int],
        places: Mapping[tuple[int, int], int],
    ) -> None:
        """One transaction: stores `rows` and `boxes`, deletes what is acknowledged (`upto`: box to sequence),
        and notes places by box and file; a place of -1 is forgotten."""
        with self._file.transaction() as db:
            db.executemany(
                "INSERT OR IGNORE INTO measurements VALUES (?, ?, ?, ?)",
                [(row.box, row.sequence, row.end_ns, row.body) for row in rows],
            )
            db.executemany(
                "UPDATE boxes SET last_end_ns=?, acknowledging=?, settled=?, unsent=?, stores=? WHERE box=?",
                [(b.last_end_ns, b.acknowledging, b.settled, b.unsent, b.stores, b.box) for b in boxes],
            )
            db.executemany("DELETE FROM measurements WHERE box=? AND sequence<=?", list(upto.items()))
            db.executemany(
                "INSERT OR REPLACE INTO ledger_places VALUES (?, ?, ?)",
                [(*key, place) for key, place in places.items() if place >= 0],
            )
            db.executemany(
                "DELETE FROM ledger_places WHERE box=? AND file=?",
                [key for key, place in places.items() if place < 0],
            )

    def reserve(self, numbers: dict[int, int]) -> bool:
        """Writes the reserved number of each box so that it survives a power cut; returns True."""
        with self._file.transaction(synced=True) as db:
            sets = [(reserved, box) for box, reserved in numbers.items()]
            db.executemany("UPDATE boxes SET reserved=? WHERE box=?", sets)
        return True

    def read(self, box: int, first: int, last: int, limit: int) -> list[tuple[int, bytes]]:
        """(sequence, body) of Measurements first .. last, the lowest `limit` of them, in order."""
        return self._file.query(
            "SELECT sequence, body FROM measurements WHERE box=? AND sequence BETWEEN ? AND ?"
            " ORDER BY sequence LIMIT ?",
            (box, first, last, limit),
        )

    def ends(self, box: int, above: int) -> tuple[int | None, int | None]:
        """The lowest and the highest sequence above `above`."""
        query = "SELECT min(sequence), max(sequence) FROM measurements WHERE box=? AND sequence>?"
        lowest, highest = self._file.query(query, (box, above))[0]
        return lowest, highest

    def newest_ns(self, box: int) -> int:
        """Place of the newest Measurement on the axis of age; 0 without any."""
        query = "SELECT end_ns FROM measurements WHERE box=? ORDER BY sequence DESC LIMIT 1"
        found = self._file.query_row(query, (box,))
        return 0 if found is None else int(found[0])

    def count(self, box: int, upto: int) -> int:
        """Number of Measurements up to that sequence."""
        return self._number("SELECT count(*) FROM measurements WHERE box=? AND sequence<=?", box, upto)

    def excess(self, box: int, end_ns: int, share: float) -> int | None:
        """The highest sequence to drop, among Measurements that end before `end_ns` and the oldest `share`;
        None to drop nothing."""
        kept = self._file.query_row(
            "SELECT sequence FROM measurements WHERE box=? AND end_ns>=? ORDER BY sequence LIMIT 1",
            (box, end_ns),
        )
        old: int | None = self._file.query(
            "SELECT max(sequence) FROM measurements WHERE box=? AND sequence<?",
            (box, 2**63 - 1 if kept is None else kept[0]),
        )[0][0]
        if not share:
            return old
        many = self._file.query_row(
            "SELECT sequence FROM measurements WHERE box=? ORDER BY sequence LIMIT 1 OFFSET ?",
            (box, int(self.count(box, 2**63 - 1) * share)),
        )
        return max((n for n in (old, None if many is None else many[0]) if n is not None), default=None)

    def intervals(self, box: int, upto: int) -> list[tuple[int, bytes]]:
        """(sequence, body) up to `upto` that may be intervals, disturbances or losses, because they contain a
        tag of their fields."""
        return self._file.query(
            "SELECT sequence, body FROM measurements WHERE box=? AND sequence<=? "
            "AND (instr(body, x'923F') OR instr(body, x'9A3F') OR instr(body, x'B23F')) ORDER BY sequence",
            (box, upto),
        )

    def withdraw(self, box: int, sequences: list[int]) -> bool:
        """Withdraws Measurements by storing them under -`box`; returns True."""
        with self._file.transaction() as db:
            rows = [(-box, box, sequence) for sequence in sequences]
            db.executemany("UPDATE OR REPLACE measurements SET box=? WHERE box=? AND sequence=?", rows)
        return True

    def used_bytes(self) -> int:
        """Bytes of the pages in use; freed pages are used again before the file grows."""
        return (self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")) * self._page_bytes

    def close(self) -> None:
        self._file.close()

    def _number(self, query: str, *parameters: int) -> int:
        return int(self._file.query(query, parameters)[0][0])


class QueueReader:
    """Reads the file of a gateway that may be writing it, and changes nothing.

    Every method raises sqlite3.Error when the file cannot be read now.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def sequences(self) -> set[tuple[str, int]]:
        """(Box, sequence) of the Measurements that wait."""
        return set(self._rows("SELECT box_id, sequence FROM measurements JOIN boxes USING (box)"))

    def bodies(self) -> list[tuple[str, int, bytes]]:
        """(Box, sequence, wire form) of all Measurements, also of the withdrawn ones."""
        withdrawn_too = "measurements JOIN boxes ON boxes.box = abs(measurements.box)"
        return self._rows(f"SELECT box_id, sequence, body FROM {withdrawn_too}")

    def places(self, box_id: str) -> dict[int, int]:
        """File of a Box's ledger -> place after the last row that was put into the queue."""
        found = "SELECT file, place FROM ledger_places JOIN boxes USING (box) WHERE box_id = ?"
        return dict(self._rows(found, box_id))

    def last_end_ns(self, box_id: str | None = None) -> int | None:
        """End of the newest Measurement of whole windows that was queued, of a Box or of all."""
        ((end_ns,),) = self._rows(
            "SELECT max(last_end_ns) FROM boxes WHERE ?1 IS NULL OR box_id = ?1", box_id
        )
        return None if end_ns is None else int(end_ns)

    def _rows(self, query: str, *values: str | None) -> list[tuple[Any, ...]]:
        address = reading_address(self._path)
        with closing(sqlite3.connect(address, BUSY_S, uri=True)) as file:
            return file.execute(query, values).fetchall()


def checkpoint(path: Path) -> None:
    """Moves the write-ahead log to the database, on the disk itself; does not block writers.

    Raises:
        sqlite3.Error: the disk does not take it.
    """
    db = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    try:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    finally:
        db.close()


def set_aside(path: Path) -> Path:
    """Renames a file that is no longer a database, so that it can be examined; returns the new path."""
    number = 1
    while (aside := path.with_name(f"{path.name}.broken{number}")).exists():
        number += 1
    for suffix in SUFFIXES:
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    return aside
