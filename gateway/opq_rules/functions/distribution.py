"""Aggregates: median, percentiles, histogram, slope. Source: docs/reference/rules.md, D.5, Aggregate."""

import bisect
import math
from collections.abc import Callable

from opq_rules.functions.arguments import number, whole
from opq_rules.functions.exact import SlopeSums
from opq_rules.functions.registry import (
    Accumulator,
    AggregateFunction,
    Definition,
    KeepsState,
    merged,
    renamed,
)
from opq_rules.values.batch import Value


class Ranked(KeepsState):
    """Keeps numbers and sorts them when the result is asked for: median and percentiles."""

    __slots__ = ("_pick", "_values")
    KEEPS = ("_values",)

    def __init__(self, pick: Callable[[list[Value]], Value]) -> None:
        self._pick = pick
        self._values: list[Value] = []

    def add(self, value: Value) -> None:
        if value is not None:
            self._values.append(number(value))

    def remove(self, value: Value) -> None:
        if value is not None:
            self._values.sort()
            del self._values[bisect.bisect_left(self._values, value)]

    def merge(self, other: "Ranked") -> None:
        self._values += other._values

    def value(self) -> Value:
        self._values.sort()
        return self._pick(self._values) if self._values else None


def _between(values: list[Value], share: float) -> float:
    """Linear interpolation between neighbours: the continuous percentile of the SQL standard."""
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return float(values[low] + (values[high] - values[low]) * (place - low))


def _median(values: list[Value]) -> float:
    return _between(values, 0.5)


def _percentile_cont(share: Value) -> Ranked:
    exact_share = _share(share)
    return Ranked(lambda values: _between(values, exact_share))


def _percentile_disc(share: Value) -> Ranked:
    """An existing value: the first one in sorted order at which the share is reached."""
    exact_share = _share(share)
    return Ranked(lambda values: values[max(0, math.ceil(exact_share * len(values)) - 1)])


def _share(value: Value) -> float:
    if not 0 <= number(value) <= 1:
        raise ValueError(f"percentile {value}; want 0.0 to 1.0")
    return float(value)


class Histogram(KeepsState):
    """Counts the numbers in equal bins of low .. high; those below low or from high up separately."""

    __slots__ = ("_above", "_below", "_bins", "_high", "_low")
    KEEPS = ("_bins", "_below", "_above")

    def __init__(self, low: Value, high: Value, bins: Value) -> None:
        self._low, self._high = float(number(low)), float(number(high))
        count = whole(bins)
        if not self._low < self._high or not 1 <= count <= 1_000:
            raise ValueError(f"{low} .. {high} in {bins} bins; want low < high and 1 to 1000 bins")
        self._bins = [0] * count
        self._below = self._above = 0

    def add(self, value: Value) -> None:
        self._count(value, 1)

    def remove(self, value: Value) -> None:
        self._count(value, -1)

    def _count(self, value: Value, by: int) -> None:
        if value is None:
            return
        if number(value) < self._low:
            self._below += by
        elif value >= self._high:
            self._above += by
        else:
            share = (value - self._low) / (self._high - self._low)
            self._bins[min(int(share * len(self._bins)), len(self._bins) - 1)] += by

    def merge(self, other: "Histogram") -> None:
        self._bins = [mine + its for mine, its in zip(self._bins, other._bins, strict=True)]
        self._below += other._below
        self._above += other._above

    def value(self) -> dict[str, Value]:
        return {"counts": list(self._bins), "below": self._below, "above": self._above}


class Slope(KeepsState):
    """slope(y, x), or slope(y) for the slope per record. Pairs with null are left out."""

    __slots__ = KEEPS = ("_records", "_line")

    def __init__(self) -> None:
        self._line = SlopeSums()
        self._records = 0

    def add(self, y: Value, *x: Value) -> None:
        at = x[0] if x else self._records
        if y is not None and at is not None:
            self._line.add_pair(at, y)
        self._records += 1

    def value(self) -> float | None:
        return self._line.slope()


def _percentile(name: str, start: Callable[..., Accumulator]) -> AggregateFunction:
    return AggregateFunction(name, start, 2, 2, 1, merge=merged, remove=True)


FUNCTIONS: tuple[Definition, ...] = (
    AggregateFunction("median", lambda: Ranked(_median), 1, 1, merge=merged, remove=True),
    *renamed(_percentile("percentile_cont", _percentile_cont), "percentile"),
    _percentile("percentile_disc", _percentile_disc),
    AggregateFunction("histogram", Histogram, 4, 4, 3, merge=merged, remove=True),
    AggregateFunction("slope", Slope, 1, 2),
)
