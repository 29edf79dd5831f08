"""Day and month of dates such as 03/04/2024: one order for a whole column, by all its dates. Pure."""

import itertools
import re
import statistics
from collections.abc import Iterable, Sequence

from opq_proto.time_units import DAY_NS
from opq_recordings.written_times import with_colons, written_time

DATE_ORDERS = ("dmy", "mdy", "ymd")
"""`ymd` only where the year has two digits."""
_NUMBERS = re.compile(r"(?<![\w:.,/-])\d{1,2}([/.-])\d{1,2}\1(?:\d{4}|\d{2})(?![\d/.-])")


def date_in(text: str) -> str | None:
    """The date of this form within a text; None where there is none."""
    found = _NUMBERS.search(with_colons(text))
    return found[0] if found is not None else None


def possible_orders(texts: Iterable[str]) -> tuple[str, ...]:
    """The orders in which the times of a column can be read: one, where its rows settle it.

    A number above 12 is a day. Points are between day, month and year if all dates allow it. Otherwise one
    order alone has the rows in the order of time, or goes on from day to day where days have several rows.
    Empty: the column has no such date, or no order suits all of them.
    """
    dates: list[str] = []
    several_a_day, former = False, ""
    for text in texts:
        date = date_in(text)
        if date is None:
            continue
        if not dates or date != dates[-1]:
            dates.append(date)
        else:
            several_a_day |= text != former
        former = text
    days = {order: _days(dates, order) for order in DATE_ORDERS}
    possible = {order: found for order, found in days.items() if found}
    if "dmy" in possible and all("." in each for each in dates):
        return ("dmy",)
    if len({tuple(found) for found in possible.values()}) == 1:
        return tuple(possible)[:1]
    ordered = {order for order, found in possible.items() if _in_order(found)}
    if ordered:
        possible = {order: possible[order] for order in ordered}
    if several_a_day and len(dates) > 1:
        near = [order for order, found in possible.items() if _median_step(found) <= 1]
        if near:
            return tuple(near)
    return tuple(each for each in DATE_ORDERS if each in possible)


def _days(dates: Sequence[str], order: str) -> list[int] | None:
    """Days since 1970; None where a date does not exist in this order."""
    found = [written_time(each, order) for each in dates]
    return None if None in found else [each.clock_ns // DAY_NS for each in found if each is not None]


def _in_order(days: Sequence[int]) -> bool:
    steps = [b - a for a, b in itertools.pairwise(days)]
    return all(each >= 0 for each in steps) or all(each <= 0 for each in steps)


def _median_step(days: Sequence[int]) -> float:
    return statistics.median(abs(b - a) for a, b in itertools.pairwise(days))
