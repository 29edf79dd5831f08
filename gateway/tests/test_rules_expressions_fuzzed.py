"""Any expression on any record: refused with its place, or a value, or an error of the record."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as some
from rules_sql_text import parse_expression
from sql_evaluation import Facts, OneRecord

from opq_rules.errors import RowError, RuleError
from opq_rules.expressions.compile import compile_condition, compile_expression

LEAVES = some.sampled_from(
    ["a", "b", "missing", "1", "0", "2.5", "'x'", "'%y_'", "true", "a->k", "b[0]", "a[1:]", "-7", "now()"]
)


def _larger(inner: some.SearchStrategy[str]) -> some.SearchStrategy[str]:
    signs = [*"+-*/%&|^=<>", "!=", "<=", ">=", "AND", "OR", "LIKE", "IN"]
    return some.one_of(
        some.tuples(inner, some.sampled_from(signs), inner).map(lambda part: "({} {} ({}))".format(*part)),
        inner.map(lambda part: f"(NOT ({part}))"),
        inner.map(lambda part: f"(-({part}))"),
        some.tuples(inner, inner, inner).map(lambda part: "(({}) BETWEEN ({}) AND ({}))".format(*part)),
        some.tuples(inner, inner, inner).map(lambda part: "(({}) NOT IN ({}, {}))".format(*part)),
        some.tuples(inner, inner, inner).map(lambda part: "(CASE WHEN {} THEN {} ELSE {} END)".format(*part)),
        some.tuples(inner, inner, inner).map(lambda part: "(CASE {} WHEN {} THEN {} END)".format(*part)),
        some.tuples(inner, inner).map(lambda part: "(({})[{}])".format(*part)),
        some.tuples(inner, inner, inner).map(lambda part: "(({})[{}:{}])".format(*part)),
        some.tuples(some.sampled_from(["abs", "length", "concat", "isnull", "to_json"]), inner).map(
            lambda part: "{}({})".format(*part)
        ),
        some.tuples(some.sampled_from(["coalesce", "array_create", "mod", "indexof"]), inner, inner).map(
            lambda part: "{}({}, {})".format(*part)
        ),
    )


EXPRESSIONS = some.recursive(LEAVES, _larger, max_leaves=8)
VALUES = (
    some.none()
    | some.booleans()
    | some.integers(-3, 9)
    | some.floats(-9, 9)
    | some.sampled_from(["x", "", "xyz"])
    | some.lists(some.integers(0, 3), max_size=3)
    | some.dictionaries(some.just("k"), some.integers(0, 3), max_size=1)
)


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS, VALUES, VALUES)
def test_an_expression_has_value_or_error(text: str, a: Any, b: Any) -> None:
    node = parse_expression(text)
    row = {"a": a, "b": b}
    before = repr(row)
    answers: list[Any] = []
    for fast in (True, False):
        try:
            answers.append(compile_expression(node, OneRecord(fast))(row, Facts()))
        except RuleError as error:
            assert error.code == 2101
            assert error.line == 1
            assert error.column is not None
            assert 1 <= error.column <= len(text)
            answers.append(("refused", str(error)))
        except RowError as error:
            answers.append(("error", str(error)))
    assert repr(answers[0]) == repr(answers[1])
    assert repr(row) == before


@settings(max_examples=200, deadline=None)
@given(EXPRESSIONS, VALUES, VALUES)
def test_a_condition_follows_its_expression(text: str, a: Any, b: Any) -> None:
    node = parse_expression(text)
    row = {"a": a, "b": b}
    try:
        value = compile_expression(node, OneRecord())(row, Facts())
    except (RuleError, RowError):
        return
    try:
        held = compile_condition(node, OneRecord())(row, Facts())
    except (RuleError, RowError):
        assert value is not None
        assert not isinstance(value, bool)
        return
    assert held is (value is True)
