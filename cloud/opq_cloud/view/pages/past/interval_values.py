"""A quantity in class A intervals of one or several lengths, or in their days, as a line is drawn. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from opq_cloud.store.intervals.distribution import IntervalSummary
from opq_cloud.store.intervals.served_phases import chosen_rows
from opq_cloud.view.pages.past.quantities import PastQuantity
from opq_cloud.view.pages.past.series import Floats, Whole
from opq_measure.signal import BoolArray
from opq_measure.standards.indices import rates_of_change
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


def values_of(columns: IntervalColumns, quantity: PastQuantity, factor: float) -> IntervalValues | None:
    """The values of a quantity times `factor`; None without any.

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


def changes_of(read: Iterable[IntervalColumns], start_ns: int, end_ns: int) -> IntervalValues | None:
    """The changes of the frequency in Hz/s that begin in a span, of intervals that nothing flags."""
    parts = []
    for columns in read:
        known = chosen_rows(columns, ~np.isnan(columns.values["f_hz"]) & ~columns.flagged)
        parts.append((known.start_ns, np.full(len(known.start_ns), known.length_ms), known.values["f_hz"]))
    if not parts:
        return None
    starts, lengths, hertz = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(starts, kind="stable")
    pairs, rates = rates_of_change(starts[order], lengths[order], hertz[order])
    first_ns = starts[order][pairs]
    inside = (first_ns >= start_ns) & (first_ns < end_ns)
    if not inside.any():
        return None
    rates = rates[inside]
    return IntervalValues(
        first_ns[inside] // 1_000_000,
        lengths[order][pairs][inside],
        rates,
        rates,
        rates,
        np.zeros(len(rates), np.bool_),
        np.ones(len(rates)),
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
