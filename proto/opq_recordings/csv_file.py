"""CSV of instruments, spreadsheets and our own export: the table below the lines above it, block by block."""

import io
import itertools
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
from opq_recordings.csv_form import CsvForm, ValueColumn, csv_form
from opq_recordings.csv_numbers import EMPTY
from opq_recordings.csv_rows import BLANK, BLANK_END, HEAD_LINES, CsvRow, rows_of
from opq_recordings.csv_times import RowTimes
from opq_recordings.date_order import date_in, possible_orders
from opq_recordings.even_axis import EvenAxis, axis_of_times, rows_of_same_time
from opq_recordings.exported import stated_facts
from opq_recordings.recording import Channel, Content, Run, without_missing
from opq_recordings.spooled import SpooledColumn
from opq_recordings.text import STATED_ENCODINGS, encoding_of
from opq_recordings.written_times import written_time

BLOCK_LETTERS = 1 << 21
"""Letters."""
QUOTED_EMPTY = re.compile(r"""^[ \t]*["']["' \t]*$""", re.M)
"""A row that is one empty cell, of a table with one column; a blank line is not a row."""
QUOTED_COMMA = re.compile(r'"[^"\n]*,[^"\n]*"')
MOST_APART = 0.25
"""The times beside a row without a time may be wider apart by this many steps."""
MOST_UNREAD = 0.02
"""Share of the rows whose times may be missing; the times beside them place these rows."""
FIRST_LINES = 100
"""The first row mostly is among this many lines; splitting all lines of a block takes five times its
memory."""
LONGEST_LINE = 1 << 20


def read_csv(path: Path, rate_hz: float | None = None, decimal: str | None = None) -> Content:
    """Reads a table of volts over time.

    Args:
        rate_hz: counts rows where the times are unusable.
        decimal: the decimal mark, where the table can be read in two ways.
    Raises:
        OSError: the file cannot be read, or there is no room for its numbers.
        RecordingError: no table, columns that are not understood, or times that are not even; with the line.
    """
    with path.open("rb") as raw:
        beginning = raw.read(1 << 16)
        encoding = encoding_of(beginning)
    if b"\0\0\0" in beginning and not encoding.startswith("utf-32"):
        raise RecordingError(
            f"{path}: is not text; want rows such as 0.0001,325.2 below the names time_s,volts"
        )
    code_page = None if encoding in STATED_ENCODINGS else encoding
    assumed = ["encoding"] if code_page else []
    with path.open(encoding=encoding, errors="replace", newline=None) as file:
        head = [line.rstrip("\n") for line in islice(_lines(path, file), HEAD_LINES)]
        try:
            form = csv_form(head, decimal)
        except RecordingError as error:
            raise RecordingError(f"{path}: {error}") from error
        date_order = _date_order(path, file, form)
        file.seek(0)
        remarks = remark_blocks(head[: form.first_line])
        if [name.lower() for name in form.names] == EXPORTED:
            lines = islice(enumerate(_lines(path, file), 1), form.first_line, None)
            return exported_content(path, lines, form.notation.separator, remarks)
        content = _table(path, file, form, rate_hz, assumed, remarks[0] if remarks else {}, date_order)
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
    date_order: str,
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
    for numbers, times in _blocks(path, file, form, columns, date_order):  # noqa: B007 - the last is used
        for column, values in zip(spooled, numbers.T[: len(columns)], strict=True):
            column.add(values)
        if form.time is not None:
            seconds.add(numbers[:, -1])
    if times is None or not len(spooled[0]):
        raise RecordingError(f"{path}: is empty, no samples in it")
    problems = [times.problem] if times.problem else []
    if times.set_back:
        problems.append(
            f"line {times.set_back}: its clock goes back by an hour, as summer time ends; the rows go on"
        )
    if times.set_forward:
        problems.append(
            f"line {times.set_forward}: its clock leaves out an hour, as summer time begins; the rows go on"
        )
    axis, kept = None, None
    if form.time is not None and _are_usable(path, len(spooled[0]), form, times, given_hz, problems):
        placed = seconds.array()
        if times.unread is not None:
            placed, kept = _placed(placed)
            placed = placed[kept]
        placed, kept = _without_repeats(path, placed, kept, spooled, given_hz, problems)
        axis = _axis(path, placed, given_hz, problems)
        del placed  # before the values come
    arrays = [column.array() if kept is None else column.array()[kept] for column in spooled]
    assumed += times.assumed
    rate_hz = axis.rate_hz if axis else form.rate_hz
    count = len(arrays[0])
    runs = axis.runs if axis else (Run(0, 0, count),)
    channels = tuple(
        _channel(each, values, runs, axis.samples if axis else count, rate_hz, times.start_ns)
        for each, values in zip(form.values, arrays, strict=True)
    )
    channels = tuple(replace(each, **stated_facts(remarks)) for each in channels)
    return Content("CSV", channels, tuple(assumed), (*problems, *(axis.problems if axis else ())))


