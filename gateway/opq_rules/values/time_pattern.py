"""Patterns of times, one table for both directions: format_time writes, TIMESTAMP_FORMAT reads.

The letters are those of Java; `Y` is `y`, as in eKuiper, whose one converter (pkg/cast/time.go) serves both
places. Plain text is written in `' '`; `T` needs no quotes.
"""

import calendar
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from opq_rules.values.sql_values import shown

MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
SHORT_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
ZONES = {"utc": 0, "gmt": 0, "z": 0}
"""Names of zones that mean one offset everywhere; CET and CST do not."""
_OFFSET = r"Z|[+-]\d{2}(?::?\d{2})?"
_RUN = re.compile(r"'((?:[^']|'')*)'|([A-Za-z])\2*|[^A-Za-z']+")


@dataclass(frozen=True, slots=True)
class _Field:
    """What a run of letters stands for: how it is written, and how its text is read."""

    write: Callable[[datetime], str]
    name: str
    """The part of a time that it is; empty where the text only has to be there."""
    text: str
    """A regular expression."""
    read: Callable[[str], int] = int


def _offset(at: datetime, length: int) -> str:
    """The offset of the zone: Z for UTC, else +01, +0100 or +01:00."""
    zone = at.strftime("%z")[:5]
    if zone in ("+0000", "-0000"):
        return "Z"
    return {1: zone[:3], 2: zone, 3: f"{zone[:3]}:{zone[3:]}"}[length]


def _seconds(zone: str) -> int:
    """The offset of a zone. Raises ValueError for a name that does not mean one offset."""
    if zone[0] not in "+-":
        if zone.lower() in ZONES:
            return ZONES[zone.lower()]
        raise ValueError(f"{shown(zone)} is ambiguous as a zone; write an offset such as +01:00 (XXX)")
    digits = zone[1:].replace(":", "")
    offset = 3600 * int(digits[:2]) + 60 * int(digits[2:] or 0)
    return -offset if zone[0] == "-" else offset


def _choice(names: Mapping[str, int]) -> str:
    return f"(?i:{'|'.join(names)})"


def _weekdays(names: "calendar._localized_day") -> str:
    return f"(?i:{'|'.join(names)})"


_FIELDS: Mapping[str, _Field] = {
    "G": _Field(lambda at: "AD", "", "(?i:AD)"),
    "yyyy": _Field(lambda at: f"{at.year:04d}", "year", r"\d{4}"),
    "yy": _Field(lambda at: f"{at.year % 100:02d}", "year", r"\d{2}", lambda text: 2000 + int(text)),
    "y": _Field(lambda at: str(at.year), "year", r"\d{1,4}"),
    "MMMM": _Field(
        lambda at: calendar.month_name[at.month], "month", _choice(MONTHS), lambda text: MONTHS[text.lower()]
    ),
    "MMM": _Field(
        lambda at: calendar.month_abbr[at.month],
        "month",
        _choice(SHORT_MONTHS),
        lambda text: SHORT_MONTHS[text.lower()],
    ),
    "MM": _Field(lambda at: f"{at.month:02d}", "month", r"\d{1,2}"),
    "M": _Field(lambda at: str(at.month), "month", r"\d{1,2}"),
    "dd": _Field(lambda at: f"{at.day:02d}", "day", r"\d{1,2}"),
    "d": _Field(lambda at: str(at.day), "day", r"\d{1,2}"),
    "EEEE": _Field(lambda at: calendar.day_name[at.weekday()], "", _weekdays(calendar.day_name)),
    "EEE": _Field(lambda at: calendar.day_abbr[at.weekday()], "", _weekdays(calendar.day_abbr)),
    "E": _Field(lambda at: calendar.day_abbr[at.weekday()], "", _weekdays(calendar.day_abbr)),
    "HH": _Field(lambda at: f"{at.hour:02d}", "hour", r"\d{1,2}"),
    "H": _Field(lambda at: str(at.hour), "hour", r"\d{1,2}"),
    "hh": _Field(lambda at: f"{at.hour % 12 or 12:02d}", "hour", r"\d{1,2}"),
    "h": _Field(lambda at: str(at.hour % 12 or 12), "hour", r"\d{1,2}"),
    "a": _Field(
        lambda at: "PM" if at.hour >= 12 else "AM", "half", "(?i:AM|PM)", lambda text: int(text[0] in "pP")
    ),
    "mm": _Field(lambda at: f"{at.minute:02d}", "minute", r"\d{1,2}"),
    "m": _Field(lambda at: str(at.minute), "minute", r"\d{1,2}"),
    "ss": _Field(lambda at: f"{at.second:02d}", "second", r"\d{1,2}"),
    "s": _Field(lambda at: str(at.second), "second", r"\d{1,2}"),
    "z": _Field(lambda at: at.tzname() or "UTC", "zone", f"{_OFFSET}|[A-Za-z]{{1,5}}", _seconds),
    "Z": _Field(lambda at: at.strftime("%z"), "zone", _OFFSET, _seconds),
    "XXX": _Field(lambda at: _offset(at, 3), "zone", _OFFSET, _seconds),
    "XX": _Field(lambda at: _offset(at, 2), "zone", _OFFSET, _seconds),
    "X": _Field(lambda at: _offset(at, 1), "zone", _OFFSET, _seconds),
    "x": _Field(lambda at: at.strftime("%z")[:3], "zone", _OFFSET, _seconds),
}


