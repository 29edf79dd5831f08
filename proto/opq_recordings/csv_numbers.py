"""How a table writes its cells and numbers: the separator, the decimal mark, and the mark between thousands.

A file has one decimal mark. A comma or point that is always before three digits is a mark between thousands
if another cell shows the decimal mark. Where a table can be read in two ways the names of its columns decide,
or it is refused with both readings.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from opq_proto.errors import RecordingError
from opq_recordings.quantity_names import time_named
from opq_recordings.units import unit_scale
from opq_recordings.written_times import CLOCK_WITH_POINTS, written_time

SEPARATORS = (";", "\t", "|", ",", " ")
CELLS_EXAMINED = 200
FEW_SIGNS = 10
EMPTY = ("", "nan", "null", "none", "n/a", "na", "-", "--", "1.#qnan", "-1.#ind")
PLAIN_LETTERS = str.maketrans({"−": "-", "﹣": "-", "－": "-", "٫": ".", "٬": "'", "，": ",", "．": "."})
"""Signs and marks of other alphabets."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_QUIET_GROUPS = re.compile(r"[+-]?[1-9]\d{0,2}(?:[ '’_\u00a0\u2009\u202f]\d{3})+(?!\d).*")
"""Thousands apart by a mark that is never a decimal mark."""
_GROUPED = {
    mark: re.compile(
        rf"[+-]?[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{2,3}})*{re.escape(mark)}\d{{3}}(?!\d)([^{mark}eE]*)"
    )
    for mark in ",."
}
"""Groups of three digits, in India of two before the last."""
_MARKED = (re.compile(r"[+-]?\d*[.,]?\d*(?:[eE][+-]?\d+)?"), *_GROUPED.values())
_LOOSE = re.compile(r"[+-]?[\d.,' ]*\d[\d.,' ]*(?:[eE][+-]?\d+)?")
_LOOSE_OR_TIME = re.compile(rf"{_LOOSE.pattern}|\d{{1,4}}[-/.]\d{{1,2}}[-/.]\d.*|\d{{1,2}}:\d\d.*")
_DIGITS = re.compile(r"([+-]?\d+)(?:,(\d+))?")
_OPTION = "give --decimal-mark . or --decimal-mark ,"


@dataclass(frozen=True, slots=True)
class Notation:
    separator: str
    decimal: str = "."
    group: str = ""
    """The mark between thousands; empty without one."""

    def number(self, text: str) -> float | None:
        """A number as the file writes it; None for anything else."""
        if self.decimal == "." and _NUMBER.fullmatch(text):
            return float(text)
        if not text.isascii():
            text = text.translate(PLAIN_LETTERS)
        text = _without_quiet_groups(text)
        if self.group and self.group in text:
            if not _GROUPED[self.group].fullmatch(text):
                return None
            text = text.replace(self.group, "")
        if self.decimal == ",":
            if "." in text:
                return None
            text = text.replace(",", ".")
        return float(text) if _NUMBER.fullmatch(text) else None

    def cells(self, line: str) -> list[str]:
        return split_cells(line, self.separator)


def _without_quiet_groups(text: str) -> str:
    """`1230,5` of `1'230,5`."""
    if _QUIET_GROUPS.fullmatch(text):
        return re.sub(r"(?<=\d)[ '’_\u00a0\u2009\u202f](?=\d)", "", text)
    return text


def number(text: str) -> float | None:
    """A number with a decimal point."""
    return float(text) if _NUMBER.fullmatch(text) else None


def split_cells(line: str, separator: str) -> list[str]:
    """The cells of a line; quotes protect the separator."""
    if separator == " ":
        return line.replace('"', "").split()
    if '"' in line:
        line = re.sub(r'"([^"]*)"', lambda found: found[1].replace(separator, "\0"), line)
        return [each.strip().strip("'").replace("\0", separator) for each in line.split(separator)]
    return [each.strip().strip("'") for each in line.split(separator)]


def notation_of(lines: Sequence[str], decimal: str | None = None) -> Notation:
    """The notation with which most cells of the rows are numbers.

    Args:
        lines: the first lines of a file, without remarks and empty ones.
        decimal: the decimal mark that the user states.
    Raises:
        RecordingError: two decimal marks, or two readings; without the path.
    """
    body = (
        lines[len(lines) // 2 :][:CELLS_EXAMINED]
        if len(lines) >= FEW_SIGNS
        else lines[-max(1, len(lines) - 1) :]
    )
    best, separator = -1.0, ","
    for each, mark in itertools.product(SEPARATORS, (decimal,) if decimal else (".", ",")):
        if each == mark and not all(line.count('"') >= 2 for line in body):
            continue
        score = _score(body, Notation(each, mark, {".": ",", ",": "."}[mark]))
        if score > best + 1e-9:
            best, separator = score, each
    if separator == " ":
        separator = _separator_of_names(lines, body) or separator
    if separator == "," and decimal is None:
        separator = ";" if _is_one_column(lines, body) else ","
    elif separator == "," and decimal == "," and not any('"' in line for line in body):
        separator = ";"
    rows = _rows(lines, separator)
    if decimal is not None:
        other = {".": ",", ",": "."}[decimal]
        shown = any(other in cell and _GROUPED[other].fullmatch(cell) for row in rows for cell in row)
        return Notation(separator, decimal, other if shown else "")
    mark, group = _marks(_without_clocks(rows, split_cells(_names_above(lines) or "", separator)))
    return Notation(separator, mark, group)


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The lines that are rows of numbers and times: in those above them a number may be written otherwise."""
    rows = [split_cells(line, separator) for line in lines]
    return [
        cells
        for cells in rows
        if any(_LOOSE.fullmatch(each) for each in cells)
        and 2 * sum(each.lower() in EMPTY or _LOOSE_OR_TIME.fullmatch(each) is not None for each in cells)
        >= len(cells)
    ] or rows


def is_number_or_empty(text: str, notation: Notation) -> bool:
    return notation.number(text) is not None or text.lower() in EMPTY


def _score(body: Sequence[str], notation: Notation) -> float:
    score = 0.0
    for line in body:
        cells = [each for each in notation.cells(line) if each]
        good = _are_read(cells, notation)
        if cells and good == len(cells):
            score += 1 + 0.01 * min(good, 5)
        elif cells:
            score += 0.5 * good / len(cells)
    return score


def _separator_of_names(lines: Sequence[str], body: Sequence[str]) -> str | None:
    """The mark other than a blank by which a line has as many names as each row has numbers and times.

    `2026-10-25 02:10:00 +0200,230` below `time,rms_v` is two cells: its last blank stands before a zone.
    """
    for each, mark in itertools.product(SEPARATORS[:-1], ".,"):
        notation = Notation(each, mark)
        rows = [notation.cells(line) for line in body]
        width = len(rows[0])
        even = width > 1 and all(len(cells) == width for cells in rows)
        if not even or each == mark or any(_are_read(cells, notation) < width for cells in rows):
            continue
        heads = (notation.cells(line) for line in lines)
        if any(len(cells) == width and not _are_read(cells, notation) for cells in heads):
            return each
    return None


def _are_read(cells: Sequence[str], notation: Notation) -> int:
    """How many of the cells are a number, empty, or a time."""
    return sum(is_number_or_empty(each, notation) or written_time(each) is not None for each in cells)


def _is_one_column(lines: Sequence[str], body: Sequence[str]) -> bool:
    """Whether rows such as `325,27` are one number and not two; by the names, or by how numbers are written.

    Raises:
        RecordingError: both are possible.
    """
    found = [_DIGITS.fullmatch(line.strip().rstrip(",")) for line in body]
    matches = [each for each in found if each is not None]
    others = [split_cells(line, ",") for line, each in zip(body, found, strict=True) if each is None]
    if len(matches) < len(others) or not any(each[2] for each in matches):
        return False
    if any(sum(number(cell) is not None for cell in cells) > 1 for cells in others):
        return False  # more than one comma, a point, a sign or a blank after it: it separates
    head = _names_above(lines)
    if head is not None:
        names = [each for each in split_cells(head, ",") if each]
        if len(names) < 2:
            return True
        apart = ", " in head and len(names) == 2 and unit_scale(names[1]) is not None
        return apart and unit_scale(names[0]) is None and not time_named(names[0])
    if any(each[1] == "-0" or re.match(r"0\d", each[2] or "") for each in matches):
        return True  # no whole number is written so
    if len({each[2] is None for each in matches}) > 1:
        return True  # rows of one and of two cells
    first = [int(each[1]) for each in matches]
    if (
        len(first) > 2
        and len({b - a for a, b in itertools.pairwise(first)} - {0}) == 1
        and first[0] != first[1]
    ):
        return False  # it counts, or is a time
    raise RecordingError(
        f"has rows such as {body[0].strip()!r:.40}, two whole numbers or one with a decimal comma, and no "
        f"names of columns say which; {_OPTION}"
    )


def _names_above(lines: Sequence[str]) -> str | None:
    """The last line above the rows, if it names columns; a title such as `Rate: 1600 Hz` does not."""
    above = list(itertools.takewhile(lambda line: not re.fullmatch(r"[\s\d.,;|+eE\t-]+", line), lines))
    return above[-1].strip().strip('"') if above and not re.search(r"[:=]\s*[\d\"]", above[-1]) else None


def _marks(rows: Sequence[Sequence[str]]) -> tuple[str, str]:
    """The decimal mark and the mark between thousands, by all cells.

    Raises:
        RecordingError: both marks are decimal marks, or it cannot be known.
    """
    written = [_without_quiet_groups(cell) for row in rows for cell in row]
    cells = [cell for cell in written if any(each.fullmatch(cell) for each in _MARKED)]
    alone = {mark: [cell for cell in cells if mark in cell] for mark in ",."}
    decimal = {
        mark: next((each for each in alone[mark] if not _GROUPED[mark].fullmatch(each)), None)
        for mark in ",."
    }
    grouped = {
        mark: next((each for each in alone[mark] if _is_surely_grouped(each, mark)), None) for mark in ",."
    }
    if decimal["."] and decimal[","] and not (grouped["."] or grouped[","]):
        raise RecordingError(
            f"has two decimal marks, as in {decimal['.']!r:.30} and {decimal[',']!r:.30}; save it with one"
        )
    if grouped["."] or (decimal[","] and not decimal["."]):
        return ",", "." if alone["."] else ""
    if grouped[","] or decimal["."] or not alone[","]:
        return ".", "," if alone[","] else ""
    return (".", ",") if _are_thousands(rows) else (",", "")


def _without_clocks(rows: Sequence[list[str]], names: Sequence[str]) -> list[list[str]]:
    """The rows without the cells of a column that is named as times and has clocks such as `9.30`."""
    clocks = {
        at
        for at, name in enumerate(names)
        if time_named(name)
        and all(CLOCK_WITH_POINTS.fullmatch(row[at]) for row in rows if at < len(row) and row[at])
    }
    return [["" if at in clocks else cell for at, cell in enumerate(row)] for row in rows]


def _is_surely_grouped(cell: str, mark: str) -> bool:
    found = _GROUPED[mark].fullmatch(cell)
    other = {".": ",", ",": "."}[mark]
    return found is not None and (cell.count(mark) > 1 or other in found[1])


def _are_thousands(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the commas of a table, which all stand before three digits, are marks between thousands.

    Beside such cells, a whole number of at most three digits shows that they are, and a longer one that they
    are not. Raises RecordingError where there is neither.
    """
    for column in range(max(map(len, rows))):
        cells = [row[column] for row in rows if column < len(row)]
        with_comma = next((each for each in cells if "," in each), None)
        whole = [each.lstrip("+-") for each in cells if re.fullmatch(r"[+-]?\d+", each)]
        if with_comma is None:
            continue
        if any(len(each) > 3 for each in whole):
            return False
        if whole:
            return True
    shown = next(cell for row in rows for cell in row if "," in cell)
    raise RecordingError(
        f"has {shown!r:.30}, which is {shown.replace(',', '')} with a mark between thousands, or "
        f"{shown.replace(',', '.')} with a decimal comma; {_OPTION}"
    )
