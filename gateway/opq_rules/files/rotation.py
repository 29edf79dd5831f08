"""The files of a followed log: the one that was read last, wherever it is now, then the later ones.

A file is identified by its inode and its first bytes, whatever its present name. `app.log` is renamed to
`app.log.1` or `app.log-20240131` and started again. The files beside it are sorted by their last write, and
where that is equal by their numbers.
"""

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from opq_plugins.sdk import SourceContext
from opq_rules.files.records import PAUSE, Lines, Open

HEAD_BYTES = 1024
_POLL_S = 0.02
"""Shortest time between two checks for more."""
_SHARE = 50
"""The wait is so many times longer than the check itself, which takes long in a folder of very many files."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Inode, and digest of the first `covers` bytes after the ignored lines; 0: no digest is known."""

    inode: int
    digest: str = ""
    covers: int = 0

    @classmethod
    def of(cls, stored: Sequence[object]) -> "Mark | None":
        """The mark at the end of a stored offset: [], [inode], or all three."""
        if len(stored) < 3:
            return cls(int(str(stored[0]))) if stored else None
        return cls(int(str(stored[0])), str(stored[1]), int(str(stored[2])))

    def stored(self) -> list[int | str]:
        return [self.inode, self.digest, self.covers]


class Generation:
    """A file of the log. `ignored`: lines at its head that are skipped. OSError: it is no plain file."""

    def __init__(self, found: Path, open_file: Open, ignored: int) -> None:
        self._file = open_file(found)
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
        """The present mark; None: the file was cut since, and what was read may be of two files."""
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
        """Yields new lines, and PAUSE between checks, until it is cut, has `ended`, or the source ends."""
        is_last = False
        for line in self.lines:
            if line is not PAUSE:
                if self.lines.number > self._ignored:
                    yield line
                continue
            if is_last:
                break
            began_s = time.monotonic()
            is_last = ended(self)
            if not is_last:
                pause_s = max(_POLL_S, min(5.0, _SHARE * (time.monotonic() - began_s)))
                yield PAUSE
                if context.wait(pause_s) or self.is_cut():
                    return
        if self.lines.has_begun():
            line = self.lines.end()
            if self.lines.number > self._ignored:
                yield line

    def _first(self, size: int) -> bytes:
        """The first bytes after the ignored lines; b"" until these are complete."""
        file = self._file.fileno()
        if self._begin < 0:
            self._head_at, self._head_lines = _behind(file, self._ignored, self._head_at, self._head_lines)
            if self._head_lines == self._ignored:
                self._begin = self._head_at
        return os.pread(file, size, self._begin) if self._begin >= 0 else b""


def _behind(file: int, lines: int, at: int, number: int) -> tuple[int, int]:
    """The position after the first `lines`, from byte `at` and `number` of them on; and their number."""
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


_SUFFIX = re.compile(r"[-._](\d[\d\-._:T]*Z?)(\.gz|\.bz2|\.xz|\.zst|\.Z)?")
_DIGITS_OF_A_COUNT = 4
"""More digits than this are a date. Of counts the highest is the oldest, of dates the lowest."""


class _RotatedFile(NamedTuple):
    written_ns: int
    turn: float
    """Rises with time, among files of equal last write."""
    path: Path
    inode: int
    packed: bool
    form: tuple[str, bool]
    """The text before its number, and whether that is a date: `box_2` and `box.1` are different logs."""


def left_in(path: Path, open_file: Open, mark: Mark | None, ignored: int) -> tuple[Generation, bool]:
    """The file of `mark`, else the present `path`; and whether it starts as it did when it was read.

    False with the inode of `mark`: the file was cut since. Raises OSError.
    """
    if mark is not None:
        for each in _looked_through(path):
            with suppress(FileNotFoundError):
                if each.stat().st_ino != mark.inode:
                    continue
                found = Generation(each, open_file, ignored)
                fits, suffix = found.fits(mark), _suffix(path, each)
                its_own = each == path or (suffix and not suffix[2])
                if fits or (its_own and found.inode == mark.inode):
                    return found, fits
                found.close()
    return Generation(path, open_file, ignored), False


def _looked_through(path: Path) -> Iterator[Path]:
    """Yields the possible files several times, since they may be renamed meanwhile."""
    for _ in range(3):
        yield path
        yield from _files(path.parent)


def has_ended(path: Path, generation: Generation) -> bool:
    """Whether a newer file exists. An empty new file does not count: the old one may still be written."""
    try:
        now = path.stat()
        return now.st_ino != generation.inode and (now.st_size > 0 or bool(_between(path, generation)))
    except FileNotFoundError:
        return False


def after(
    path: Path, open_file: Open, ended: Generation, ignored: int, tell: Callable[[str], None]
) -> Generation:
    """The oldest file that is newer than `ended`. Raises OSError."""
    while True:
        newer = _between(path, ended)
        plain = next((each for each in newer if not each.packed), None)
        found = Generation(plain.path if plain else path, open_file, ignored)
        if plain is None or plain.inode == found.inode:
            for each in newer[: newer.index(plain) if plain else None]:
                tell(f"{each.path}: is packed, and was not read before; it is passed over")
            return found
        found.close()  # rotated just now


def _between(path: Path, ended: Generation) -> list[_RotatedFile]:
    """The files newer than `ended` and older than `path`; the oldest first."""
    now = path.stat()
    beside = list(_beside(path))
    own = next((each for each in beside if each.inode == ended.inode), None)
    own_turn = float("inf") if own is None else own.turn
    newer = sorted(
        each
        for each in beside
        if each.inode not in (ended.inode, now.st_ino)
        and (own is None or each.form == own.form)
        and (ended.written_ns(), own_turn) < each[:2] <= (now.st_mtime_ns, float("inf"))
    )
    if own is None and len({each.form for each in newer}) > 1:
        return []  # `ended` is gone or packed: nothing shows which of them belong to this log
    return newer


def _beside(path: Path) -> Iterator[_RotatedFile]:
    for each in _files(path.parent):
        suffix = _suffix(path, each)
        if suffix is None:
            continue
        with suppress(FileNotFoundError):
            found = each.stat()
            digits = re.sub(r"\D", "", suffix[1])
            turn = -float(digits) if len(digits) <= _DIGITS_OF_A_COUNT else float(digits)
            form = suffix[0][0], len(digits) > _DIGITS_OF_A_COUNT
            yield _RotatedFile(found.st_mtime_ns, turn, each, found.st_ino, suffix[2] is not None, form)


def _suffix(path: Path, each: Path) -> re.Match[str] | None:
    return _SUFFIX.fullmatch(each.name, len(path.name)) if each.name.startswith(path.name) else None


def _files(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(each.path) for each in entries if each.is_file()]
