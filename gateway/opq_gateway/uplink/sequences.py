"""Sequence numbers of one Box's Measurements: rising, never used twice, also after kill -9.

Numbers are reserved on disk in small chunks before they are used; a killed process leaves the
rest of its chunk unused, a clean end gives it back. A Box begins at the time of its first start
(ms since 1970), so that even a lost data folder does not make it use a number again.
"""

import os
import time
from pathlib import Path

CHUNK = 64
"""About a minute of Measurements at the original rate: at most so many numbers are skipped by a
kill, and the disk is written once a minute. The cloud waits for none of them: each Measurement says
the oldest sequence that the Box holds."""
BEYOND = 2**62
"""No number of a Box that began at the present time; field 1004 holds 2**64 - 1, a database 2**63 - 1."""


class Sequences:
    """Hands out the numbers of one Box; one thread, one process."""

    def __init__(self, path: Path, now_ms: int | None = None) -> None:
        """Read how far numbers are used; an unreadable file counts as a lost one.

        Raises:
            OSError: the folder cannot be made or written.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        start = int(time.time() * 1000) if now_ms is None else now_ms
        self.recovered = False
        """The file was there and could not be read: numbers jumped to the present time."""
        try:
            self._next = int(path.read_text())
            self.recovered = not 0 <= self._next < BEYOND
        except FileNotFoundError:
            self._next = start
        except ValueError:
            self.recovered = True
        if self.recovered:
            self._next = start
        self._reserved = self._next
        self._reserve()

    def take(self) -> int:
        """The next number.

        Raises:
            OSError: numbers cannot be reserved; none was used.
        """
        if self._next >= self._reserved:
            self._reserve()
        number = self._next
        self._next += 1
        return number

    def close(self) -> None:
        """Give back what was reserved and not used."""
        self._write(self._next)
        self._reserved = self._next

    def _reserve(self) -> None:
        self._write(self._next + CHUNK)
        self._reserved = self._next + CHUNK

    def _write(self, number: int) -> None:
        beside = self._path.with_name(self._path.name + ".part")
        with beside.open("w") as file:
            file.write(f"{number}\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
