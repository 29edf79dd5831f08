"""Indices of a span: supply and data of Boxes, and the frequency of a grid."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray

SUSTAINED_S = 60.0
"""A longer interruption is sustained (IEEE 1159). Each standard's file of limits has its own value, such as
3 minutes for the long interruptions of EN 50160."""


@dataclass(frozen=True, slots=True)
class SupplyIndex:
    """The supply at one place over a span."""

    sustained: int
    """Interruptions that began in the span and lasted longer than the limit."""
    minutes: float
    """Minutes of the span in interruptions longer than the limit, whenever these began."""
    short: int
    """Interruptions that began in the span and lasted at most that long."""
    known_minutes: float
    """Minutes of the span of which it is known whether there was supply."""
    earlier: int = 0
    """Interruptions longer than the limit that began before the span and reach into it."""

    @property
    def supplied_percent(self) -> float:
        """Share of the known minutes without a sustained interruption; NaN where nothing is known."""
        return 100 * (1 - self.minutes / self.known_minutes) if self.known_minutes > 0 else math.nan


@dataclass(frozen=True, slots=True)
class FleetSupply:
    """Means over the places of a feeder or of all, as SAIFI and SAIDI are, with a Box as a customer."""

    interruptions_per_box: float
    minutes_per_box: float
    supplied_percent: float
    """Of the minutes of all places of which it is known whether there was supply; NaN where none are."""


def supply_of(
    interruptions: Iterable[tuple[int, int | None]],
    start_ns: int,
    end_ns: int,
    sustained_s: float = SUSTAINED_S,
    supplied_ns: float | None = None,
) -> SupplyIndex:
    """The supply in [start_ns, end_ns) of a place with these interruptions (start, end or None).

    `supplied_ns`: measured time outside the interruptions; None: all of it. An interruption counts where it
    began, and its minutes where they are.
    """
    sustained = short = earlier = 0
    spans: list[tuple[int, int]] = []
    for begin_ns, until_ns in interruptions:
        until_ns = end_ns if until_ns is None else until_ns
        if until_ns <= start_ns or begin_ns >= end_ns:
            continue
        if (until_ns - begin_ns) / 1e9 > sustained_s:
            sustained += begin_ns >= start_ns
            earlier += begin_ns < start_ns
            spans.append((max(begin_ns, start_ns), min(until_ns, end_ns)))
        else:
            short += begin_ns >= start_ns
    lost_ns = union_ns(spans)
    known_ns = end_ns - start_ns if supplied_ns is None else lost_ns + supplied_ns
    return SupplyIndex(sustained, lost_ns / 60e9, short, known_ns / 60e9, earlier)


def supply_together(parts: Sequence[SupplyIndex]) -> SupplyIndex:
    """The supply of one Box over parts of a span."""
    return SupplyIndex(
        sum(each.sustained for each in parts),
        sum(each.minutes for each in parts),
        sum(each.short for each in parts),
        sum(each.known_minutes for each in parts),
        sum(each.earlier for each in parts),
    )


def fleet_supply(places: Sequence[SupplyIndex], weights: Sequence[float] | None = None) -> FleetSupply | None:
    """The means; None without a place.

    `weights`: the share of the span in which each was measured there; without them each is one.
    """
    count = float(len(places)) if weights is None else sum(weights)
    if not count:
        return None
    known = sum(each.known_minutes for each in places)
    minutes = sum(each.minutes for each in places)
    return FleetSupply(
        sum(each.sustained for each in places) / count,
        minutes / count,
        100 * (1 - minutes / known) if known > 0 else math.nan,
    )


def weighted_median(values: FloatArray, weights: FloatArray) -> FloatArray:
    """(n,) of each row of (n, m) values: that at which half of the (m,) weights is reached; NaN of nothing.

    NaN counts as missing. Where exactly half lies on either side it is the mean of the two middle values.
    """
    order = np.argsort(values, axis=1, kind="stable")  # NaN is last
    rising = np.take_along_axis(values, order, axis=1)
    sums = np.cumsum(np.where(np.isnan(rising), 0.0, weights[order]), axis=1)
    half = sums[:, -1] / 2
    rows, last = np.arange(len(values)), values.shape[1] - 1
    place = np.argmax(sums >= half[:, np.newaxis] * (1 - 1e-12), axis=1)
    found, after = rising[rows, place], rising[rows, np.minimum(place + 1, last)]
    even = np.isclose(sums[rows, place], half, rtol=1e-12, atol=0.0) & ~np.isnan(after)
    medians: FloatArray = np.where(even, (found + after) / 2, found)
    return medians


def grid_frequency(by_box: Mapping[str, FloatArray], uncertainty_hz: Mapping[str, float]) -> FloatArray:
    """(n,) frequency of a grid: in each interval the median over its Boxes, weighted by 1 / uncertainty^2.

    Args:
        by_box: Box -> (n,) hertz in the same intervals; NaN where it has no value.
        uncertainty_hz: Box -> standard uncertainty; a Box without one, or with 0, is left out.
    """
    chosen = [box for box in by_box if uncertainty_hz.get(box, 0.0) > 0]
    if not chosen:
        return np.full(max((len(each) for each in by_box.values()), default=0), math.nan)
    values = np.stack([by_box[box] for box in chosen], axis=1)
    weights = np.array([uncertainty_hz[box] ** -2 for box in chosen])
    return weighted_median(values, weights)


@dataclass(frozen=True, slots=True)
class FrequencyIndex:
    """The course of a grid's frequency; NaN and None where nothing is known."""

    median_hz: float = math.nan
    nadir_hz: float = math.nan
    nadir_ns: int | None = None
    """Beginning of the interval with the nadir, the first of several."""
    zenith_hz: float = math.nan
    spread_hz: float = math.nan
    """Half of the distance of the 5 and 95 % values."""
    steepest_hz_per_s: float = math.nan
    """Largest change from one interval to the next, over the distance of their middles, with its sign."""
    steepest_ns: int | None = None
    """Beginning of the first of the two intervals."""


