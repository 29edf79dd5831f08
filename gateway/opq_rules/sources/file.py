"""file: a JSON, CSV or lines file, or a folder of them; can be rewound, so that nothing is lost or doubled.

DATASOURCE is the file's name below `path`, or the file itself. `interval` 0: once, and `follow` waits for
lines that are appended, also where the file is rotated: renamed and begun anew, or cut to nothing; greater:
read again from the start each so many ms. An offset is `[file name, records taken of it]`, with `follow` and
its number in the file system.
"""

import csv
import errno
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec

from opq_rules.plugins.settings import configured
from opq_rules.sdk import Source as SourceOfSdk
from opq_rules.sdk import SourceContext

_LOOK_S = 0.02
"""Between two looks whether there is more."""
_AT_ONCE = 500
"""Records handed on in one call."""

LONGEST_BYTES = 256 << 20
"""Of a JSON file, which is read whole, and of a line: a packed file may be small and hold more."""

_PAUSE = "nothing more for now"


@dataclass(frozen=True, slots=True)
class Config:
    path: str = ""
    fileType: Literal["json", "csv", "lines"] = "json"
    interval: int = field(default=0, metadata={"minimum": 0, "maximum": 86_400_000, "ms": True})
    sendInterval: int = field(default=0, metadata={"minimum": 0, "maximum": 3_600_000, "ms": True})
    follow: bool = False  # of lines: waits for more
    actionAfterRead: Literal["keep", "remove", "move"] = "keep"
    moveTo: str = ""
    columns: tuple[str, ...] = ()  # of csv
    hasHeader: bool = False
    delimiter: str = ","
    ignoreStartLines: int = field(default=0, metadata={"minimum": 0})
    ignoreEndLines: int = field(default=0, metadata={"minimum": 0})
    decompression: Literal["", "gzip"] = ""


class Source(SourceOfSdk):
    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
        config: Config = configured(Config, properties)
        if config.actionAfterRead == "move" and not config.moveTo:
            raise ValueError("moveTo  missing: actionAfterRead is move")
        if config.follow and (config.fileType != "lines" or config.interval):
            raise ValueError("follow  is for fileType lines with interval 0")
        if config.follow and (config.decompression or config.ignoreEndLines):
            raise ValueError("follow  is without decompression and ignoreEndLines: the file has no end")
        if not (datasource or config.path):
            raise ValueError("DATASOURCE  is empty; want the file's name")
        base = Path(config.path) if config.path else Path()
        name = datasource.lstrip("/") if config.path else datasource
        if config.path and ".." in Path(name).parts:
            raise ValueError(f"DATASOURCE  is {datasource!r}; it may not leave {config.path}")
        self._config, self._at = config, base / name if name else base
        self._done, self._inode = ("", 0), 0

    def rewind(self, offset: Any) -> None:
        self._done = (str(offset[0]), int(offset[1]))
        self._inode = int(offset[2]) if len(offset) > 2 else 0

    def open(self, context: SourceContext) -> None:
        while not context.stopped:
            try:
                self._read_all(context)
                context.connected(True)
            except (OSError, EOFError, zlib.error, UnicodeError, msgspec.DecodeError, csv.Error) as error:
                context.connected(False, f"{self._at}: {error}")
                context.emit_error(f"{self._at}: {type(error).__name__}: {error}")
                context.wait(1.0)
                continue
            if not (self._config.interval or self._config.follow):
                break
            self._done, self._inode = ("", 0), 0
            context.wait(self._config.interval / 1000 or _LOOK_S)
        while not context.wait(60.0):
            pass

    def _read_all(self, context: SourceContext) -> None:
        files = (
            sorted(each for each in self._at.iterdir() if each.is_file()) if self._at.is_dir() else [self._at]
        )
        for path in files:
            if path.name < self._done[0]:
                continue  # taken before the restart
            taken = self._done[1] if path.name == self._done[0] else 0
            if self._config.follow:
                self._follow(path, taken, context)
                return
            if not self._read(path, taken, context):
                return
            self._after(path)

    def _follow(self, path: Path, taken: int, context: SourceContext) -> None:
        """Until it is rotated; what was rotated while nobody read is found by its number, and ended first."""
        found = path
        if self._inode and path.stat().st_ino != self._inode:
            beside = (each for each in path.parent.iterdir() if each.is_file())
            found = next((each for each in beside if each.stat().st_ino == self._inode), path)
            taken = 0 if found is path else taken
        self._inode = found.stat().st_ino
        self._read(path, taken, context, found)

    def _read(self, path: Path, taken: int, context: SourceContext, found: Path | None = None) -> bool:
        """`found`: where `path` is now, with `follow`."""
        if not path.is_file():
            raise OSError(errno.ENOENT, "no plain file is there", str(path))
        size = 1 if self._config.sendInterval else _AT_ONCE
        meta = {"file": str(path)}
        place = [self._inode] if found else []
        number, batch = 0, []
        for record in chain(_records(path, self._config, context, found), (_PAUSE,)):
            if isinstance(record, dict) and number >= taken:
                batch.append(record)
            number += record is not _PAUSE
            if found and record is _PAUSE and number < taken:
                return True  # shorter than what was taken of it: another one
            if not batch or (len(batch) < size and record is not _PAUSE):
                continue
            self._done = (path.name, number)
            if not context.emit_many(batch, [meta] * len(batch), offset=[path.name, number, *place]):
                return False
            batch = []
            if self._config.sendInterval and context.wait(self._config.sendInterval / 1000):
                return False
        self._done = (path.name, number)
        return not context.stopped

    def _after(self, path: Path) -> None:
        if self._config.actionAfterRead == "remove":
            path.unlink()
        elif self._config.actionAfterRead == "move":
            target = Path(self._config.moveTo)
            target.mkdir(parents=True, exist_ok=True)
            path.replace(target / path.name)


