"""Reads any quantity of a Box, of several as one, or of a week, over any span: rows, coverage, gaps, spread.

Rows come from the trends (`drawing.box_history`) or from the intervals of class A, whose days are summed
where a span is long. All of it is NumPy columns of one quantity.
"""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.intervals.distribution import IntervalSummary, summed
from opq_cloud.store.intervals.served_phases import IntervalReader, chosen_rows, one_after_the_other
from opq_cloud.store.records.interval_reading import DAY_MS
from opq_cloud.store.records.intervals import IntervalRecords, SummaryRow
from opq_cloud.store.store import ShownStore
from opq_cloud.view.pages.drawing.box_history import BoxHistory, missing_spans, read_history
from opq_cloud.view.pages.drawing.local_weeks import WEEK_MS, LocalSpan, skipped_places, week_place_ms
from opq_cloud.view.pages.past.quantities import PastQuantity
from opq_cloud.view.pages.past.served_lines import SiteReader, StayRows, Stays, begins_in
from opq_cloud.view.pages.visible.counted import HiddenBox as HiddenBox
from opq_cloud.view.pages.visible.counted import usable_values
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.web.time_span import TimeSpan
from opq_measure.standards.requirements import percentile
from opq_proto.measurement.intervals import INTERVAL_WORDS, TEN_MINUTES_MS
from opq_proto.trend_histogram import bin_middle

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
ROWS_DRAWN = 750
"""Rows of one Box in a chart, at most."""
ROWS_READ = 12_000
"""Rows of all Boxes of a chart together, at most: with more Boxes the rows are longer."""
FEWEST_ROWS = 60
RAW_DAYS = 400
"""Class A of a longer span is read from summaries of days."""
HARMONIC_DAYS = 62
"""The same for harmonics: summaries of 50 orders are faster than intervals from here on."""
SHORT_DAYS = 2
"""Class A of a shorter span is read from the short intervals, if they are stored."""
CLASS_A_STEPS_MS: Final = (1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, DAY_MS)
SETTLED_MS = 900_000
"""An interval arrives this long after its end at most, unless a connection failed."""
NS_PER_MS = 1_000_000
OF_EVENTS = ("rms_v", "trans_v")
"""Quantities whose lowest and highest values are those of events."""


@dataclass(frozen=True, eq=False, slots=True)
class Spread:
    """How long each value was measured."""

    values: Floats
    """(b,) rising."""
    weights: Floats

    def quantile(self, share: float) -> float:
        """The value that this share (0 to 1) of the time lay at or below; NaN without any."""
        if not len(self.values):
            return math.nan
        passed = np.cumsum(self.weights)
        at = int(np.searchsorted(passed, share * passed[-1] * (1 - 1e-12)))
        return float(self.values[min(at, len(self.values) - 1)])


NOTHING: Final = Spread(np.empty(0), np.empty(0))


@dataclass(frozen=True, eq=False, slots=True)
class PastSeries:
    """One line of a chart: (n,) rows of one length, in time order; NaN is unknown."""

    words: str
    box_ids: tuple[str, ...]
    source: str
    """Where its values come from: `trends`, `class A, 10 min`; empty where nothing is stored."""
    step_ms: int
    at_ms: Whole
    """Since 1970, or since Monday 00:00 by the local clock."""
    low: Floats
    mean: Floats
    high: Floats
    coverage: Floats
    flagged: NDArray[np.bool_]
    start_ms: int
    """From here the Boxes are expected: the beginning, or when the first of them was heard."""
    until_ms: int
    """Up to here."""
    spread: Spread
    flagged_share: float = 0.0
    whole: tuple[float, float, float] | None = None
    """Lowest, mean and highest, by `whole_of`; None: of the rows."""

    @property
    def gaps(self) -> tuple[tuple[int, int], ...]:
        """Stretches of whole rows without a value."""
        return missing_spans(self.at_ms.tolist(), self.start_ms, self.until_ms, self.step_ms)

    @property
    def measured(self) -> float:
        """The measured share of the expected time."""
        expected = self.until_ms - self.start_ms
        if expected <= 0:
            return 0.0
        ends = np.minimum(self.at_ms + self.step_ms, self.until_ms)
        inside = np.clip(ends - np.maximum(self.at_ms, self.start_ms), 0, None)
        return min(1.0, float(np.sum(np.minimum(inside, self.coverage * self.step_ms))) / expected)

    @property
    def figures(self) -> tuple[float, ...] | None:
        """Lowest, 5 %, median, mean, 95 %, 99 %, highest; None where nothing is known."""
        if not len(self.at_ms) or np.isnan(self.mean).all():
            return None
        nothing = np.zeros(len(self.at_ms), np.bool_)
        least, mean, most = self.whole or whole_of(
            self.low, self.mean, self.high, self.coverage, nothing, "rms_v"
        )
        spread = self.spread if len(self.spread.values) else spread_of(self.mean, self.coverage)
        p05, p50, p95, p99 = (
            min(max(spread.quantile(share), least), most) for share in (0.05, 0.5, 0.95, 0.99)
        )
        return least, p05, p50, mean, p95, p99, most


