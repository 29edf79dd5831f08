"""Any function on any values: an answer, or an error of the record; never anything else, never a hang."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from rules_sql_text import parse_expression
from sql_evaluation import Facts, OneRecord

from opq_rules.errors import RowError, RuleError
from opq_rules.expressions.calls import FUNCTION_ERRORS
from opq_rules.expressions.compile import compile_expression
from opq_rules.functions.registry import Accumulator, AggregateFunction, Analytic, Scalar, built_in

WORDS = ["", "zlib", "base64", "bigint", "$.a[*]", "1h", "(a+", "yyyy-MM-dd", "abs", "UTC"]
VALUES = some.recursive(
    some.none()
    | some.booleans()
    | some.integers()
    | some.integers(-3, 40)
    | some.floats()
    | some.text(max_size=5)
    | some.sampled_from(WORDS)
    | some.binary(max_size=5)
    | some.datetimes(timezones=some.just(UTC)),
    lambda some_of: (
        some.lists(some_of, max_size=4) | some.dictionaries(some.sampled_from("ab"), some_of, max_size=2)
    ),
    max_leaves=6,
)
SCALARS = [
    name
    for name, found in built_in().items()
    if isinstance(found, Scalar) and not found.spread and not found.path
]


@settings(max_examples=15, deadline=None)
@given(some.data())
@pytest.mark.parametrize("name", SCALARS)
def test_a_scalar_has_value_or_error(name: str, data: some.DataObject) -> None:
    found = built_in()[name]
    count = data.draw(some.integers(found.least, min(found.most, found.least + 2)))
    values = [data.draw(VALUES) for _ in range(count)]
    row = {f"v{place}": value for place, value in enumerate(values)}
    before = repr(row)
    try:
        evaluate = compile_expression(parse_expression(f"{name}({', '.join(row)})"), OneRecord())
    except RuleError as error:
        assert "pairs" in str(error)  # the one check of what is not a constant: of a count
        return
    try:
        evaluate(row, Facts())
    except RowError as error:
        assert str(error).startswith(f"{name}(")
        assert len(str(error)) < 1_000
    assert repr(row) == before


@settings(max_examples=15, deadline=None)
@given(some.data())
@pytest.mark.parametrize(
    "name", [name for name, found in built_in().items() if isinstance(found, AggregateFunction)]
)
def test_an_aggregate_takes_or_explains(name: str, data: some.DataObject) -> None:
    found = built_in()[name]
    assert isinstance(found, AggregateFunction)
    constants = {"histogram": (0, 1, 2), "deduplicate": (True,), "last_value": (False,)}.get(
        name, (0.5,) if found.constants and found.least > 1 else ()
    )
    accumulator = found.start(*constants)
    for _ in range(data.draw(some.integers(0, 4))):
        taken = [data.draw(VALUES) for _ in range(found.most - found.constants)]
        try:
            accumulator.add(*([{"row": 1}] if found.whole_row else []), *taken)
        except FUNCTION_ERRORS:
            continue
    answer = _answer_of(accumulator)
    again = found.start(*constants)
    again.restore(accumulator.state())
    assert _answer_of(again) == answer


def _answer_of(accumulator: Accumulator) -> str:
    try:
        return repr(accumulator.value())
    except FUNCTION_ERRORS as error:  # of very large numbers
        return str(error)


def test_an_overflowing_variance_is_its_windows_error() -> None:
    found = built_in()["var"]
    assert isinstance(found, AggregateFunction)
    accumulator = found.start()
    for value in (0, 2.7e154):
        accumulator.add(value)
    assert _answer_of(accumulator) == "the variance is too large for a float"


@settings(max_examples=15, deadline=None)
@given(some.data())
@pytest.mark.parametrize("name", [name for name, found in built_in().items() if isinstance(found, Analytic)])
def test_an_analytic_function_takes_or_explains(name: str, data: some.DataObject) -> None:
    found = built_in()[name]
    assert isinstance(found, Analytic)
    analysis = found.start()
    for _ in range(data.draw(some.integers(0, 4))):
        count = data.draw(some.integers(found.least, min(found.most, found.least + 2)))
        values: list[Any] = [data.draw(VALUES) for _ in range(count)]
        if found.spread:
            values = [*values[:2], {"a": values[2]}]
        if name.startswith("acc_") and count == 2:
            values.append(data.draw(VALUES))
        try:
            analysis.update(*values)
            analysis.last(*values)
        except FUNCTION_ERRORS:
            continue


def test_calendar_ends_are_record_errors() -> None:
    row = {"t": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), "u": datetime(1, 1, 1, tzinfo=UTC)}
    for text in ('date_calc(t, "48h")', 'date_calc(u, "-48h")', 'convert_tz(u, "Pacific/Honolulu")'):
        with pytest.raises(RowError):
            compile_expression(parse_expression(text), OneRecord())(row, Facts())
