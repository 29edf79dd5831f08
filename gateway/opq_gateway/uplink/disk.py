"""QueueDisk: access to the queue's file, which the disk may refuse.

A failed query closes the file, is logged once and counted; the file is opened again after a while. A file
that is no longer a database is renamed, so that it can be examined, and a new file is made.
"""

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from opq_gateway.counters import BoxCounters
from opq_gateway.uplink.queue_file import QueueFile, checkpoint, set_aside
from opq_proto.kit import log

Answer = TypeVar("Answer")
RETRY_S = 2.0
BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class QueueDisk:
    """Used by one thread, except for `checkpoint`.

    Attributes:
        problem: why the disk refuses writes; empty while it works. refused_s: since when it has refused
        writes.
    """

    def __init__(
        self,
        path: Path,
        counters: Mapping[str, BoxCounters],
        numbers: Callable[[], Mapping[str, int]],
        opened: Callable[[QueueFile], None],
        monotonic_s: Callable[[], float],
    ) -> None:
        """`numbers` returns the first number of each Box outside of the file; `opened` reads a file that was
        opened."""
        self._path = path
        self._counters = counters
        self._numbers = numbers
        self._opened = opened
        self._monotonic_s = monotonic_s
        self._retry_s = monotonic_s()
        self._file: QueueFile | None = None
        self._log = log.get(service="gateway")
        self.problem = ""
        self.refused_s: float | None = None
        self._open()

    def query(self, question: Callable[[QueueFile], Answer]) -> Answer | None:
        """The file's answer; None when it is not available now."""
        if self._file is None:
            if self._monotonic_s() < self._retry_s:
                return None
            self._open()
        if self._file is None:
            return None
        try:
            return question(self._file)
        except sqlite3.Error as error:
            self._failed(error)
            return None

    def retry(self) -> None:
        """Lets the next query try the disk, even after a failure."""
        self._retry_s = self._monotonic_s()

    def record_success(self) -> None:
        """Records a successful write."""
        if self.problem:
            self._log.info("queue.recovered")
        self.problem, self.refused_s = "", None

    def checkpoint(self) -> None:
        """Moves the write-ahead log to the disk itself; call it from a separate thread, because it may take
        long.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        checkpoint(self._path)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None

    def _open(self) -> None:
        for _ in range(2):  # a second try, after a broken file was renamed
            try:
                self._file = QueueFile(self._path, self._numbers().items())
                self._opened(self._file)
                return
            except (sqlite3.Error, OSError) as error:
                if not self._failed(error):
                    return

    def _failed(self, error: sqlite3.Error | OSError) -> bool:
        """Closes the file; True when it was renamed and a new one can be opened at once."""
        self.close()
        self._retry_s = self._monotonic_s() + RETRY_S
        reason = str(error)
        if not self.problem:
            self.refused_s = self._monotonic_s()
            self._log.error("queue.failed", path=str(self._path), reason=reason)
            self._count("queue_failed")
        self.problem = reason
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in BROKEN:
            return False
        try:
            aside = set_aside(self._path)
        except OSError as failure:
            self._log.error("queue.not_set_aside", reason=str(failure))
            return False
        self._retry_s = self._monotonic_s()
        self._count("queue_broken")
        self._log.error("queue.broken", kept_as=str(aside), reason=reason)
        return True

    def _count(self, name: str) -> None:
        for counters in self._counters.values():
            counters.add(name)