def whole_of(
    low: Floats, mean: Floats, high: Floats, coverage: Floats, flagged: NDArray[np.bool_], name: str
) -> tuple[float, float, float]:
    """Lowest, mean and highest of a span, as reports count: of values that no event flags, if there are some.

    A dip's depth and a transient are voltages, so that theirs count; its phase jump is not a frequency.
    """
    counted = np.ones(len(flagged), np.bool_) if name in OF_EVENTS else ~flagged
    counted &= ~np.isnan(mean)
    if not counted.any():
        counted = ~np.isnan(mean)
    weights = np.maximum(coverage[counted], 1e-9)
    average = float(np.sum(mean[counted] * weights) / weights.sum())
    least, most = float(np.nanmin(low[counted])), float(np.nanmax(high[counted]))
    return least, min(max(average, least), most), most


def spread_of(values: Floats, weights: Floats) -> Spread:
    """The spread of values, each as long as its weight; NaN is left out."""
    known = ~np.isnan(values)
    found, where = np.unique(values[known], return_inverse=True)
    return Spread(found, _counted(where, weights[known], len(found)))


def _counted(where: Whole, weights: Floats, many: int) -> Floats:
    return np.asarray(np.bincount(where, weights=weights, minlength=many), np.float64)


def rows_for(boxes: int) -> int:
    """Rows of each Box of a chart with so many Boxes."""
    return max(FEWEST_ROWS, min(ROWS_DRAWN, ROWS_READ // max(1, boxes)))


@dataclass(frozen=True, slots=True)
class PastReader:
    """Reads Boxes in one span."""

    store: ShownStore
    span: TimeSpan
    now_ms: int
    first_heard_ms: Callable[[str], float | None]
    percent: bool
    """Whether voltages are in percent of each Box's nominal voltage."""
    class_a: bool = False
    """Whether class A comes first for every quantity."""
    rows: int = ROWS_DRAWN
    stays: Stays = ()
    """The spans that count; empty: all."""

    def box(self, box: ShownBox, quantities: Sequence[PastQuantity]) -> Mapping[str, PastSeries]:
        """One Box: quantity -> rows."""
        keys = {each.name: (each.key, each.factor) for each in quantities if each.key}
        first = {each.name for each in quantities if each.interval and (each.class_a or self.class_a)}
        found = {each.name: self._class_a(box, each) for each in quantities if each.name in first}
        missing = {name for name in keys if name not in first or not len(found[name].at_ms)}
        if missing:
            wanted = {name: keys[name] for name in keys if name in missing}
            history = self.history(box.box_id, wanted)
            for each in quantities:
                if each.name in wanted:
                    trend = self._of_history(box, each, history)
                    if len(trend.at_ms) or each.name not in found:
                        found[each.name] = trend
        for each in quantities:
            if each.name not in found or not (len(found[each.name].at_ms) or each.name in first):
                found[each.name] = self._class_a(box, each)
        return found

    def history(self, box_id: str, keys: Mapping[str, tuple[str, float]]) -> BoxHistory:
        return read_history(
            StayRows(self.store, self.stays) if self.stays else self.store,
            box_id,
            self.span,
            self.now_ms,
            max(self.rows, self.span.length_ms // DAY_MS + 2),
            self.first_heard_ms(box_id),
            keys,
            incidents=0,
        )

    def site(self, box: ShownBox, quantity: PastQuantity, reader: SiteReader) -> PastSeries:
        """A quantity of the phases of a site together; nothing of a span that is too long to read."""
        if self.span.length_ms > RAW_DAYS * DAY_MS:
            return self._none(box, quantity.length_ms)
        return self._intervals(box, quantity, reader, quantity.length_ms)

    def _factor(self, box: ShownBox, quantity: PastQuantity) -> float:
        """The factor of a value in `unit` of the quantity."""
        return 100.0 / box.nominal_v if self.percent and quantity.name == "rms_v" else 1.0

    def _of_history(self, box: ShownBox, quantity: PastQuantity, history: BoxHistory) -> PastSeries:
        name, factor = quantity.name, self._factor(box, quantity)
        rows = [row for row in history.rows if name in row.values]
        three = np.array([row.values[name] for row in rows], np.float64).reshape(-1, 3) * factor
        counts = history.counts.get(name, {})
        bins = sorted(counts)
        scale = quantity.factor * factor
        spread = Spread(
            np.array([bin_middle(quantity.key, each) * scale for each in bins]),
            np.array([counts[each] for each in bins], np.float64),
        )
        at_ms = np.array([row.start_ms for row in rows], np.int64)
        flagged = np.array([bool(row.flagged) for row in rows], np.bool_)
        coverage = np.array([row.coverage for row in rows], np.float64)
        # limits of a longer row are already without flagged windows, except of wholly flagged minutes
        spoilt = flagged if history.step_ms <= TEN_MINUTES_MS else np.zeros_like(flagged)
        late_ms = 2 * history.step_ms if history.step_ms < 60_000 else 130_000
        start_ms, until_ms = self._expected(box.box_id, at_ms, history.step_ms, late_ms)
        return PastSeries(
            box.label,
            (box.box_id,),
            ("Measurements" if history.step_ms < 60_000 else "trends") if rows else "",
            history.step_ms,
            at_ms,
            three[:, 0],
            three[:, 1],
            three[:, 2],
            coverage,
            flagged,
            start_ms,
            until_ms,
            spread if bins else NOTHING,
            float(flagged.mean()) if rows else 0.0,
            whole_of(three[:, 0], three[:, 1], three[:, 2], coverage, spoilt, name)
            if len(rows) and not np.isnan(three[:, 1]).all()
            else None,
        )

    def _expected(self, box_id: str, at_ms: Whole, step_ms: int, late_ms: int) -> tuple[int, int]:
        """From when to when rows are expected: a row that has not ended, or is not stored yet, is not
        missing."""
        span, heard = self.span, self.first_heard_ms(box_id)
        until_ms = max(span.start_ms, min(span.end_ms, self.now_ms - late_ms))
        if len(at_ms):
            until_ms = max(until_ms, min(span.end_ms, self.now_ms, int(at_ms[-1]) + step_ms))
        since = until_ms if heard is None else round(heard)
        if len(at_ms):
            since = min(since, int(at_ms[0]))
        if self.stays:
            since = max(since, self.stays[0][0] // NS_PER_MS)
            until_ms = max(span.start_ms, min(until_ms, self.stays[-1][1] // NS_PER_MS))
        return min(until_ms, max(span.start_ms, since)), until_ms

    def _class_a(self, box: ShownBox, quantity: PastQuantity) -> PastSeries:
        """The intervals of a Box, or the summaries of its days where the span is long."""
        records = self.store.seen_intervals(box.box_id) if quantity.interval else None
        length_ms = quantity.length_ms
        if records is not None and quantity.short_ms and self.span.length_ms <= SHORT_DAYS * DAY_MS:
            found = self._intervals(box, quantity, records, quantity.short_ms)
            if len(found.at_ms):
                return found
        if records is not None and self.span.length_ms > RAW_DAYS * DAY_MS:
            return self._days(box, quantity, records)
        return self._intervals(box, quantity, records, length_ms)

    def _intervals(
        self, box: ShownBox, quantity: PastQuantity, records: IntervalReader | None, length_ms: int
    ) -> PastSeries:
        names = {quantity.interval, *quantity.ends} - {""}
        span = self.span
        columns = (
            None
            if records is None
            else records.read(
                box.box_id,
                length_ms,
                span.start_ms // length_ms * length_ms * NS_PER_MS,
                span.end_ms * NS_PER_MS,
                names,
            )
        )
        if columns is not None and self.stays:
            at_ns = columns.start_ns.tolist()
            there = [begins_in(self.stays, each // NS_PER_MS, length_ms) for each in at_ns]
            columns = chosen_rows(columns, np.flatnonzero(there))
        if columns is None or quantity.interval not in columns.values or not len(columns.start_ns):
            return self._none(box, length_ms)
        factor = self._volts(box, quantity) * quantity.factor * self._factor(box, quantity)

        def of(name: str) -> Floats | None:
            value = columns.values.get(name)
            if value is None:
                return None
            if quantity.place is None:
                return np.asarray(value, np.float64) * factor
            if value.ndim < 2 or value.shape[1] <= quantity.place:
                return None
            return np.asarray(value[:, quantity.place], np.float64) * factor

        mean = of(quantity.interval)
        if mean is None:
            return self._none(box, length_ms)
        low, high = (
            mean if each is None else np.where(np.isnan(each), mean, each) for each in map(of, quantity.ends)
        )
        kept = ~np.isnan(mean)
        at_ms = columns.start_ns[kept] // NS_PER_MS
        flags, cover = (
            columns.flagged[kept],
            np.nan_to_num(columns.coverage[kept].astype(np.float64), nan=1.0),
        )
        low, mean, high = low[kept], mean[kept], high[kept]
        if not len(at_ms):
            return self._none(box, length_ms)
        clean = ~flags if not flags.all() else np.ones(len(flags), np.bool_)
        spread = spread_of(mean[clean], np.ones(int(clean.sum())))
        whole = whole_of(low, mean, high, cover, flags, quantity.name)
        step_ms = _step(length_ms, span.length_ms, self.rows)
        share = float(flags.mean())
        firsts = np.flatnonzero(np.diff(at_ms // step_ms, prepend=-1))
        weights = np.maximum(cover, 1e-9)
        total = np.add.reduceat(weights, firsts)
        starts, until = self._expected(box.box_id, at_ms, step_ms, SETTLED_MS + length_ms)
        return PastSeries(
            box.label,
            (box.box_id,),
            f"class A, {INTERVAL_WORDS[length_ms]}",
            step_ms,
            at_ms[firsts] // step_ms * step_ms,
            np.minimum.reduceat(low, firsts),
            np.add.reduceat(mean * weights, firsts) / total,
            np.maximum.reduceat(high, firsts),
            np.minimum(1.0, np.add.reduceat(cover, firsts) * length_ms / step_ms),
            np.logical_or.reduceat(flags, firsts),
            starts,
            until,
            spread,
            share,
            whole,
        )

    def _days(self, box: ShownBox, quantity: PastQuantity, records: IntervalRecords) -> PastSeries:
        names = {quantity.interval, *quantity.ends} - {""}
        span, place = self.span, quantity.place or 0
        first = span.start_ms // DAY_MS * DAY_MS * NS_PER_MS
        days = records.days(box.box_id, quantity.length_ms, first, span.end_ms * NS_PER_MS, names)
        rows = [row for row in days if begins_in(self.stays, row.start_ms, DAY_MS)]
        factor = self._volts(box, quantity) * quantity.factor * self._factor(box, quantity)
        known = [row for row in rows if (quantity.interval, place, False) in row.summary.parts]
        if not known:
            return self._none(box, DAY_MS)
        at_ms = np.array([row.start_ms for row in known], np.int64)
        three = np.array([_three(row.summary, quantity, place) for row in known]) * factor
        parts = [row.summary.parts[quantity.interval, place, False] for row in known]
        bins = np.concatenate([part.bins for part in parts])
        places, where = np.unique(bins, return_inverse=True)
        weights = np.concatenate([part.counts for part in parts]).astype(np.float64)
        counts = _counted(where, weights, len(places))
        starts, until = self._expected(box.box_id, at_ms, DAY_MS, SETTLED_MS + quantity.length_ms)
        intervals = sum(row.summary.intervals for row in known)
        return PastSeries(
            box.label,
            (box.box_id,),
            f"class A, {INTERVAL_WORDS[quantity.length_ms]}",
            DAY_MS,
            at_ms,
            three[:, 0],
            three[:, 1],
            three[:, 2],
            np.minimum(1.0, np.array([row.summary.covered for row in known]) * quantity.length_ms / DAY_MS),
            np.array([row.summary.flagged > 0 for row in known], np.bool_),
            starts,
            until,
            Spread((places + 0.5) * parts[0].width * factor, counts),
            sum(row.summary.flagged for row in known) / max(1, intervals),
            _whole_of_days(rows, quantity, place, three, factor),
        )

    def _volts(self, box: ShownBox, quantity: PastQuantity) -> float:
        return 1.0 / box.nominal_v if quantity.of_nominal else 1.0

    def nothing(self, box: ShownBox, quantity: PastQuantity) -> PastSeries:
        """A line without values."""
        return self._none(box, quantity.length_ms)

    def _none(self, box: ShownBox, step_ms: int) -> PastSeries:
        nothing = np.empty(0)
        start_ms, until_ms = self._expected(box.box_id, np.empty(0, np.int64), step_ms, SETTLED_MS + step_ms)
        return PastSeries(
            box.label,
            (box.box_id,),
            "",
            step_ms,
            np.empty(0, np.int64),
            nothing,
            nothing,
            nothing,
            nothing,
            np.empty(0, np.bool_),
            start_ms,
            until_ms,
            NOTHING,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Harmonics:
    """The harmonics of a Box over a span: of its intervals, or of summaries where it is long."""

    intervals: int
    flagged: int
    volts: Floats | None = None
    """(n, orders) of the intervals that are not flagged."""
    summary: IntervalSummary | None = None

    @property
    def orders(self) -> int:
        if self.summary is not None:
            return self.summary.orders("harmonics_v")
        return 0 if self.volts is None or not len(self.volts) else self.volts.shape[1]

    def percent(self, order: int, share: float, basis_v: float | None) -> tuple[float, float]:
        """The value that a share of the intervals does not exceed, and the highest, in percent.

        `basis_v` is 100 %; None: each interval's own fundamental, or of summaries the median of all.
        """
        if self.volts is not None:
            whole = self.volts[:, 0] if basis_v is None else basis_v
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = 100 * self.volts[:, order - 1] / whole
            known = ratios[np.isfinite(ratios)]
            return percentile(known, 100 * share), float(known.max()) if len(known) else math.nan
        if self.summary is None:
            return math.nan, math.nan
        fundamental = self.summary.distribution("harmonics_v", 0, flagged=False).quantile(0.5)
        own = self.summary.distribution("harmonics_v", order - 1, flagged=False)
        scale = 100 / (basis_v or fundamental or math.nan)
        value = own.quantile(share)
        return (math.nan if value is None else value * scale), own.most * scale


def read_harmonics(store: ShownStore, box_id: str, span: TimeSpan, stays: Stays = ()) -> Harmonics:
    """The harmonics of ten-minute intervals in a span, or in these parts of it."""
    records, names = store.seen_intervals(box_id), ("harmonics_v",)
    whole = span.start_ms * NS_PER_MS, span.end_ms * NS_PER_MS
    parts = [(max(first, whole[0]), min(last, whole[1])) for first, last in stays or (whole,)]
    if records is None:
        return Harmonics(0, 0)
    if span.length_ms > HARMONIC_DAYS * DAY_MS:
        summary = summed([records.summary(box_id, TEN_MINUTES_MS, *part, names) for part in parts])
        return Harmonics(summary.intervals, summary.flagged, None, summary)
    read = [records.read(box_id, TEN_MINUTES_MS, *part, names) for part in parts]
    columns = one_after_the_other(box_id, TEN_MINUTES_MS, read)
    volts, flags = columns.values.get(names[0]), columns.flagged
    found = None if volts is None else np.asarray(volts[~flags], np.float64)
    return Harmonics(len(flags), int(flags.sum()), found)


def _three(summary: IntervalSummary, quantity: PastQuantity, place: int) -> tuple[float, float, float]:
    """Lowest, mean and highest of a day, without flagged intervals."""
    own = summary.parts[quantity.interval, place, False]
    low, high = (summary.parts.get((name, place, False), own) for name in quantity.ends)
    return low.least, own.total / max(1, own.count), high.most


def _whole_of_days(
    rows: Sequence[SummaryRow], quantity: PastQuantity, place: int, three: Floats, factor: float
) -> tuple[float, float, float] | None:
    """That of days, with the flagged intervals of a voltage; None: of the rows."""
    if quantity.name not in OF_EVENTS:
        return None
    low, high = (
        [part for row in rows if (part := row.summary.parts.get((name, place, True))) and part.count]
        for name in quantity.ends
    )
    least = min([three[:, 0].min(), *(each.least * factor for each in low)])
    most = max([three[:, 2].max(), *(each.most * factor for each in high)])
    return float(least), float(three[:, 1].mean()), float(most)


def _step(length_ms: int, span_ms: int, rows: int) -> int:
    """The shortest length of a row, a whole number of intervals, with at most so many rows."""
    if span_ms / length_ms <= rows:
        return length_ms
    steps = [60_000, 600_000, *CLASS_A_STEPS_MS] if length_ms < 60_000 else list(CLASS_A_STEPS_MS)
    return next((each for each in steps if each >= length_ms and span_ms / each <= rows), DAY_MS)


def _outer(parts: Sequence[PastSeries]) -> tuple[float, float, float] | None:
    """Of several lines, the mean by the time that each measured."""
    known = [(part.whole, float(part.coverage.sum()) * part.step_ms) for part in parts if part.whole]
    total = sum(weight for _, weight in known)
    if len(known) < len(parts) or total <= 0:
        return None
    mean = sum(whole[1] * weight for whole, weight in known) / total
    return min(whole[0] for whole, _ in known), mean, max(whole[2] for whole, _ in known)


def joined(words: str, parts: Sequence[PastSeries], hidden: Sequence[HiddenBox] = ()) -> PastSeries:
    """Several Boxes as one line; the last of `parts` are those of `hidden`, which are shown as figures only.

    Without hidden ones: the outer limits, and the mean by the time that each measured. With them: medians,
    which are not of a single Box. A hidden Box counts in the rows for which those that have one have enough
    owners. What one Box alone decides is not taken from hidden ones: marks, gaps, the beginning and the end.
    """
    known = [part for part in parts if len(part.at_ms)]
    if not known:
        return replace(parts[0], words=words, box_ids=tuple(i for part in parts for i in part.box_ids))
    at_ms = np.unique(np.concatenate([part.at_ms for part in known]))
    shape = (len(parts), len(at_ms))
    low, mean, high = (np.full(shape, np.nan) for _ in range(3))
    cover, flagged = np.zeros(shape), np.zeros(len(at_ms), np.bool_)
    shown = parts[: len(parts) - len(hidden)]
    for row, part in enumerate(parts):
        where = np.searchsorted(at_ms, part.at_ms)
        low[row, where], mean[row, where], high[row, where] = part.low, part.mean, part.high
        cover[row, where] = part.coverage
        if row < len(shown):
            flagged[where] |= part.flagged
    step_ms = max(part.step_ms for part in known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a row that no Box has stays NaN
        if hidden:
            used = usable_values(~np.isnan(mean[len(shown) :]), hidden)
            for table in (low, mean, high):
                table[len(shown) :][~used] = np.nan
            cover[len(shown) :] = used
            lows, means, highs = (np.nanmedian(table, axis=0) for table in (low, mean, high))
            spread = spread_of(means, np.ones(len(means)))
        else:
            weights = np.where(np.isnan(mean), 0.0, np.maximum(cover, 1e-9))
            lows, highs = np.nanmin(low, axis=0), np.nanmax(high, axis=0)
            means = np.nansum(mean * weights, axis=0) / weights.sum(axis=0)
            spread = spread_of(
                np.concatenate([part.spread.values for part in known]),
                np.concatenate([part.spread.weights for part in known]),
            )
    kept = ~np.isnan(means)
    starts, ends = [part.start_ms for part in shown], [part.until_ms for part in shown]
    if hidden:
        starts, ends = [*starts, *at_ms[kept][:1].tolist()], [*ends, *(at_ms[kept][-1:] + step_ms).tolist()]
    start_ms, until_ms = min(starts, default=0), max(ends, default=0)
    expected = [max(1, part.until_ms - part.start_ms) for part in shown]
    share = sum(part.flagged_share * long for part, long in zip(shown, expected, strict=True))
    return PastSeries(
        words,
        tuple(i for part in parts for i in part.box_ids),
        known[0].source,
        step_ms,
        at_ms[kept],
        lows[kept],
        means[kept],
        highs[kept],
        (cover.sum(axis=0) / len(parts))[kept],
        flagged[kept],
        start_ms,
        until_ms,
        spread,
        share / max(1, sum(expected)),
        _outer(known) if not hidden else None,
    )


def after_one_another(words: str, parts: Sequence[PastSeries]) -> PastSeries:
    """The Boxes of one phase, or one Box with other nominal values, as one line.

    It is expected as long as one of them is: a Box that sent nothing in its time leaves a hole.
    """
    known = [part for part in parts if len(part.at_ms)]
    expected = [part for part in parts if part.until_ms > part.start_ms] or parts
    found = (known or parts)[0]
    if len(known) > 1:
        found, rows = joined(words, known), [len(part.at_ms) for part in known]
        share = sum(part.flagged_share * many for part, many in zip(known, rows, strict=True)) / sum(rows)
        coverage = np.minimum(1.0, found.coverage * len(known))
        found = replace(found, coverage=coverage, flagged_share=share)
    return replace(
        found,
        words=words,
        box_ids=tuple(i for part in parts for i in part.box_ids),
        start_ms=min(part.start_ms for part in expected),
        until_ms=max(part.until_ms for part in expected),
    )


def in_week(series: PastSeries, week: LocalSpan, zone: ZoneInfo) -> PastSeries:
    """The same by what the local clock shows: rows of an hour that comes twice are one."""
    places = np.array([week_place_ms(int(at), week.first, zone) for at in series.at_ms], np.int64)
    inside = (series.at_ms >= week.start_ms) & (series.at_ms < week.end_ms)
    places = places[inside] // series.step_ms * series.step_ms
    order = np.argsort(places, kind="stable")
    at_ms, firsts = np.unique(places[order], return_index=True)
    counts = np.diff(np.append(firsts, len(order)))

    def picked(values: Floats) -> Floats:
        return np.asarray(values[inside][order], np.float64)

    until = WEEK_MS if series.until_ms >= week.end_ms else week_place_ms(series.until_ms, week.first, zone)
    if not len(at_ms):
        firsts = np.empty(0, np.int64)
    reduce = len(at_ms) > 0
    return replace(
        series,
        at_ms=at_ms,
        low=np.minimum.reduceat(picked(series.low), firsts) if reduce else np.empty(0),
        mean=np.add.reduceat(picked(series.mean), firsts) / counts if reduce else np.empty(0),
        high=np.maximum.reduceat(picked(series.high), firsts) if reduce else np.empty(0),
        coverage=np.add.reduceat(picked(series.coverage), firsts) / counts if reduce else np.empty(0),
        flagged=np.logical_or.reduceat(series.flagged[inside][order], firsts)
        if reduce
        else np.empty(0, np.bool_),
        start_ms=max(0, week_place_ms(max(series.start_ms, week.start_ms), week.first, zone)),
        until_ms=max(0, until),
    )


def without_skipped(
    gaps: Sequence[tuple[int, int]], week: LocalSpan, zone: ZoneInfo
) -> tuple[tuple[int, int], ...]:
    """Gaps of a week without the hour that its clock skips."""
    found = list(gaps)
    for first, last in skipped_places(week, zone):
        found = [
            part
            for start, end in found
            for part in ((start, min(end, first)), (max(start, last), end))
            if part[0] < part[1]
        ]
    return tuple(found)
