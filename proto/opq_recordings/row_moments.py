"""The moments of a table's rows, as another meter's values need them: UTC of each row, or a refusal. Pure.

Times are written ones, Unix times, days of a spreadsheet's calendar, or digits such as 20261025020000, in
one column or a date and a clock in two. Rows in their order settle what a row alone does not
(`date_order`, `local_hours`); what remains open is refused with the option that says it.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import tzinfo
from decimal import Decimal

from opq_proto.errors import RecordingError
from opq_proto.time_units import DAY_NS, NS_PER_S
from opq_recordings.csv_form import SERIAL_DAYS, CsvForm
from opq_recordings.csv_rows import CsvRow
from opq_recordings.csv_times import CALENDARS, DAYS_TO_1970, counted_from, zone_named
from opq_recordings.date_order import date_in, possible_orders
from opq_recordings.local_hours import local_to_utc, offset_named, zone_of
from opq_recordings.moments import MAX_START_NS, epoch_ns
from opq_recordings.quantity_names import time_named, words_of
from opq_recordings.written_times import (
    CLOCK_WITH_POINTS,
    WrittenTime,
    time_of_digits,
    with_half,
    written_time,
)

_COMPACT = re.compile(
    r"((?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))((?:[01]\d|2[0-4])(?:[0-5]\d){0,2})?"
)
_SHORT_CLOCK = re.compile(r"(?:[01]?\d|2[0-4])?[0-5]?\d(?:[0-5]\d)?")
_CLOCK_NAMED = re.compile(r"(?i)clock|hhmm(ss)?|hours?|hr|stunde")
_RowText = tuple[int, str]
"""Number of the line, and the text of its time."""


@dataclass(frozen=True, slots=True)
class StatedTimes:
    """What a user states about times that a file leaves open."""

    zone: str = "UTC"
    """Of times that state none."""
    date_order: str = ""
    """One of DATE_ORDERS; empty: by the dates of the column."""
    repeated_hour: str = ""
    """One of REPEATED; empty: by the order of the rows."""


@dataclass(frozen=True, slots=True)
class RowMoments:
    """The moments of a table's rows."""

    t_ns: list[int | None]
    """UTC since 1970; None for a row that the user leaves out."""
    local: bool
    """Whether a row states no zone."""
    days_since: str = ""
    """Where times are days of a calendar: its beginning, as it is assumed."""


def with_time_columns(form: CsvForm, rows: Sequence[CsvRow], time: int | None) -> CsvForm:
    """The form with its column of times and, where clocks are apart from dates, the column of dates.

    Args:
        time: the column that the user names; None: the one that is known by its name or contents.
    """
    if time is not None and time not in (form.time, form.date):
        form = replace(form, time=time, date=None)
    if form.time is None or form.date is not None or not rows:
        return form
    chosen = _cell(rows[0][2], form.time)
    others = [
        column
        for column, name in enumerate(form.names)
        if column != form.time and (time_named(name) or _CLOCK_NAMED.fullmatch(words_of(name)))
    ]
    if _is_day(chosen):
        clocks = (each for each in others if all(_clock_text(_cell(row[2], each)) for row in rows[:20]))
        clock = next(clocks, None)
        return form if clock is None else replace(form, time=clock, date=form.time)
    if _clock_text(chosen):
        date = next((each for each in others if _is_day(_cell(rows[0][2], each))), None)
        return form if date is None else replace(form, date=date)
    return form


