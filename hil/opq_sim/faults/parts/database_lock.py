"""DatabaseLock: another process locks the cloud's database, all the time (locked) or again and again (slow).

It holds a write transaction, as a hanging backup would: readers continue, writers wait as long
as `opq_proto.kit.sqlite_file.BUSY_S` allows.
"""

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Final

from opq_proto.kit.own_thread import OwnThread

FILE_NAME: Final = "opq.db"
HELD_S: Final = 0.4
FREE_S: Final = 0.1
"""Seconds for which a slow database is free between two locks."""
WAIT_S: Final = 5.0
TICK_S: Final = 0.01


class DatabaseLock(OwnThread):
    """Locks the database for the `with` block; `locked` and `slow` are set from any thread.

    Attributes:
        held_s: how long it was held in all.
        refused: how often the lock could not be taken.
    """

    def __init__(self, path: Path) -> None:
        super().__init__("database-lock")
        self.locked = self.slow = False
        self.held_s = 0.0
        self.refused = 0
        self._path = path

    def _run(self) -> None:
        while not self._stop.wait(TICK_S):
            if self.locked or self.slow:
                self._hold()

    def _hold(self) -> None:
        """Holds the lock while `locked`; if `slow`, for HELD_S."""
        database = f"file:{self._path}?mode=rw"
        try:
            with contextlib.closing(
                sqlite3.connect(database, uri=True, timeout=WAIT_S, isolation_level=None)
            ) as file:
                file.execute("BEGIN IMMEDIATE")
                begin_s = time.monotonic()
                while not self._stop.is_set() and (
                    self.locked or (self.slow and time.monotonic() - begin_s < HELD_S)
                ):
                    self._stop.wait(TICK_S)
                file.execute("ROLLBACK")
                self.held_s += time.monotonic() - begin_s
        except sqlite3.Error:
            self.refused += 1  # others are busy too, or the disk is full: it is tried again
        self._stop.wait(FREE_S)