def rates_of_change(
    start_ns: NDArray[np.int64], lengths_ms: NDArray[np.int64], hertz: FloatArray
) -> tuple[NDArray[np.intp], FloatArray]:
    """The change from one interval to the next in Hz/s, over the distance of their middles.

    Args:
        start_ns: (n,) in time order, of intervals with a known frequency.
    Returns:
        The place of the first interval of each pair, and the rate. No change is taken where half an interval
        is missing or is there twice.
    """
    apart_ns = np.diff(start_ns) - lengths_ms[:-1] * 10**6
    pairs = np.flatnonzero(np.abs(2 * apart_ns) <= lengths_ms[1:] * 10**6)
    after = pairs + 1
    middles_ms = (start_ns[after] - start_ns[pairs]) / 1e6 + (lengths_ms[after] - lengths_ms[pairs]) / 2
    rates: FloatArray = (hertz[after] - hertz[pairs]) / (middles_ms / 1e3)
    return pairs, rates


class FrequencyCourse:
    """The index of a course that is read piece by piece, in time order.

    Of each piece the frequencies alone are kept, for median and spread: 8 bytes an interval.
    The rate of change is that between means of whole intervals, so it is a lower bound of the ROCOF that
    windows of 10/12 cycles would show.
    """

    def __init__(self) -> None:
        self._hertz: dict[int, list[FloatArray]] = {}
        """Length in ms -> frequencies."""
        self._index = FrequencyIndex()
        self._last = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        """Start in ns, length in ms and frequency of the last interval, if there was one."""

    def add(
        self,
        start_ns: NDArray[np.int64],
        lengths_ms: NDArray[np.int64],
        hertz: FloatArray,
        low: FloatArray,
        high: FloatArray,
    ) -> None:
        """Adds intervals with a known frequency, in time order, after those that were added before.

        Args:
            low: (n,) lowest frequency of each, `high` the highest.
        """
        if not len(start_ns):
            return
        for length_ms in np.unique(lengths_ms).tolist():
            self._hertz.setdefault(length_ms, []).append(hertz[lengths_ms == length_ms])
        found, lowest, highest = self._index, int(low.argmin()), float(high.max())
        if not low[lowest] >= found.nadir_hz:
            found = replace(found, nadir_hz=float(low[lowest]), nadir_ns=int(start_ns[lowest]))
        if not highest <= found.zenith_hz:
            found = replace(found, zenith_hz=highest)
        parts = zip(self._last, (start_ns, lengths_ms, hertz), strict=True)
        starts, lengths, course = (np.concatenate(part) for part in parts)
        self._last = starts[-1:], lengths[-1:], course[-1:]
        pairs, rates = rates_of_change(starts, lengths, course)
        if len(pairs):
            place = int(np.argmax(np.abs(rates)))
            if not abs(rates[place]) <= abs(found.steepest_hz_per_s):
                steepest_ns = int(starts[pairs[place]])
                found = replace(found, steepest_hz_per_s=float(rates[place]), steepest_ns=steepest_ns)
        self._index = found

    @property
    def index(self) -> FrequencyIndex:
        """Median and spread have each value as often as its interval is long."""
        if not self._hertz:
            return self._index
        shortest_ms = min(self._hertz)
        lasting = np.concatenate(
            [
                np.repeat(part, length_ms // shortest_ms)
                for length_ms, parts in self._hertz.items()
                for part in parts
            ]
        )
        low, median, high = np.quantile(lasting, (0.05, 0.5, 0.95))
        return replace(self._index, median_hz=float(median), spread_hz=float(high - low) / 2)


def union_ns(spans: Iterable[tuple[int, int]]) -> int:
    """The time in at least one of the spans."""
    total, reached = 0, -1
    for begin_ns, until_ns in sorted(spans):
        begin_ns = max(begin_ns, reached)
        total += max(0, until_ns - begin_ns)
        reached = max(reached, until_ns)
    return total
