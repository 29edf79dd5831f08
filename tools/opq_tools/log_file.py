"""The log file of a process under `up`: bounded in size, and no reason to stop reading.

A reader that stopped because the disk is full would fill the process's pipe and so stop the
process itself: what cannot be written is told to the caller, who counts it, and the file tried again.
"""

from pathlib import Path
from typing import IO

MAX_LOG_BYTES = 10_000_000
"""Size at which the file is turned over; one older one is kept."""


class LogFile:
    """Lines appended to `path`, the ones before the last turn in `path` with `.old`."""

    def __init__(self, path: Path, limit_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._file: IO[bytes] | None = None
        self._bytes = 0

    def write(self, line: bytes) -> bool:
        """Never raises for what the file system does; False when the line is lost."""
        try:
            if self._file is None:
                self._open()
            elif self._bytes + len(line) > self._limit_bytes:
                self.close()
                self._open()
            assert self._file is not None
            self._file.write(line)
            self._bytes += len(line)
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists() and self._path.stat().st_size > self._limit_bytes // 2:
            self._path.replace(self._path.with_suffix(".old"))
        self._file = self._path.open("ab", buffering=0)
        self._bytes = self._path.stat().st_size
