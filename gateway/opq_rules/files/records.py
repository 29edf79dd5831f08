"""Records of a file, each with its place in it: one that cannot be read keeps its number, and the rest come.

None stands for a record that there is nothing to hand on of: it could not be read, or was taken already.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import BinaryIO

import msgspec

from opq_rules.batch import JsonObject
from opq_rules.files import lines as of_bytes
from opq_rules.files.lines import Lines, opened
from opq_rules.files.options import Config

Record = JsonObject | str | None
Tell = Callable[[str], None]

_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class BrokenFileError(Exception):
    """What is wrong with the file as a whole; it may be being written."""


def records(
    path: Path, config: Config, taken: int, tell: Tell, stopped: Callable[[], bool]
) -> Iterator[Record]:
    """Of the whole file; the first `taken` are None. Raises OSError, BrokenFileError."""
    try:
        with opened(path) as plain, gzip.open(plain) if config.decompression else plain as file:
            if config.fileType == "json":
                yield from _of_json(file, path, taken, tell)
                return
            lines = Lines(file, stopped=stopped)
            start, end = config.ignoreStartLines, config.ignoreEndLines
            some = of_bytes.between(lines, start, end) if start or end else iter(lines)
            if config.fileType == "lines":
                yield from of_lines(some, lines, path, taken, tell)
            else:
                yield from _of_csv(some, lines, path, config, taken, tell)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BrokenFileError(f"{path}: {type(error).__name__}: {error}") from None


def of_lines(
    some: Iterator[bytes | str | None], lines: Lines, path: Path, taken: int, tell: Tell
) -> Iterator[Record]:
    """Of JSON lines, `some` of `lines`; an empty one is no record. PAUSE is handed on."""
    decode = msgspec.json.Decoder().decode
    for line in some:
        if isinstance(line, str):
            yield line
            continue
        if line is not None and not line.strip(b"\r"):
            continue
        if taken > 0:
            taken -= 1
            yield None
            continue
        try:
            row = decode(line) if line is not None else None
        except _UNREADABLE as error:
            tell(f"{path}, line {lines.place}: {error}")
            yield None
            continue
        if isinstance(row, dict):
            yield row
            continue
        wrong = _too_long() if line is None else f"a line is {type(row).__name__}; want an object"
        tell(f"{path}, line {lines.place}: {wrong}")
        yield None


def _of_json(file: BinaryIO | gzip.GzipFile, path: Path, taken: int, tell: Tell) -> Iterator[Record]:
    data = file.read(of_bytes.LONGEST_BYTES + 1)
    if len(data) > of_bytes.LONGEST_BYTES:
        raise BrokenFileError(f"{path}: has more than {of_bytes.LONGEST_BYTES} bytes")
    try:
        found = msgspec.json.decode(data)
    except _UNREADABLE as error:
        raise BrokenFileError(f"{path}: {error}") from None
    for number, each in enumerate(found if isinstance(found, list) else [found], 1):
        if isinstance(each, dict):
            yield each if number > taken else None
            continue
        if number > taken:
            tell(f"{path}, record {number}: is {type(each).__name__}; want an object")
        yield None


def _of_csv(
    some: Iterator[bytes | str | None], lines: Lines, path: Path, config: Config, taken: int, tell: Tell
) -> Iterator[Record]:
    wrong = ""

    def texts() -> Iterator[str]:
        nonlocal wrong
        for line in some:
            if not isinstance(line, bytes):
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
            tell(f"{path}, line {lines.place}: {wrong}")
        if wrong or number <= taken:
            yield None
        else:
            names = columns or [f"cols{k}" for k in range(len(values))]
            yield dict(zip(names, values, strict=False))
        wrong = ""


def _too_long() -> str:
    return f"has more than {of_bytes.LONGEST_BYTES} bytes"
