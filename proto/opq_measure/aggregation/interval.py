"""Sums of an interval under way: what `aggregation` gathers of windows until the interval ends."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray
from opq_measure.timebase.window import WindowTime

TEN_MINUTES_NS = 600 * 10**9
"""4-30:2015, 4.5."""


@dataclass(slots=True)
class Row:
    """A window's values in one row (q,), NaN where unknown; nobody changes one."""

    time: WindowTime
    flagged: bool
    values: FloatArray


class Interval:
    """Count, sums, least and most of each value since `start_ns`.

    `square` (q,) says which values have a quadratic mean. `whole` is False when its start or a gap is
    missing. NaN is left out: `fmin` and `fmax` take the other one.
    """

    def __init__(self, start_ns: int, square: BoolArray, whole: bool = True) -> None:
        self.start_ns = start_ns
        self.whole = whole
        self.count = 0
        self.covered_ns = 0
        self.flagged = False
        self.known = np.zeros(len(square), dtype=np.int64)
        self.min = np.full(len(square), np.nan)
        self.max = np.full(len(square), np.nan)
        self._square = square
        self._weight = np.zeros(len(square))
        self._sum = np.zeros(len(square))

    def add(self, windows: Sequence[Row]) -> None:
        """Windows that follow."""
        rows = np.array([window.values for window in windows])
        known = ~np.isnan(rows)
        weight = np.add.reduce(known, axis=0)
        self.count += len(windows)
        self.covered_ns += sum([window.time.end_ns - window.time.start_ns for window in windows])
        self.flagged |= any(window.flagged for window in windows)
        self.known += weight
        self._weight += weight
        self.min = np.fmin(self.min, np.fmin.reduce(rows))
        self.max = np.fmax(self.max, np.fmax.reduce(rows))
        np.multiply(rows, rows, out=rows, where=self._square)
        self._sum += np.add.reduce(rows, axis=0, where=known)

    def join(self, part: "Interval") -> None:
        """As `add` of the windows of a part of it."""
        self.count += part.count
        self.covered_ns += part.covered_ns
        self.flagged |= part.flagged
        self.known += part.known
        self._weight += part._weight
        self._sum += part._sum
        self.min = np.fmin(self.min, part.min)
        self.max = np.fmax(self.max, part.max)

    def include(self, ten: "Interval", coverage: float) -> None:
        """Ten minutes into two hours: whole ones weigh the same, others by what they cover."""
        weight = np.where(ten.known > 0, coverage, 0.0)
        mean = np.where(ten.known > 0, ten._sum / np.maximum(ten._weight, 1), 0.0)
        self.count += ten.count
        self.covered_ns += round(coverage * TEN_MINUTES_NS)
        self.flagged |= ten.flagged
        self.known += ten.known
        self._weight += weight
        self._sum += weight * mean
        self.min = np.fmin(self.min, ten.min)
        self.max = np.fmax(self.max, ten.max)

    def mean(self) -> FloatArray:
        """(q,) quadratic or arithmetic; NaN where nothing was known."""
        mean = np.full(len(self._sum), np.nan)
        np.divide(self._sum, self._weight, out=mean, where=self._weight > 0)
        np.sqrt(mean, out=mean, where=self._square)
        return mean
