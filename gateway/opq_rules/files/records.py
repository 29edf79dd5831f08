"""Bytes -> lines -> records of a file, each with its place: an unreadable record keeps its number.

None stands for a record that is not emitted: it could not be read, or was emitted before. Lines are limited
to LONGEST_BYTES, because a small packed file may contain more.
"""

import csv
import errno
import gzip
import os
import stat
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from gzip import GzipFile
from io import StringIO
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from opq_proto.config.settings import configured
from opq_proto.kit.file_roots import FileRoots
from opq_rules.values.batch import JsonObject


@dataclass(frozen=True, slots=True)
class Config:
    path: str = ""
    fileType: Literal["json", "csv", "lines"] = "json"
    interval: int = field(default=0, metadata={"minimum": 0, "maximum": 86_400_000, "ms": True})
    sendInterval: int = field(default=0, metadata={"minimum": 0, "maximum": 3_600_000, "ms": True})
    actionAfterRead: Literal["keep", "remove", "move"] = "keep"
    moveTo: str = ""
    columns: tuple[str, ...] = ()  # for csv
    hasHeader: bool = False
    delimiter: str = ","
    ignoreStartLines: int = field(default=0, metadata={"minimum": 0})
    ignoreEndLines: int = field(default=0, metadata={"minimum": 0})
    decompression: Literal["", "gzip"] = ""


def file_options(datasource: str, properties: Mapping[str, object], files: FileRoots) -> tuple[Config, Path]:
    """Checks the options; returns them with the file or folder. Raises ValueError with what is wrong."""
    config: Config = configured(Config, properties)
    if config.actionAfterRead == "move" and not config.moveTo:
        raise ValueError("moveTo  missing; actionAfterRead move needs it")
    if not (datasource or config.path):
        raise ValueError("DATASOURCE  is empty; want the file's name")
    base = Path(config.path) if config.path else Path()
    name = datasource.lstrip("/") if config.path else datasource
    if config.actionAfterRead == "move":
        files.checked(config.moveTo)
    return config, files.checked(str(base / name if name else base))


LONGEST_BYTES = 256 << 20
"""Bytes of a line, and of a JSON file, which is read whole."""

_AT_ONCE_BYTES = 1 << 16


Open = Callable[[Path], BinaryIO]


def open_plain_file(files: FileRoots, path: Path) -> BinaryIO:
    """Opens a file. Raises OSError, also for a pipe or a device, which would never end."""
    try:
        file = files.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        raise OSError(errno.ENOENT, "not a regular file", str(path)) from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise OSError(errno.ENOENT, "not a regular file", str(path))
    return open(file, "rb")  # noqa: PTH123


class Lines:
    """Yields each line without its end; None for one that is too long, which is skipped.

    At the end of the file it yields the last line even without an end. `number`: lines yielded so far;
    `held`: how many of the last ones the caller still holds back.
    """

    def __init__(self, file: BinaryIO | GzipFile, stopped: Callable[[], bool] = lambda: False) -> None:
        self.number = self.held = 0
        self._file, self._stopped = file, stopped
        self._begun, self._too_long = bytearray(), False

    @property
    def place(self) -> int:
        """Number, from 1, of the last line that was passed on, for error messages."""
        return self.number - self.held

    def __iter__(self) -> Iterator[bytes | None]:
        while chunk := self._file.read(_AT_ONCE_BYTES):
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
        if self._too_long or self._begun:
            yield self.end()

    def end(self) -> bytes | None:
        """Ends the unfinished line and returns it."""
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


def _between(lines: Lines, start: int, end: int) -> Iterator[bytes | None]:
    """Leaves out the first `start` and the last `end` lines."""
    held: deque[bytes | None] = deque()
    lines.held = end
    for line in lines:
        if lines.number > start:
            held.append(line)
            if len(held) > end:
                yield held.popleft()


Record = JsonObject | None
Report = Callable[[str], None]

