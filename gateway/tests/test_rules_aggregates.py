"""Aggregates of SQL: docs/reference/rules.md, D.5. Removing, joining, restoring give what computing all
gives."""

import json
import math
import re
import statistics
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from opq_rules.errors import RowError
from opq_rules.functions.exact import SlopeSums, Sum
from opq_rules.functions.registry import Accumulator, AggregateFunction, built_in, find


def aggregate(name: str) -> AggregateFunction:
    found = find(name)
    assert isinstance(found, AggregateFunction)
    return found


def value_of(name: str, values: Sequence[Any], *constants: Any) -> Any:
    """`values`: one each, or tuples of several arguments."""
    accumulator = aggregate(name).start(*constants)
    for value in values:
        accumulator.add(*(value if isinstance(value, tuple) else (value,)))
    return accumulator.value()


CASES: list[tuple[str, list[Any], tuple[Any, ...], Any]] = [
    ("count", [1, None, "x", False], (), 3),
    ("count", [None], (), 0),
    ("count", [], (), 0),
    ("count_distinct", [1, 1.0, True, None, "x", "x", [1], [1.0]], (), 4),
    ("count_distinct", [None], (), 0),
    ("sum", [1, 2, None], (), 3),
    ("sum", [1, 2.5], (), 3.5),
    ("sum", [None, None], (), None),
    ("sum", [0.1] * 10, (), 1.0),
    ("sum", [1e308, 1e308, -1e308], (), 1e308),
    ("sum", [2**62, 2**62 - 1], (), 2**63 - 1),
    ("sum", [2**62, 2**62, -(2**62)], (), 2**62),
    ("sum", [5e-324, 1.0, -1.0], (), 5e-324),
    ("avg", [1, 2], (), 1),
    ("avg", [-1, -2], (), -1),
    ("avg", [1, 2.0], (), 1.5),
    ("avg", [None], (), None),
    ("max", [3, None, 5.5, 4], (), 5.5),
    ("max", ["b", "abc"], (), "b"),
    ("max", [None], (), None),
    ("min", [3, None, 5.5, 4], (), 3),
    ("stddev", [2, 4, 4, 4, 5, 5, 7, 9], (), 2.0),
    ("var", [2, 4, 4, 4, 5, 5, 7, 9], (), 4.0),
    ("vars", [1, 2, 3, 4], (), 5 / 3),
    ("stddevs", [1, 3], (), math.sqrt(2)),
    ("vars", [1], (), None),
    ("var", [1], (), 0.0),
    ("var", [1e9 + 1, 1e9 + 2, 1e9 + 3], (), 2 / 3),
    ("median", [3, 1, None, 2], (), 2.0),
    ("median", [4, 1, 2, 3], (), 2.5),
    ("percentile_cont", [100, 150, 200], (0.5,), 150.0),
    ("percentile", [100, 150, 200], (0.75,), 175.0),
    ("percentile_cont", [7], (1,), 7.0),
    ("percentile_disc", [100, 150, 200, 250], (0.5,), 150),
    ("percentile_disc", [100, 150, 200], (0,), 100),
    ("percentile_disc", [None], (0.5,), None),
    ("collect", [1, None, "x"], (), [1, "x"]),
    ("collect", [None], (), None),
    ("merge_agg", [{"a": 1, "b": 2}, None, {"a": 3}], (), {"a": 3, "b": 2}),
    ("merge_agg", [5], (), {}),
    ("merge_agg", [None], (), None),
    ("last_value", [1, 2, None], (), 2),
    ("last_value", [1, 2, None], (True,), 2),
    ("last_value", [1, 2, None], (False,), None),
    ("first_value", [None, 1, 2], (), 1),
    ("first_value", [None, 1, 2], (False,), None),
    (
        "deduplicate",
        [({"k": 1, "n": 1}, 1), ({"k": 2}, 2), ({"k": 1, "n": 3}, 1)],
        (True,),
        [{"k": 1, "n": 1}, {"k": 2}],
    ),
    ("deduplicate", [({"k": 1}, 1), ({"k": 2}, 2)], (False,), {"k": 2}),
    ("deduplicate", [({"k": 1}, 1), ({"k": 1}, 1)], (False,), None),
    ("argmax", [("a", 1), ("b", 3), ("c", None), ("d", 3)], (), "b"),
    ("argmin", [("a", 1), ("b", 3)], (), "a"),
    ("histogram", [-1, 0, 0.5, 1, 1.99, 2, None], (0, 2, 2), {"counts": [2, 2], "below": 1, "above": 1}),
    ("slope", [1, 3, None, 7], (), 2.0),
    ("slope", [(1, 10), (3, 11), (5, 12)], (), 2.0),
    ("slope", [(1, 1_765_792_486_000), (2, 1_765_792_487_000)], (), 0.001),
    ("slope", [5], (), None),
    ("rms", [3, -4, None], (), math.sqrt(12.5)),
    ("rms", [[3, -4], [5]], (), math.sqrt(50 / 3)),
    ("rms", [None], (), None),
]


