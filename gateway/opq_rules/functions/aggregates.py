"""What a group of records gives: counts, sums, extremes, spreads, ranks, collections.

Each takes its values one by one; null is left out, and of nothing but null the answer is null (count: 0).
Sums are exact (`exact`), so avg, var and their like may leave a sliding window again without a trace.
Source: reference/rules.md, D.5, Aggregate.
"""

import bisect
import math
from collections.abc import Callable, Sequence
from typing import Any

from opq_rules.functions.arguments import number, want, whole
from opq_rules.functions.exact import Line, Moments, Sum
from opq_rules.functions.registry import UNKNOWN, Accumulator, Aggregate, Definition, renamed
from opq_rules.values import COMPARISONS, NUMBERS, compare, identity


class Count:
    """Of what is not null; of `*` every record."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def add(self, value: Any) -> None:
        if value is not None:
            self.count += 1

    def remove(self, value: Any) -> None:
        if value is not None:
            self.count -= 1

    def merge(self, other: "Count") -> None:
        self.count += other.count

    def value(self) -> int:
        return self.count

    def state(self) -> Any:
        return self.count

    def restore(self, state: Any) -> None:
        self.count = state


class Total(Sum):
    __slots__ = ()

    def value(self) -> Any:
        return self.total()


class Mean(Sum):
    __slots__ = ()

    def value(self) -> Any:
        return self.mean()


class Spread(Moments):
    """Variance or standard deviation, of the population or of a sample."""

    __slots__ = ("_root", "_sample")

    def __init__(self, sample: bool, root: bool) -> None:
        super().__init__()
        self._sample, self._root = sample, root

    def value(self) -> float | None:
        variance = self.variance(self._sample)
        return math.sqrt(variance) if variance is not None and self._root else variance


class Extreme:
    """The largest or smallest of numbers, of texts, or of what else compares."""

    __slots__ = ("_beats", "_best", "_sign")

    def __init__(self, sign: str) -> None:
        self._sign = sign
        self._beats = COMPARISONS[sign]
        self._best: Any = None

    def add(self, value: Any) -> None:
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

    def value(self) -> Any:
        return self._best

    def state(self) -> Any:
        return self._best

    def restore(self, state: Any) -> None:
        self._best = state


class ExtremeAt:
    """argmax, argmin: a value of the record where another is extreme; of equal ones the first."""

    __slots__ = ("_at", "_best")

    def __init__(self, sign: str) -> None:
        self._best = Extreme(sign)
        self._at: Any = None

    def add(self, at: Any, value: Any) -> None:
        before = self._best.value()
        self._best.add(value)
        if self._best.value() is not before:
            self._at = at

    def merge(self, other: "ExtremeAt") -> None:
        self.add(other._at, other._best.value())

    def value(self) -> Any:
        return self._at

    def state(self) -> Any:
        return [self._at, self._best.state()]

    def restore(self, state: Any) -> None:
        self._at = state[0]
        self._best.restore(state[1])


class Ranked:
    """Numbers that are sorted when they are asked for: median and percentiles."""

    __slots__ = ("_pick", "_values")

    def __init__(self, pick: Callable[[list[Any]], Any]) -> None:
        self._pick = pick
        self._values: list[Any] = []

    def add(self, value: Any) -> None:
        if value is not None:
            self._values.append(number(value))

    def remove(self, value: Any) -> None:
        if value is not None:
            self._values.sort()
            del self._values[bisect.bisect_left(self._values, value)]

    def merge(self, other: "Ranked") -> None:
        self._values += other._values

    def value(self) -> Any:
        self._values.sort()
        return self._pick(self._values) if self._values else None

    def state(self) -> Any:
        return list(self._values)

    def restore(self, state: Any) -> None:
        self._values = list(state)


def _between(values: list[Any], share: float) -> float:
    """Linear between neighbours: the continuous percentile of the SQL standard."""
    place = share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return float(values[low] + (values[high] - values[low]) * (place - low))


def _median(values: list[Any]) -> float:
    return _between(values, 0.5)


def _percentile_cont(share: Any) -> Ranked:
    exact_share = _share(share)
    return Ranked(lambda values: _between(values, exact_share))


def _percentile_disc(share: Any) -> Ranked:
    """A value that is there: the first at whose place the share is reached."""
    exact_share = _share(share)
    return Ranked(lambda values: values[max(0, math.ceil(exact_share * len(values)) - 1)])


def _share(value: Any) -> float:
    if not 0 <= number(value) <= 1:
        raise ValueError(f"percentile {value}; want 0.0 to 1.0")
    return float(value)


def _check_percentile(constants: Sequence[Any]) -> str:
    try:
        _share(constants[1])
    except (TypeError, ValueError) as error:
        return f"{error}; a constant from 0.0 to 1.0"
    return ""


class Collection:
    """collect: every value that is not null, in order."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: list[Any] = []

    def add(self, value: Any) -> None:
        if value is not None:
            self._values.append(value)

    def merge(self, other: "Collection") -> None:
        self._values += other._values

    def value(self) -> list[Any] | None:
        return list(self._values) or None

    def state(self) -> Any:
        return list(self._values)

    def restore(self, state: Any) -> None:
        self._values = list(state)


