"""Writes rows as CSV, JSON or Parquet, a page at a time: the memory does not grow with the number of rows.

A row is a JSON object; a column finds its value there by a path of keys. CSV is guarded: a text that a
spreadsheet would calculate begins with an apostrophe (OWASP, CSV injection). An unknown value is empty in CSV
and null in JSON and Parquet.
"""

import csv
import importlib.util
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from types import ModuleType
from typing import Any, Literal

import numpy as np

from opq_cloud.export.exported_records import ExportError
from opq_cloud.export.pieces import PieceSink

TableForm = Literal["csv", "json", "parquet"]
StreamForm = Literal["csv", "jsonl", "parquet", "arrow"]
"""Formats that other programs can read while they are written."""
JsonRow = Mapping[str, object]
Cell = str | int | float | bool | None
ROWS_AT_ONCE = 1000
ROWS_OF_A_GROUP = 20_000
"""Rows in one row group of a Parquet file."""
QUOTE = '"'
_SEPARATORS = re.compile(r"\s*[,;]\s*")
"""The separators of a CSV; countries differ."""
_WHOLE_NUMBERS = re.compile(r"-?[0-9]+( -?[0-9]+)*")
_PLAIN = frozenset((str, int, bool, type(None)))
CALCULATED = tuple("=+-@\t\r\n＝＋－＠")
_MOMENTS = {
    "start_ns": ("start_utc", 1),
    "end_ns": ("end_utc", 1),
    "start_ms": ("start_utc", 10**6),
    "end_ms": ("end_utc", 10**6),
    "timestamp_ms": ("utc", 10**6),
}
"""Column of a time -> the column that a CSV has before it, and ns per unit."""
MEDIA_TYPES: dict[TableForm, str] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "parquet": "application/vnd.apache.parquet",
}
FORM_WORDS: dict[TableForm, str] = {"csv": "CSV", "json": "JSON", "parquet": "Parquet"}


def written_forms() -> dict[TableForm, str]:
    """Forms that this installation writes, with their words: Parquet needs pyarrow."""
    without = set() if importlib.util.find_spec("pyarrow") else {"parquet"}
    return {form: text for form, text in FORM_WORDS.items() if form not in without}


ColumnKind = Literal["whole", "number", "single", "text", "flag"]
"""`single`: a number of single precision, which texts have with the digits that it needs and no more."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table and the path of its value in a row."""

    name: str
    kind: ColumnKind
    path: tuple[str, ...] = ()
    """Keys from the outermost in; empty means the name itself. A list is joined by blanks."""

    def cell(self, row: JsonRow) -> Cell:
        found: object = row
        for key in self.path or (self.name,):
            found = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(found, list | tuple):
            return " ".join(map(str, found))
        if isinstance(found, Mapping):
            return json.dumps(known_numbers(found))
        if isinstance(found, float) and not math.isfinite(found):
            return None
        return found if isinstance(found, str | int | float | bool) else None


@dataclass(frozen=True, slots=True)
class ExportTable:
    """A table: its columns, its rows, which are read once, and the facts about it."""

    name: str
    columns: tuple[TableColumn, ...]
    rows: Iterable[JsonRow]
    facts: JsonRow


def table_pieces(
    table: ExportTable, form: TableForm | StreamForm, bare: bool = False, comments: bool = False
) -> Iterator[bytes]:
    """The table in that form.

    Args:
        bare: writes the rows of JSON alone, without the facts about the table.
        comments: writes the facts above the head of a CSV, as lines that most programs take for the head.
    Raises:
        ExportError: Parquet or Arrow without pyarrow.
    """
    if form == "csv":
        return _csv_pieces(table, comments)
    if form == "jsonl":
        return _line_pieces(table)
    return _json_pieces(table, bare) if form == "json" else _arrow_pieces(table, form)


def comment_lines(facts: JsonRow) -> bytes:
    """`# key: value` lines above a CSV's header.

    Each is one cell without quotes: pandas and others recognise a comment by the first character of its line.
    """
    lines = []
    for key, value in facts.items():
        if isinstance(value, str):
            text = _SEPARATORS.sub(" - ", value)
        else:
            text = json.dumps(known_numbers(value), separators=(" ", ": "))
        lines.append(f"# {key}: {' '.join(text.replace(QUOTE, '').split())}\r\n")
    return "".join(lines).encode()


def guarded(text: str) -> str:
    """Returns the text, with an apostrophe before it where a spreadsheet would calculate it as a formula.

    A list of whole numbers stays as it is: ids of events may begin with -1, which stands for no event.
    """
    if _WHOLE_NUMBERS.fullmatch(text):
        return text
    return f"'{text}" if text.lstrip(" ").startswith(CALCULATED) else text


