"""One file of a followed log, open, whatever it is called now: it is known by its number and its head."""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from opq_plugins.sdk import SourceContext
from opq_rules.files.lines import PAUSE, Lines, opened

HEAD_BYTES = 1024
_LOOK_S = 0.02
"""Between two looks whether there is more."""
_SHARE = 50
"""So much longer than the look itself: of a folder of very many files it takes long."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Inode, and digest of the first `covers` bytes behind the lines that are ignored; 0: none is known."""

    inode: int
    digest: str = ""
    covers: int = 0

    @classmethod
    def of(cls, stored: Sequence[object]) -> "Mark | None":
        """Of the end of an offset: [], [inode], or all three."""
        if len(stored) < 3:
            return cls(int(str(stored[0]))) if stored else None
        return cls(int(str(stored[0])), str(stored[1]), int(str(stored[2])))

    def stored(self) -> list[int | str]:
        return [self.inode, self.digest, self.covers]


class Generation:
    """Raises OSError where `found` is no plain file. `ignored`: so many lines at its head are skipped."""

    def __init__(self, found: Path, ignored: int) -> None:
        self._file = opened(found)
        self.inode = os.fstat(self._file.fileno()).st_ino
        self._ignored, self._begin = ignored, -1
        self._head_at = self._head_lines = 0
        self._head, self._digest = b"", ""
        self.lines = Lines(self._file, grows=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def written_ns(self) -> int:
        return os.fstat(self._file.fileno()).st_mtime_ns

    def fits(self, mark: Mark) -> bool:
        if mark.inode != self.inode:
            return False
        head = self._first(mark.covers)
        return not mark.covers or (len(head) == mark.covers and _digest(head) == mark.digest)

    def mark(self) -> Mark | None:
        """None: it was cut since, and what was read of it may be of two files."""
        head = self._first(HEAD_BYTES)
        if not head.startswith(self._head):
            return None
        if len(head) != len(self._head):
            self._head, self._digest = head, _digest(head)
        return Mark(self.inode, self._digest, len(self._head))

    def is_cut(self) -> bool:
        return os.fstat(self._file.fileno()).st_size < self._file.tell() or self.mark() is None

    def come(
        self, context: SourceContext, ended: Callable[["Generation"], bool]
    ) -> Iterator[bytes | str | None]:
        """Lines as they come, PAUSE between two looks, until it is cut, has `ended`, or the source has."""
        last_look = False
        for line in self.lines:
            if line is not PAUSE:
                if self.lines.number > self._ignored:
                    yield line
                continue
            if last_look:
                break
            began_s = time.monotonic()
            last_look = ended(self)
            if not last_look:
                pause_s = max(_LOOK_S, min(5.0, _SHARE * (time.monotonic() - began_s)))
                yield PAUSE
                if context.wait(pause_s) or self.is_cut():
                    return
        if self.lines.has_begun():
            line = self.lines.end()
            if self.lines.number > self._ignored:
                yield line

    def _first(self, size: int) -> bytes:
        """Behind the lines that are ignored; b"" until these have come."""
        file = self._file.fileno()
        if self._begin < 0:
            self._head_at, self._head_lines = _behind(file, self._ignored, self._head_at, self._head_lines)
            if self._head_lines == self._ignored:
                self._begin = self._head_at
        return os.pread(file, size, self._begin) if self._begin >= 0 else b""


def _behind(file: int, lines: int, at: int, number: int) -> tuple[int, int]:
    """Where the first `lines` end, from byte `at` behind `number` of them; how many have come."""
    while number < lines and (chunk := os.pread(file, 1 << 16, at)):
        ends = chunk.count(b"\n")
        if number + ends < lines:
            at, number = at + len(chunk), number + ends
            continue
        end = -1
        for _ in range(lines - number):
            end = chunk.index(b"\n", end + 1)
        return at + end + 1, lines
    return at, number


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()
