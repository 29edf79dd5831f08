"""Hourly values of one quantity of a Box on a regular axis, NaN where nothing is known. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_proto.messages import Course

TEN_MINUTES_MS, HOUR_MS = 600_000, 3_600_000
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

    def since(self, t_ns: int) -> "HourSeries":
        """The hours that begin at a moment or after it."""
        first = max(0, -((self.start_ns - t_ns) // HOUR_NS))
        return HourSeries(self.box_id, self.at_ns(first), self.values[first:])

    @property
    def known(self) -> NDArray[np.bool_]:
        return ~np.isnan(self.values)


def hourly(box_id: str, course: Course, least: int, scale: float = 1.0) -> HourSeries:
    """Returns the median of each hour's values without a flag, times `scale`.

    An hour with fewer than `least` has none.
    """
    in_hour = HOUR_MS // course.length_ms
    hours = len(course.values) // in_hour
    good = np.where(course.flagged, np.nan, course.values)[: hours * in_hour].reshape(hours, in_hour)
    enough = (~np.isnan(good)).sum(axis=1) >= least
    found = np.full(hours, np.nan)
    found[enough] = scale * np.nanmedian(good[enough], axis=1)
    return HourSeries(box_id, course.start_ns, found)


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