def written_time(at: datetime, pattern: str) -> str:
    """The time in the pattern's form. Raises ValueError for a letter without a meaning."""
    return "".join(part if isinstance(part, str) else part.write(at) for part in parts_of(pattern))


@lru_cache(maxsize=512)
def parts_of(pattern: str) -> tuple[_Field | str, ...]:
    """The parts of the pattern. Raises ValueError for a letter without a meaning."""
    parts: list[_Field | str] = []
    for run in _RUN.finditer(pattern):
        letters = run.group().replace("Y", "y")
        if run.group(1) is not None:
            parts.append(run.group(1).replace("''", "'") or "'")
        elif run.group(2) is None or letters == "T":
            parts.append(run.group())
        elif set(letters) == {"S"} and len(letters) <= 9:
            parts.append(_fraction(len(letters)))
        elif letters in _FIELDS:
            parts.append(_FIELDS[letters])
        else:
            raise ValueError(f"pattern \"{pattern}\": {letters} means nothing; put plain text into ' '")
    return tuple(parts)


@lru_cache(maxsize=256)
def reader(pattern: str) -> Callable[[str], datetime]:
    """A function that reads texts in the pattern's form; UTC without a zone. Both raise ValueError."""
    parts = parts_of(pattern)
    fields = [part for part in parts if isinstance(part, _Field)]
    compiled = re.compile(
        "".join(re.escape(part) if isinstance(part, str) else f"({part.text})" for part in parts)
    )

    def read(text: str) -> datetime:
        found = compiled.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{shown(text)} is not of the form {pattern}")
        known: dict[str, int] = {}
        for field, part in zip(fields, found.groups(), strict=True):
            if field.name:
                known.setdefault(field.name, field.read(part))
        hour = known.get("hour", 0)
        if "half" in known:
            hour = hour % 12 + 12 * known["half"]
        return datetime(
            known.get("year", 1),
            known.get("month", 1),
            known.get("day", 1),
            hour,
            known.get("minute", 0),
            known.get("second", 0),
            known.get("fraction", 0) // 1000,
            tzinfo=timezone(timedelta(seconds=known["zone"])) if known.get("zone") else UTC,
        )

    return read


def _fraction(digits: int) -> _Field:
    return _Field(
        lambda at: f"{at.microsecond * 1_000:09d}"[:digits],
        "fraction",
        r"\d{1,9}",
        lambda text: int(text.ljust(9, "0")),
    )
