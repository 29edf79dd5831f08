"""A quantity in class A intervals of one or several lengths, or in their days, as a line is drawn. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from opq_cloud.store.intervals.distribution import IntervalSummary
from opq_cloud.store.records.intervals.interval_records import SummaryRow
from opq_cloud.view.pages.past.quantities import PastQuantity
from opq_cloud.view.pages.past.series import OF_EVENTS, Floats, Whole
from opq_measure.signal import BoolArray
from opq_proto.measurement.intervals import TEN_MINUTES_MS, IntervalColumns


@dataclass(frozen=True, eq=False, slots=True)
class IntervalValues:
    """(n,) intervals with a known value, at least one, in time order."""

    at_ms: Whole
    length_ms: Whole
    low: Floats
    mean: Floats
    high: Floats
    flagged: BoolArray
    coverage: Floats


def values_of(
    columns: IntervalColumns, quantity: PastQuantity, factor: float, chosen: Sequence[bool] | None
) -> IntervalValues | None:
    """The values of a quantity times `factor`, of the chosen intervals; None without any.

    Intervals shorter than ten minutes are values of the standard themselves: their windows are not drawn.
    """

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
        return None
    ends = quantity.ends if columns.length_ms >= TEN_MINUTES_MS else ("", "")
    low, high = (mean if each is None else np.where(np.isnan(each), mean, each) for each in map(of, ends))
    kept = ~np.isnan(mean)
    if chosen is not None:
        kept &= np.array(chosen, np.bool_)
    if not kept.any():
        return None
    return IntervalValues(
        columns.start_ns[kept] // 1_000_000,
        np.full(int(kept.sum()), columns.length_ms),
        low[kept],
        mean[kept],
        high[kept],
        columns.flagged[kept],
        np.nan_to_num(columns.coverage[kept].astype(np.float64), nan=1.0),
    )


def joined_values(parts: Sequence[IntervalValues]) -> IntervalValues | None:
    """All of them in time order; None without any."""
    if len(parts) < 2:
        return next(iter(parts), None)
    columns = [
        np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(IntervalValues)
    ]
    order = np.argsort(columns[0], kind="stable")
    return IntervalValues(*(column[order] for column in columns))


def three_of_day(summary: IntervalSummary, quantity: PastQuantity, place: int) -> tuple[float, float, float]:
    """Lowest, mean and highest of a day, without flagged intervals."""
    own = summary.parts[quantity.interval, place, False]
    low, high = (summary.parts.get((name, place, False), own) for name in quantity.ends)
    return low.least, own.total / max(1, own.count), high.most


def whole_of_days(
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
