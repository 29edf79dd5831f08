"""The times of a CSV's rows: numbers of a unit, Unix times, days of a calendar, dates or clocks.

Each row has its seconds since the first one. A time that is not understood is NaN, and the first such cell is
named; the samples stay.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

import numpy as np
from numpy.typing import NDArray

from opq_proto.time_units import DAY_S, HOUR_S, NS_PER_S
from opq_recordings.csv_form import SERIAL_DAYS, CsvForm
from opq_recordings.moments import MAX_START_NS, epoch_ns
from opq_recordings.written_times import (
    CLOCK_WITH_POINTS,
    WrittenTime,
    time_of_digits,
    with_half,
    written_time,
)

DAYS_TO_1970 = (25_569, 719_529)
"""From 1899-12-30 and from the year 0, in the order of SERIAL_DAYS."""
CALENDARS = ("1899-12-30", "the year 0")
_ZONE_IN_NAME = re.compile(
    r"[\[( _](UTC(?:[+-]\d{1,2}(?::?\d\d)?)?|GMT(?:[+-]\d{1,2})?|[A-Z][A-Za-z_]+/[A-Za-z_]+)[\])]?$"
    r"|[\[(]([A-Z]{2,4}T|MES?Z|MSK|[Ll]ocal)[\])]$"
)
_FORM_OF_DATE = re.compile(r"[YMDHS]+")
HALF_DAY_S = 43_200
SET_BACK_S = 60
"""A clock that is set back by an hour from one row to the next goes back by at most this much less."""


class RowTimes:
    """Converts the cells of times of one file, whose first row it is made from.

    Attributes:
        start_ns: UTC of the first row, exactly as its digits say; None where it states no date.
        assumed: the assumptions about times that the file does not state.
        problem: why the start is not known though the first row has a time.
        unread: line and cell of the first time that is not understood; how many are not.
        set_back: line in which the clock has gone back by an hour, as at the end of summer time; 0 for none.
        set_forward: line in which it has left out an hour, as where summer time begins; 0 for none.
    """

    def __init__(self, form: CsvForm, first: Sequence[str], line: int, date_order: str = "") -> None:
        self._form, self._date_order = form, date_order
        self.start_ns: int | None = None
        self.assumed: list[str] = []
        self.problem: str | None = None
        self.unread: tuple[int, str] | None = None
        self.unread_rows = 0
        self.set_back = self.set_forward = 0
        self._unit_s = form.time_s or 1.0
        self._zero = "0"
        self._zero_ns: int | None = None
        self._by_utc = False
        self._zone = zone_named([form.names[at] for at in (form.time, form.date) if at is not None])
        self._last_s, self._added_s, self._step_s, self._in_leap = 0.0, 0.0, 0.0, False
        if form.time is not None and form.time_s is None:
            self._begin(self._written(first), self._cell(first), line)
        elif form.time is not None:
            self._numbers(self._cell(first))

    def seconds(self, cells: Sequence[str], line: int) -> float:
        """Seconds of a row since the first; since the file's zero where times are plain numbers."""
        cell = self._cell(cells)
        if self._form.time_s is None:
            found = self._written(cells)
            if found is not None:
                return self._since_first(found, line)
        elif self._form.notation.number(cell) is not None:
            if self._zero == "0":
                return (self._form.notation.number(cell) or 0.0) * self._unit_s
            plain = cell.replace(",", ".") if self._form.notation.decimal == "," else cell
            return float((np.longdouble(plain) - np.longdouble(self._zero)) * np.longdouble(self._unit_s))
        self.unread = self.unread or (line, cell)
        self.unread_rows += 1
        return np.nan

    def of_column(self, lines: Iterable[str], separator: str | None) -> NDArray[np.float64] | None:
        """(n,) the same for many rows at once; None where float64 is accurate enough."""
        if self._zero == "0":
            return None
        exact = np.loadtxt(
            lines, np.longdouble, delimiter=separator, ndmin=1, comments=None, usecols=self._form.time
        )
        seconds = (exact - np.longdouble(self._zero)) * np.longdouble(self._unit_s)
        return seconds.astype(np.float64)

    @property
    def unit_s(self) -> float:
        return self._unit_s

    def _cell(self, cells: Sequence[str]) -> str:
        at = self._form.time
        return cells[at] if at is not None and at < len(cells) else ""

    def _numbers(self, cell: str) -> None:
        """Finds out whether numbers are times of a calendar; these stay exact, since float64 has 0.24 µs."""
        try:
            digits = Decimal(cell.replace(",", ".") if self._form.notation.decimal == "," else cell)
            size = float(digits)
        except (InvalidOperation, OverflowError, ValueError):
            return
        zero = counted_from(self._form, self._date_order)
        if zero is not None and zero.t_ns is not None:
            self._zero = str(digits)
            self.start_ns = self._within(zero.t_ns + digits * Decimal(round(self._unit_s * NS_PER_S)))
            self.assumed += [] if zero.zone else ["time_zone"]
            return
        calendar = next((k for k, (low, high) in enumerate(SERIAL_DAYS) if low <= size < high), None)
        if self._unit_s == DAY_S and calendar is not None:
            self._zero = str(digits)
            self.start_ns = self._within((digits - DAYS_TO_1970[calendar]) * DAY_S * NS_PER_S)
            self.assumed += ["time_zone", f"time_unit=days since {CALENDARS[calendar]}"]
            return
        unit_ns = epoch_ns(size)
        if unit_ns is not None and self._form.time_stated and unit_ns != round(self._unit_s * 1e9):
            unit_ns = None
        if unit_ns is None:
            self.assumed += [] if self._form.time_stated else ["time_unit"]
            if self._form.since:
                why = f" ({zero.problem})" if zero is not None and zero.problem else ""
                self.problem = (
                    f"its times count from {self._form.since!r:.60}, which is not understood{why}, "
                    "so its start is not known"
                )
            return
        self._unit_s = unit_ns / 1e9
        self._zero = str(digits)
        self.start_ns = self._within(digits * unit_ns)

    @staticmethod
    def _within(t_ns: Decimal) -> int | None:
        return int(t_ns) if 0 <= t_ns <= MAX_START_NS else None

    def _begin(self, found: WrittenTime | None, cell: str, line: int) -> None:
        if found is None:
            self.problem = f"line {line}: its time {cell!r:.60} is not understood, so its start is not known"
            return
        self.start_ns = found.t_ns
        self._by_utc = found.zone and found.t_ns is not None
        if found.t_ns is not None and not found.zone:
            self.assumed.append("time_zone")
        if found.problem:
            self.problem = f"line {line}: of its time {cell!r:.60} {found.problem}, so its start is not known"

    def _since_first(self, found: WrittenTime, line: int) -> float:
        """Seconds since the first row; past midnight or a leap second, or set back, a clock goes on."""
        t_ns = found.t_ns if self._by_utc and found.t_ns is not None else found.clock_ns
        if self._zero_ns is None:
            self._zero_ns = t_ns
        if self._in_leap and not found.leap:
            self._added_s += 1.0
        self._in_leap = found.leap
        second = (t_ns - self._zero_ns) / 1e9 + self._added_s
        if self._last_s - DAY_S <= second < self._last_s - HALF_DAY_S:
            self._added_s += DAY_S
            second += DAY_S
        elif not found.zone and HOUR_S - SET_BACK_S <= self._last_s - second <= HOUR_S:
            self._added_s += HOUR_S
            second += HOUR_S
            self.set_back = line
        elif self._is_set_forward(found, second):
            self._added_s -= HOUR_S
            second -= HOUR_S
            self.set_forward = line
        self._step_s = second - self._last_s
        self._last_s = second
        return second

    def _is_set_forward(self, found: WrittenTime, second: float) -> bool:
        """Whether an hour is left out where summer time begins: even steps up to it, and one over it."""
        more_s = second - self._last_s - HOUR_S
        over_an_hour = found.clock_ns % (HOUR_S * NS_PER_S) < SET_BACK_S * NS_PER_S
        even = 0 < self._step_s < SET_BACK_S and abs(more_s - self._step_s) <= self._step_s / 2
        return not found.zone and even and over_an_hour

    def _written(self, cells: Sequence[str]) -> WrittenTime | None:
        """The date and clock of a row, of up to three columns, with the zone that one or a name states."""
        cell = self._cell(cells)
        cell = (cell[:1].isdecimal() and time_of_digits(cell)) or cell
        found = written_time(cell, self._date_order)
        at = self._form.date
        points = at is not None and CLOCK_WITH_POINTS.fullmatch(cell) is not None
        if (points or (found is not None and not found.dated)) and at is not None and at < len(cells):
            cell = f"{cells[at]} {cell}"
            found = written_time(cell, self._date_order)
        half = self._form.half
        if half is not None and half < len(cells) and found is not None:
            cell = with_half(cell, cells[half])
            found = written_time(cell, self._date_order)
        at = self._form.zone
        zone = (cells[at] if at is not None and at < len(cells) else "") or self._zone
        if found is None or found.zone or not zone:
            return found
        return written_time(f"{cell} {zone}", self._date_order) or found


def counted_from(form: CsvForm, date_order: str) -> WrittenTime | None:
    """The date from which numbers count by their heading; None for Unix time, and where not understood."""
    if not form.since or form.time is None:
        return None
    found = written_time(form.since, date_order)
    if found is not None and not found.zone and (zone := zone_named([form.names[form.time]])):
        found = written_time(f"{form.since} {zone}", date_order) or found
    return found if found is not None and found.dated and found.clock_ns != 0 else None


def zone_named(names: Sequence[str]) -> str:
    """The zone in the names of the columns of times, as in `Time [UTC]` or `Date (CET)`; empty for none."""
    found = (match[1] or match[2] for name in names if (match := _ZONE_IN_NAME.search(name)))
    return next((each for each in found if not _FORM_OF_DATE.fullmatch(each)), "")
