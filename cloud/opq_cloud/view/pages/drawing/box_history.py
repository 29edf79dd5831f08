"""A Box over any span from minutes to years: rows of one length, coverage, gaps, incidents, percentiles.

The rows come from the levels of the trends (`opq_cloud.store.trends.pyramid`), so that any span costs the
same few rows; spans up to ten minutes come from the Measurements themselves, while they are stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from opq_cloud.store.incidents.index import IncidentFilter, IndexedIncident
from opq_cloud.store.store import QUERY_ROWS, ShownStore
from opq_cloud.store.trends.pyramid import LONGEST_MS, MAX_ROWS, SETTLE_MS, level_for
from opq_cloud.view.live.recent import window_ms
from opq_cloud.view.pages.drawing.charts import Bucket, Spread, buckets
from opq_cloud.view.web.time_span import DEFAULT, PRESETS, TimeSpan, read_span
from opq_proto.measurement.fields import DRAWN_KEYS
from opq_proto.measurement.flagged import flags_of_trend, has_no_limits, is_all_flagged
from opq_proto.messages import TREND_MS, Measurement, Trend
from opq_proto.time_units import DAY_MS, HOUR_MS
from opq_proto.trend_histogram import bin_of, quantile
from opq_proto.wire.counted_once import counted_once

MEASURED_MS = 600_000
"""Spans up to this are drawn from Measurements, which are stored for a day."""
MEASURED_STEP_MS = 2_000
INCIDENTS_SHOWN = 200
SHARES = (0.05, 0.5, 0.95)
Keys = Mapping[str, tuple[str, float]]
Counts = dict[str, dict[int, int]]
MINUTES_READ_MS = 6 * HOUR_MS
"""The longest of PRESETS below DEFAULT: within it, a Box's first data is searched by the minute."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One stretch: (min, mean, max) of each metric or None, and the share of it that was measured."""

    start_ms: int
    coverage: float
    values: dict[str, Spread]
    """By the names of DRAWN_KEYS; unknown metrics are absent."""
    flagged: int = 0
    """The highest `continuity.FLAGGED` of its Measurements; 0: none is flagged."""
    without_limits: frozenset[str] = frozenset()
    """Names of values whose Measurements are all flagged, so that their mean stands for their limits."""


@dataclass(frozen=True, slots=True)
class BoxHistory:
    """The content of a chart of a span."""

    span: TimeSpan
    step_ms: int
    rows: tuple[HistoryRow, ...]
    gaps: tuple[tuple[int, int], ...]
    """Spans of whole rows without any Measurement, (start, end) in ms, except the last minutes before now."""
    coverage: float
    """The measured share of the span, from when the Box was first heard up to now."""
    incidents: tuple[IndexedIncident, ...]
    """The incidents of this Box, newest first."""
    percentiles: dict[str, tuple[float, float, float]]
    """The values with 5, 50, 95 % of the time at or below: of minute means, in short spans of 2-s means."""
    first_heard_ms: int | None = None
    """The moment within the span at which the Box was first heard: before it, it was not installed yet."""


@dataclass(frozen=True, slots=True)
class HistoryRows:
    """The rows of a Box in a span, of one length."""

    step_ms: int
    rows: tuple[HistoryRow, ...]
    counts: Mapping[str, Mapping[int, int]]
    """Metric -> bin of `trend_histogram` -> seconds; empty for metrics without a histogram."""


class RowStore(Protocol):
    """What rows are read from: a `ShownStore`, or some spans of one."""

    def measurements(
        self, box_id: str, start_ms: int, end_ms: int, limit: int = QUERY_ROWS
    ) -> list[Measurement]: ...

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]: ...


