"""The form of a CSV by its beginning: lines above the table, its columns, and what they hold.

Instruments and spreadsheets agree on little. The column of times is known by its name, its unit or its
contents; a table that the rules do not recognise is refused with the names of its columns, never guessed.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from opq_proto.errors import RecordingError
from opq_recordings.csv_numbers import FEW_SIGNS, Notation, is_number_or_empty, notation_of, number
from opq_recordings.moments import epoch_ns
from opq_recordings.phase_names import are_phases, is_phase, names_voltages
from opq_recordings.quantity_names import Quantity, quantity_named, time_named, words_of
from opq_recordings.units import NO_UNIT, Unit, is_share, measured_in, seconds_of, unit_scale
from opq_recordings.written_times import (
    AFTERNOON,
    CLOCK_WITH_POINTS,
    MORNING,
    chained_span_in,
    time_of_digits,
    time_span_in,
    written_time,
)

REMARKS = ("#", '"#', "%", "//", ";")
NUMERIC_SHARE = 0.8
"""A column is numbers if at least this share of its examined rows are."""
DAYS_STEP_S = 2e-7
"""Times that rise by less are not seconds but days, as spreadsheets count them."""
SERIAL_DAYS = ((20_000.0, 80_000.0), (712_000.0, 780_000.0))
"""Days since 1899-12-30 and since the year 0, of the years 1954 to 2119."""
_PARTS = re.compile(
    r"^(?P<name>.*?)\s*(?:[\[({]\s*(?P<unit>[^\])}]*)\s*[\])}]|,\s*(?P<behind>[^,\[\](){}]{1,20})"
    r"|[_/ :]\s*(?P<tail>[^\W\d_]{1,12}))?\s*$"
)
_SINCE = re.compile(
    r"(?i)^(?P<of>.*?)\s+since\s(?P<moment>[^\[\](){}]*(?:[\[({][^\[\](){}]*[\])}]\s*(?=[\])}]))?)"
)
"""The moment from which times count, as in `time [ms since 2024-03-17 12:00:00]`: up to a bracket, with
one within its own, as in `[s since Unix epoch (1970-01-01)]`."""
WIDE_BRACKETS = str.maketrans("［］（）【】，", "[]()[],")
"""As Chinese and Japanese tables have them."""
_UNIT_ALONE = re.compile(
    r"[numkKµμ]?V(?:rms|ac|dc)?|[kKmu]A|[Vv]olts?|[Aa]mps?|[Aa]mperes?|[munµμ]?s|[mun]?sec|[Ss]econds?|VOLTS?"
)
"""A unit without brackets: `Ua` is a voltage of phase A, no microampere."""
_SMALL_TAIL = re.compile(
    r"(?i)[mk]v(?:rms|ac|dc)?|[mk]a|(?:micro|milli|kilo)(?:volts?|amps?|amperes?)|volts?|amp(?:ere)?s?"
)
"""At the end of a name in any letters, as in `bus_voltage_kv`."""
_UNIT_FIRST = re.compile(r"(?i)(k[va])[_ .-]+(?!a(?:[_ .-]|$))\w.*")
"""At the beginning of a name, as in `kV_bus`; `kV_A` is an apparent power."""
_UNIT_BEFORE_PHASE = re.compile(r"(?i)(k[va])[_ .-]")
"""As in `kV_A` beside `kV_B` and `kV_C`."""
_SIDES = ("lv", "hv", "ehv")
"""Beside these at the ends of names `mv` is medium voltage."""
_NOT_A_UNIT = re.compile(
    r"(?i).*\d.*|r\.?m\.?s\.?|raw|avg|average|mean|min|max|peak|ac|dc|inst(antaneous)?|filtered|measured|value"
)
"""After a name these state the kind of value, and not its unit."""
_INDEX = re.compile(
    r"(?i)^(#|n|no\.?|nr\.?|id|index|idx|sample|samples|sample ?(no|number|nr)\.?|row|sequence|point|pts?)$"
)
_RATE = re.compile(
    r"(?i)(?:\b(?:sampl(?:e|ing)[\s_.-]?(?:rate|frequency)|fs|rate_hz|abtastrate)(?:_hz)?"
    r"|частота\s(?:дискретизации|выборки)|采样率|采样频率|取樣率)\W{1,4}([\d.]+(?:e[+-]?\d+)?)\s*([^\W\d_]*)(?:/s)?"
)
_INTERVAL = re.compile(
    r"(?i)(?:\b(?:(?:sampl(?:e|ing)|time)[\s_.-](?:interval|period|time|step)|dt|clock)"
    r"|^\W*(?:interval|ts|x\s?incr(?:ement)?))\W{1,12}(?:analog:)?"
    r"([\d.]+(?:e[+-]?\d+)?)\s*([numµμ]?s)?"
)
_UNITS = re.compile(r"(?i)[\s#%\"]*(vertical|horizontal|x|y|time|values?|)[ _]?units?\"?\s*[,;:=\t]+\s*(.+)")
_JOINED = re.compile(r"\s*[,;:|/\t]\s*")
"""Between columns that a file writes as one cell."""
_ZONE = re.compile(r"(?i)(time ?)?zone|tz|utc ?offset|gmt ?offset|zeitzone")
_RUN = re.compile(r"([^\W\d_])\1*", re.IGNORECASE)
_NOT_OF_FORMS = re.compile(r"(?i)[年月日时時分秒]|am/pm|a/p|\b(?:utc|gmt|mon|local|time|zone)\b|z$")
_OF_FORMS = re.compile(r"[dmyhsjtagrunfxåдмгчс]{1,6}|[vkp]{2,4}")
"""A run of one letter of day, month, year, hour, minute, second or fraction, in several languages."""
_LIKE_TIME = re.compile(r".*(\d:\d\d|\d{4}[-/.]\d{1,2}[-/.]\d|\d[-/.]\d{1,2}[-/.]\d\d).*")


@dataclass(frozen=True, slots=True)
class ValueColumn:
    index: int
    name: str
    unit: str | None
    quantity: Quantity | None
    scale: float | None


@dataclass(frozen=True, slots=True)
class CsvForm:
    notation: Notation
    first_line: int
    """Lines above the table."""
    time: int | None
    """The column of times; None where there is none."""
    time_s: float | None
    """Seconds per unit of the times; None for written ones, a date or a clock."""
    time_stated: bool
    since: str
    """The moment from which its times count, as their heading states it; empty where it states none."""
    date: int | None
    """A column of dates beside one of clock times."""
    half: int | None
    """A column of AM and PM beside one of clock times."""
    zone: int | None
    """A column of zones beside one of times."""
    values: tuple[ValueColumn, ...]
    names: tuple[str, ...]
    rate_hz: float | None
    """From the lines above the table."""
    above: frozenset[tuple[str, ...]]
    """The lines above the table as cells, in small letters: where one comes again it is not a row."""

    def is_above(self, cells: Sequence[str]) -> bool:
        return _shown_cells(cells) in self.above


def csv_form(lines: Sequence[str], decimal: str | None = None) -> CsvForm:
    """Finds the form by the first lines of a file.

    Args:
        decimal: the decimal mark that the user states.
    Raises:
        RecordingError: without the path: no table of numbers, or no column that may be a value.
    """
    table = [(number, line) for number, line in enumerate(lines) if line.strip() and not _is_remark(line)]
    if not table:
        raise RecordingError("has no table, only empty lines and remarks")
    spans = [(number, *found) for number, line in table if (found := time_span_in(line)) is not None]
    if 2 * len(spans) < len(table):
        chained = chained_span_in([line for _, line in table])
        spans = [] if chained is None else [(table[chained[0]][0], *chained[1:])]
    if spans:
        number, written, begin = spans[0]
        raise RecordingError(
            f"line {number + 1}: {written!r:.60} is a span of time; want one time in a cell, "
            f"such as {begin!r}"
        )
    notation = notation_of([line for _, line in table], decimal)
    rows = [(number, notation.cells(line)) for number, line in table]
    body = _body(rows, notation)
    width = max(len(cells) for _, cells in body)
    filled = [_share(body, column, notation) for column in range(width)]
    numeric = [column for column in range(width) if filled[column] >= NUMERIC_SHARE]
    if not numeric:
        shown = f"line {body[0][0] + 1} is {lines[body[0][0]].strip()[:60]!r}"
        named = body[0][0] != table[0][0]  # and not the line of names alone
        joined = _JOINED.split(lines[table[0][0]].strip().strip('"')) if named else []
        if len(joined) > 1 and len(joined) == len(_JOINED.split(lines[body[0][0]].strip().strip('"'))):
            raise RecordingError(
                f"has its {len(joined)} columns {', '.join(joined)[:200]} in one cell: {shown}; save it "
                "without quotes around a whole line, with , ; | a tab or a blank between columns"
            )
        raise RecordingError(
            f"is not a table of numbers: {shown}; want rows such as 0.0001,325.2 under time_s,volts"
        )
    first = next(k for k, (_, cells) in enumerate(rows) if _is_data(cells, numeric, notation))
    above = [(number, _with_units(cells, width)) for number, cells in rows[:first]]
    names, units, more = _names(above, width)
    started = rows[first][0]
    titles = max((len(cells) for _, cells in above[max(0, first - 2) :]), default=0)
    filled_cells = len([each for each in rows[first][1] if each])
    if titles > 1 and filled_cells > titles:
        raise RecordingError(
            f"line {started + 1} has {filled_cells} cells under {titles} names; is its decimal mark also its "
            "separator? Save it with another separator, such as ;"
        )
    names = names[: max(len(rows[first][1]), titles)]
    numeric = [column for column in numeric if column < len(names)]
    head = list(lines[:started])
    date, time, time_s, stated = _time_column(rows[first:], numeric, names, units, notation)
    columns = [
        column
        for column in numeric
        if column not in (time, date)
        and not _INDEX.match(words_of(names[column]) or names[column])
        and names[column] not in more
    ]
    of_values, of_times = _units_above(head)
    if not any(units[column] for column in columns) and len(of_values) in (1, len(columns)):
        for column, unit in zip(columns, of_values * len(columns), strict=False):
            units[column] = unit
    if time is not None and time_s == 1.0 and of_times and seconds_of(of_times[0]) == 1.0:
        stated = True
    values = tuple(_value(column, names[column], units[column]) for column in columns)
    values = _phases_named(values)
    rate_hz = _rate_above(head, above, notation)
    if time is not None and (
        _INDEX.match(words_of(names[time]) or names[time]) or units[time].lower() == "sequence"
    ):
        time, time_s = None, None
    if not values and time is not None and len(numeric) == 1 and time == numeric[0]:
        values = (_value(time, names[time], units[time]),)
        time, time_s = None, None
    return CsvForm(
        notation,
        started,
        time,
        time_s,
        stated,
        "" if time_s is None else _since(above, time),
        date,
        _half_column(rows[first:], len(names)),
        _zone_column(rows[first:], names, notation),
        values,
        tuple(names),
        rate_hz,
        frozenset(_shown_cells(cells) for _, cells in rows[:first]),
    )


def without_unit(name: str) -> str:
    """The name of a column without the unit that it states in brackets, behind a comma, or at its end."""
    part = _PARTS.match(name.translate(WIDE_BRACKETS))
    return part["name"] if part is not None and part["name"] and _unit_of(name, part) else name.strip()


def _since(above: Sequence[tuple[int, list[str]]], column: int | None) -> str:
    """The moment from which a heading of a column says that its times count, without brackets."""
    headings = [cells[column] for _, cells in above[-4:] if column is not None and column < len(cells)]
    moments = [match["moment"] for each in headings if (match := _since_of_times(each))]
    found = next((each for each in moments if re.search(r"\d", each)), "")
    return re.sub(r"[\[\](){}\"]", "", found).strip()


def _without_since(heading: str) -> str:
    """A heading of times without that moment: `time [ms]`; another heading as it is."""
    found = _since_of_times(heading)
    return heading if found is None else found["of"] + heading[found.end() :]


def _since_of_times(heading: str) -> re.Match[str] | None:
    found = _SINCE.match(heading.translate(WIDE_BRACKETS))
    if found is None:
        return None
    last = re.split(r"[\s_\[({]", found["of"])[-1]
    return found if time_named(found["of"]) or seconds_of(last) is not None else None


def _units_above(head: Sequence[str]) -> tuple[list[str], list[str]]:
    """The units of values and of times that a line above the table states, as in `Vertical Units,V,A`."""
    found: dict[bool, list[str]] = {}
    for line in head:
        if match := _UNITS.match(line):
            cells = [re.sub(r"(?i)^ch\d:", "", each.strip(' "')) for each in re.split(r"[,;\t]", match[2])]
            known = [each for each in cells if each and unit_scale(each) is not None]
            found.setdefault(match[1].lower() in ("horizontal", "x", "time"), known)
    return found.get(False, []), found.get(True, [])


def _shown_cells(cells: Sequence[str]) -> tuple[str, ...]:
    """In small letters, without empty cells at the end."""
    shown = [each.lower() for each in cells]
    while shown and not shown[-1]:
        shown.pop()
    return tuple(shown)


def _body(rows: Sequence[tuple[int, list[str]]], notation: Notation) -> Sequence[tuple[int, list[str]]]:
    """The rows that show the columns: the later ones, without lines of text where rows are few."""
    if len(rows) >= FEW_SIGNS:
        return rows[len(rows) // 2 :]
    return [row for row in rows if any(notation.number(cell) is not None for cell in row[1])] or rows


def _is_remark(line: str) -> bool:
    text = line.lstrip()
    return text.startswith(REMARKS) and not (text.startswith(";") and re.match(r";\s*[-+\d]", text))


def _share(rows: Sequence[tuple[int, list[str]]], column: int, notation: Notation) -> float:
    """Share of the rows that have a number or a time in that column; an empty cell counts half against it."""
    cells = [cells[column] if column < len(cells) else "" for _, cells in rows if any(cells)]
    good = sum(notation.number(each) is not None or written_time(each) is not None for each in cells)
    marked = sum(notation.number(each) is None and is_number_or_empty(each, notation) for each in cells)
    return (good + marked) / len(cells) if good >= len(cells) / 2 and cells else 0.0


def _is_data(cells: list[str], numeric: Sequence[int], notation: Notation) -> bool:
    """Whether a line is a row: numbers and times, one of which may be a time that is not understood."""
    found = [cells[column] if column < len(cells) else "" for column in numeric]
    others = [each for each in found if not is_number_or_empty(each, notation) and written_time(each) is None]
    numbers = any(notation.number(each) is not None for each in found)
    return any(found) and (not others or (numbers and len(others) == 1 and _is_like_time(others[0])))


def _is_like_time(text: str) -> bool:
    return _LIKE_TIME.fullmatch(text) is not None


def _with_units(cells: list[str], width: int) -> list[str]:
    """The cells of a line above the table; `Time, s, Voltage, kV` above two columns are two names."""
    if len(cells) == 2 * width and all(unit_scale(each) is not None for each in cells[1::2]):
        return [f"{name} [{unit}]" for name, unit in zip(cells[::2], cells[1::2], strict=True)]
    return cells


def _names(above: Sequence[tuple[int, list[str]]], width: int) -> tuple[list[str], list[str], frozenset[str]]:
    """Names and units of the columns by the lines above the table, and the names of its settings."""
    names, units = [""] * width, [""] * width
    lines = [cells for _, cells in above[-4:]]
    last = [_without_since(each) for each in lines[-1]] if lines else []
    if lines and _are_units(last, lines[-2] if len(lines) > 1 else []):
        stated = ["" if _is_stated_form(each) or _is_no_unit(each) else each for each in last]
        units[: len(stated)] = stated[:width]
        lines.pop()
        if not lines:
            names = list(units)
    if lines:
        named = next((cells for cells in reversed(lines) if len(cells) >= min(2, width)), lines[-1])
        names[: min(width, len(named))] = named[:width]
    settings = frozenset(each for each in names if each.lower() in ("start", "increment"))
    parts = [_PARTS.match(_without_since(name).translate(WIDE_BRACKETS)) for name in names]
    letters = [part["unit"] or part["behind"] or part["tail"] or "" if part else "" for part in parts]
    phases = are_phases([each for each in letters if len(each) == 1])
    sides = any(each.lower() in _SIDES for each in letters)
    for column, (name, part) in enumerate(zip(names, parts, strict=True)):
        if sides and part is not None and part["tail"] and letters[column].lower() in ("mv", *_SIDES):
            continue
        if part is None or units[column]:
            continue
        if phases and len(letters[column]) == 1:
            first = _UNIT_BEFORE_PHASE.match(name)
            units[column] = first[1] if first else ""
        else:
            units[column] = _unit_of(_without_since(name), part)
    return names, units, settings


def _unit_of(name: str, part: re.Match[str]) -> str:
    """The unit that a name has in brackets, behind a comma, or at its end; empty where it has none."""
    text, behind, tail = part["unit"] or "", part["behind"] or "", part["tail"] or ""
    if text or behind:
        stated = (text or behind).strip()
        phase = is_phase(stated) and quantity_named(part["name"]) == "voltage"
        known = unit_scale(stated)
        if known is not None and not (phase and behind and known.quantity != "voltage"):
            return stated
        if time_named(part["name"]) and seconds_of(stated.split()[0]) is not None:
            return stated.split()[0]
        if phase or known or _NOT_A_UNIT.fullmatch(stated) or (behind and " " in stated):
            inner = _PARTS.match(part["name"])
            return _unit_of(part["name"], inner) if inner is not None and part["name"] else ""
        return stated
    if first := _UNIT_FIRST.fullmatch(name):
        return first[1]
    if not part["name"] or not tail:
        return name if _UNIT_ALONE.fullmatch(name) else ""
    if _UNIT_ALONE.fullmatch(tail) or is_share(tail):
        return tail
    if _SMALL_TAIL.fullmatch(tail):
        small, quantity = unit_scale(tail.lower()), quantity_named(part["name"])
        clear = tail.lower().startswith("kv") and quantity is None
        return tail.lower() if small is not None and (clear or small.quantity == quantity) else ""
    known = None if tail.isascii() else unit_scale(tail)
    if known is None or (is_phase(tail) and not _is_meant(part["name"], known)):
        return ""
    return tail


def _is_meant(name: str, unit: Unit) -> bool:
    """Whether a letter that is a unit and a phase too, such as `с` or `В`, is the unit of what is named."""
    return time_named(name) if unit.si == "s" else unit.quantity == quantity_named(name) == "voltage"


def _are_units(cells: list[str], above: Sequence[str]) -> bool:
    """Whether a line is that of the units and forms: one of time among them, or names above it."""
    found = [each for each in cells if each.strip("[](){} ")]
    texts = [each for each in found if number(each.strip("[](){} ")) is None]
    forms = [each for each in texts if _is_stated_form(each)]
    known = [each for each in texts if unit_scale(each) is not None or _is_sequence(each)]
    others = [each for each in texts if _is_no_unit(each)]
    if len(known) + len(forms) + len(others) < len(texts) or not (known or forms):
        return False
    if forms or any(seconds_of(each) is not None or _is_sequence(each) for each in known):
        return True
    named = [at < len(above) and bool(above[at].strip()) for at, each in enumerate(cells) if each.strip()]
    return len(cells) > 1 and len(above) == len(cells) and all(named) and (len(texts) > 1 or all(above))


def _is_sequence(cell: str) -> bool:
    return cell.strip("[](){} ").lower() == "sequence"


def _is_no_unit(cell: str) -> bool:
    return cell.strip("[](){} ").lower() in NO_UNIT


def _is_stated_form(cell: str) -> bool:
    """Whether a cell is the form of dates or clocks, such as `TT.MM.JJJJ`, `hh:mm:ss,000` or `YYYYMMDD`.

    Each of its letters comes again, or stands alone between marks. `mm/s` is not one.
    """
    text = _NOT_OF_FORMS.sub("", cell.strip("[](){} \"'"))
    if unit_scale(text) is not None:
        return False
    runs = [each[0].lower() for each in _RUN.finditer(text)]
    parts = [each.lower() for each in re.split(r"[\W\d_]+", text) if each]
    alone = [each for each in runs if len(each) == 1]
    return (
        len(runs) > (2 if "/" in text else 1)
        and all(_OF_FORMS.fullmatch(each) for each in runs)
        and all(each in parts or each == "t" for each in alone)
        and len(alone) < len(runs)
    )


def _time_column(
    rows: Sequence[tuple[int, list[str]]],
    numeric: Sequence[int],
    names: Sequence[str],
    units: Sequence[str],
    notation: Notation,
) -> tuple[int | None, int | None, float | None, bool]:
    """(date, time, seconds per unit, whether its unit is stated)."""
    some = [cells for _, cells in rows[:20]]

    def written(column: int) -> str:
        filled = [cells[column] for cells in some if column < len(cells) and cells[column]]
        known = (each for each in filled if notation.number(each) is not None or written_time(each))
        return next(known, filled[0] if filled else "")

    texts = {column: written(column) for column in range(len(names))}
    times = {
        column: found
        for column in numeric
        if notation.number(texts[column]) is None and (found := written_time(texts[column])) is not None
    }
    clocks = [column for column, found in times.items() if not found.dated]
    dates = [column for column, found in times.items() if found.dated]
    if dates and not clocks:
        clocks = [at for at in texts if _has_clocks_with_points(some, at, names, dates)]
    if clocks:
        whole = [each for each in numeric if re.fullmatch(r"\d{8}", texts[each]) and time_named(names[each])]
        date = next((column for column in (*dates, *whole) if ":" not in texts[column]), None)
        return date, clocks[0], None, True
    if dates:
        return None, dates[0], None, True
    for column in numeric if len(numeric) > 1 else ():
        if (unit_s := seconds_of(units[column])) is not None:
            return None, column, unit_s, True
    named_times = [
        column for column in numeric if time_named(names[column]) and unit_scale(units[column]) is None
    ]
    unread = [
        column
        for column, text in texts.items()
        if column not in numeric and text and (time_named(names[column]) or _is_like_time(text))
    ]
    if unread and (len(numeric) == 1 or not named_times):
        return None, unread[0], None, True
    if len(numeric) == 1:
        named = seconds_of(units[numeric[0]]) is not None or time_named(names[numeric[0]])
        return None, numeric[0] if named else None, seconds_of(units[numeric[0]]) or 1.0, named
    for column in named_times:
        if time_of_digits(texts[column]):
            return None, column, None, True
        return None, column, _days_or_seconds(some, column, notation), False
    for column in numeric:
        unknown = not units[column] and quantity_named(names[column]) is None
        if unknown and _counts_unix_time(some, column, notation):
            return None, column, 1.0, False
    unnamed = not any(names[column] for column in numeric)
    first = numeric[0]
    numbers = [notation.number(cells[first]) for cells in some if first < len(cells)]
    rising = [each for each in numbers if each is not None]
    if unnamed and len(rising) > 2 and all(a < b for a, b in itertools.pairwise(rising)):
        return None, first, _days_or_seconds(some, first, notation), False
    return None, None, None, False


def _half_column(rows: Sequence[tuple[int, list[str]]], width: int) -> int | None:
    """The first column whose cells all are AM or PM, in any language."""
    for column in range(width):
        found = {cells[column].lower() for _, cells in rows[:20] if column < len(cells)} - {""}
        if found and found.issubset((*MORNING, *AFTERNOON)):
            return column
    return None


def _zone_column(
    rows: Sequence[tuple[int, list[str]]], names: Sequence[str], notation: Notation
) -> int | None:
    """The first column that is named so; `offset` alone may be a value, and is a zone without numbers."""
    for column, name in enumerate(names):
        words = words_of(name)
        numbers = (notation.number(cells[column]) for _, cells in rows[:20] if column < len(cells))
        if _ZONE.fullmatch(words) or (words.lower() == "offset" and all(each is None for each in numbers)):
            return column
    return None


def _has_clocks_with_points(
    rows: Sequence[Sequence[str]], column: int, names: Sequence[str], dates: Sequence[int]
) -> bool:
    """Whether a column beside one of dates has clocks such as `9.30`, by its name and all these rows."""
    cells = [cells[column] for cells in rows if column < len(cells) and cells[column]]
    if len(dates) == 1 and column in dates:
        return False
    named = time_named(names[column]) and "dat" not in names[column].lower()
    return named and bool(cells) and all(CLOCK_WITH_POINTS.fullmatch(each) for each in cells)


def _counts_unix_time(rows: Sequence[Sequence[str]], column: int, notation: Notation) -> bool:
    """Whether the numbers of a column, whatever its name, are Unix times that rise."""
    found = [notation.number(cells[column]) for cells in rows if column < len(cells)]
    times = [each for each in found if each is not None]
    units = {epoch_ns(each) for each in times}
    rising = all(a <= b for a, b in itertools.pairwise(times)) and len({*times}) > len(times) / 2
    return len(times) > 2 and len(times) == len(found) and len(units) == 1 and None not in units and rising


def _days_or_seconds(some: Sequence[Sequence[str]], column: int, notation: Notation) -> float:
    """Seconds per unit of times that state none: days where they are days of a spreadsheet's calendar."""
    found = [notation.number(cells[column]) for cells in some if column < len(cells)]
    times = [each for each in found if each is not None]
    if len(times) > 2 and any(low <= times[0] < high for low, high in SERIAL_DAYS):
        step = (times[-1] - times[0]) / (len(times) - 1)
        return 86_400.0 if 0 < step < DAYS_STEP_S else 1.0
    return 1.0