@pytest.mark.parametrize(("name", "values", "constants", "answer"), CASES)
def test_an_aggregate_has_the_value_found_by_hand(
    name: str, values: list[Any], constants: tuple[Any, ...], answer: Any
) -> None:
    found = value_of(name, values, *constants)
    assert type(found) is type(answer)
    assert found == (pytest.approx(answer, rel=1e-15) if isinstance(answer, float) else answer)


def test_every_aggregate_is_in_the_table_above() -> None:
    assert {name for name, found in built_in().items() if isinstance(found, AggregateFunction)} == {
        name for name, *_ in CASES
    }


@pytest.mark.parametrize("values", [[2**62, 2**62], [-(2**63), -1]])
def test_a_sum_beyond_64_bits_is_an_error(values: list[int]) -> None:
    accumulator = aggregate("sum").start()
    for value in values:
        accumulator.add(value)
    with pytest.raises(OverflowError, match="does not fit into 64 bits"):
        accumulator.value()
    accumulator.add(1.5)  # a float has room for it
    assert accumulator.value() == float(sum(values))


WRONG: list[tuple[str, Any, tuple[Any, ...], str]] = [
    ("sum", "x", (), 'want a number, not string "x"'),
    ("sum", True, (), "want a number"),
    ("sum", math.inf, (), "Infinity"),
    ("sum", math.nan, (), "NaN"),
    ("avg", [1], (), "want a number"),
    ("var", {}, (), "want a number"),
    ("max", True, (), "do not compare"),
    ("max", [1], (), "do not compare"),
    ("median", "x", (), "want a number"),
    ("histogram", "x", (0, 2, 2), "want a number"),
    ("slope", "x", (), "want a number"),
    ("rms", "x", (), "want an array"),
    ("rms", ["x"], (), "want a number"),
]


@pytest.mark.parametrize(("name", "value", "constants", "words"), WRONG)
def test_an_unfit_value_leaves_nothing_behind(
    name: str, value: Any, constants: tuple[Any, ...], words: str
) -> None:
    accumulator = aggregate(name).start(*constants)
    accumulator.add(1.5)
    before = accumulator.value(), repr(accumulator.state())
    with pytest.raises((RowError, TypeError, ValueError, OverflowError), match=re.escape(words)):
        accumulator.add(value)
    assert (accumulator.value(), repr(accumulator.state())) == before


def test_values_of_kinds_that_clash_are_reported() -> None:
    with pytest.raises(RowError, match="do not compare"):
        value_of("max", [1, "x"])


def test_constants_stand_behind_what_is_taken_per_record() -> None:
    assert aggregate("percentile").split(["c", 0.5]) == (["c"], [0.5])
    assert aggregate("last_value").split(["c"]) == (["c"], [])
    assert aggregate("histogram").split(["c", 0, 1, 5]) == (["c"], [0, 1, 5])
    assert aggregate("argmax").split(["a", "b"]) == (["a", "b"], [])


NUMBERS = (
    some.none()
    | some.integers(-(2**53), 2**53)
    | some.floats(-1e15, 1e15)
    | some.sampled_from([5e-324, 1e-30, 0.1, 126.4, -0.0])
)
SINGLE = [
    *("count", "sum", "avg", "max", "min", "var", "vars", "stddev", "stddevs", "median", "percentile_cont"),
    *("percentile_disc", "collect", "first_value", "last_value", "histogram", "slope", "rms"),
]
CONSTANTS = {"percentile_cont": (0.3,), "percentile_disc": (0.3,), "histogram": (-100, 100, 7)}


def _started(name: str, values: Sequence[Any]) -> Accumulator:
    accumulator = aggregate(name).start(*CONSTANTS.get(name, ()))
    for value in values:
        accumulator.add(value)
    return accumulator


def _same(left: Any, right: Any) -> bool:
    return repr(left) == repr(right) or (type(left) is type(right) and bool(left == right))  # 0.0 and -0.0


