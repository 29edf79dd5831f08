"""One metric of Boxes over a span, or over overlaid weeks: rows, coverage, gaps, percentiles.

The rows come from the levels of the trends (`store.pyramid`), so that years cost as few rows as hours; those
of short spans come from the Measurements, while they are stored. The rows of several Boxes are joined: by the
outer limits, by the mean weighted with the time that each measured, and by the sum of their histograms of
one-minute means.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from opq_cloud.store.store import ShownStore
from opq_cloud.store.trends.pyramid import DAY_MS, HOUR_MS, SETTLE_MS, TEN_MINUTES_MS, level_for
from opq_cloud.view.pages.drawing.box_history import (
    MEASURED_MS,
    MEASURED_STEP_MS,
    SHARES,
    measured_rows,
    missing_spans,
)
from opq_cloud.view.pages.drawing.local_weeks import (
    WEEK_MS,
    LocalSpan,
    skipped_places,
    week_place_ms,
    whole_hours,
)
from opq_cloud.view.web.time_span import TimeSpan
from opq_proto.measurement.continuity import FLAGGED
from opq_proto.measurement.fields import DRAWN_KEYS
from opq_proto.measurement.flagged import flags_of_trend
from opq_proto.messages import TREND_MS, Trend
from opq_proto.trend_histogram import bin_middle, bin_of

ROWS_DRAWN = 750
"""Rows of one Box."""
ROWS_READ = 12_000
"""Rows of all Boxes of a chart: with more Boxes the rows are longer."""
BOXES_READ = 50
"""Boxes of a group: always the same ones, spread over the whole group."""
TEN_MINUTES_REACH_MS = 390 * DAY_MS
"""Rows of ten minutes are stored a little longer than this."""


@dataclass(frozen=True, slots=True)
class PastRow:
    """One stretch of an axis; `at_ms` counts from 1970, or from Monday by the local clock."""

    at_ms: int
    coverage: float
    low: float
    mean: float
    high: float
    band: tuple[float, float] | None
    """Nine tenths of the one-minute means lie between these."""
    flagged: int = 0
    """The highest `continuity.FLAGGED` of its Measurements; 0: none is flagged."""


@dataclass(frozen=True, slots=True)
class PastFigures:
    """Figures of a whole series; percentiles are those of one-minute means."""

    least: float
    p05: float
    p50: float
    mean: float
    p95: float
    most: float


@dataclass(frozen=True, slots=True)
class PastSeries:
    """One line of a chart."""

    words: str
    box_ids: tuple[str, ...]
    step_ms: int
    rows: tuple[PastRow, ...]
    gaps: tuple[tuple[int, int], ...]
    """Stretches of whole rows without a measured value, [start, end) on the axis."""
    coverage: float
    figures: PastFigures | None
    """None where nothing is stored."""
    since_ms: int = 0
    """When the first of its Boxes was heard: before it, none was installed."""


Factors = Mapping[str, float]
"""Box -> factor of a value in SI units: 1, or 100 over the Box's nominal voltage."""


def read_span_series(
    store: ShownStore,
    words: str,
    factors: Factors,
    metric: str,
    span: TimeSpan,
    step_ms: int,
    now_ms: int,
    first_heard_ms: Callable[[str], float | None] = lambda box_id: 0.0,
) -> PastSeries:
    """One series of all Boxes of `factors`, in rows of `step_ms`.

    Each Box is expected from when it was first heard; None: never yet.
    """
    measured = step_ms < TREND_MS
    trends: dict[str, list[Trend]] = {}
    for box_id in factors:
        if measured:
            trends[box_id] = _trends_measured(store, box_id, metric, span)
        else:
            trends[box_id] = store.trend_rows(box_id, span.start_ms, min(span.end_ms, now_ms), step_ms)
    late_ms = 2 * step_ms if measured else SETTLE_MS + TREND_MS
    newest_ms = max((rows[-1].start_ms + step_ms for rows in trends.values() if rows), default=0)
    until_ms = max(span.start_ms, min(span.end_ms, now_ms - late_ms), min(newest_ms, span.end_ms, now_ms))
    rows, figures = rows_together(trends, factors, metric, lambda at_ms: at_ms)
    starts = [row.at_ms for row in rows]
    gaps = missing_spans(starts, span.start_ms, until_ms, step_ms)
    covered = _covered_ms(trends, metric, span.start_ms, until_ms)
    heard = [until_ms if at is None else round(at) for at in map(first_heard_ms, factors)]
    since = [min(until_ms, max(span.start_ms, at_ms)) for at_ms in heard]
    whole_ms = max(1, sum(until_ms - at_ms for at_ms in since))
    share, first_ms = min(1.0, covered / whole_ms), min(since, default=span.start_ms)
    return PastSeries(words, tuple(factors), step_ms, rows, gaps, share, figures, first_ms)


