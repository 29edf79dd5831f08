"""Reads the frequency of Boxes over a span of any length: indices and charts have one answer from here."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from opq_cloud.reports.grid_frequency import (
    QUANTITIES,
    GridFrequency,
    grid_frequency_over,
)
from opq_cloud.store.intervals.distribution import IntervalSummary
from opq_cloud.store.records.intervals.long_term import ShownIntervals
from opq_proto.measurement.intervals import DAY_NS, TEN_MINUTES_MS, TEN_SECONDS_MS, IntervalColumns

LENGTHS_MS: Final = (TEN_SECONDS_MS, TEN_MINUTES_MS)
READ_DAYS: Final = 31
"""Days that are in memory at once."""
Span = tuple[int, int]
"""Beginning and end in ns."""


@dataclass(frozen=True, slots=True)
class _ReadBox:
    box_id: str
    intervals: dict[int, IntervalColumns]


def read_frequency(
    intervals: ShownIntervals, stays: Mapping[str, Sequence[Span]], start_ns: int, end_ns: int
) -> GridFrequency:
    """The frequency of the grid of some Boxes.

    Args:
        stays: Box -> when it was of the grid or the place, each moment once.
    """
    step_ns = READ_DAYS * DAY_NS
    first_ns = (start_ns // DAY_NS) * DAY_NS + step_ns
    edges_ns = [start_ns, *range(first_ns, end_ns, step_ns), max(start_ns, end_ns)]
    return grid_frequency_over(_read(intervals, stays, *span) for span in pairwise(edges_ns))


def _read(
    intervals: ShownIntervals, stays: Mapping[str, Sequence[Span]], start_ns: int, end_ns: int
) -> Iterator[_ReadBox]:
    for box_id, own in stays.items():
        for first_ns, last_ns in own:
            span = max(first_ns, start_ns), min(last_ns, end_ns)
            if span[0] < span[1]:
                read = {each: intervals.read(box_id, each, *span, QUANTITIES) for each in LENGTHS_MS}
                yield _ReadBox(box_id, {each: rows for each, rows in read.items() if len(rows.start_ns)})


def box_extremes(
    intervals: ShownIntervals, box_id: str, stays: Sequence[Span], start_ns: int, end_ns: int
) -> tuple[float, float]:
    """Lowest and highest frequency of one Box, the same as of `read_frequency`; NaN where nothing is known.

    A whole day is read as a summary where intervals of one length state it. Other days are read only while
    they may have the lowest or the highest value, so that a year of 10 s is not.
    """
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
        index = read_frequency(intervals, {box_id: sorted(spans)}, start_ns, end_ns).index
        if math.isnan(index.nadir_hz):
            return low, high
        return min(low, index.nadir_hz), max(high, index.zenith_hz)

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