class Merged:
    """merge_agg: one object of the keys of all; a later one wins. Of what is no object: empty."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, Any] | None = None

    def add(self, value: Any) -> None:
        if value is not None:
            self._found = self._found or {}
            if isinstance(value, dict):
                self._found.update(value)

    def merge(self, other: "Merged") -> None:
        self.add(other._found)

    def value(self) -> dict[str, Any] | None:
        return None if self._found is None else dict(self._found)

    def state(self) -> Any:
        return self.value()

    def restore(self, state: Any) -> None:
        self._found = None if state is None else dict(state)


class OneValue:
    """first_value, last_value: of the group's records in order, null too unless it is to be ignored."""

    __slots__ = ("_first", "_ignore_null", "_seen", "_value")

    def __init__(self, first: bool, ignore_null: bool) -> None:
        self._first, self._ignore_null = first, ignore_null
        self._seen = False
        self._value: Any = None

    def add(self, value: Any) -> None:
        if (value is None and self._ignore_null) or (self._first and self._seen):
            return
        self._seen, self._value = True, value

    def merge(self, other: "OneValue") -> None:
        if other._seen:
            self.add(other._value)

    def value(self) -> Any:
        return self._value

    def state(self) -> Any:
        return [self._seen, self._value]

    def restore(self, state: Any) -> None:
        self._seen, self._value = state


class Distinct:
    """deduplicate: the records whose key was not there before; or the latest, if its key is new."""

    __slots__ = ("_all", "_latest", "_rows")

    def __init__(self, every: bool) -> None:
        self._all = every
        self._rows: dict[Any, Any] = {}
        self._latest: Any = None

    def add(self, row: Any, key: Any) -> None:
        if key is None:
            self._latest = None
            return
        known = identity(key)
        self._latest = None if known in self._rows else row
        self._rows.setdefault(known, (key, row))

    def value(self) -> Any:
        if self._all:
            return [row for _, row in self._rows.values()] or None
        return self._latest

    def state(self) -> Any:
        return [[list(pair) for pair in self._rows.values()], self._latest]

    def restore(self, state: Any) -> None:
        self._rows = {identity(key): (key, row) for key, row in state[0]}
        self._latest = state[1]


class Histogram:
    """How many numbers fall into each of equal bins of low .. high; below, and from high up, apart."""

    __slots__ = ("_above", "_below", "_bins", "_high", "_low")

    def __init__(self, low: Any, high: Any, bins: Any) -> None:
        self._low, self._high = float(number(low)), float(number(high))
        if not self._low < self._high or not 1 <= whole(bins) <= 1_000:
            raise ValueError(f"{low} .. {high} in {bins} bins; want low < high and 1 to 1000 bins")
        self._bins = [0] * bins
        self._below = self._above = 0

    def add(self, value: Any) -> None:
        self._count(value, 1)

    def remove(self, value: Any) -> None:
        self._count(value, -1)

    def _count(self, value: Any, by: int) -> None:
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

    def value(self) -> dict[str, Any]:
        return {"counts": list(self._bins), "below": self._below, "above": self._above}

    def state(self) -> Any:
        return [list(self._bins), self._below, self._above]

    def restore(self, state: Any) -> None:
        bins, self._below, self._above = state
        self._bins = list(bins)