def _channel(
    column: ValueColumn,
    values: NDArray[np.float64],
    runs: tuple[Run, ...],
    samples: int,
    rate_hz: float | None,
    start_ns: int | None,
) -> Channel:
    whole = Channel(
        column.name,
        values,
        column.scale,
        0.0,
        column.unit,
        column.quantity,
        rate_hz=rate_hz,
        start_ns=start_ns,
        runs=runs,
        samples=samples,
    )
    return without_missing(whole)


def _are_usable(
    path: Path, count: int, form: CsvForm, times: RowTimes, given_hz: float | None, problems: list[str]
) -> bool:
    """Whether the times place the rows: all but a few are understood. A RecordingError without a rate."""
    if times.unread is None:
        return True
    line, cell = times.unread
    few = times.unread_rows <= max(1, MOST_UNREAD * count) < count - 1
    what = f"line {line}: its time {cell!r:.60} is not understood"
    if not few and given_hz is None and form.rate_hz is None:
        raise RecordingError(f"{path}, {what}; give --rate-hz to count rows instead")
    more = f", and {times.unread_rows - 1} more are not" if times.unread_rows > 1 else ""
    if not (times.problem and times.problem.startswith(what)):
        problems.append(f"{what}{more}; {'the rows beside it were used' if few else 'rows were counted'}")
    return few


def _without_repeats(
    path: Path,
    seconds: NDArray[np.float64],
    kept: NDArray[np.bool_] | None,
    spooled: list[SpooledColumn],
    given_hz: float | None,
    problems: list[str],
) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    """Leaves out rows that repeat the row before with its time and its values, and counts them.

    Raises:
        RecordingError: two rows have one time and other values, and no rate is given by which rows count.
    """
    second = rows_of_same_time(seconds)
    if not len(second):
        return seconds, kept
    place = np.arange(len(spooled[0])) if kept is None else np.flatnonzero(kept)
    same = np.ones(len(second), np.bool_)
    for column in spooled:
        values = column.array()
        one, other = values[place[second]], values[place[second - 1]]
        same &= (one == other) | (np.isnan(one) & np.isnan(other))
    if not same.all():
        at = int(second[np.argmin(same)])
        text = f"rows {at} and {at + 1} have the same time ({seconds[at]:.9g} s) and other values"
        if given_hz is None:
            raise RecordingError(f"{path}: {text}; delete one, or give --rate-hz to count rows instead")
    repeats = second[same]
    if not len(repeats):
        return seconds, kept
    what = f"row {repeats[0] + 1} repeats time and values of the row before"
    more = f", and so do {len(repeats) - 1} more" if len(repeats) > 1 else ""
    problems.append(f"{what}{more}; {'it was' if len(repeats) == 1 else 'they were'} left out")
    new = np.ones(len(spooled[0]), np.bool_) if kept is None else kept.copy()
    new[place[repeats]] = False
    return np.delete(seconds, repeats), new


def _axis(
    path: Path, seconds: NDArray[np.float64], given_hz: float | None, problems: list[str]
) -> EvenAxis | None:
    """The axis by the times; None where they are not even and rows are counted, by the rate that is given."""
    try:
        return axis_of_times(seconds, given_hz)
    except RecordingError as error:
        if given_hz is not None:
            problems.append(f"{str(error).partition('; give --rate-hz')[0]}; rows were counted")
            return None
        raise RecordingError(f"{path}: {error}") from error


