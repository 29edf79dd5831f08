"""A line of `/past`: its rows, coverage, gaps and spread, also by what the local clock of a week shows. Pure.

All of it is NumPy columns of one quantity.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from opq_cloud.view.pages.drawing.box_history import missing_spans
from opq_cloud.view.pages.drawing.local_weeks import LocalSpan, skipped_places, week_place_ms
from opq_proto.time_units import WEEK_MS

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
OF_EVENTS = ("rms_v", "trans_v")
"""Quantities of trends whose lowest and highest values are those of events: a dip's depth is a voltage."""


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


@dataclass(frozen=True, slots=True)
class UnshownSpan:
    """A span whose rows are stored and not shown."""

    why: str
    start_ns: int
    end_ns: int


NOTHING: Final = Spread(np.empty(0), np.empty(0))


@dataclass(frozen=True, eq=False)
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
    unshown: tuple[UnshownSpan, ...] = ()

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

    @cached_property
    def figures(self) -> tuple[float, ...] | None:
        """Lowest, 5 %, median, mean, 95 %, 99 %, highest; None where nothing is known."""
        if not len(self.at_ms) or np.isnan(self.mean).all():
            return None
        nothing = np.zeros(len(self.at_ms), np.bool_)
        least, mean, most = self.whole or whole_of(self.low, self.mean, self.high, self.coverage, nothing)
        spread = self.spread if len(self.spread.values) else spread_of(self.mean, self.coverage)
        p05, p50, p95, p99 = (
            min(max(spread.quantile(share), least), most) for share in (0.05, 0.5, 0.95, 0.99)
        )
        return least, p05, p50, mean, p95, p99, most


def whole_of(
    low: Floats, mean: Floats, high: Floats, coverage: Floats, flagged: NDArray[np.bool_]
) -> tuple[float, float, float]:
    """Lowest, mean and highest of a span, as reports count: of values that no event flags, if any."""
    counted = ~flagged & ~np.isnan(mean)
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
    return Spread(found, counted_weights(where, weights[known], len(found)))


def counted_weights(where: Whole, weights: Floats, many: int) -> Floats:
    return np.asarray(np.bincount(where, weights=weights, minlength=many), np.float64)


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
