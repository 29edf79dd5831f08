"""CSV of instruments, spreadsheets and our own export: the table below the lines above it, block by block."""

import io
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import RecordingError
from opq_recordings.csv_export import EXPORTED, exported_content, remark_blocks
from opq_recordings.csv_form import EMPTY, CsvForm, ValueColumn, csv_form, number, split_cells
from opq_recordings.csv_times import RowTimes
from opq_recordings.even_axis import EvenAxis, axis_of_times
from opq_recordings.exported import stated_facts
from opq_recordings.recording import Channel, Content, Run, without_missing
from opq_recordings.spooled import SpooledColumn
from opq_recordings.text import STATED, encoding_of

AT_ONCE = 1 << 21
"""Letters."""
BLANK = " \t\r\n\0\x1a"
QUOTED_EMPTY = re.compile(r"""^[ \t]*["']["' \t]*$""", re.M)
"""A row that is one empty cell, of a table with one column; a blank line is no row."""
HEAD_LINES = 2000
LONGEST_LINE = 1 << 20


def read_csv(path: Path, rate_hz: float | None = None) -> Content:
    """Reads a table of volts over time; `rate_hz` counts rows where the times are unusable.

    Raises:
        OSError: the file cannot be read, or there is no room for its numbers.
        RecordingError: no table, columns that are not understood, or times that are not even; with the line.
    """
    with path.open("rb") as raw:
        beginning = raw.read(1 << 16)
        encoding = encoding_of(beginning)
    if b"\0\0\0" in beginning and not encoding.startswith("utf-32"):
        raise RecordingError(f"{path}: is no text; want rows such as 0.0001,325.2 under time_s,volts")
    code_page = None if encoding in STATED else encoding
    assumed = ["encoding"] if code_page else []
    with path.open(encoding=encoding, errors="replace", newline=None) as file:
        head = [line.rstrip("\n") for line in islice(_lines(path, file), HEAD_LINES)]
        try:
            form = csv_form(head)
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from error
        if [name.lower() for name in form.names] == EXPORTED:
            file.seek(0)
            lines = islice(enumerate(_lines(path, file), 1), form.first_line, None)
            return exported_content(path, lines, form.separator, remark_blocks(head[: form.first_line]))
        file.seek(0)
        remarks = remark_blocks(head[: form.first_line])
        content = _table(path, file, form, rate_hz, assumed, remarks[0] if remarks else {})
        return replace(content, code_page=code_page)


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise _too_long(path)
        yield line.lstrip("\ufeff")


def _too_long(path: Path) -> RecordingError:
    return RecordingError(f"{path}: has a line of more than {LONGEST_LINE} letters; is it a table?")


def _table(
    path: Path,
    file: IO[str],
    form: CsvForm,
    given_hz: float | None,
    assumed: list[str],
    remarks: dict[str, object],
) -> Content:
    columns = [each.index for each in form.values]
    if not columns:
        raise RecordingError(
            f"{path}: has no column of values beside its times; its columns are "
            f"{', '.join(filter(None, form.names)) or 'unnamed'}"
        )
    spooled = [SpooledColumn() for _ in columns]
    seconds = SpooledColumn()
    times: RowTimes | None = None
    for numbers, times in _blocks(path, file, form, columns):  # noqa: B007 - the last is used
        for column, values in zip(spooled, numbers.T[: len(columns)], strict=True):
            column.add(values)
        if form.time is not None:
            seconds.add(numbers[:, -1])
    if times is None or not len(spooled[0]):
        raise RecordingError(f"{path}: is empty, no samples in it")
    axis = _axis(path, seconds.array(), given_hz) if form.time is not None else None
    if times.unit_assumed:
        assumed.append("time_unit")
    rate_hz = axis.rate_hz if axis else form.rate_hz
    count = len(spooled[0])
    runs = axis.runs if axis else (Run(0, 0, count),)
    channels = tuple(
        _channel(each, column.array(), runs, axis.samples if axis else count, rate_hz, times.start_ns)
        for each, column in zip(form.values, spooled, strict=True)
    )
    channels = tuple(replace(each, **stated_facts(remarks)) for each in channels)
    return Content("CSV", channels, tuple(assumed), axis.problems if axis else ())


def _channel(
    column: ValueColumn, values: NDArray[np.float64], runs: tuple[Run, ...], samples: int,
    rate_hz: float | None, start_ns: int | None,
) -> Channel:  # fmt: skip
    whole = Channel(
        column.name, values, column.scale, 0.0, column.unit, column.quantity,
        rate_hz=rate_hz, start_ns=start_ns, runs=runs, samples=samples,
    )  # fmt: skip
    return without_missing(whole)