_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class BrokenFileError(Exception):
    """The whole file cannot be read, possibly because it is still being written."""


def records(
    path: Path, open_file: Open, config: Config, taken: int, report: Report, stopped: Callable[[], bool]
) -> Iterator[Record]:
    """The records of the whole file; the first `taken` are None. Raises OSError, BrokenFileError."""
    try:
        with open_file(path) as plain, gzip.open(plain) if config.decompression else plain as file:
            if config.fileType == "json":
                yield from _of_json(file, path, taken, report)
                return
            lines = Lines(file, stopped=stopped)
            start, end = config.ignoreStartLines, config.ignoreEndLines
            some = _between(lines, start, end) if start or end else iter(lines)
            if config.fileType == "lines":
                yield from _of_lines(some, lines, path, taken, report)
            else:
                yield from _of_csv(some, lines, path, config, taken, report)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BrokenFileError(f"{path}: {type(error).__name__}: {error}") from None


def _of_lines(
    some: Iterator[bytes | None], lines: Lines, path: Path, taken: int, report: Report
) -> Iterator[Record]:
    """Records of the JSON lines `some` of `lines`; empty lines are not records."""
    decode = msgspec.json.Decoder().decode
    for line in some:
        if line is not None and not line.strip(b"\r"):
            continue
        if taken > 0:
            taken -= 1
            yield None
            continue
        try:
            row = decode(line) if line is not None else None
        except _UNREADABLE as error:
            report(f"{path}, line {lines.place}: {error}")
            yield None
            continue
        if isinstance(row, dict):
            yield row
            continue
        wrong = _too_long() if line is None else f"a line is {type(row).__name__}; want an object"
        report(f"{path}, line {lines.place}: {wrong}")
        yield None


def _of_json(file: BinaryIO | gzip.GzipFile, path: Path, taken: int, report: Report) -> Iterator[Record]:
    data = file.read(LONGEST_BYTES + 1)
    if len(data) > LONGEST_BYTES:
        raise BrokenFileError(f"{path}: has more than {LONGEST_BYTES} bytes")
    try:
        found = msgspec.json.decode(data)
    except _UNREADABLE as error:
        raise BrokenFileError(f"{path}: {error}") from None
    for number, each in enumerate(found if isinstance(found, list) else [found], 1):
        if isinstance(each, dict):
            yield each if number > taken else None
            continue
        if number > taken:
            report(f"{path}, record {number}: is {type(each).__name__}; want an object")
        yield None


def _of_csv(
    some: Iterator[bytes | None], lines: Lines, path: Path, config: Config, taken: int, report: Report
) -> Iterator[Record]:
    wrong = ""

    def texts() -> Iterator[str]:
        nonlocal wrong
        for line in some:
            if line is None:
                wrong = _too_long()
                yield "\n"
                continue
            try:
                text = line.decode()
            except UnicodeDecodeError as error:
                text, wrong = line.decode(errors="replace"), str(error)
            if "\r" in text:
                yield from StringIO(f"{text}\n", newline=None)
            else:
                yield f"{text}\n"

    rows = csv.reader(texts(), delimiter=config.delimiter)
    columns = list(config.columns)
    header, number = config.hasHeader, 0
    while True:
        try:
            values = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            values, wrong = [], wrong or str(error)
        if not values and not wrong:
            continue
        if header:
            if wrong:
                raise BrokenFileError(f"{path}, line {lines.place}: the header: {wrong}")
            header, columns = False, values
            continue
        number += 1
        if wrong and number > taken:
            report(f"{path}, line {lines.place}: {wrong}")
        if wrong or number <= taken:
            yield None
        else:
            names = columns or [f"cols{k}" for k in range(len(values))]
            yield dict(zip(names, values, strict=False))
        wrong = ""


def _too_long() -> str:
    return f"has more than {LONGEST_BYTES} bytes"
