"""The form of a CSV by its beginning: separator, decimal mark, lines above the table, and its columns.

Instruments and spreadsheets agree on little. The separator is the one with which the rows become numbers; the
column of times is known by its name, its unit or its contents; what no rule recognises is refused with the
names of the columns, never guessed.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from opq_proto.errors import RecordingError
from opq_recordings.moments import written_ns
from opq_recordings.quantity_names import Quantity, quantity_named
from opq_recordings.units import seconds_of, unit_scale

SEPARATORS = (";", "\t", "|", ",")
REMARKS = ("#", '"#', "%", "//", ";")
LOOKED_AT = 200
FEW = 10
NUMERIC = 0.8
"""Share of the rows looked at in which a column is a number, for it to be one."""
_PARTS = re.compile(
    r"^(?P<name>.*?)\s*(?:[\[({]\s*(?P<unit>[^\])}]*)\s*[\])}]|[_/ ,:]\s*(?P<tail>[A-Za-zµμ]{1,6}))?\s*$"
)
_UNIT_ALONE = re.compile(
    r"[numkµμ]?V(?:rms|ac|dc)?|[Vv]olts?|[Aa]mps?|[Aa]mperes?|[munµμ]?s|[mun]?sec|[Ss]econds?|VOLTS?"
)
"""A unit without brackets: `Ua` is a voltage of phase A, no microampere."""
_TIME = re.compile(
    r"(?i)^(x|t|x-axis|.*\b(time|times|timestamp|zeit|temps|tiempo|second|seconds|date|datetime)s?\b.*|time.*|zeit.*|datetime|timestamp.*)$"
)
_INDEX = re.compile(
    r"(?i)^(#|n|no\.?|nr\.?|id|index|idx|sample|samples|sample ?(no|number|nr)\.?|row|sequence|point|pts?)$"
)
_RATE = re.compile(
    r"(?i)\b(?:sample\s?rate|sampling\s(?:rate|frequency)|sample\sfrequency|fs|rate_hz)\W{1,4}([\d.]+(?:e[+-]?\d+)?)\s*([kM]?)(?:Hz|S/s|Sa/s)?"
)
_INTERVAL = re.compile(
    r"(?i)\b(?:(?:sampl(?:e|ing)|time)\s(?:interval|period|time|step)|dt)\W{1,12}(?:analog:)?"
    r"([\d.]+(?:e[+-]?\d+)?)\s*([numµμ]?s)?"
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_CLOCK = re.compile(r"\d{1,2}:\d{2}:\d{2}([.,]\d*)?")
EMPTY = ("", "nan", "null", "none", "n/a", "na", "-", "--", "1.#qnan", "-1.#ind")


@dataclass(frozen=True, slots=True)
class ValueColumn:
    index: int
    name: str
    unit: str | None
    quantity: Quantity | None
    scale: float


@dataclass(frozen=True, slots=True)
class CsvForm:
    separator: str
    decimal: str
    first_line: int
    """Lines above the table."""
    time: int | None
    """The column of times; None where there is none."""
    time_s: float | None
    """Seconds per unit of the times; None for ISO 8601 or a clock."""
    time_stated: bool
    date: int | None
    """A column of dates beside one of clock times."""
    values: tuple[ValueColumn, ...]
    names: tuple[str, ...]
    rate_hz: float | None
    """From the lines above the table."""


def csv_form(lines: Sequence[str]) -> CsvForm:
    """Finds the form by the first lines of a file.

    Raises:
        RecordingError: without the path: no table of numbers, or no column that may be a value.
    """
    table = [(number, line) for number, line in enumerate(lines) if line.strip() and not _is_remark(line)]
    if not table:
        raise RecordingError("holds no table: it has no lines but empty ones and remarks")
    separator, decimal = _separator([line for _, line in table])
    rows = [(number, _cells(line, separator)) for number, line in table]
    body = _body(rows, decimal)
    width = max(len(cells) for _, cells in body)
    filled = [_share(body, column, decimal) for column in range(width)]
    numeric = [column for column in range(width) if filled[column] >= NUMERIC]
    if not numeric:
        raise RecordingError(
            f"is no table of numbers: line {body[0][0] + 1} is {lines[body[0][0]].strip()[:60]!r}; want rows "
            "such as 0.0001,325.2 under time_s,volts"
        )
    first = next(k for k, (_, cells) in enumerate(rows) if _is_data(cells, numeric, decimal))
    names, units, more = _names(rows[:first], width)
    started = rows[first][0]
    titles = max((len(cells) for _, cells in rows[max(0, first - 2) : first]), default=0)
    filled_cells = len([each for each in rows[first][1] if each])
    if titles > 1 and filled_cells > titles:
        raise RecordingError(
            f"line {started + 1} has {filled_cells} cells under {titles} names; is its decimal mark also its "
            "separator? Save it with another separator, such as ;"
        )
    names = names[: max(len(rows[first][1]), titles)]
    numeric = [column for column in numeric if column < len(names)]
    head = list(lines[:started])
    date, time, time_s, stated = _time_column(rows[first:], numeric, names, units, decimal)
    values = tuple(
        _value(column, names[column], units[column])
        for column in numeric
        if column not in (time, date) and not _INDEX.match(names[column]) and names[column] not in more
    )
    rate_hz = _rate_above(head, rows[:first], decimal)
    if time is not None and (_INDEX.match(names[time]) or units[time].lower() == "sequence"):
        time, time_s = None, None
    if not values and time is not None and len(numeric) == 1:
        values = (_value(time, names[time], units[time]),)
        time, time_s = None, None
    return CsvForm(
        separator, decimal, started, time, time_s, stated, date, values, tuple(names), rate_hz
    )  # fmt: skip


def _body(rows: Sequence[tuple[int, list[str]]], decimal: str) -> Sequence[tuple[int, list[str]]]:
    """The rows by which the columns are known: the later ones, without lines of text where rows are few."""
    if len(rows) >= FEW:
        return rows[len(rows) // 2 :]
    return [row for row in rows if any(number(cell, decimal) is not None for cell in row[1])] or rows


def number(text: str, decimal: str = ".") -> float | None:
    """A number as the file writes it; None for anything else."""
    plain = text.replace(",", ".") if decimal == "," else text
    return float(plain) if _NUMBER.fullmatch(plain) else None


def split_cells(line: str, separator: str) -> list[str]:
    return _cells(line, separator)


def _cells(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.replace('"', "").split()
    if '"' in line:  # quotes protect the separator
        line = re.sub(r'"([^"]*)"', lambda found: found[1].replace(separator, "\0"), line)
        return [each.strip().strip("'").replace("\0", separator) for each in line.split(separator)]
    return [each.strip().strip("'") for each in line.split(separator)]


def _is_remark(line: str) -> bool:
    text = line.lstrip()
    return text.startswith(REMARKS) and not (text.startswith(";") and re.match(r";\s*[-+\d]", text))


def _separator(lines: Sequence[str]) -> tuple[str, str]:
    """The separator and the decimal mark with which most cells of the rows are numbers."""
    body = lines[len(lines) // 2 :][:LOOKED_AT] if len(lines) >= FEW else lines[-max(1, len(lines) - 1) :]
    best, found = -1.0, (",", ".")
    for separator in (*SEPARATORS, " "):
        for decimal in (".", ","):
            if separator == decimal and not all(line.count('"') >= 2 for line in body):
                continue
            score = 0.0
            for line in body:
                cells = [each for each in _cells(line, separator) if each]
                good = sum(_is_number(each, decimal) or _is_time(each) for each in cells)
                if cells and good == len(cells):
                    score += 1 + 0.01 * min(good, 5)
                elif cells:
                    score += 0.5 * good / len(cells)
            if score > best + 1e-9:
                best, found = score, (separator, decimal)
    first = next((line for line in lines if not _is_number(line.split(",")[0].strip(' "'), ".")), "")
    if found == (",", ".") and first and "," not in first and all(line.count(",") == 1 for line in body):
        return ";", ","  # one name above: one column with a decimal comma
    return found


def _is_number(text: str, decimal: str) -> bool:
    return number(text, decimal) is not None or text.lower() in EMPTY


def _is_time(text: str) -> bool:
    return bool(_CLOCK.fullmatch(text)) or (len(text) >= 8 and written_ns(text) is not None)


def _share(rows: Sequence[tuple[int, list[str]]], column: int, decimal: str) -> float:
    """Share of the rows that have a number or a time in that column; an empty cell counts half against it."""
    cells = [cells[column] if column < len(cells) else "" for _, cells in rows]
    good = sum(number(each, decimal) is not None or _is_time(each) for each in cells)
    marked = sum(each.lower() in EMPTY for each in cells)
    return (good + marked) / len(cells) if good >= len(cells) / 2 else 0.0


def _is_data(cells: list[str], numeric: Sequence[int], decimal: str) -> bool:
    found = [cells[column] if column < len(cells) else "" for column in numeric]
    return any(found) and all(_is_number(each, decimal) or _is_time(each) for each in found)


def _names(above: Sequence[tuple[int, list[str]]], width: int) -> tuple[list[str], list[str], frozenset[str]]:
    """Names and units of the columns by the lines above the table, and the names of its settings."""
    names, units = [""] * width, [""] * width
    lines = [cells for _, cells in above[-4:]]
    if lines and _are_units(lines[-1]):
        units[: len(lines[-1])] = lines[-1][:width]
        lines.pop()
        if not lines:
            names = list(units)
    if lines:
        named = next((cells for cells in reversed(lines) if len(cells) >= min(2, width)), lines[-1])
        names[: min(width, len(named))] = named[:width]
    settings = frozenset(each for each in names if each.lower() in ("start", "increment"))
    for column, name in enumerate(names):
        match = _PARTS.match(name)
        if match is None or units[column]:
            continue
        tail = match["tail"] if match["name"] and _UNIT_ALONE.fullmatch(match["tail"] or "") else None
        unit = match["unit"] or tail or ""
        if seconds_of(unit) is not None or unit_scale(unit) is not None:
            units[column] = unit
        elif match["unit"]:
            units[column] = match["unit"]
        elif _UNIT_ALONE.fullmatch(name):
            units[column] = name
    return names, units, settings


def _are_units(cells: list[str]) -> bool:
    found = [each.strip("[](){} ") for each in cells if each.strip("[](){} ")]
    texts = [each for each in found if number(each) is None]
    known = [
        each
        for each in texts
        if seconds_of(each) is not None or unit_scale(each) is not None or each.lower() == "sequence"
    ]
    return (
        len(texts) > 0
        and len(known) == len(texts)
        and any(seconds_of(each) is not None or each.lower() == "sequence" for each in texts)
    )


def _time_column(
    rows: Sequence[tuple[int, list[str]]],
    numeric: Sequence[int],
    names: Sequence[str],
    units: Sequence[str],
    decimal: str,
) -> tuple[int | None, int | None, float | None, bool]:
    """(date, time, seconds per unit, whether its unit is stated)."""
    some = [cells for _, cells in rows[:20]]

    def written(column: int) -> str:
        return next((cells[column] for cells in some if column < len(cells) and cells[column]), "")

    texts = {column: written(column) for column in numeric}
    clocks = [column for column in numeric if _CLOCK.fullmatch(texts[column])]
    dates = [
        column for column in numeric if len(texts[column]) >= 8 and written_ns(texts[column]) is not None
    ]
    if clocks:
        date = next((column for column in dates if ":" not in texts[column]), None)
        return date, clocks[0], None, True
    if dates and not _NUMBER.fullmatch(texts[dates[0]]):
        return None, dates[0], None, True
    if len(numeric) == 1:
        named = seconds_of(units[numeric[0]]) is not None or names[numeric[0]].lower().startswith("time")
        return None, numeric[0] if named else None, seconds_of(units[numeric[0]]) or 1.0, named
    for column in numeric:
        if (unit_s := seconds_of(units[column])) is not None:
            return None, column, unit_s, True
    for column in numeric:
        if _TIME.match(names[column]) and unit_scale(units[column]) is None:
            return None, column, 1.0, False
    unnamed = not any(names[column] for column in numeric)
    first = numeric[0]
    found = [number(cells[first], decimal) for cells in some if first < len(cells)]
    rising = [each for each in found if each is not None]
    if unnamed and len(rising) > 2 and all(a < b for a, b in itertools.pairwise(rising)):
        return None, first, 1.0, False
    return None, None, None, False


def _value(column: int, name: str, unit: str) -> ValueColumn:
    known = unit_scale(unit) if unit else None
    shown = name or f"column {column + 1}"
    if known is not None:
        return ValueColumn(column, shown, unit, known[0], known[1])
    quantity: Quantity | None = "other" if unit else quantity_named(name)
    return ValueColumn(column, shown, unit or None, quantity, 1.0)


def _rate_above(head: Sequence[str], above: Sequence[tuple[int, list[str]]], decimal: str) -> float | None:
    """The rate where the lines above the table state one: a rate, an interval, or an Increment."""
    for line in head:
        if match := _RATE.search(line):
            value = number(match[1]) or 0.0
            return value * {"": 1.0, "k": 1e3, "M": 1e6}[match[2]] or None
        if match := _INTERVAL.search(line):
            value = (number(match[1]) or 0.0) * (seconds_of(match[2] or "s") or 1.0)
            return 1 / value if value > 0 else None
    for (_, cells), (_, below) in itertools.pairwise(above):
        lower = [each.lower() for each in cells]
        if "increment" in lower and (at := lower.index("increment")) < len(below):
            step_s = number(below[at], decimal)
            return 1 / step_s if step_s and step_s > 0 else None
    return None