def _value(column: int, name: str, unit: str) -> ValueColumn:
    shown, quantity, scale = measured_in(unit, name)
    return ValueColumn(column, name or f"column {column + 1}", shown, quantity, scale)


def _phases_named(values: tuple[ValueColumn, ...]) -> tuple[ValueColumn, ...]:
    """The columns; three without a unit that are named as the phases of a voltage are voltages."""
    found = list(values)
    for at in range(len(values) - 2):
        three = values[at : at + 3]
        unknown = [each for each in three if each.unit is None and each.quantity is None]
        if unknown and names_voltages([each.name for each in three]):
            found[at : at + 3] = [replace(each, quantity=each.quantity or "voltage") for each in three]
    return tuple(found)


def _rate_above(
    head: Sequence[str], above: Sequence[tuple[int, list[str]]], notation: Notation
) -> float | None:
    """The rate where the lines above the table state one: a rate, an interval, or an Increment."""
    for line in head:
        if match := _RATE.search(line):
            unit = unit_scale(match[2])
            prefix = {"k": 1e3, "M": 1e6}.get(match[2][:1], 1.0)  # kS/s, MSa/s
            value = number(match[1]) or 0.0
            return value * (unit.scale if unit is not None and unit.si == "Hz" else prefix) or None
        if match := _INTERVAL.search(line):
            value = (number(match[1]) or 0.0) * (seconds_of(match[2] or "s") or 1.0)
            return 1 / value if value > 0 else None
    for (_, cells), (_, below) in itertools.pairwise(above):
        lower = [each.lower() for each in cells]
        if "increment" in lower and (at := lower.index("increment")) < len(below):
            step_s = notation.number(below[at])
            return 1 / step_s if step_s and step_s > 0 else None
    return None