def row_moments(
    form: CsvForm, rows: Sequence[CsvRow], series: Sequence[Hashable], stated: StatedTimes
) -> RowMoments:
    """The moment of each row.

    Args:
        series: of each row; rows of one series are in an order of their own.
    Raises:
        RecordingError: with the line: a time is not understood, does not exist, or remains open.
    """
    zone = zone_of(stated.zone)
    texts = _texts(form, rows)
    clocks: list[WrittenTime] | None = None
    days_since = ""
    numbers = [form.notation.number(text) is not None for _, text in texts]
    if 2 * sum(numbers) > len(numbers) and not all(numbers):
        line, text = texts[numbers.index(False)]
        raise RecordingError(f"line {line}: {text!r:.60} is not a time")
    if all(numbers):
        digits = [_of_digits(text) for _, text in texts]
        if all(digits):
            texts = [(line, text or "") for (line, _), text in zip(texts, digits, strict=True)]
        else:
            clocks = _of_numbers(form, texts, stated.date_order)
            calendar = _calendar(form.notation.number(texts[0][1]) or 0.0)
            by_heading = counted_from(form, stated.date_order) is not None
            days_since = "" if clocks[0].zone or calendar is None or by_heading else CALENDARS[calendar]
    if clocks is None:
        clocks = _written(texts, stated.date_order)
    found: list[int | None] = [None] * len(rows)
    local: defaultdict[tuple[Hashable, tzinfo], list[int]] = defaultdict(list)
    for at, (each, (line, text)) in enumerate(zip(clocks, texts, strict=True)):
        if each.zone and each.t_ns is not None:
            found[at] = each.t_ns
        elif each.zone_name and "/" in each.zone_name:
            local[series[at], zone_of(each.zone_name.strip("[]"))].append(at)
        elif each.zone_name:
            offset_ns = offset_named(zone, each.zone_name, each.clock_ns)
            if offset_ns is None:
                raise RecordingError(
                    f"line {line}: of its time {text!r:.60} {each.problem} in {stated.zone}; give the place "
                    "whose clock it is, such as --zone America/New_York"
                )
            found[at] = each.clock_ns - offset_ns
        elif each.problem:
            raise RecordingError(f"line {line}: of its time {text!r:.60} {each.problem}")
        else:
            local[series[at], zone].append(at)
    for (_, its_zone), at_rows in local.items():
        moments = local_to_utc(
            [clocks[at].clock_ns for at in at_rows],
            its_zone,
            _place(texts, at_rows),
            stated.repeated_hour,
        )
        for at, moment in zip(at_rows, moments, strict=True):
            found[at] = moment
    for moment, (line, text) in zip(found, texts, strict=True):
        if moment is not None and not 0 <= moment <= MAX_START_NS:
            raise RecordingError(f"line {line}: its time {text!r:.60} is not from 1970 to 2115")
    return RowMoments(found, any(its_zone is zone for _, its_zone in local), days_since)


def _place(texts: Sequence[_RowText], at_rows: Sequence[int]) -> Callable[[int], str]:
    return lambda at: f"line {texts[at_rows[at]][0]}"


def _cell(cells: Sequence[str], at: int | None) -> str:
    return cells[at] if at is not None and at < len(cells) else ""


def _texts(form: CsvForm, rows: Sequence[CsvRow]) -> list[_RowText]:
    """The time of each row, of up to three columns, with the zone that its column or another one states."""
    named = zone_named([form.names[at] for at in (form.time, form.date) if at is not None])
    of_names = "" if named.lower() == "local" else named
    found = []
    for line, _, cells in rows:
        text, date = _cell(cells, form.time), _cell(cells, form.date)
        if not text and not date:
            raise RecordingError(f"line {line}: it has no time; want one in each row")
        written = written_time(text) if form.date is not None else None
        apart = written is None or not written.dated or CLOCK_WITH_POINTS.fullmatch(text) is not None
        if form.date is not None and apart:
            text = _joined(form, date, text)
        text = with_half(text, _cell(cells, form.half))
        zone = _cell(cells, form.zone) or of_names
        known = written_time(text) if zone else None
        found.append((line, f"{text} {zone}" if known is not None and not known.zone else text))
    return found


def _joined(form: CsvForm, date: str, clock: str) -> str:
    day, part = form.notation.number(date), form.notation.number(clock)
    if day is not None and part is not None and 0 <= part < 1 and _calendar(day) is not None:
        return str(day + part)  # days of a spreadsheet's calendar
    return f"{date} {_clock_text(clock) or clock}".strip()


def _clock_text(text: str) -> str:
    """A clock as written, or the digits 930 or 093000 with colons; empty where it is not a clock."""
    found = written_time(text)
    if found is not None:
        return "" if found.dated else text
    if not _SHORT_CLOCK.fullmatch(text):
        return ""
    digits = text.zfill(4 if len(text) <= 4 else 6)
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))


