"""The rows of a COMTRADE record's data: sample numbers, time stamps and the analogue values, by form.

Binary rows are mapped; a row's length is checked against the sample numbers in it, since recorders disagree
about status words. ASCII rows go through `SpooledColumn`; empty lines and blanks are skipped.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.comtrade_cfg import Configuration
from opq_recordings.spooled import SpooledColumn
from opq_recordings.text import encoding_of

VALUES = {"binary": "<i2", "binary32": "<i4", "float32": "<f4"}
MISSING: dict[str, float] = {
    "ascii": 99999,
    "binary": -(2**15),
    "binary32": -(2**31),
    "float32": float(np.finfo(np.float32).min),
}
"""IEEE C37.111, 8.6: the mark for "no value"; NaN and an empty field mean it, too."""
NO_STAMP = 2**32 - 1
ROWS_AT_ONCE = 1 << 15
ROWS_EXAMINED = 1000
COUNTING_SHARE = 0.9
"""Share of rows whose sample number follows that of the row before, for a length of rows to be right."""
_CELLS = re.compile(r"[,;\t]")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that are there, as stored and mapped where there are many: `values`, one per channel."""

    values: tuple[NDArray[Any], ...]
    numbers_column: NDArray[Any]
    stamps_column: NDArray[Any]
    """(n,) in units of the time stamp; NaN or `NO_STAMP` where a row has none."""
    form: str
    problems: tuple[str, ...] = ()

    def numbers(self) -> NDArray[np.int64] | None:
        """(n,) the sample numbers, in memory; None where one is not known."""
        if self.numbers_column.dtype.kind == "u":
            return self.numbers_column.astype(np.int64)
        known = np.isfinite(self.numbers_column).all() and np.abs(self.numbers_column).max() < 2**53
        return np.rint(self.numbers_column).astype(np.int64) if known else None

    def stamps(self) -> NDArray[np.float64] | None:
        """(n,) the time stamps, in memory, NaN where a row has none; None where all have none."""
        stamps = self.stamps_column.astype(np.float64)
        if self.stamps_column.dtype.kind == "u":
            stamps[self.stamps_column == NO_STAMP] = np.nan
            return stamps
        return np.where(np.isfinite(stamps), stamps, np.nan) if np.isfinite(stamps).any() else None


def rows_of(path: Path, config: Configuration, at: int = 0, size: int | None = None) -> Rows:
    """Reads the rows from byte `at` of a file on, `size` bytes or all.

    Raises:
        RecordingError: no rows, rows of another length than the configuration states, or no numbers.
    """
    there = path.stat().st_size - at
    size = there if size is None else min(size, there)
    with path.open("rb") as file:
        file.seek(at)
        head = file.read(min(size, 1 << 16))
    if not head.strip():
        raise RecordingError(f"{path}: has no rows of data")
    problems = []
    form = config.form
    text = _is_text(head)
    if form is None or (form == "ascii") != text:
        found = "ascii" if text else "binary"
        said = "states no form of the data" if form is None else f"states {form.upper()} data"
        problems.append(f"its .cfg {said}, but its data are {found.upper()}")
        form = found
    rows = (_ascii if form == "ascii" else _binary)(path, config, form, at, size)
    return replace(rows, form=form, problems=(*problems, *rows.problems))


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return True
    plain = sum(each in b"0123456789+-.eE,; \t\r\n\x1a" for each in head[:4096])
    return plain > 0.95 * min(len(head), 4096)


