"""Change points of hourly values: steps, lines, and days whose profile changed. Pure.

Source: Killick, Fearnhead, Eckley 2012 (PELT); by ruptures. A penalty is the quantile of chi-square at which
noise without any change gives `false_alarms` change points in the span, times the noise's long-run variance,
because hours of a voltage are not independent of each other. ruptures and SciPy are imported where
they compute, because their import takes a second of CPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from opq_change.series import DAY_H, OUTLIER_DEVIATIONS, Values, spread, without_outliers

SHORTEST_H = 36
"""Hours of the shortest level and line."""
SHARP_H = 12
"""A step is what the means of so many hours before and after differ by: what comes over days is not one."""
VOLTAGE_CAUTION = 1.04
"""Hours of a voltage have more far values than normal noise; set on training months (the README)."""
LINES_TRIED_H = 6
"""A line begins at every so many hours."""


@dataclass(frozen=True, slots=True)
class Step:
    hour: int
    """The first hour after it."""
    size: float
    deviations: float


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line over the hours [first, last)."""

    first: int
    last: int
    rise: float
    error: float
    """Standard deviation of `rise`."""


def steps_of(values: Values, false_alarms: float, least: float) -> list[Step]:
    """Returns the steps of hourly values (NaN: unknown) that are at least so large, in time order."""
    hours = np.flatnonzero(~np.isnan(values))
    if len(hours) < 2 * SHORTEST_H:
        return []
    y = without_outliers(values[hours])
    penalty = long_run_deviation(y, SHARP_H) ** 2 * _chi2_isf(false_alarms / len(y), 1)
    from ruptures import KernelCPD

    edges = KernelCPD(kernel="linear", min_size=SHORTEST_H // 2).fit(y).predict(pen=penalty)[:-1]
    sums = np.concatenate(([0.0], np.cumsum(y)))
    middle = np.arange(SHORTEST_H, len(y) - SHORTEST_H + 1)
    jumps = (sums[middle + SHARP_H] - 2 * sums[middle] + sums[middle - SHARP_H]) / SHARP_H
    usual = max(spread(jumps), 1e-9)
    many = VOLTAGE_CAUTION * normal_isf(false_alarms * SHARP_H / (2 * len(y)))
    found: list[Step] = []
    for edge in edges:
        near = np.flatnonzero(np.abs(middle - edge) <= DAY_H)
        at = int(near[np.argmax(np.abs(jumps[near]))]) if len(near) else 0
        size = float(jumps[at])
        if len(near) and abs(size) >= max(least, many * usual):
            found.append(Step(int(hours[middle[at]]), size, abs(size) / usual))
    return _largest(found)


def _largest(steps: Sequence[Step]) -> list[Step]:
    """Returns one step of those that lie within a day, in time order."""
    kept: list[Step] = []
    for step in sorted(steps, key=lambda each: -abs(each.size)):
        if all(abs(step.hour - each.hour) > DAY_H for each in kept):
            kept.append(step)
    return sorted(kept, key=lambda each: each.hour)


def lines_of(values: Values, false_alarms: float) -> list[Line]:
    """Returns the lines of hourly values (NaN: unknown) without steps, in time order."""
    hours = np.flatnonzero(~np.isnan(values))
    if len(hours) < 2 * SHORTEST_H:
        return []
    y = without_outliers(values[hours])
    from ruptures import Pelt

    from opq_change.line_cost import LineCost

    cost = LineCost(SHORTEST_H).fit(np.column_stack((hours, y)))
    deviation = long_run_deviation(y)
    penalty = deviation**2 * _chi2_isf(false_alarms / len(y), 2)
    edges = Pelt(custom_cost=cost, min_size=SHORTEST_H, jump=LINES_TRIED_H).fit(cost.signal).predict(penalty)
    found = []
    for start, end in pairwise([0, *edges]):
        slope = float(np.polyfit(hours[start:end] - hours[start], y[start:end], 1)[0])
        first, last = int(hours[start]), int(hours[end - 1]) + 1
        found.append(Line(first, last, slope * (last - first), deviation * (12 / (end - start)) ** 0.5))
    return _joined(found)


def _joined(lines: Sequence[Line]) -> list[Line]:
    """Joins lines that follow each other in one direction."""
    found: list[Line] = []
    for line in lines:
        if (
            found
            and found[-1].rise * line.rise > 0
            and all(abs(each.rise) > each.error for each in (line, found[-1]))
        ):
            last = found.pop()
            line = Line(last.first, line.last, last.rise + line.rise, (last.error**2 + line.error**2) ** 0.5)
        found.append(line)
    return found


def line_with_steps(values: Values, steps: Sequence[Step]) -> Line:
    """Returns the straight line through all hourly values that have these steps, both fitted together."""
    hours = np.flatnonzero(~np.isnan(values))
    y = without_outliers(values[hours])
    columns = [np.ones(len(y)), hours / len(values), *((hours >= step.hour).astype(float) for step in steps)]
    matrix = np.stack(columns, axis=1)
    fit = np.linalg.lstsq(matrix, y)[0]
    error = long_run_deviation(y) * float(np.linalg.pinv(matrix.T @ matrix)[1, 1]) ** 0.5
    return Line(0, len(values), float(fit[1]), error)


def normal_isf(share: float) -> float:
    """Returns how many deviations this share of normal noise exceeds; NaN for a share above 1."""
    from scipy.special import ndtri

    return -float(ndtri(share))


def _chi2_isf(share: float, freedom: int) -> float:
    from scipy.special import chdtri

    return float(chdtri(freedom, share))


def long_run_deviation(y: Values, longest_h: int = 2 * DAY_H) -> float:
    """Returns the deviation that independent hours would need for means as uncertain as these.

    It is that of differences between neighbouring means, so that a few steps do not change it.
    """
    found = []
    for hours in (1, 6, DAY_H, 2 * DAY_H):
        many = len(y) // hours
        if many >= 10 and hours <= longest_h:
            means = y[: many * hours].reshape(many, hours).mean(axis=1)
            found.append((hours / 2) ** 0.5 * spread(np.diff(means)))
    return float(max(*found, 1e-9))


def changed_days(
    parts: NDArray[np.float64], false_alarms: float, shortest: int, caution: float
) -> list[tuple[int, Values, float]]:
    """Returns at which rows the mean of rows changes, by how much, and in deviations.

    Args:
        parts: (days, figures).
        caution: factor of the penalty: days do not follow each other as independently as noise.
    """
    widths = np.array([max(spread(np.diff(each)) / 2**0.5, 1e-9) for each in parts.T])
    scaled = parts / widths
    middle = np.median(scaled, axis=0)
    scaled = np.clip(scaled, middle - OUTLIER_DEVIATIONS, middle + OUTLIER_DEVIATIONS)
    penalty = caution * _chi2_isf(false_alarms / len(parts), parts.shape[1])
    from ruptures import KernelCPD

    edges: Sequence[int] = KernelCPD(kernel="linear", min_size=shortest).fit(scaled).predict(pen=penalty)
    found = []
    for before, at, after in zip([0, *edges], edges, edges[1:], strict=False):
        moved = np.median(parts[at:after], axis=0) - np.median(parts[before:at], axis=0)
        found.append((at, moved, float(np.sqrt(((moved / widths) ** 2).sum()))))
    return found