def read_week_series(
    store: ShownStore,
    words: str,
    factors: Factors,
    metric: str,
    week: LocalSpan,
    zone: ZoneInfo,
    now_ms: int,
) -> PastSeries:
    """One local week by hours; by ten minutes where the zone's hours are not those of UTC."""
    fine = not whole_hours(week, zone) and now_ms - week.start_ms < TEN_MINUTES_REACH_MS
    step_ms = TEN_MINUTES_MS if fine else HOUR_MS
    trends = {
        box_id: [
            row
            for row in store.trend_rows(box_id, week.start_ms, min(week.end_ms, now_ms), step_ms)
            if row.start_ms >= week.start_ms
        ]
        for box_id in factors
    }
    rows, figures = rows_together(
        trends, factors, metric, lambda at_ms: week_place_ms(at_ms, week.first, zone) // step_ms * step_ms
    )
    newest_ms = max((each[-1].start_ms + step_ms for each in trends.values() if each), default=0)
    until_ms = max(min(week.end_ms, now_ms - SETTLE_MS - TREND_MS), min(newest_ms, week.end_ms, now_ms))
    until_ms = max(week.start_ms, until_ms)
    until_place = week_place_ms(until_ms, week.first, zone) if until_ms < week.end_ms else WEEK_MS
    gaps = missing_spans([row.at_ms for row in rows], 0, max(0, until_place), step_ms)
    gaps = without(gaps, skipped_places(week, zone))
    covered = _covered_ms(trends, metric, week.start_ms, until_ms)
    whole_ms = max(1, until_ms - week.start_ms) * max(1, len(factors))
    return PastSeries(words, tuple(factors), step_ms, rows, gaps, min(1.0, covered / whole_ms), figures)


def without(
    spans: Iterable[tuple[int, int]], removed: Iterable[tuple[int, int]]
) -> tuple[tuple[int, int], ...]:
    """The parts of the spans outside of `removed`; all are [start, end)."""
    found = list(spans)
    for first, last in removed:
        found = [
            part
            for start, end in found
            for part in ((start, min(end, first)), (max(start, last), end))
            if part[0] < part[1]
        ]
    return tuple(found)


