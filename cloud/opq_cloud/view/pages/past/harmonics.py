"""The harmonics of a Box over a span, as bars: of its intervals, or of summaries where the span is long."""

import math
from dataclasses import dataclass

import numpy as np

from opq_cloud.store.intervals.distribution import IntervalSummary, summed
from opq_cloud.store.intervals.served_phases import one_after_the_other
from opq_cloud.store.store import ShownStore
from opq_cloud.view.pages.past.series import Floats
from opq_cloud.view.pages.past.served_lines import Stays
from opq_cloud.view.web.time_span import TimeSpan
from opq_measure.standards.requirements import percentile
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.time_units import DAY_MS, NS_PER_MS

HARMONIC_DAYS = 62
"""Summaries of 50 orders are faster than intervals from here on."""


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