def read_rows(
    store: RowStore, box_id: str, span: TimeSpan, now_ms: int, most: int, keys: Keys = DRAWN_KEYS
) -> HistoryRows:
    """Reads at most so many rows.

    `keys`: name of each metric -> key on the wire, and the factor of its values.

    Raises ValueError where no level has so few.
    """
    if span.length_ms <= MEASURED_MS and not keys.keys() - DRAWN_KEYS.keys():
        measured = measured_rows(store, box_id, span)
        if measured is not None:
            return HistoryRows(MEASURED_STEP_MS, measured, _counts_of_rows(measured))
    step_ms = level_for(span.start_ms, span.end_ms, most)
    trends = store.trend_rows(box_id, span.start_ms, min(span.end_ms, now_ms), step_ms)
    return HistoryRows(step_ms, tuple(_row(each, keys) for each in trends), _counts(trends, keys))


def read_history(
    store: ShownStore,
    box_id: str,
    span: TimeSpan,
    now_ms: int,
    rows: int = MAX_ROWS,
    first_heard_ms: float | None = 0.0,
) -> BoxHistory:
    """Reads at most `rows` rows; before `first_heard_ms` (None: never yet) there is no gap.

    Raises ValueError where no level has so few.
    """
    read = read_rows(store, box_id, span, now_ms, rows)
    step_ms, found = read.step_ms, read.rows
    # A row that has not ended, and the minute that no store has yet, are not gaps.
    late_ms = SETTLE_MS + TREND_MS if step_ms >= TREND_MS else 2 * step_ms
    until_ms = max(span.start_ms, min(span.end_ms, now_ms - late_ms))
    if found:
        until_ms = max(until_ms, min(span.end_ms, now_ms, found[-1].start_ms + step_ms))
    since_ms = min(
        until_ms, max(span.start_ms, until_ms if first_heard_ms is None else round(first_heard_ms))
    )
    wanted = IncidentFilter(box_id=box_id, start_ns=span.start_ms * 1_000_000, end_ns=span.end_ms * 1_000_000)
    return BoxHistory(
        span,
        step_ms,
        found,
        missing_spans([row.start_ms for row in found], since_ms, until_ms, step_ms),
        _coverage(found, since_ms, until_ms, step_ms),
        tuple(store.find_incidents(wanted, INCIDENTS_SHOWN)),
        _held_to_rows(_quantiles(read.counts), found),
        since_ms if since_ms > span.start_ms else None,
    )


def first_span(store: ShownStore, box_id: str, now_ms: int) -> TimeSpan:
    """The shortest span of PRESETS that holds a Box's first data, at most that of DEFAULT.

    DEFAULT is used for a Box with data before that span, and for one without any data in it.
    """
    default = read_span(*DEFAULT, now_ms)
    day_ms = default.start_ms // DAY_MS * DAY_MS
    hour_ms = (now_ms - MINUTES_READ_MS) // HOUR_MS * HOUR_MS
    if store.trend_rows(box_id, day_ms, hour_ms, HOUR_MS):
        return default
    minutes = store.trend_rows(box_id, hour_ms, now_ms, TREND_MS)
    if minutes:
        first_ms = minutes[0].start_ms
    elif store.measurements(box_id, now_ms - MEASURED_MS, now_ms, 1):
        first_ms = now_ms  # the first minute is not stored yet
    else:
        return default
    if store.trend_rows(box_id, now_ms - LONGEST_MS, day_ms, DAY_MS):
        return default
    offered = (read_span(f"now-{name}", "now", now_ms) for name in PRESETS)
    return next((span for span in offered if span.start_ms <= first_ms), default)


def _row(trend: Trend, keys: Keys) -> HistoryRow:
    values = {}
    for name, (key, scale) in keys.items():
        if (three := trend.metrics.get(key)) is not None:
            values[name] = (three[0] * scale, three[2] * scale, three[1] * scale)
    without: frozenset[str] = frozenset()
    if is_all_flagged(trend.metrics):
        without = frozenset(name for name, (key, _) in keys.items() if has_no_limits(trend.metrics, key))
    return HistoryRow(trend.start_ms, trend.coverage, values, flags_of_trend(trend.metrics), without)


