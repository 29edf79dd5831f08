"""Reads the frequency of Boxes over a span of any length: indices and charts have one answer from here."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, pairwise
from typing import Final

import numpy as np

from opq_cloud.reports.grid_frequency import (
    QUANTITIES,
    Day,
    GridFrequency,
    grid_frequency_over,
    stating_rows,
)
from opq_cloud.reports.stating_boxes import FREQUENCY_BOXES, LENGTHS_MS, Span, StatingBoxes
from opq_cloud.store.intervals.distribution import IntervalSummary
from opq_cloud.store.intervals.served_phases import chosen_rows
from opq_cloud.store.records.intervals.long_term import ShownIntervals
from opq_cloud.store.stated_facts import LAST_NS
from opq_proto.measurement.intervals import TEN_MINUTES_MS, TEN_MINUTES_NS, TEN_SECONDS_MS, IntervalColumns
from opq_proto.time_units import DAY_NS

READ_DAYS: Final = 31
"""Days of which is known at once which Boxes state them."""
NEAR_DAYS: Final = 3
"""Days that are so near are read as one span."""
BoxDays = Mapping[int, Mapping[int, Sequence[IntervalColumns]]]
"""Day from 1970 -> length in ms -> intervals of a Box with a frequency that nothing flags."""


def read_frequency(
    intervals: ShownIntervals, stays: Mapping[str, Sequence[Span]], start_ns: int, end_ns: int
) -> GridFrequency:
    """The frequency of the grid of some Boxes.

    A day (UTC) is stated by a few of them, and is looked at as a whole, whatever part of it the span has. So
    every span has the same frequency in the same moment.

    Args:
        stays: Box -> when it was of the grid or the place, each moment once; also before and after the span.
    """
    days = range(start_ns // DAY_NS, -(-end_ns // DAY_NS))
    parts = (days[first : first + READ_DAYS] for first in range(0, len(days), READ_DAYS))
    read = (day for part in parts for day in _days(intervals, stays, part))
    return grid_frequency_over(read, start_ns, end_ns)


def _days(intervals: ShownIntervals, stays: Mapping[str, Sequence[Span]], days: range) -> Iterator[Day]:
    """Yields each day with the Boxes that state it."""
    stating = StatingBoxes(intervals, stays, days)
    first_choice: dict[str, list[int]] = {}
    for day in days:
        for box_id in islice(stating.of(day), FREQUENCY_BOXES):
            first_choice.setdefault(box_id, []).append(day)
    read = {box_id: _read(intervals, box_id, stays[box_id], own) for box_id, own in first_choice.items()}
    for day in days:
        found: dict[str, Mapping[int, Sequence[IntervalColumns]]] = {}
        for box_id in stating.of(day):
            if day not in first_choice.get(box_id, ()):  # for one that has intervals without a frequency
                read[box_id] = {**read.get(box_id, {}), **_read(intervals, box_id, stays[box_id], [day])}
            if day in read[box_id]:
                found[box_id] = read[box_id][day]
            if len(found) == FREQUENCY_BOXES:
                break
        yield found


def _read(intervals: ShownIntervals, box_id: str, stays: Sequence[Span], days: Sequence[int]) -> BoxDays:
    """The chosen days of a Box, without those of which no frequency is known."""
    found: dict[int, dict[int, list[IntervalColumns]]] = {}
    breaks = [at for at in range(1, len(days)) if days[at] - days[at - 1] > NEAR_DAYS]
    for first, last in pairwise([0, *breaks, len(days)]):
        near = days[first:last]
        for begin_ns, until_ns in stays:
            span = max(begin_ns, near[0] * DAY_NS), min(until_ns, (near[-1] + 1) * DAY_NS)
            for length_ms in LENGTHS_MS if span[0] < span[1] else ():
                columns = intervals.read(box_id, length_ms, *span, QUANTITIES)
                if "f_hz" in columns.values:
                    _add_days(found, columns, near)
    return found


def _add_days(
    found: dict[int, dict[int, list[IntervalColumns]]], columns: IntervalColumns, days: Collection[int]
) -> None:
    """Adds the known intervals of some days."""
    columns = chosen_rows(
        replace(columns, sequences=None), ~np.isnan(columns.values["f_hz"]) & ~columns.flagged
    )
    own_days = columns.start_ns // DAY_NS
    for day in np.unique(own_days).tolist():
        if day in days:
            rows = chosen_rows(columns, own_days == day)
            found.setdefault(day, {}).setdefault(columns.length_ms, []).append(rows)


def stating_intervals(
    intervals: ShownIntervals, box_id: str, start_ns: int, end_ns: int
) -> list[IntervalColumns]:
    """The intervals of 10 s and of ten minutes whose frequency counts in reports, with the flagged ones.

    A part of ten minutes is of the intervals that state them whole.
    """
    whole_ns = start_ns // TEN_MINUTES_NS * TEN_MINUTES_NS, -(-end_ns // TEN_MINUTES_NS) * TEN_MINUTES_NS
    read = stating_rows(intervals.read(box_id, each, *whole_ns, QUANTITIES) for each in LENGTHS_MS)
    return [chosen_rows(rows, (rows.end_ns > start_ns) & (rows.start_ns < end_ns)) for rows in read]


def extremes_of_days(
    intervals: ShownIntervals, box_id: str, start_ns: int, end_ns: int
) -> dict[int, tuple[float, float]]:
    """Beginning of each day in ns -> lowest and highest frequency; empty where no 10 s are stored."""
    days = _summaries(intervals, box_id, start_ns, end_ns)
    if not any(TEN_SECONDS_MS in day for day in days.values()):
        return {}
    found = {}
    for day_ns, day in days.items():
        lengths_ms = _lengths_ms(day)
        found[day_ns] = _ends(day, lengths_ms)
        if len(lengths_ms) > 1:
            span = day_ns, day_ns + DAY_NS
            index = read_frequency(intervals, {box_id: [span]}, *span).index
            if not math.isnan(index.nadir_hz):
                found[day_ns] = index.nadir_hz, index.zenith_hz
    return found


def box_extremes(
    intervals: ShownIntervals, box_id: str, stays: Sequence[Span], start_ns: int, end_ns: int
) -> tuple[float, float]:
    """Lowest and highest frequency of one Box, the same as of `read_frequency`; NaN where nothing is known.

    A whole day is read as a summary where intervals of one length state it. Other days are read only while
    they may have the lowest or the highest value, so that a year of 10 s is not.

    Args:
        stays: when it was at the place; empty: always.
    """
    stays = stays or ((0, LAST_NS),)
    low, high = math.inf, -math.inf
    mixed: list[tuple[Span, float, float]] = []
    to_read: list[Span] = []
    for first_ns, last_ns in ((max(first, start_ns), min(last, end_ns)) for first, last in stays):
        days_ns = -(-first_ns // DAY_NS) * DAY_NS, last_ns // DAY_NS * DAY_NS
        if days_ns[0] >= days_ns[1]:
            to_read.append((first_ns, last_ns))
            continue
        to_read += (first_ns, days_ns[0]), (days_ns[1], last_ns)
        for day_ns, day in _summaries(intervals, box_id, *days_ns).items():
            lengths_ms = _lengths_ms(day)
            least, most = _ends(day, lengths_ms)
            if len(lengths_ms) > 1:
                mixed.append(((day_ns, day_ns + DAY_NS), least, most))
            else:
                low, high = min(low, least), max(high, most)

    def widened(spans: Sequence[Span]) -> tuple[float, float]:
        found = (read_frequency(intervals, {box_id: stays}, *span).index for span in spans)
        known = [index for index in found if not math.isnan(index.nadir_hz)]
        ends = [(low, high), *((index.nadir_hz, index.zenith_hz) for index in known)]
        return min(least for least, _ in ends), max(most for _, most in ends)

    low, high = widened(to_read)
    for span, least, _ in sorted(mixed, key=lambda each: each[1]):
        if least >= low:
            break  # nor can a later one be lower
        low, high = widened([span])
    for span, _, most in sorted(mixed, key=lambda each: -each[2]):
        if most <= high:
            break
        low, high = widened([span])
    return (low, high) if low <= high else (math.nan, math.nan)


def _summaries(
    intervals: ShownIntervals, box_id: str, start_ns: int, end_ns: int
) -> dict[int, dict[int, IntervalSummary]]:
    """Day -> length in ms -> summary of the day with a known frequency."""
    days: dict[int, dict[int, IntervalSummary]] = {}
    for length_ms in LENGTHS_MS:
        for row in intervals.days(box_id, length_ms, start_ns, end_ns, QUANTITIES):
            if _count(row.summary):
                days.setdefault(row.start_ms * 10**6, {})[length_ms] = row.summary
    return days


def _lengths_ms(day: Mapping[int, IntervalSummary]) -> list[int]:
    """The lengths of the intervals that may state a day."""
    tens = day.get(TEN_SECONDS_MS)
    is_whole = tens is not None and _count(tens) * TEN_SECONDS_MS * 10**6 >= DAY_NS
    return [TEN_SECONDS_MS] if is_whole else list(day)


def _count(summary: IntervalSummary) -> int:
    return summary.distribution("f_hz", flagged=False).count


def _ends(day: Mapping[int, IntervalSummary], lengths_ms: Iterable[int]) -> tuple[float, float]:
    names = {TEN_SECONDS_MS: QUANTITIES[:1], TEN_MINUTES_MS: QUANTITIES}
    parts = [day[each].distribution(name, flagged=False) for each in lengths_ms for name in names[each]]
    known = [part for part in parts if part.count]
    return min(part.least for part in known), max(part.most for part in known)
