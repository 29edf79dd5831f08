"""Values of 10/12-cycle windows combined over 150/180 cycles, 10 minutes and 2 hours.

Ten minutes are made of windows, not of the three-second values, and two hours of twelve times ten minutes.
A tick of ten minutes (UTC) begins a new interval of every kind. The window that runs over it belongs to the
ten minutes before. The 150/180 cycles that are incomplete at the tick continue until they have their fifteen
windows, so that two of them overlap. Flagged values are aggregated like all others, and flag every interval
that contains them.

Without UTC, intervals count from the first window on, and the aggregates have `utc` False.

Source: IEC 61000-4-30:2015, 4.4, 4.5 (intervals, square root of the mean of squares) and 4.7 (flagging);
clauses from memory. The standard's text leaves open which windows complete the pending 150/180 cycles after
a tick; here it is the new ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from opq_measure.aggregation.aggregate import Aggregate, Quantity
from opq_measure.frequency.per_window import WINDOW_S, cycles_per_window
from opq_measure.signal import BoolArray, FloatArray
from opq_measure.timebase.window import WindowTime

TEN_MINUTES_NS = 600 * 10**9
"""Ten minutes; IEC 61000-4-30:2015, 4.5."""


@dataclass(slots=True)
class Row:
    """A window's values in one row (q,), NaN where unknown; not changed after it is made."""

    time: WindowTime
    flagged: bool
    values: FloatArray