def _placed(seconds: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The times, and the rows to keep: one without a time is placed where its neighbours leave room."""
    known = np.flatnonzero(np.isfinite(seconds))
    steps_s = np.diff(seconds[known]) / np.diff(known)
    step_s = float(np.median(steps_s)) if len(steps_s) else 0.0
    rows = np.arange(len(seconds))
    first, last = known[0], known[-1]
    placed = np.interp(rows, known, seconds[known])
    placed[:first] = seconds[first] + step_s * (rows[:first] - first)
    placed[last + 1 :] = seconds[last] + step_s * (rows[last + 1 :] - last)
    fits = np.abs(steps_s - step_s) * np.diff(known) <= MOST_APART * abs(step_s)
    beside = np.clip(np.searchsorted(known, rows) - 1, 0, max(0, len(fits) - 1))
    inside = (rows > first) & (rows < last) & ~np.isfinite(seconds)
    return placed, ~inside | (fits[beside] if len(fits) else True)


def _blocks(
    path: Path, file: IO[str], form: CsvForm, columns: list[int], date_order: str
) -> Iterator[tuple[NDArray[np.float64], RowTimes]]:
    """Some rows at a time: (rows, values and then seconds)."""
    wanted = columns + ([form.time] if form.time is not None else [])
    plain = form.time is None or form.time_s is not None
    for _ in islice(_lines(path, file), form.first_line):
        pass
    number = form.first_line + 1
    times: RowTimes | None = None
    held: list[CsvRow] = []
    """Rows of empty cells after which another row may come."""
    for text in _whole_lines(path, file):
        lines = text.split("\n") if not plain or held else []
        first = lines or text.split("\n", FIRST_LINES)[:FIRST_LINES]
        times = times or _times_of(form, first, number, date_order)
        if times is None:
            lines = lines or text.split("\n")
            times = _times_of(form, lines, number, date_order)
        table = _fast(text, form, wanted, times) if plain and times and not held else None
        if table is None and times:
            lines = lines or text.split("\n")
            rows, held = rows_of(form, held, lines, number)
            if plain and rows and len(rows) < len(lines):
                table = _fast("\n".join(line for _, line, _ in rows), form, wanted, times)
            table = _slow(path, rows, form, wanted, times) if table is None else table
        if times and table is not None and len(table):
            yield table, times
        number += text.count("\n") + 1


def _date_order(path: Path, file: IO[str], form: CsvForm) -> str:
    """The order of day, month and year, where the first date does not state it and all dates together do."""
    at = form.time if form.date is None else form.date
    if at is None or form.time_s is not None:
        return ""
    file.seek(0)
    dates = (cells[at] for cells in _cells(path, file, form) if at < len(cells))
    first = next((each for each in dates if date_in(each)), None)
    found = None if first is None else written_time(first)
    if first is None or (found is not None and not found.problem):
        return ""
    orders = possible_orders(itertools.chain([first], dates))
    return orders[0] if len(orders) == 1 else ""


def _cells(path: Path, file: IO[str], form: CsvForm) -> Iterator[list[str]]:
    for line in islice(_lines(path, file), form.first_line, None):
        yield form.notation.cells(line.strip(BLANK_END if form.notation.separator == "\t" else BLANK))


def _times_of(form: CsvForm, lines: list[str], number: int, date_order: str) -> RowTimes | None:
    for at, line in enumerate(lines, number):
        rows, _ = rows_of(form, [], [line], at)
        if rows:
            return RowTimes(form, rows[0][2], rows[0][0], date_order)
    return None


def _whole_lines(path: Path, file: IO[str]) -> Iterator[str]:
    """The rest of a file, some megabytes at a time, each without its last line break."""
    rest = ""
    while block := file.read(BLOCK_LETTERS):
        whole, broken, after = block.rpartition("\n")
        if broken:
            yield rest + whole
        rest = after if broken else rest + block
        if len(rest) > LONGEST_LINE:
            raise _too_long(path)
    if rest:
        yield rest


def _fast(text: str, form: CsvForm, wanted: list[int], times: RowTimes) -> NDArray[np.float64] | None:
    """The numbers by NumPy's own reader; None where a cell is not a number, or there is no row."""
    separator, decimal = form.notation.separator, form.notation.decimal
    if separator in (decimal, form.notation.group) or not text.strip():  # only quotes tell them apart
        return None
    if separator != " " and not _are_alike(text, separator):
        return None  # a row of other length is looked at
    if decimal == ",":
        if "." in text:
            return None  # a mark between thousands, or a second decimal mark
        text = text.replace(",", ".")
    if '"' in text or "'" in text:
        if QUOTED_EMPTY.search(text) or (separator == "," and QUOTED_COMMA.search(text)):
            return None  # a row with an empty cell, which would be left out, or a comma within a cell
        text = text.replace('"', "").replace("'", "")
    delimiter = None if separator == " " else separator
    try:
        table = np.loadtxt(io.StringIO(text), delimiter=delimiter, ndmin=2, comments=None, usecols=wanted)
        if form.time is not None:
            exact = times.of_column(io.StringIO(text), delimiter)
            table[:, -1] = table[:, -1] * times.unit_s if exact is None else exact
            if not np.isfinite(table[:, -1]).all():
                return None  # the slow reader names the line
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
    path: Path, rows: list[CsvRow], form: CsvForm, wanted: list[int], times: RowTimes
) -> NDArray[np.float64]:
    """The same cell by cell: an empty one is NaN, and a fault is named with its line."""
    found = np.empty((len(rows), len(wanted)))
    for row, (line, text, cells) in enumerate(rows):
        if any(cells[len(form.names) :]):
            raise RecordingError(
                f"{path}, line {line}: has {len(cells)} cells under {len(form.names)} columns; is its "
                "decimal mark also its separator?"
            )
        for position, column in enumerate(wanted):
            cell = cells[column] if column < len(cells) else ""
            if column == form.time:
                second = times.seconds(cells, line)
                if not math.isfinite(second) and np.isnan(found[row, :position]).all():
                    raise RecordingError(
                        f"{path}, line {line}: {text.strip()!r:.60} is not a row of the table"
                    )
                found[row, position] = second
            elif cell.lower() in EMPTY:
                found[row, position] = math.nan
            else:
                value = form.notation.number(cell)
                if value is None:
                    raise RecordingError(
                        f"{path}, line {line}: {form.names[column] or f'column {column + 1}'} is "
                        f"{cell!r:.40}, want a number"
                    )
                found[row, position] = value
    return found
