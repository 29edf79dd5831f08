"""Hourly values of one quantity of a Box on a regular axis, NaN where nothing is known. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_proto.measurement.intervals import IntervalColumns

HOUR_NS = 3_600 * 10**9
DAY_H = 24
WEEK_H = 168
LEAST_IN_HOUR = 3
"""Intervals of ten minutes that an hour needs."""
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class HourSeries:
    """One value for each hour."""

    box_id: str
    start_ns: int
    """Start of the first hour, UTC."""
    values: Values
    """(n,) NaN: unknown."""

    def at_ns(self, hour: int) -> int:
        return self.start_ns + hour * HOUR_NS

    @property
    def known(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.values)


def hourly(columns: IntervalColumns, name: str, start_ns: int, hours: int, scale: float = 1.0) -> HourSeries:
    """Returns the median of each hour's intervals without a flag, times `scale`."""
    values = np.asarray(columns.values.get(name, np.empty(0)), np.float64)
    starts = columns.start_ns if len(values) else np.empty(0, np.int64)
    good = ~np.isnan(values) & ~columns.flagged[: len(values)]
    return hourly_of(columns.box_id, starts[good], values[good] * scale, start_ns, hours, LEAST_IN_HOUR)


def hourly_of(
    box_id: str, at_ns: NDArray[np.int64], values: Values, start_ns: int, hours: int, least: int = 1
) -> HourSeries:
    """Returns the median of the values of each hour; an hour with fewer than `least` has none."""
    found = np.full(hours, np.nan)
    place = (at_ns - start_ns) // HOUR_NS
    inside = (place >= 0) & (place < hours)
    order = np.argsort(place[inside], kind="stable")
    place, values = place[inside][order], values[inside][order]
    edges = np.searchsorted(place, np.arange(hours + 1))
    for hour in range(hours):
        if edges[hour + 1] - edges[hour] >= least:
            found[hour] = np.median(values[edges[hour] : edges[hour + 1]])
    return HourSeries(box_id, start_ns, found)


def spread(values: Values) -> float:
    """Returns the standard deviation of normal noise with this median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if len(values) else 0.0


OUTLIER_DEVIATIONS = 5.0
"""Values further from their surroundings than this many deviations count as that far."""


def running_median(values: Values, reach: int) -> Values:
    """Returns the median of each value and the `reach` values around it."""
    padded = np.pad(values, reach // 2, mode="edge")
    found: Values = np.median(np.lib.stride_tricks.sliding_window_view(padded, reach // 2 * 2 + 1), axis=1)
    return found


def without_outliers(values: Values) -> Values:
    """Moves single outliers in: what is far from the median of the day around it."""
    around = running_median(values, DAY_H)
    width = OUTLIER_DEVIATIONS * spread(values - around)
    return around + np.clip(values - around, -width, width)