def _is_day(text: str) -> bool:
    """Whether a cell is a date without a clock."""
    found = written_time(text)
    if found is None:
        return (match := _COMPACT.fullmatch(text)) is not None and match[2] is None
    return found.dated and ":" not in text and found.clock_ns % DAY_NS == 0


def _of_digits(text: str) -> str | None:
    """A date and a clock written as digits alone; None for any other number."""
    if shown := time_of_digits(text):
        return shown
    found = _COMPACT.fullmatch(text)
    if found is None or (len(text) == 10 and not text.startswith("20")):
        return None
    clock = (found[2] or "").ljust(4, "0") if found[2] else "0000"
    shown = f"{found[1]} {':'.join(clock[at : at + 2] for at in range(0, len(clock), 2))}"
    return shown if written_time(shown) is not None else None


def _calendar(days: float) -> int | None:
    return next((at for at, (low, high) in enumerate(SERIAL_DAYS) if low <= days < high), None)


def _of_numbers(form: CsvForm, texts: Sequence[_RowText], date_order: str) -> list[WrittenTime]:
    """Unix times in a unit by their size, or days of a spreadsheet's calendar, which a local clock shows.

    Numbers that count from a moment which their heading names are of the clock that it is written by.
    """
    if (zero := counted_from(form, date_order)) is not None:
        ns_of_one = round((form.time_s or 1.0) * NS_PER_S)
        after = [int(Decimal(text.replace(",", ".")) * ns_of_one) for _, text in texts]
        return [
            replace(zero, clock_ns=zero.clock_ns + ns, t_ns=None if zero.t_ns is None else zero.t_ns + ns)
            for ns in after
        ]
    first = form.notation.number(texts[0][1]) or 0.0
    unit_ns, calendar = epoch_ns(first), _calendar(first)
    found = []
    for line, text in texts:
        value = form.notation.number(text) or 0.0
        digits = Decimal(text.replace(",", ".") if form.notation.decimal == "," else text)
        if unit_ns is not None and epoch_ns(value) == unit_ns:
            t_ns = int(digits * unit_ns)
            found.append(WrittenTime(t_ns, t_ns, zone=True))
        elif calendar is not None and _calendar(value) == calendar:
            found.append(WrittenTime(_serial_ns(digits, calendar), None))
        else:
            raise RecordingError(
                f"line {line}: its time {text!r:.40} is not a date: want a written one, Unix time, days of a "
                "spreadsheet's calendar, or digits such as 20261025020000, the same in all rows"
            )
    return found


def _serial_ns(days: Decimal, calendar: int) -> int:
    """The clock of such days: a whole second where their digits allow it."""
    exact = (days - DAYS_TO_1970[calendar]) * 86_400
    exponent = days.as_tuple().exponent
    shortest = Decimal(43_200).scaleb(
        exponent if isinstance(exponent, int) else 0
    )  # half a unit of the last digit
    whole = round(exact)
    if abs(exact - whole) <= max(shortest, Decimal("0.0005")):
        return whole * NS_PER_S
    return round(exact * 1000) * 10**6


def _written(texts: Sequence[_RowText], date_order: str) -> list[WrittenTime]:
    order = date_order
    if not order:
        orders = possible_orders(text for _, text in texts)
        dates = [each for each in texts if date_in(each[1])]
        if dates and not orders:
            raise RecordingError(
                f"line {dates[0][0]}: no order of day, month and year suits all dates such as "
                f"{dates[0][1]!r:.40}; give the file one order, or the order with --dates"
            )
        if len(orders) > 1:
            line, text = texts[0]
            raise RecordingError(
                f"line {line}: the rows do not say whether {text!r:.40} is "
                f"{' or '.join(_ORDER_WORDS[each] for each in orders)} first; give --dates "
                f"{' or --dates '.join(orders)}"
            )
        order = orders[0] if orders else ""
    found = []
    for line, text in texts:
        moment = written_time(text, order)
        if moment is None or not moment.dated:
            why = "is not a time" if moment is None else "is a clock without a date; name the column of dates"
            raise RecordingError(f"line {line}: {text!r:.60} {why}")
        found.append(moment)
    return found


_ORDER_WORDS = {"dmy": "day", "mdy": "month", "ymd": "year"}
