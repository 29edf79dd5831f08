"""The rows among the lines of a CSV, and a whole small table with its form: for every reader of a CSV."""

import re
from dataclasses import dataclass
from pathlib import Path

from opq_proto.errors import RecordingError
from opq_recordings.csv_form import CsvForm, csv_form
from opq_recordings.text import decoded

HEAD_LINES = 2000
"""Lines by which the form of a table is known."""
BLANK = " \t\r\n\0\x1a"
BLANK_END = " \r\n\0\x1a"
"""As BLANK, where a tab separates."""
NO_ROWS = ("#", '"#', "%", "//")
"""Remarks below the head of a table."""
END = re.compile(
    r"(?i)\W*(?:end|eof|fin|ende|конец)(?:[ _]?of[ _]?(?:file|data|records?|table|waveform))?\W*|[-=*_~]{3,}"
)
"""The last line of some instruments."""
CsvRow = tuple[int, str, list[str]]
"""Number of the line, its text, and its cells."""


@dataclass(frozen=True, slots=True)
class CsvTable:
    """A table in memory, such as the values of a meter."""

    form: CsvForm
    rows: list[CsvRow]


def read_table(path: Path, decimal: str | None = None) -> CsvTable:
    """Reads the rows of a CSV of any notation and code page.

    Args:
        decimal: the decimal mark that the user states.
    Raises:
        RecordingError: it is not a table of numbers.
    """
    data = path.read_bytes()
    if b"\0\0\0" in data[:4096] and not data.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        raise RecordingError("is not text; want rows such as 2026-10-25 02:00,230.1 below time,rms_v")
    text, _ = decoded(data)
    lines = text.splitlines()
    form = csv_form(lines[:HEAD_LINES], decimal)
    rows, _ = rows_of(form, [], lines[form.first_line :], form.first_line + 1)
    return CsvTable(form, rows)


def rows_of(
    form: CsvForm, held: list[CsvRow], lines: list[str], number: int
) -> tuple[list[CsvRow], list[CsvRow]]:
    """The rows among the lines, and those of empty cells at their end, which are rows if another one comes.

    Empty cells beside a time that is empty too, remarks, a line above the table that comes again, and `END`
    are not rows. In a table without times a row of empty cells is one without values.
    """
    rows = list(held)
    for at, line in enumerate(lines, number):
        text = line.lstrip("\ufeff").strip(BLANK)
        if not text or text.startswith(NO_ROWS) or END.fullmatch(text):
            continue
        if form.notation.separator == "\t":
            text = line.rstrip(BLANK_END)
        cells = form.notation.cells(text)
        empty = not any(cells)
        if (empty and form.time is not None) or form.is_above(cells):
            continue
        rows.append((at, text, cells))
    last = len(rows)
    if form.time is None:
        while last and not any(rows[last - 1][2]) and '"' not in rows[last - 1][1]:
            last -= 1
    return rows[:last], rows[last:]