class Interval:
    """Count, sums, minimum and maximum of each value since `start_ns`.

    `square` (q,) is True for values with a quadratic mean. `whole` is False if the start is missing or there
    is a gap. NaN is left out: `fmin` and `fmax` return the other value.
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
        """Adds the next windows."""
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

    def add_alike(
        self, windows: int, mean: FloatArray, least: FloatArray, most: FloatArray, covered_ns: int
    ) -> None:
        """Adds a span of windows of which (q,) means, least and most are known, without a flag."""
        known = ~np.isnan(mean)
        self.count += windows
        self.covered_ns += covered_ns
        self.known += windows * known
        self._weight += windows * known
        self.min, self.max = np.fmin(self.min, least), np.fmax(self.max, most)
        self._sum += np.where(known, windows * np.where(self._square, mean * mean, mean), 0.0)

    def join(self, part: "Interval") -> None:
        """Adds a part of this interval whose windows are summed already."""
        self.count += part.count
        self.covered_ns += part.covered_ns
        self.flagged |= part.flagged
        self.known += part.known
        self._weight += part._weight
        self._sum += part._sum
        self.min = np.fmin(self.min, part.min)
        self.max = np.fmax(self.max, part.max)

    def include(self, ten: "Interval", coverage: float) -> None:
        """Adds ten minutes to two hours, weighted by `coverage`; whole ten minutes have equal weight."""
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
        """(q,) quadratic or arithmetic mean; NaN where nothing was known."""
        mean = np.full(len(self._sum), np.nan)
        np.divide(self._sum, self._weight, out=mean, where=self._weight > 0)
        np.sqrt(mean, out=mean, where=self._square)
        return mean


def quadratic(quantities: Sequence[Quantity]) -> BoolArray:
    """(q,) of a row of these quantities: whether the mean of a value is quadratic."""
    return np.repeat([each.mean == "quadratic" for each in quantities], [each.width for each in quantities])


WINDOWS_PER_INTERVAL = 15
"""10/12-cycle windows in 150/180 cycles; 4-30:2015, 4.5."""
TWO_HOURS_NS = 12 * TEN_MINUTES_NS
WINDOW_NS = round(WINDOW_S * 1e9)
TICK_NS = 10_000
"""Tolerance for a start on a tick, far below a cycle; in `windows` it is a hundredth of a sample."""


class Aggregator:
    """Windows in, finished intervals out; the numbers do not depend on how the signal was cut in blocks.

    Raises:
        ValueError: no quantity, a name twice, or a width below 1.

    Error: rounding only, 1e-12 of the value (test_measure_aggregation.py).
    """

    def __init__(self, quantities: Sequence[Quantity], nominal_hz: float = 60.0) -> None:
        names = [quantity.name for quantity in quantities]
        if not names or len(set(names)) != len(names) or any(each.width < 1 for each in quantities):
            raise ValueError(f"quantities are {names}, want at least one, each once, of width 1 or more")
        self.quantities = tuple(quantities)
        self._kind = f"{WINDOWS_PER_INTERVAL * cycles_per_window(nominal_hz)}_cycles"
        self._slack_ns = round(1.5e9 / nominal_hz)  # a window after a tick begins within a cycle of it
        self._gap_ns = round(0.5e9 / nominal_hz)  # a gap loses whole cycles; neighbours join to rounding
        self._square = quadratic(quantities)
        self.reset()

    def reset(self) -> None:
        """Discards everything unfinished, and the origin of intervals without UTC."""
        self._origin_ns: int | None = None
        self._last: WindowTime | None = None
        self._pending: list[Row] = []  # since the last 150/180 cycles or tick; not yet in `_ten`
        self._carried: list[Row] = []  # 150/180 cycles that were incomplete at a tick
        self._ten: Interval | None = None
        self._two: Interval | None = None
        self._restored_ns = 0

    def restore_ten(
        self,
        start_ns: int,
        means: Mapping[str, float | FloatArray],
        least: Mapping[str, float | FloatArray],
        most: Mapping[str, float | FloatArray],
        coverage: float,
        flagged: bool,
    ) -> None:
        """Adds ten minutes that were measured before to the two hours that they belong to; call it in time
        order, before the first window. Windows of these ten minutes that come again do not count in them."""
        ten, row = Interval(start_ns, self._square), self._row(means)
        ten.known += ~np.isnan(row)
        ten._weight += ten.known
        ten._sum += np.where(np.isnan(row), 0.0, np.where(self._square, row * row, row))
        ten.min, ten.max, ten.flagged = self._row(least), self._row(most), flagged
        self._into_two(ten, coverage)
        self._restored_ns = start_ns + TEN_MINUTES_NS

    def push_values(
        self, time: WindowTime, values: Mapping[str, float | FloatArray] | FloatArray, flagged: bool = False
    ) -> list[Aggregate]:
        """Adds a window and returns the intervals that it finishes.

        Args:
            values: each quantity's value or (width,) array by its name; NaN or a missing name is unknown and
                left out. Or one row of all values, in the order of `quantities`; the row is not copied.
            flagged: a dip, swell or interruption touches the window (4-30:2015, 4.7).
        Raises:
            ValueError: the window ends before it begins, or a value or row has another width.

        A window that does not begin after the previous one means that the clock was set back. If it lies
        within the current ten minutes (a leap second), they continue. Otherwise the current intervals end,
        with the coverage they have, and counting begins again.
        """
        if time.end_ns <= time.start_ns:
            raise ValueError(f"window {time.start_ns} .. {time.end_ns} ns ends before it begins")
        row = self._row(values) if isinstance(values, Mapping) else self._checked(values)
        found: list[Aggregate] = []
        last = self._last
        if last is not None:
            set_back = time.start_ns <= last.start_ns
            if time.utc != last.utc or (set_back and not self._within_ten(time)):
                # UTC came or went, or the clock was set far back, so that no interval continues
                found += self.end()
            elif set_back or time.start_ns - last.end_ns > self._gap_ns:
                self._break()
        start_ns = self._interval_of(time)
        if self._ten is not None and self._ten.start_ns != start_ns:
            found += self._close_ten()
        if self._ten is None:
            self._ten = Interval(start_ns, self._square, time.start_ns - start_ns <= self._slack_for(time))
        window = Row(time, flagged, row)
        self._last = time
        if self._carried:
            self._carried.append(window)
            if len(self._carried) == WINDOWS_PER_INTERVAL:
                found.append(self._short(self._summed(self._carried)))
                self._carried = []
        self._pending.append(window)
        if len(self._pending) == WINDOWS_PER_INTERVAL:
            sums = self._summed(self._pending)
            found.append(self._short(sums))
            self._ten.join(sums)
            self._pending = []
        return found

    def end(self) -> list[Aggregate]:
        """Ends the run and returns its current ten minutes and two hours, with the coverage they have.

        Incomplete 150/180 cycles give no aggregate.
        """
        found = self._close_ten() + self._close_two()
        self.reset()
        return found

    def _row(self, values: Mapping[str, float | FloatArray]) -> FloatArray:
        row = np.full(len(self._square), np.nan)
        at = 0
        for quantity in self.quantities:
            value = values.get(quantity.name, np.nan)
            if np.size(value) == quantity.width:
                row[at : at + quantity.width] = value
            elif np.ndim(value) or not np.isnan(value):
                raise ValueError(f"{quantity.name} has {np.size(value)} values, want {quantity.width}")
            at += quantity.width
        return row

    def _checked(self, row: FloatArray) -> FloatArray:
        if row.shape != self._square.shape:
            raise ValueError(f"a row of {row.shape} values, want {self._square.shape}")
        return row

    def _interval_of(self, time: WindowTime) -> int:
        """Start of the ten minutes of a window; near a tick its `tick` and `overlap` decide, not rounding."""
        if self._origin_ns is None:
            self._origin_ns = 0 if time.utc else time.start_ns
        nudge = TICK_NS if time.tick else -TICK_NS if time.overlap else 0
        passed = time.start_ns - self._origin_ns + nudge
        return self._origin_ns + passed // TEN_MINUTES_NS * TEN_MINUTES_NS

    def _within_ten(self, time: WindowTime) -> bool:
        return self._ten is not None and self._ten.start_ns == self._interval_of(time)

    def _slack_for(self, time: WindowTime) -> int:
        """Largest delay of the first window of whole ten minutes, ns.

        Without UTC nothing is resynchronised, and the window over the border began up to a window before it.
        """
        return self._slack_ns if time.utc else WINDOW_NS + self._slack_ns

    def _break(self) -> None:
        self._flush()
        self._carried = []
        if self._ten is not None:
            self._ten.whole = False

    def _flush(self) -> None:
        if self._ten is not None and self._pending:
            self._ten.add(self._pending)
        self._pending = []

    def _summed(self, windows: list[Row]) -> Interval:
        sums = Interval(windows[0].time.start_ns, self._square)
        sums.add(windows)
        return sums

    def _short(self, sums: Interval) -> Aggregate:
        """The 150/180 cycles that end with the latest window."""
        assert self._last is not None
        return self._finished(self._kind, sums, self._last.end_ns, 1.0)

    def _close_ten(self) -> list[Aggregate]:
        if self._ten is None or self._last is None:
            return []
        self._carried = self._pending or self._carried
        self._flush()
        ten, self._ten = self._ten, None
        end_ns = ten.start_ns + TEN_MINUTES_NS
        whole = ten.whole and self._last.end_ns >= end_ns - self._slack_ns
        covered_ns = ten.covered_ns - max(0, self._last.end_ns - end_ns)
        coverage = 1.0 if whole else min(covered_ns / TEN_MINUTES_NS, 1.0)
        found = [self._finished("10_min", ten, end_ns, coverage)]
        return found if ten.start_ns < self._restored_ns else [*found, *self._into_two(ten, coverage)]

    def _into_two(self, ten: Interval, coverage: float) -> list[Aggregate]:
        origin_ns = self._origin_ns or 0
        start_ns = origin_ns + (ten.start_ns - origin_ns) // TWO_HOURS_NS * TWO_HOURS_NS
        found = self._close_two() if self._two is not None and self._two.start_ns != start_ns else []
        if self._two is None:
            self._two = Interval(start_ns, self._square)
        self._two.include(ten, coverage)
        if ten.start_ns + TEN_MINUTES_NS == start_ns + TWO_HOURS_NS:
            found += self._close_two()
        return found

    def _close_two(self) -> list[Aggregate]:
        if self._two is None or self._last is None:
            return []
        two, self._two = self._two, None
        return [self._finished("2_h", two, two.start_ns + TWO_HOURS_NS, two.covered_ns / TWO_HOURS_NS)]

    def _finished(self, kind: str, sums: Interval, end_ns: int, coverage: float) -> Aggregate:
        return Aggregate(
            kind=kind,
            start_ns=sums.start_ns,
            end_ns=end_ns,
            utc=self._last is None or self._last.utc,
            count=sums.count,
            coverage=coverage,
            flagged=sums.flagged,
            quantities=self.quantities,
            mean=sums.mean(),
            min=sums.min,
            max=sums.max,
            known=sums.known,
        )
