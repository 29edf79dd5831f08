"""Reads the frequency of Boxes over a span of any length: indices and charts have one answer from here."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

from opq_cloud.reports.grid_frequency import (
    QUANTITIES,
    GridFrequency,
    grid_frequency_over,
    length_of_day_ms,
)
from opq_cloud.store.intervals.distribution import IntervalSummary, summary_of
from opq_cloud.store.records.intervals.interval_records import SummaryRow
from opq_proto.measurement.intervals import DAY_NS, TEN_MINUTES_MS, TEN_SECONDS_MS, IntervalColumns

LENGTHS_MS: Final = (TEN_SECONDS_MS, TEN_MINUTES_MS)
READ_DAYS: Final = 31
"""Days that are in memory at once."""
Span = tuple[int, int]
"""Beginning and end in ns."""


class FrequencyReader(Protocol):
    """The store's intervals, or those that one visitor may see."""

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> IntervalColumns: ...

    def days(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: Collection[str] | None = None
    ) -> list[SummaryRow]: ...


@dataclass(frozen=True, slots=True)
class _ReadBox:
    box_id: str
    intervals: dict[int, IntervalColumns]


def read_frequency(
    intervals: FrequencyReader, stays: Mapping[str, Sequence[Span]], start_ns: int, end_ns: int
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
    intervals: FrequencyReader, stays: Mapping[str, Sequence[Span]], start_ns: int, end_ns: int
) -> Iterator[_ReadBox]:
    for box_id, own in stays.items():
        for first_ns, last_ns in own:
            span = max(first_ns, start_ns), min(last_ns, end_ns)
            if span[0] < span[1]:
                read = {each: intervals.read(box_id, each, *span, QUANTITIES) for each in LENGTHS_MS}
                yield _ReadBox(box_id, {each: rows for each, rows in read.items() if len(rows.start_ns)})


def box_extremes(
    intervals: FrequencyReader, box_id: str, stays: Sequence[Span], start_ns: int, end_ns: int
) -> tuple[float, float]:
    """Lowest and highest frequency of one Box, the same as of `read_frequency`; NaN where nothing is known.

    Whole days are read as summaries, so that a year of 10 s is not.
    """
    found = [(math.nan, math.nan)]
    for first_ns, last_ns in stays:
        span = max(first_ns, start_ns), min(last_ns, end_ns)
        if span[0] < span[1]:
            found += (_extremes(day) for day in _summaries(intervals, box_id, *span).values())
    lows, highs = ([each for each in ends if not math.isnan(each)] for ends in zip(*found, strict=True))
    return min(lows, default=math.nan), max(highs, default=math.nan)


def _summaries(
    intervals: FrequencyReader, box_id: str, start_ns: int, end_ns: int
) -> dict[int, dict[int, IntervalSummary]]:
    """Day -> length in ms -> what is known of the day, or of the part of it that is in the span."""
    first, last = -(-start_ns // DAY_NS) * DAY_NS, end_ns // DAY_NS * DAY_NS
    days: dict[int, dict[int, IntervalSummary]] = {}
    for length_ms in LENGTHS_MS:
        for row in intervals.days(box_id, length_ms, first, last, QUANTITIES) if first < last else ():
            days.setdefault(row.start_ms * 10**6 // DAY_NS, {})[length_ms] = row.summary
        for span in {(start_ns, min(first, end_ns)), (max(last, start_ns), end_ns)}:
            if span[0] < span[1]:
                part = summary_of(intervals.read(box_id, length_ms, *span, QUANTITIES))
                days.setdefault(span[0] // DAY_NS, {})[length_ms] = part
    return days


def _extremes(day: Mapping[int, IntervalSummary]) -> tuple[float, float]:
    own = {each: day.get(each, IntervalSummary()) for each in LENGTHS_MS}
    known = {each: summary.distribution("f_hz", flagged=False).count for each, summary in own.items()}
    length_ms = length_of_day_ms(known)
    if not known[length_ms]:
        return math.nan, math.nan
    names = QUANTITIES if length_ms == TEN_MINUTES_MS else QUANTITIES[:1]
    parts = [own[length_ms].distribution(name, flagged=False) for name in names]
    known_parts = [part for part in parts if part.count]
    return min(part.least for part in known_parts), max(part.most for part in known_parts)