def _binary(path: Path, config: Configuration, form: str, at: int, size: int) -> Rows:
    channels = len(config.analog)
    words = -(-config.status_channels // 16)
    value = VALUES[form]
    row_bytes, problems = _row_bytes(path, config, form, at, size, words)
    count = size // row_bytes
    if count == 0:
        raise RecordingError(
            f"{path}: has {size} bytes of data; a row of {channels} analogue channels has {row_bytes}"
        )
    if rest := size - count * row_bytes:
        problems.append(f"its last row is cut short, with {rest} of {row_bytes} bytes")
    form_of_row = np.dtype(
        {
            "names": ["n", "t", "values"],
            "formats": ["<u4", "<u4", (value, (channels,))],
            "offsets": [0, 4, 8],
            "itemsize": row_bytes,
        }
    )
    table = np.memmap(path, dtype=form_of_row, mode="r", offset=at, shape=(count,))
    values = tuple(table["values"][:, k] for k in range(channels))
    return Rows(values, table["n"], table["t"], form, tuple(problems))


def _row_bytes(
    path: Path, config: Configuration, form: str, at: int, size: int, words: int
) -> tuple[int, list[str]]:
    """The length of a row: the one that is stated, or another whose sample numbers count."""
    width = np.dtype(VALUES[form]).itemsize
    stated = 8 + len(config.analog) * width + 2 * words
    with path.open("rb") as file:
        file.seek(at)
        head = file.read(min(size, (stated + 64) * ROWS_EXAMINED))
    if _counting(head, stated) >= COUNTING_SHARE or _even(head, stated):
        return stated, []
    least = 8 + len(config.analog) * width
    wanted = size // config.rows if config.rows else 0
    for other in dict.fromkeys((wanted, *range(least, least + 2 * (words + 8) + 1, 2), *range(10, least, 2))):
        if other >= least and other != stated and _counting(head, other) >= COUNTING_SHARE:
            return other, [
                f"its .cfg makes rows of {stated} bytes, but they have {other}; status words differ"
            ]
    if config.rows and abs(size - config.rows * stated) < stated:
        return stated, ["its sample numbers do not rise by one; its rows were taken in order"]
    raise RecordingError(
        f"{path}: its rows are not those of the .cfg: {len(config.analog)} analogue and "
        f"{config.status_channels} status channels make rows of {stated} bytes, but there the sample numbers "
        f"do not count, and {size} bytes are not the {config.rows} rows that it states"
    )


def _heads(head: bytes, row_bytes: int) -> NDArray[np.int64]:
    """(k, 2) sample number and time stamp of the first rows."""
    count = min(ROWS_EXAMINED, len(head) // row_bytes)
    table = np.frombuffer(head, np.uint8, count * row_bytes).reshape(count, row_bytes)[:, :8]
    return np.ascontiguousarray(table).view("<u4").astype(np.int64).reshape(count, 2)


def _counting(head: bytes, row_bytes: int) -> float:
    """Share of the first rows whose sample number is one more than that before."""
    if len(head) < 2 * row_bytes:
        return 1.0 if len(head) >= row_bytes else 0.0
    return float((np.diff(_heads(head, row_bytes)[:, 0]) == 1).mean())


def _even(head: bytes, row_bytes: int) -> bool:
    """Whether the time stamps of the first rows rise in even steps, for recorders that number nothing."""
    if len(head) < 4 * row_bytes:
        return False
    steps = np.diff(_heads(head, row_bytes)[:, 1])
    usual = np.median(steps)
    return bool(usual > 0 and (np.abs(steps - usual) <= 1 + usual / 100).mean() >= COUNTING_SHARE)


def _ascii(path: Path, config: Configuration, _form: str, at: int, size: int) -> Rows:
    channels = len(config.analog)
    wanted = 2 + channels
    columns = [SpooledColumn() for _ in range(wanted)]
    problems: list[str] = []
    with path.open("rb") as raw:
        raw.seek(at)
        encoding = encoding_of(raw.read(1 << 16))
        raw.seek(at)
        for first, lines in _batches(_text_lines(raw, encoding, size)):
            table = _numbers(path, lines, first, wanted, wanted + config.status_channels, problems)
            for column, values in zip(columns, table.T, strict=True):
                column.add(values)
    if len(columns[0]) == 0:
        raise RecordingError(f"{path}: has no rows of data")
    numbers, stamps, *values = (column.array() for column in columns)
    return Rows(tuple(values), numbers, stamps, "ascii", tuple(problems))


def _text_lines(raw: IO[bytes], encoding: str, size: int) -> Iterator[str]:
    """The lines of the text, without their ends; bytes are decoded line by line, so that memory is flat."""
    if encoding.startswith("utf-16") or encoding.startswith("utf-32"):
        yield from raw.read(size).decode(encoding, "replace").lstrip("\ufeff").splitlines()
        return
    left = size
    while left > 0 and (line := raw.readline(min(left, 1 << 20))):
        left -= len(line)
        text = line.decode("latin-1").removeprefix("\xef\xbb\xbf").strip(" \t\r\n\0\x1a")
        yield from (each.strip() for each in text.split("\r")) if "\r" in text else (text,)


def _batches(lines: Iterator[str]) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """The lines that are not empty, some thousand at a time, with their numbers."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line)
    first = 0
    while batch := list(islice(numbered, ROWS_AT_ONCE)):
        yield first, batch
        first += len(batch)


def _numbers(
    path: Path, lines: list[tuple[int, str]], first: int, wanted: int, whole: int, problems: list[str]
) -> NDArray[np.float64]:
    """(rows, wanted) numbers; NaN for an empty cell. The last line of a file that breaks off is left out."""
    texts = [line for _, line in lines]
    if {line.removesuffix(",").count(",") for line in texts} == {whole - 1}:
        try:
            return np.loadtxt(texts, delimiter=",", ndmin=2, comments=None, usecols=range(wanted))
        except (ValueError, OverflowError, IndexError):
            pass
    rows = []
    for index, (number, line) in enumerate(lines):
        cells = _cells_of(line, whole)
        if len(cells) < wanted:
            if index == len(lines) - 1 and len(lines) < ROWS_AT_ONCE and first + index > 0:
                problems.append(f"its last row, line {number}, is cut short")
                break
            raise RecordingError(
                f"{path}, line {number}: has {len(cells)} fields, want {_fields(whole, wanted)}"
            )
        if len(cells) != whole:
            if any(each not in ("0", "1") for each in cells[whole:]):
                raise RecordingError(
                    f"{path}, line {number}: has {len(cells)} fields, want {_fields(whole, wanted)}; is its "
                    "decimal mark a comma?"
                )
            said = f"has {len(cells)} fields, want {_fields(whole, wanted)}; status values differ"
            if not any(said in each for each in problems):
                problems.append(f"line {number} of its data {said}")
        rows.append([_cell(path, number, position, cell) for position, cell in enumerate(cells[:wanted])])
    return np.array(rows, dtype=np.float64).reshape(len(rows), wanted)


def _fields(whole: int, wanted: int) -> str:
    return f"{whole}: sample number, time stamp, {wanted - 2} analogue and {whole - wanted} status values"


def _cells_of(line: str, whole: int) -> list[str]:
    """The cells of a row, without empty ones beyond those that the .cfg makes.

    Commas separate them; or semicolons, tabs or blanks, and then a comma is a decimal mark, but where only
    all of these together make as many cells as the .cfg.
    """
    mark = next((each for each in ";\t" if each in line), "," if "," in line else " ")
    cells = [each.strip() for each in (line.split(mark) if mark != " " else line.split())]
    if mark in ";\t" and "," in line:
        mixed = [each.strip() for each in _CELLS.split(line)]
        if len(mixed) == whole != len(cells):
            cells = mixed
        elif not any("." in each and "," in each for each in cells):
            cells = [each.replace(",", ".") for each in cells]
    while len(cells) > whole and not cells[-1]:
        cells.pop()
    return cells


def _cell(path: Path, line: int, position: int, text: str) -> float:
    if not text or text.strip('"').lower() in ("nan", "n/a", "-", "null", "none"):
        return math.nan
    try:
        value = float(text.strip('"').replace("D", "e"))
    except ValueError as error:
        raise RecordingError(
            f"{path}, line {line}: field {position + 1} is {text!r:.40}, want a number"
        ) from error
    return value
