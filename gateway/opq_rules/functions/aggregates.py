"""Aggregates over a group of records: counts, sums, extremes, spreads.

Each takes its values one by one. Null is left out; if all values are null the result is null (count: 0). Sums
are exact (`exact`), so a value that leaves a sliding window leaves no rounding error in avg, var and the
like. Source: docs/reference/rules.md, D.5, Aggregate.
"""

import math
from collections.abc import Callable
from dataclasses import replace

from opq_rules.functions.exact import ExactMoments, Sum
from opq_rules.functions.registry import Accumulator, AggregateFunction, Definition, KeepsState, merged
from opq_rules.values.batch import State, Value
from opq_rules.values.sql_values import COMPARISONS, NUMBERS, compare, identity


class CountAccumulator(KeepsState):
    """Counts the values that are not null; with `*` every record."""

    __slots__ = KEEPS = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, value: Value) -> None:
        if value is not None:
            self.count += 1

    def remove(self, value: Value) -> None:
        if value is not None:
            self.count -= 1

    def merge(self, other: "CountAccumulator") -> None:
        self.count += other.count

    def value(self) -> int:
        return self.count


class DistinctCount:
    """How many values differ; null is left out."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: dict[Value, list[Value]] = {}
        """Identity -> the value, and how often it is there."""

    def add(self, value: Value) -> None:
        self._count(value, 1)

    def remove(self, value: Value) -> None:
        self._count(value, -1)

    def merge(self, other: "DistinctCount") -> None:
        for value, times in other._times.values():
            self._count(value, times)

    def _count(self, value: Value, times: int) -> None:
        if value is None:
            return
        key = identity(value)
        found = self._times.setdefault(key, [value, 0])
        found[1] += times
        if not found[1]:
            del self._times[key]

    def value(self) -> int:
        return len(self._times)

    def state(self) -> State:
        return [list(each) for each in self._times.values()]

    def restore(self, state: State) -> None:
        self._times = {identity(value): [value, times] for value, times in state}


class Total(Sum):
    __slots__ = ()

    def value(self) -> Value:
        return self.total()


class Mean(Sum):
    __slots__ = ()

    def value(self) -> Value:
        return self.mean()


class UncutMean(Sum):
    __slots__ = ()

    def value(self) -> Value:
        return self.mean(cut=False)


class Spread(ExactMoments):
    """Variance or standard deviation, of the population or of a sample."""

    __slots__ = ("_root", "_sample")

    def __init__(self, sample: bool, root: bool) -> None:
        super().__init__()
        self._sample, self._root = sample, root

    def value(self) -> float | None:
        variance = self.variance(self._sample)
        return math.sqrt(variance) if variance is not None and self._root else variance


class Extreme(KeepsState):
    """The largest or smallest of numbers, texts, or other comparable values."""

    __slots__ = ("_beats", "_best", "_sign")
    KEEPS = ("_best",)

    def __init__(self, sign: str) -> None:
        self._sign = sign
        self._beats = COMPARISONS[sign]
        self._best: Value = None

    def add(self, value: Value) -> None:
        best = self._best
        if type(value) in NUMBERS and type(best) in NUMBERS:
            if self._beats(value, best):
                self._best = value
        elif value is None:
            return
        elif best is None:
            compare(self._sign, value, value)  # RowError of what does not compare
            self._best = value
        elif compare(self._sign, value, best):
            self._best = value

    def merge(self, other: "Extreme") -> None:
        self.add(other._best)

    def value(self) -> Value:
        return self._best


class ExtremeAt(KeepsState):
    """argmax, argmin: a value of the record where another value is extreme; of equal ones the first."""

    __slots__ = KEEPS = ("_at", "_best")

    def __init__(self, sign: str) -> None:
        self._best = Extreme(sign)
        self._at: Value = None

    def add(self, at: Value, value: Value) -> None:
        before = self._best.value()
        self._best.add(value)
        if self._best.value() is not before:
            self._at = at

    def merge(self, other: "ExtremeAt") -> None:
        self.add(other._at, other._best.value())

    def value(self) -> Value:
        return self._at


def _of_numbers(name: str, start: Callable[..., Accumulator]) -> AggregateFunction:
    return AggregateFunction(name, start, 1, 1, merge=merged, remove=True)


FUNCTIONS: tuple[Definition, ...] = (
    AggregateFunction("count", CountAccumulator, 1, 1, merge=merged, remove=True, star=True),
    AggregateFunction("count_distinct", DistinctCount, 1, 1, merge=merged, remove=True),
    _of_numbers("sum", Total),
    replace(_of_numbers("avg", Mean), uncut=UncutMean),
    AggregateFunction("max", lambda: Extreme(">"), 1, 1, merge=merged),
    AggregateFunction("min", lambda: Extreme("<"), 1, 1, merge=merged),
    _of_numbers("stddev", lambda: Spread(sample=False, root=True)),
    _of_numbers("stddevs", lambda: Spread(sample=True, root=True)),
    _of_numbers("var", lambda: Spread(sample=False, root=False)),
    _of_numbers("vars", lambda: Spread(sample=True, root=False)),
    AggregateFunction("argmax", lambda: ExtremeAt(">"), 2, 2, merge=merged),
    AggregateFunction("argmin", lambda: ExtremeAt("<"), 2, 2, merge=merged),
)