def _axis(path: Path, seconds: NDArray[np.float64], given_hz: float | None) -> EvenAxis | None:
    """The axis by the times; None where they are unusable and rows are counted, as the user says."""
    try:
        return axis_of_times(seconds, given_hz)
    except RecordingError as error:
        if given_hz is not None:
            return None
        raise RecordingError(f"{path}: {error}") from error


def _blocks(
    path: Path, file: IO[str], form: CsvForm, columns: list[int]
) -> Iterator[tuple[NDArray[np.float64], RowTimes]]:
    """Some rows at a time: (rows, values and then seconds)."""
    wanted = columns + ([form.time] if form.time is not None else [])
    plain = form.time is None or form.time_s is not None
    for _ in islice(_lines(path, file), form.first_line):
        pass
    number = form.first_line + 1
    times: RowTimes | None = None
    for text in _whole_lines(path, file):
        lines = text.split("\n") if times is None or not plain else []
        times = times or _times_of(form, lines)
        table = _fast(text, form, wanted, times) if plain and times else None
        if table is None and times:
            lines = lines or text.split("\n")
            rows = [(number + k, line.lstrip("\ufeff")) for k, line in enumerate(lines) if line.strip(BLANK)]
            filled = "\n".join(line for _, line in rows)
            table = _fast(filled, form, wanted, times) if plain and rows and filled != text else None
            table = _slow(path, rows, form, wanted, times) if table is None else table
        if times and table is not None and len(table):
            yield table, times
        number += text.count("\n") + 1


def _times_of(form: CsvForm, lines: list[str]) -> RowTimes | None:
    first = next((line for line in lines if line.strip(BLANK)), None)
    return None if first is None else RowTimes(form, split_cells(first.lstrip("\ufeff"), form.separator))


def _whole_lines(path: Path, file: IO[str]) -> Iterator[str]:
    """The rest of a file, some megabytes at a time, each without its last line break."""
    rest = ""
    while block := file.read(AT_ONCE):
        whole, broken, after = block.rpartition("\n")
        if broken:
            yield rest + whole
        rest = after if broken else rest + block
        if len(rest) > LONGEST_LINE:
            raise _too_long(path)
    if rest:
        yield rest


def _fast(text: str, form: CsvForm, wanted: list[int], times: RowTimes) -> NDArray[np.float64] | None:
    """The numbers by NumPy's own reader; None where a cell is none, or there is no row."""
    if form.separator == form.decimal or not text.strip():  # only quotes tell them apart
        return None
    if form.separator != " " and not _are_alike(text, form.separator):
        return None  # a row of other length is looked at
    if form.decimal == ",":
        text = text.replace(",", ".")
    if '"' in text or "'" in text:
        if QUOTED_EMPTY.search(text):
            return None  # a row with an empty cell, which would be left out
        text = text.replace('"', "").replace("'", "")
    separator = None if form.separator == " " else form.separator
    try:
        table = np.loadtxt(io.StringIO(text), delimiter=separator, ndmin=2, comments=None, usecols=wanted)
        if form.time is not None:
            exact = times.of_column(io.StringIO(text), separator)
            table[:, -1] = table[:, -1] * times.unit_s if exact is None else exact
        return table
    except (ValueError, IndexError, OverflowError):
        return None


def _are_alike(text: str, separator: str) -> bool:
    """Whether all lines have as many cells as the first one."""
    letters = np.frombuffer(text.encode(errors="replace"), np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(letters))
    before = np.searchsorted(np.flatnonzero(letters == ord(separator)), ends)
    cells = np.diff(before, prepend=0)
    return bool((cells == cells[0]).all())


def _slow(
    path: Path, rows: list[tuple[int, str]], form: CsvForm, wanted: list[int], times: RowTimes
) -> NDArray[np.float64]:
    """The same cell by cell: an empty one is NaN, and a fault is named with its line."""
    found = np.empty((len(rows), len(wanted)))
    for row, (line, text) in enumerate(rows):
        cells = split_cells(text, form.separator)
        if any(cells[len(form.names) :]):
            raise RecordingError(
                f"{path}, line {line}: has {len(cells)} cells under {len(form.names)} columns; is its "
                "decimal mark also its separator?"
            )
        for position, column in enumerate(wanted):
            cell = cells[column] if column < len(cells) else ""
            if column == form.time:
                second = times.seconds(cells)
                if second is None:
                    raise RecordingError(
                        f"{path}, line {line}: its time is {cell!r:.40}; want one in every row"
                    )
                found[row, position] = second
            elif cell.lower() in EMPTY:
                found[row, position] = math.nan
            else:
                value = number(cell, form.decimal)
                if value is None:
                    raise RecordingError(
                        f"{path}, line {line}: {form.names[column] or f'column {column + 1}'} is "
                        f"{cell!r:.40}, want a number"
                    )
                found[row, position] = value
    return found
