"""Reads any quantity of a Box or a site over any span.

Rows come from the trends (`drawing.box_history`) or from the intervals of class A, whose days are summed
where a span is long. The ten minutes of a site are computed, a month after the other where it is long.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from opq_cloud.reports.frequency_reading import box_extremes, extremes_of_days, stating_intervals
from opq_cloud.store.intervals.served_phases import IntervalReader, chosen_rows
from opq_cloud.store.records.intervals.long_term import ShownIntervals
from opq_cloud.store.store import ShownStore
from opq_cloud.view.pages.drawing.box_history import HistoryRows, read_rows
from opq_cloud.view.pages.past.interval_values import (
    IntervalValues,
    changes_of,
    joined_values,
    three_of_day,
    values_of,
)
from opq_cloud.view.pages.past.lines_together import after_one_another
from opq_cloud.view.pages.past.quantities import PastQuantity
from opq_cloud.view.pages.past.series import (
    NOTHING,
    OF_EVENTS,
    PastSeries,
    Spread,
    Whole,
    counted_weights,
    spread_of,
    whole_of,
)
from opq_cloud.view.pages.past.served_lines import SiteReader, StayRows, Stays, begins_in
from opq_cloud.view.pages.visible.shown_box import ShownBox
from opq_cloud.view.web.time_span import TimeSpan
from opq_proto.measurement.intervals import INTERVAL_WORDS, TEN_MINUTES_MS, TEN_MINUTES_NS, IntervalColumns
from opq_proto.time_units import DAY_MS, DAY_NS, NS_PER_MS
from opq_proto.trend_histogram import bin_middle

ROWS_DRAWN = 750
"""Rows of one Box in a chart, at most."""
RAW_DAYS = 400
"""Class A of a longer span is read from summaries of days."""
PART_DAYS = 31
"""Days of a longer span that are read at once: a row of each."""
CHANGE_DAYS = 92
"""Changes of the frequency over a longer span are those of trends, or have a row a day where there are none:
124 days of intervals of 10 s, a million rows of a Box, take 8.7 s of CPU."""
SHORT_DAYS = 31
"""The frequency of a shorter span is read from intervals of 10 s where they state it."""
SETTLED_MS = 900_000
"""An interval arrives this long after its end at most, unless a connection failed."""
CLASS_A_STEPS_MS: Final = (1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, DAY_MS)


@dataclass(frozen=True, slots=True)
class PastReader:
    """Reads Boxes in one span."""

    store: ShownStore
    span: TimeSpan
    now_ms: int
    first_heard_ms: Callable[[str], float | None]
    percent: bool
    """Whether voltages are in percent of each Box's nominal voltage."""
    class_a: bool | None = None
    """Whether class A comes first for every quantity, or trends; None: what each quantity says."""
    rows: int = ROWS_DRAWN
    stays: Stays = ()
    """The spans that count; empty: all."""
    row_ms: int = 0
    """Length of a row of intervals; 0: the shortest with at most `rows`."""

    def box(self, box: ShownBox, quantities: Sequence[PastQuantity]) -> Mapping[str, PastSeries]:
        """One Box: quantity -> rows."""
        keys = {each.name: (each.key, each.factor) for each in quantities if each.key}
        is_long = self.span.length_ms > CHANGE_DAYS * DAY_MS
        kept = [each for each in quantities if each.interval or (each.of_changes and not is_long)]
        first = {each.name for each in kept if (each.class_a if self.class_a is None else self.class_a)}
        found = {each.name: self._class_a(box, each) for each in quantities if each.name in first}
        missing = {name for name in keys if name not in first or not len(found[name].at_ms)}
        if missing:
            wanted = {name: keys[name] for name in keys if name in missing}
            history = self.history(box.box_id, wanted)
            for each in quantities:
                if each.name in wanted:
                    trend = self._of_history(box, each, history)
                    no_interval = each.name in first and self.span.length_ms <= SHORT_DAYS * DAY_MS
                    if each.short_ms and len(trend.at_ms) and not no_interval:
                        trend = self._as_judged(box, each, trend)
                    if len(trend.at_ms) or each.name not in found:
                        found[each.name] = trend
        for each in quantities:
            if each.name not in found or not (len(found[each.name].at_ms) or each.name in first):
                found[each.name] = self._class_a(box, each)
        return found

    def history(self, box_id: str, keys: Mapping[str, tuple[str, float]]) -> HistoryRows:
        store = StayRows(self.store, self.stays) if self.stays else self.store
        most = max(self.rows, self.span.length_ms // DAY_MS + 2)
        return read_rows(store, box_id, self.span, self.now_ms, most, keys)

    def site(self, box: ShownBox, quantity: PastQuantity, reader: SiteReader) -> PastSeries:
        """A quantity of the phases of a site together."""
        if self.span.length_ms <= RAW_DAYS * DAY_MS:
            return self._intervals(box, quantity, reader, quantity.length_ms)
        read = [each._intervals(box, quantity, reader, quantity.length_ms) for each in self._parts()]
        return after_one_another(box.label, read)

    def _parts(self) -> "Iterator[PastReader]":
        """Readers of the parts of a long span, with a row a day."""
        first_ms = self.span.start_ms // DAY_MS * DAY_MS
        edges = [*range(first_ms, self.span.end_ms, PART_DAYS * DAY_MS), self.span.end_ms]
        edges[0] = self.span.start_ms
        for start, end in pairwise(edges):
            yield replace(self, span=replace(self.span, start_ms=start, end_ms=end), row_ms=DAY_MS)

    def _factor(self, box: ShownBox, quantity: PastQuantity) -> float:
        """The factor of a value in `unit` of the quantity."""
        return 100.0 / box.nominal_v if self.percent and quantity.name == "rms_v" else 1.0

    def _of_history(self, box: ShownBox, quantity: PastQuantity, history: HistoryRows) -> PastSeries:
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
        if name in OF_EVENTS:
            left_out = np.zeros(len(rows), np.bool_)
        elif history.step_ms <= TEN_MINUTES_MS:
            left_out = flagged
        else:  # limits of a longer row are without flagged windows, unless it has no others
            left_out = np.array([name in row.without_limits for row in rows], np.bool_)
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
            whole_of(three[:, 0], three[:, 1], three[:, 2], coverage, left_out)
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
        stored = quantity.interval or quantity.of_changes
        records = self.store.seen_intervals(box.box_id) if stored else None
        length_ms = quantity.length_ms
        if records is not None and quantity.of_changes:
            return self._changes(box, quantity, records)
        if records is not None and quantity.short_ms:
            return self._frequency(box, quantity, records)
        if records is not None and self.span.length_ms > RAW_DAYS * DAY_MS:
            return self._days(box, quantity, records)
        return self._intervals(box, quantity, records, length_ms)

    def _frequency(self, box: ShownBox, quantity: PastQuantity, records: ShownIntervals) -> PastSeries:
        """The intervals that state it in a report; a long span is of days with their extremes."""
        start_ns, end_ns = self.span.start_ms * NS_PER_MS, self.span.end_ms * NS_PER_MS
        if self.span.length_ms <= SHORT_DAYS * DAY_MS:
            read = stating_intervals(records, box.box_id, start_ns, end_ns)
            return self._drawn(box, quantity, self._rows_of(box, quantity, read))
        if days := extremes_of_days(records, box.box_id, start_ns // DAY_NS * DAY_NS, end_ns):
            found = _with_extremes(self._days(box, quantity, records), days)
        elif self.span.length_ms > RAW_DAYS * DAY_MS:
            found = self._days(box, quantity, records)
        else:
            found = self._intervals(box, quantity, records, quantity.length_ms)
        return self._as_judged(box, quantity, found) if len(found.at_ms) else found

    def _changes(self, box: ShownBox, quantity: PastQuantity, records: ShownIntervals) -> PastSeries:
        """The change of the frequency from each interval to the next, as the steepest one of reports."""
        if self.span.length_ms <= CHANGE_DAYS * DAY_MS:
            return self._drawn(box, quantity, self._changes_until(box, records, self.span.end_ms))
        drawn = [
            each._drawn(box, quantity, each._changes_until(box, records, self.span.end_ms))
            for each in self._parts()
        ]
        return after_one_another(box.label, drawn)

    def _changes_until(self, box: ShownBox, records: ShownIntervals, end_ms: int) -> IntervalValues | None:
        """The changes that begin in the span; the last one may end after it, but not after `end_ms`."""
        start_ns, end_ns = self.span.start_ms * NS_PER_MS, self.span.end_ms * NS_PER_MS
        until_ns = min(end_ns + TEN_MINUTES_NS, end_ms * NS_PER_MS)
        read = stating_intervals(records, box.box_id, start_ns, until_ns)
        return changes_of(self._stayed(read), start_ns, end_ns)

    def _as_judged(self, box: ShownBox, quantity: PastQuantity, line: PastSeries) -> PastSeries:
        """The line with lowest and highest as reports and indices have them, where class A is stored."""
        records = self.store.seen_intervals(box.box_id)
        if records is None:
            return line
        span_ns = self.span.start_ms * NS_PER_MS, self.span.end_ms * NS_PER_MS
        low, high = box_extremes(records, box.box_id, self.stays, *span_ns)
        if math.isnan(low):
            return line
        rows = line.low, line.mean, line.high, line.coverage, line.flagged
        _, mean, _ = line.whole or whole_of(*rows)
        return replace(line, whole=(low, min(max(mean, low), high), high))

    def _intervals(
        self, box: ShownBox, quantity: PastQuantity, records: IntervalReader | None, length_ms: int
    ) -> PastSeries:
        if records is None:
            return self._none(box, length_ms)
        span = self.span
        columns = records.read(
            box.box_id,
            length_ms,
            span.start_ms // length_ms * length_ms * NS_PER_MS,
            span.end_ms * NS_PER_MS,
            {quantity.interval, *quantity.ends} - {""},
        )
        return self._drawn(box, quantity, self._rows_of(box, quantity, [columns]), length_ms)

    def _rows_of(
        self, box: ShownBox, quantity: PastQuantity, read: Iterable[IntervalColumns]
    ) -> IntervalValues | None:
        factor = self._volts(box, quantity) * quantity.factor * self._factor(box, quantity)
        parts = [values_of(columns, quantity, factor) for columns in self._stayed(read)]
        return joined_values([each for each in parts if each is not None])

    def _stayed(self, read: Iterable[IntervalColumns]) -> list[IntervalColumns]:
        """The intervals that begin in the spans that count."""
        if not self.stays:
            return list(read)
        return [
            chosen_rows(
                columns,
                np.array(
                    [
                        begins_in(self.stays, at_ms, columns.length_ms)
                        for at_ms in (columns.start_ns // NS_PER_MS).tolist()
                    ],
                    np.bool_,
                ),
            )
            for columns in read
        ]

    def _drawn(
        self,
        box: ShownBox,
        quantity: PastQuantity,
        rows: IntervalValues | None,
        none_ms: int = TEN_MINUTES_MS,
    ) -> PastSeries:
        """A line of intervals; `none_ms`: their length where there are none."""
        if rows is None:
            return self._none(box, none_ms)
        length_ms, flags = int(rows.length_ms.max()), rows.flagged
        clean = ~flags if not flags.all() else np.ones(len(flags), np.bool_)
        seconds = rows.length_ms / 1000
        whole = whole_of(rows.low, rows.mean, rows.high, rows.coverage * seconds, flags)
        step_ms = self.row_ms or _step(length_ms, self.span.length_ms, self.rows)
        firsts = np.flatnonzero(np.diff(rows.at_ms // step_ms, prepend=-1))
        weights = np.maximum(rows.coverage, 1e-9) * seconds
        total = np.add.reduceat(weights, firsts)
        starts, until = self._expected(box.box_id, rows.at_ms, step_ms, SETTLED_MS + length_ms)
        lengths = " and ".join(INTERVAL_WORDS[each] for each in np.unique(rows.length_ms).tolist())
        return PastSeries(
            box.label,
            (box.box_id,),
            f"class A, {lengths}",
            step_ms,
            rows.at_ms[firsts] // step_ms * step_ms,
            np.minimum.reduceat(rows.low, firsts),
            np.add.reduceat(rows.mean * weights, firsts) / total,
            np.maximum.reduceat(rows.high, firsts),
            np.minimum(1.0, np.add.reduceat(rows.coverage * rows.length_ms, firsts) / step_ms),
            np.logical_or.reduceat(flags, firsts),
            starts,
            until,
            spread_of(rows.mean[clean], seconds[clean]),
            float(np.sum(flags * seconds) / seconds.sum()),
            whole,
        )

    def _days(self, box: ShownBox, quantity: PastQuantity, records: ShownIntervals) -> PastSeries:
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
        three = np.array([three_of_day(row.summary, quantity, place) for row in known]) * factor
        parts = [row.summary.parts[quantity.interval, place, False] for row in known]
        bins = np.concatenate([part.bins for part in parts])
        places, where = np.unique(bins, return_inverse=True)
        weights = np.concatenate([part.counts for part in parts]).astype(np.float64)
        counts = counted_weights(where, weights, len(places))
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


def _with_extremes(line: PastSeries, days: Mapping[int, tuple[float, float]]) -> PastSeries:
    """A line of days with the lowest and highest values of `days`."""
    two = [
        days.get(at * NS_PER_MS, (low, high))
        for at, low, high in zip(line.at_ms.tolist(), line.low.tolist(), line.high.tolist(), strict=True)
    ]
    low, high = np.array(two, np.float64).reshape(-1, 2).T
    return replace(line, low=low, mean=np.clip(line.mean, low, high), high=high)


def _step(length_ms: int, span_ms: int, rows: int) -> int:
    """The shortest length of a row, a whole number of intervals, with at most so many rows."""
    if span_ms / length_ms <= rows:
        return length_ms
    steps = [60_000, TEN_MINUTES_MS, *CLASS_A_STEPS_MS] if length_ms < 60_000 else list(CLASS_A_STEPS_MS)
    return next((each for each in steps if each >= length_ms and span_ms / each <= rows), DAY_MS)