def step_for(store: ShownStore, box_ids: Sequence[str], span: TimeSpan) -> int:
    """The length of a row; below a minute where each Box has Measurements of a short span."""
    short = span.length_ms <= MEASURED_MS and bool(box_ids)
    if short and all(measured_rows(store, box_id, span) for box_id in box_ids):
        return MEASURED_STEP_MS
    rows = min(ROWS_DRAWN, ROWS_READ // max(1, len(box_ids)))
    try:
        return level_for(span.start_ms, span.end_ms, rows)
    except ValueError:
        return DAY_MS


def _trends_measured(store: ShownStore, box_id: str, metric: str, span: TimeSpan) -> list[Trend]:
    """The rows of Measurements as trends."""
    key, scale = DRAWN_KEYS[metric]
    return [
        Trend(
            box_id,
            row.start_ms,
            {key: (low / scale, high / scale, mean / scale), FLAGGED: (float(row.flagged),) * 3},
            MEASURED_STEP_MS,
            round(row.coverage * MEASURED_STEP_MS),
        )
        for row in measured_rows(store, box_id, span) or ()
        if metric in row.values
        for low, mean, high in [row.values[metric]]
    ]


def _covered_ms(trends: Mapping[str, Iterable[Trend]], metric: str, start_ms: int, until_ms: int) -> float:
    """The measured time; a row that has not ended, or began before the span, counts with its part."""
    key = DRAWN_KEYS[metric][0]
    covered_ms = 0.0
    for rows in trends.values():
        for row in rows:
            inside_ms = min(until_ms, row.start_ms + row.length_ms) - max(start_ms, row.start_ms)
            if inside_ms > 0 and key in row.metrics:
                covered_ms += min(inside_ms, row.coverage * row.length_ms)
    return covered_ms


@dataclass(slots=True)
class _Place:
    """The sums for one place of the axis."""

    low: float
    high: float
    weighted: float = 0.0
    weight: float = 0.0
    covered_ms: float = 0.0
    flagged: int = 0


def rows_together(
    trends: Mapping[str, Sequence[Trend]], factors: Factors, metric: str, place_of: Callable[[int], int]
) -> tuple[tuple[PastRow, ...], PastFigures | None]:
    key, scale = DRAWN_KEYS[metric]
    places: dict[int, _Place] = {}
    counts: dict[int, dict[float, int]] = {}
    lengths: dict[int, set[int]] = {}
    for box_id, rows in trends.items():
        factor = scale * factors[box_id]
        for row in rows:
            at_ms = place_of(row.start_ms)
            lengths.setdefault(at_ms, set()).add(row.start_ms)
            three = row.metrics.get(key)
            if three is None:
                continue
            low, high, mean = (value * factor for value in three)
            place = places.get(at_ms)
            if place is None:
                place = places[at_ms] = _Place(low, high)
                counts[at_ms] = {}
            weight = max(1, row.time_ms)
            place.low, place.high = min(place.low, low), max(place.high, high)
            place.weighted += mean * weight
            place.weight += weight
            place.covered_ms += row.coverage * row.length_ms
            place.flagged = max(place.flagged, flags_of_trend(row.metrics))
            _count(counts[at_ms], row, key, three[2], factor)
    step_ms = next((row.length_ms for rows in trends.values() for row in rows), TREND_MS)
    found = []
    every: dict[float, int] = {}
    for at_ms in sorted(places):
        place, own = places[at_ms], counts[at_ms]
        for value, seconds in own.items():
            every[value] = every.get(value, 0) + seconds
        band = _quantiles(own, (SHARES[0], SHARES[-1])) if len(own) > 1 else None
        whole_ms = step_ms * max(1, len(trends)) * len(lengths[at_ms])
        coverage = min(1.0, place.covered_ms / whole_ms)
        mean = place.weighted / place.weight
        found.append(
            PastRow(
                at_ms,
                coverage,
                place.low,
                mean,
                place.high,
                (band[0], band[1]) if band else None,
                place.flagged,
            )
        )
    if not found:
        return (), None
    low, high = min(row.low for row in found), max(row.high for row in found)
    middles = _quantiles(every, SHARES) or (found[0].mean,) * 3
    p05, p50, p95 = (min(max(value, low), high) for value in middles)  # a bin's middle may lie outside
    whole_weight = sum(each.weight for each in places.values())
    weighted = sum(each.weighted for each in places.values())
    figures = PastFigures(low, p05, p50, weighted / whole_weight, p95, high)
    return tuple(found), figures


def _count(counts: dict[float, int], row: Trend, key: str, mean: float, factor: float) -> None:
    """Adds the seconds of a row, by value."""
    histogram = row.histograms.get(key)
    bins: dict[int, int] = {}
    if histogram is not None:
        histogram.add_to(bins)
    elif (only := bin_of(key, mean)) is not None:
        bins[only] = max(1, round(row.time_ms / 1000))
    for place, seconds in bins.items():
        value = _middle(key, place) * factor
        counts[value] = counts.get(value, 0) + seconds


_middle = lru_cache(maxsize=8192)(bin_middle)


def _quantiles(counts: Mapping[float, int], shares: Sequence[float]) -> tuple[float, ...] | None:
    """The values that these shares of the time lay at or below; None where there is no time."""
    if not counts:
        return None
    total = sum(counts.values())
    found: list[float] = []
    passed = 0
    for value in sorted(counts):
        passed += counts[value]
        while len(found) < len(shares) and passed >= shares[len(found)] * total:
            found.append(value)
    return tuple(found)