def _check_histogram(constants: Sequence[Any]) -> str:
    if UNKNOWN in constants[1:]:
        return "low, high and the number of bins are constants"
    try:
        Histogram(*constants[1:])
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


class Slope:
    """slope(y, x), or slope(y): per record. Pairs with null are left out."""

    __slots__ = ("_line", "_records")

    def __init__(self) -> None:
        self._line = Line()
        self._records = 0

    def add(self, y: Any, *x: Any) -> None:
        at = x[0] if x else self._records
        if y is not None and at is not None:
            self._line.add_pair(at, y)
        self._records += 1

    def value(self) -> float | None:
        return self._line.slope()

    def state(self) -> Any:
        return [self._records, self._line.state()]

    def restore(self, state: Any) -> None:
        self._records = state[0]
        self._line.restore(state[1])


def _check_ignore(constants: Sequence[Any]) -> str:
    flag = constants[1] if len(constants) > 1 else True
    return "" if type(flag) is bool else "argument 2 is whether to ignore null: true or false, a constant"


def _merge(into: Any, other: Any) -> None:
    into.merge(other)


def _plain(
    name: str, start: Callable[..., Accumulator], remove: bool = False, star: bool = False
) -> Aggregate:
    check = None if star else want("any")
    return Aggregate(name, start, 1, 1, merge=_merge, remove=remove, star=star, check=check)


def _of_numbers(name: str, start: Callable[..., Accumulator]) -> Aggregate:
    return Aggregate(name, start, 1, 1, merge=_merge, remove=True, check=want("number"))


def _percentile(name: str, start: Callable[..., Accumulator]) -> Aggregate:
    return Aggregate(name, start, 2, 2, 1, merge=_merge, remove=True, check=_check_percentile)


def _one_value(name: str, first: bool) -> Aggregate:
    def start(ignore_null: bool = True) -> Accumulator:
        return OneValue(first, ignore_null)

    return Aggregate(name, start, 1, 2, 1, merge=_merge, check=_check_ignore)


FUNCTIONS: tuple[Definition, ...] = (
    _plain("count", Count, remove=True, star=True),
    _of_numbers("sum", Total),
    _of_numbers("avg", Mean),
    _plain("max", lambda: Extreme(">")),
    _plain("min", lambda: Extreme("<")),
    _of_numbers("stddev", lambda: Spread(sample=False, root=True)),
    _of_numbers("stddevs", lambda: Spread(sample=True, root=True)),
    _of_numbers("var", lambda: Spread(sample=False, root=False)),
    _of_numbers("vars", lambda: Spread(sample=True, root=False)),
    _of_numbers("median", lambda: Ranked(_median)),
    *renamed(_percentile("percentile_cont", _percentile_cont), "percentile"),
    _percentile("percentile_disc", _percentile_disc),
    _plain("collect", Collection, star=True),
    _plain("merge_agg", Merged, star=True),
    _one_value("last_value", first=False),
    _one_value("first_value", first=True),
    Aggregate("deduplicate", Distinct, 2, 2, 1, check=_check_ignore, whole_row=True),
    Aggregate("argmax", lambda: ExtremeAt(">"), 2, 2, merge=_merge),
    Aggregate("argmin", lambda: ExtremeAt("<"), 2, 2, merge=_merge),
    Aggregate("histogram", Histogram, 4, 4, 3, merge=_merge, remove=True, check=_check_histogram),
    Aggregate("slope", Slope, 1, 2),
)