def _records(
    path: Path, config: Config, context: SourceContext, found: Path | None = None
) -> Iterator[dict[str, Any] | str | None]:
    """Each record; None for one that cannot be read (it keeps its number), _PAUSE where more may come."""
    if config.fileType == "json":
        with gzip.open(path) if config.decompression else path.open("rb") as whole:
            data = whole.read(LONGEST_BYTES + 1)
        if len(data) > LONGEST_BYTES:
            raise OSError(errno.EFBIG, f"has more than {LONGEST_BYTES} bytes", str(path))
        found = msgspec.json.decode(data)
        for each in found if isinstance(found, list) else [found]:
            if isinstance(each, dict):
                yield each
            else:
                context.emit_error(f"{path}: a record is {type(each).__name__}; want an object")
                yield None
        return
    lines = _followed(found, path, config, context) if found else _lines(path, config)
    if config.fileType == "lines":
        for line in lines:
            yield _PAUSE if line is _PAUSE else _row(line, path, context)
        return
    rows = csv.reader(lines, delimiter=config.delimiter)
    columns: Sequence[str] = config.columns
    if config.hasHeader:
        columns = next(rows, [])
    for values in rows:
        names = columns or [f"cols{k}" for k in range(len(values))]
        yield dict(zip(names, values, strict=False))


def _row(line: str, path: Path, context: SourceContext) -> dict[str, Any] | None:
    try:
        row = msgspec.json.decode(line)
    except msgspec.DecodeError as error:
        context.emit_error(f"{path}: {error}")
        return None
    if not isinstance(row, dict):
        context.emit_error(f"{path}: a line is {type(row).__name__}; want an object")
        return None
    return row


def _lines(path: Path, config: Config) -> Iterator[str]:
    """Whole lines without their end."""
    held: list[str] = []  # the last `ignoreEndLines` are never handed on
    with (
        gzip.open(path, "rt", encoding="utf-8")
        if config.decompression
        else path.open(encoding="utf-8") as file
    ):
        for _ in range(config.ignoreStartLines):
            file.readline()
        while line := _line(file, "", path):
            held.append(line.rstrip("\r\n"))
            if len(held) > config.ignoreEndLines:
                first = held.pop(0)
                if first:
                    yield first


def _followed(found: Path, path: Path, config: Config, context: SourceContext) -> Iterator[str]:
    """Lines of `found` as they come, until `path` is another file that has some, or a shorter one."""
    begun, rotated, skip = "", False, config.ignoreStartLines
    with found.open(encoding="utf-8") as file:
        while True:
            line = _line(file, begun, found)
            if line.endswith("\n"):
                begun = ""
                if skip:
                    skip -= 1
                elif line.strip("\r\n"):
                    yield line.rstrip("\r\n")
                continue
            begun = line
            if rotated:
                break
            rotated = _rotated(file, path)
            if not rotated:
                yield _PAUSE
                if context.wait(_LOOK_S):
                    return
        if begun:
            yield begun


def _line(file: TextIOWrapper, begun: str, path: Path) -> str:
    line = begun + file.readline(LONGEST_BYTES + 1 - len(begun))
    if len(line) > LONGEST_BYTES:
        raise OSError(errno.EFBIG, f"a line has more than {LONGEST_BYTES} characters", str(path))
    return line


def _rotated(file: TextIOWrapper, path: Path) -> bool:
    """`file` is read to its end. A new one that is empty is not written yet; the old one may still be."""
    own = os.fstat(file.fileno())
    try:
        now = path.stat()
    except FileNotFoundError:
        return False
    if now.st_ino != own.st_ino:
        return now.st_size > 0
    return own.st_size < os.lseek(file.fileno(), 0, os.SEEK_CUR)