def known_numbers(value: object) -> object:
    """A JSON value in which NaN and infinities are null.

    Most values are plain: they are passed before the slow question whether they are a Mapping.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {
            str(key): each if type(each) in _PLAIN else known_numbers(each) for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [each if type(each) in _PLAIN else known_numbers(each) for each in value]
    return value


def _csv_pieces(table: ExportTable, comments: bool) -> Iterator[bytes]:
    if comments:
        yield comment_lines(table.facts)
    columns = [each for column in table.columns for each in _with_moment(column)]
    yield _csv_rows([[guarded(column.name) for column in columns]])
    for rows in _batches(iter(table.rows), ROWS_AT_ONCE):
        cells = ([column.cell(row) for column in columns] for row in _shortened(table, rows))
        yield _csv_rows([[guarded(cell) if isinstance(cell, str) else cell for cell in row] for row in cells])


@dataclass(frozen=True, slots=True)
class _MomentColumn(TableColumn):
    """A time of a row as text, in UTC to the millisecond, which databases read as a time.

    LibreOffice 7.4 does with "Detect special numbers" ticked at the import; else it stays a text.

    A spreadsheet keeps 15 digits of a number: of nanoseconds since 1970 it loses the last four.
    """

    unit_ns: int = 1

    def cell(self, row: JsonRow) -> Cell:
        number = TableColumn.cell(self, row)
        if not isinstance(number, int | float):
            return None
        at_ms = math.floor(number * self.unit_ns / 10**6) if self.unit_ns > 1 else int(number) // 10**6
        try:
            text = datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        except (OverflowError, ValueError, OSError):  # no time of a calendar
            return None
        return f"{text}.{at_ms % 1000:03d}"


def _with_moment(column: TableColumn) -> tuple[TableColumn, ...]:
    """A column, and before a time as a number the same time as text."""
    name, unit_ns = _MOMENTS.get(column.name, ("", 0))
    if not name:
        return (column,)
    return _MomentColumn(name, "text", column.path or (column.name,), unit_ns), column


def _shortened(table: ExportTable, rows: Sequence[JsonRow]) -> Sequence[JsonRow]:
    """The rows with the shortest texts of their numbers of single precision."""
    names = [column.name for column in table.columns if column.kind == "single"]
    if not names:
        return rows
    known = [(at, name, value) for at, row in enumerate(rows) for name in names if (value := row.get(name))]
    made = [dict(row) for row in rows]
    for (at, name, _), value in zip(known, shortest([value for *_, value in known]), strict=True):
        made[at][name] = value
    return made


def shortest(values: Sequence[object]) -> list[float]:
    """The shortest decimal numbers that read back to the same numbers of single precision.

    A number with more digits than those stays as it is.
    """
    exact = np.array(values, float)
    with np.errstate(over="ignore"):
        singles = exact.astype(np.float32)
        found = np.array(list(map(float, singles.astype(str).tolist())))
        same = (found.astype(np.float32) == singles) & (singles == exact)
    return list(np.where(same, found, exact).tolist())


def _csv_rows(rows: Sequence[Sequence[Cell]]) -> bytes:
    made = io.StringIO()
    csv.writer(made).writerows(rows)
    return made.getvalue().encode()


def _json_pieces(table: ExportTable, bare: bool) -> Iterator[bytes]:
    if not bare:
        yield f'{{"provenance": {json.dumps(known_numbers(table.facts))}, "{table.name}": '.encode()
    before = b"["
    for rows in _batches(iter(table.rows), ROWS_AT_ONCE):
        yield before + b"\n" + b",\n".join(json.dumps(known_numbers(row)).encode() for row in rows)
        before = b","
    yield (b"[" if before == b"[" else b"\n") + (b"]\n" if bare else b"]}\n")


def _line_pieces(table: ExportTable) -> Iterator[bytes]:
    """A JSON object a line, without the facts: each line is a row."""
    for rows in _batches(iter(table.rows), ROWS_AT_ONCE):
        yield b"".join(json.dumps(known_numbers(row)).encode() + b"\n" for row in _shortened(table, rows))


def _arrow_pieces(table: ExportTable, form: TableForm | StreamForm) -> Iterator[bytes]:
    words = "Arrow" if form == "arrow" else "Parquet"
    try:
        import pyarrow
        from pyarrow import ipc, parquet
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{words} needs pyarrow, which is not installed: pip install 'opq-toolkit[parquet]'"
        ) from error
    return _record_pieces(table, pyarrow, ipc.new_file if form == "arrow" else parquet.ParquetWriter)


def _record_pieces(table: ExportTable, pyarrow: ModuleType, writer_of: Callable[..., Any]) -> Iterator[bytes]:
    types = {
        "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
        "single": pyarrow.float64(),
        "text": pyarrow.string(),
        "flag": pyarrow.bool_(),
    }
    facts_json = {f"opq.{key}": json.dumps(known_numbers(value)) for key, value in table.facts.items()}
    fields = [(column.name, types[column.kind]) for column in table.columns]
    schema = pyarrow.schema(fields, metadata=facts_json)
    sink = PieceSink()
    with writer_of(pyarrow.PythonFile(sink, mode="w"), schema) as writer:
        for rows in _batches(iter(table.rows), ROWS_OF_A_GROUP):
            cells = {column.name: [_typed(column, row) for row in rows] for column in table.columns}
            writer.write_table(pyarrow.table(cells, schema=schema))
            yield sink.taken()
    yield sink.taken()


def _typed(column: TableColumn, row: JsonRow) -> Cell:
    cell = column.cell(row)
    if column.kind in ("number", "single") and isinstance(cell, int):
        return float(cell)
    return cell


def _batches(rows: Iterator[JsonRow], most: int) -> Iterator[list[JsonRow]]:
    while page := list(islice(rows, most)):
        yield page
