"""Which file of a followed log is read: the one it was left in, wherever that is, then those that came after.

`app.log` is renamed to `app.log.1` or `app.log-20240131` and begun anew; those beside it are in the order of
their last write, and where that is the same, of their numbers.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from opq_rules.files.generation import Generation, Mark

_SUFFIX = re.compile(r"[-._](\d[\d\-._:T]*Z?)(\.gz|\.bz2|\.xz|\.zst|\.Z)?")
_DIGITS_OF_A_COUNT = 4
"""With more of them it is a date: of a count the highest is the oldest, of a date the lowest."""


class _Beside(NamedTuple):
    written_ns: int
    turn: float
    """Rises with the time, among those written at the same."""
    path: Path
    inode: int
    packed: bool
    form: tuple[str, bool]
    """What stands before its number, and whether that is a date: `box_2` beside `box.1` is another log."""


def left_in(path: Path, mark: Mark | None, ignored: int) -> tuple[Generation, bool]:
    """What `mark` is of, else what `path` is now; whether records taken of it are its first. Raises OSError.

    False with the inode of `mark`: it was cut since.
    """
    if mark is not None:
        for each in _looked_through(path):
            with suppress(FileNotFoundError):
                if each.stat().st_ino != mark.inode:
                    continue
                found = Generation(each, ignored)
                fits, suffix = found.fits(mark), _suffix(path, each)
                its_own = each == path or (suffix and not suffix[2])
                if fits or (its_own and found.inode == mark.inode):
                    return found, fits
                found.close()
    return Generation(path, ignored), False


def _looked_through(path: Path) -> Iterator[Path]:
    """Again, since files may be given other names meanwhile."""
    for _ in range(3):
        yield path
        yield from _files(path.parent)


def has_ended(path: Path, generation: Generation) -> bool:
    """It is read to its end. A new one that is empty is not written yet; the old one may still be."""
    try:
        now = path.stat()
        return now.st_ino != generation.inode and (now.st_size > 0 or bool(_between(path, generation)))
    except FileNotFoundError:
        return False


def after(path: Path, ended: Generation, ignored: int, tell: Callable[[str], None]) -> Generation:
    """The oldest that is newer than `ended`. Raises OSError."""
    while True:
        newer = _between(path, ended)
        plain = next((each for each in newer if not each.packed), None)
        found = Generation(plain.path if plain else path, ignored)
        if plain is None or plain.inode == found.inode:
            for each in newer[: newer.index(plain) if plain else None]:
                tell(f"{each.path}: is packed, and was not read before; it is passed over")
            return found
        found.close()  # rotated just now


def _between(path: Path, ended: Generation) -> list[_Beside]:
    """Newer than `ended`, older than `path`; the oldest first."""
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
        return []  # it is gone, or packed: nothing tells which of them are of this log
    return newer


def _beside(path: Path) -> Iterator[_Beside]:
    for each in _files(path.parent):
        suffix = _suffix(path, each)
        if suffix is None:
            continue
        with suppress(FileNotFoundError):
            found = each.stat()
            digits = re.sub(r"\D", "", suffix[1])
            turn = -float(digits) if len(digits) <= _DIGITS_OF_A_COUNT else float(digits)
            form = suffix[0][0], len(digits) > _DIGITS_OF_A_COUNT
            yield _Beside(found.st_mtime_ns, turn, each, found.st_ino, suffix[2] is not None, form)


def _suffix(path: Path, each: Path) -> re.Match[str] | None:
    return _SUFFIX.fullmatch(each.name, len(path.name)) if each.name.startswith(path.name) else None


def _files(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return [Path(each.path) for each in entries if each.is_file()]
