"""Lines of a file as bytes, none longer than LONGEST_BYTES: a packed file may be small and hold more."""

import errno
from collections import deque
from collections.abc import Callable, Iterator
from gzip import GzipFile
from pathlib import Path
from typing import BinaryIO

LONGEST_BYTES = 256 << 20
"""Of a line, and of a JSON file, which is read whole."""

PAUSE = "nothing more for now"
_AT_ONCE_BYTES = 1 << 16


def opened(path: Path) -> BinaryIO:
    """Raises OSError; a pipe or a device would never end."""
    if not path.is_file():
        raise OSError(errno.ENOENT, "no plain file is there", str(path))
    return path.open("rb")


class Lines:
    """Each line without its end; None for one that is too long, which is read over.

    Where there is no more: the last line, also without an end, or with `grows` PAUSE each time it is asked.
    `number`: lines given so far; `held`: the last of these that are not handed on yet.
    """

    def __init__(
        self, file: BinaryIO | GzipFile, grows: bool = False, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        self.number = self.held = 0
        self._file, self._grows, self._stopped = file, grows, stopped
        self._begun, self._too_long = bytearray(), False

    @property
    def place(self) -> int:
        """Of the line that was handed on last, from 1, by which people find it."""
        return self.number - self.held

    def __iter__(self) -> Iterator[bytes | str | None]:
        while (chunk := self._file.read(_AT_ONCE_BYTES)) or self._grows:
            if not chunk:
                yield PAUSE
                continue
            first, *others = chunk.split(b"\n")
            self._begin(first)
            if others:
                yield self.end()
                begun = others.pop()
                for line in others:
                    self.number += 1
                    yield line
                self._begin(begun)
            elif self._too_long and self._stopped():
                return
        if self.has_begun():
            yield self.end()

    def has_begun(self) -> bool:
        return self._too_long or bool(self._begun)

    def end(self) -> bytes | None:
        """What was begun, as if its end had come."""
        line = None if self._too_long else bytes(self._begun)
        self._begun.clear()
        self._too_long = False
        self.number += 1
        return line

    def _begin(self, piece: bytes) -> None:
        if not self._too_long:
            self._begun += piece
            self._too_long = len(self._begun) > LONGEST_BYTES
            if self._too_long:
                self._begun.clear()


def between(lines: Lines, start: int, end: int) -> Iterator[bytes | str | None]:
    """Without the first `start` and the last `end` lines."""
    held: deque[bytes | str | None] = deque()
    lines.held = end
    for line in lines:
        if lines.number > start:
            held.append(line)
            if len(held) > end:
                yield held.popleft()