@given(some.sampled_from(SINGLE), some.lists(NUMBERS, max_size=12), some.integers(0, 12))
def test_a_restored_accumulator_is_exact(name: str, values: list[Any], at: int) -> None:
    first = _started(name, values[:at])
    second = aggregate(name).start(*CONSTANTS.get(name, ()))
    second.restore(json.loads(json.dumps(first.state())))
    for value in values[at:]:
        second.add(value)
    assert _same(second.value(), _started(name, values).value())


@given(
    some.sampled_from(SINGLE), some.lists(NUMBERS, max_size=12), some.integers(0, 12), some.integers(0, 12)
)
def test_joined_panes_give_what_all_records_give(name: str, values: list[Any], one: int, two: int) -> None:
    merge = aggregate(name).merge
    if merge is None:
        assert name == "slope"  # it counts its records
        return
    first, second = sorted((one, two))
    whole = _started(name, values[:first])
    for pane in (values[first:second], values[second:]):
        merge(whole, _started(name, pane))
    assert _same(whole.value(), _started(name, values).value())


@given(
    some.sampled_from([name for name in SINGLE if aggregate(name).remove]),
    some.lists(NUMBERS, max_size=10),
    some.lists(NUMBERS, max_size=10),
    some.randoms(use_true_random=False),
)
@example("sum", [1e15], [5e-324, 0.1], None)
def test_what_is_removed_leaves_nothing_behind(
    name: str, kept: list[Any], gone: list[Any], random: Any
) -> None:
    """Removing undoes adding, in any order, for floats too."""
    order = [*[(value, True) for value in kept], *[(value, False) for value in gone]]
    leaving = list(gone)
    if random is not None:
        random.shuffle(order)
        random.shuffle(leaving)
    accumulator: Any = _started(name, [value for value, _ in order])
    for value in leaving:
        accumulator.remove(value)
    assert _same(accumulator.value(), _started(name, kept).value())


@given(some.lists(some.floats(-1e15, 1e15) | some.integers(-(2**60), 2**60), min_size=1))
def test_a_sum_is_the_exact_one_rounded_once(values: list[Any]) -> None:
    total = Sum()
    for value in values:
        total.add(value)
    exact = sum(Fraction(value) for value in values)
    assert total.total() == (exact if total.reals == 0 else exact.numerator / exact.denominator)
    if total.reals == 0:
        assert total.mean() == math.trunc(Fraction(exact, len(values)))
    else:
        mean = exact / len(values)
        assert total.mean() == mean.numerator / mean.denominator


@given(some.lists(some.floats(-1e6, 1e6), min_size=2))
def test_variance_and_median_equal_the_library(values: list[float]) -> None:
    assert value_of("var", values) == pytest.approx(statistics.pvariance(values), rel=1e-12, abs=1e-300)
    assert value_of("vars", values) == pytest.approx(statistics.variance(values), rel=1e-12, abs=1e-300)
    assert value_of("median", values) == pytest.approx(statistics.median(values), rel=1e-12, abs=1e-300)


@given(some.lists(some.tuples(some.integers(0, 2**41), some.floats(-1e3, 1e3)), max_size=8))
def test_a_slope_is_that_of_exact_least_squares(pairs: list[tuple[int, float]]) -> None:
    line = SlopeSums()
    for x, y in pairs:
        line.add_pair(x, y)
    xs, ys, count = [Fraction(x) for x, _ in pairs], [Fraction(y) for _, y in pairs], len(pairs)
    spread = count * sum(x * x for x in xs) - sum(xs) ** 2
    if spread == 0:
        assert line.slope() is None
    else:
        exact = (count * sum(x * y for x, y in zip(xs, ys, strict=True)) - sum(xs) * sum(ys)) / spread
        assert line.slope() == exact.numerator / exact.denominator


@given(
    some.lists(some.tuples(some.integers(0, 5), some.integers(0, 3) | some.none()), max_size=12),
    some.booleans(),
)
def test_deduplicate_keeps_the_first_of_each_key(records: list[tuple[int, Any]], every: bool) -> None:
    rows = [({"n": place, "k": key}, key) for place, (_, key) in enumerate(records)]
    first = {key: row for row, key in reversed(rows) if key is not None}
    wanted: Any = sorted(first.values(), key=lambda row: row["n"]) or None
    if not every:
        wanted = (
            rows[-1][0] if rows and rows[-1][1] is not None and first[rows[-1][1]] is rows[-1][0] else None
        )
    accumulator = aggregate("deduplicate").start(every)
    for place, (row, key) in enumerate(rows):
        if place == len(rows) // 2:
            restored = aggregate("deduplicate").start(every)
            restored.restore(json.loads(json.dumps(accumulator.state())))
            accumulator = restored
        accumulator.add(row, key)
    assert accumulator.value() == wanted