def measured_rows(store: RowStore, box_id: str, span: TimeSpan) -> tuple[HistoryRow, ...] | None:
    """Rows of MEASURED_STEP_MS from Measurements; None where none are stored or they are longer."""
    measurements = store.measurements(box_id, span.start_ms, span.end_ms + MEASURED_STEP_MS)
    if not measurements or max(map(window_ms, measurements)) > MEASURED_STEP_MS:
        return None
    found = buckets(measurements, MEASURED_STEP_MS)
    covered_ms: dict[int, float] = {}
    for each in counted_once(measurements):
        start_ms = each.timestamp_ms // MEASURED_STEP_MS * MEASURED_STEP_MS
        covered_ms[start_ms] = covered_ms.get(start_ms, 0.0) + window_ms(each)
    return tuple(
        HistoryRow(
            each.start_ms,
            min(1.0, covered_ms.get(each.start_ms, 0.0) / MEASURED_STEP_MS),
            _values(each),
            each.flagged,
        )
        for each in found
        if each.start_ms < span.end_ms
    )


def _counts_of_rows(rows: Iterable[HistoryRow]) -> Counts:
    counts: Counts = {name: {} for name in DRAWN_KEYS}
    for row in rows:
        for name, (_, mean, _) in row.values.items():
            key, scale = DRAWN_KEYS[name]
            _count(counts[name], bin_of(key, mean / scale), 1)
    return counts


def _held_to_rows(
    percentiles: dict[str, tuple[float, float, float]], rows: Sequence[HistoryRow]
) -> dict[str, tuple[float, float, float]]:
    """Limits percentiles to the rows' values: the middle of a bin may lie beyond the lowest or highest."""
    held = dict(percentiles)
    for name, values in percentiles.items():
        if spreads := [row.values[name] for row in rows if name in row.values]:
            least, most = min(each[0] for each in spreads), max(each[2] for each in spreads)
            low, middle, high = (min(max(value, least), most) for value in values)
            held[name] = low, middle, high
    return held


def _values(bucket: Bucket) -> dict[str, Spread]:
    return {name: spread for name, spread in bucket.values.items() if spread is not None}


def _count(counts: dict[int, int], place: int | None, seconds: int) -> None:
    if place is not None:
        counts[place] = counts.get(place, 0) + seconds


def _counts(trends: Iterable[Trend], keys: Keys) -> Counts:
    counts: Counts = {name: {} for name in keys}
    for trend in trends:
        for name, (key, _) in keys.items():
            histogram = trend.histograms.get(key)
            if histogram is not None:
                histogram.add_to(counts[name])
            elif (three := trend.metrics.get(key)) is not None:
                _count(counts[name], bin_of(key, three[2]), max(1, round(trend.time_ms / 1000)))
    return counts


def _quantiles(counts: Mapping[str, Mapping[int, int]]) -> dict[str, tuple[float, float, float]]:
    found = {}
    for name, (key, scale) in DRAWN_KEYS.items():
        values = [quantile(key, counts[name], share) for share in SHARES]
        if None not in values:
            low, middle, high = (scale * value for value in values if value is not None)
            found[name] = (low, middle, high)
    return found


def missing_spans(
    starts_ms: Iterable[int], start_ms: int, until_ms: int, step_ms: int
) -> tuple[tuple[int, int], ...]:
    """The spans in [start_ms, until_ms) without a row; rows are in time order, `step_ms` long."""
    gaps = []
    after_ms = start_ms
    for row_ms in starts_ms:
        if row_ms > after_ms:
            gaps.append((after_ms, row_ms))
        after_ms = max(after_ms, row_ms + step_ms)
    if until_ms > after_ms:
        gaps.append((after_ms, until_ms))
    return tuple(gaps)


def _coverage(rows: tuple[HistoryRow, ...], start_ms: int, until_ms: int, step_ms: int) -> float:
    """The measured share of a span; a row that has not ended counts with its part so far."""
    if until_ms <= start_ms:
        return 0.0
    covered_ms = 0.0
    for row in rows:
        inside_ms = min(until_ms, row.start_ms + step_ms) - max(start_ms, row.start_ms)
        if inside_ms > 0:
            covered_ms += min(inside_ms, row.coverage * step_ms)
    return min(1.0, covered_ms / (until_ms - start_ms))
