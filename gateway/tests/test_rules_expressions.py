"""Operators of SQL: docs/reference/rules.md, D.4. The answers are found by hand."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from rules_sql_text import parse_expression
from sql_evaluation import OneRecord, evaluated

from opq_rules.errors import RowError, RuleError
from opq_rules.expressions.compile import compile_condition, compile_expression, constant_value
from opq_rules.functions.registry import UNKNOWN
from opq_rules.values.arithmetic import ARITHMETIC
from opq_rules.values.sql_values import compare, like_pattern

ROW = {
    "i": 7,
    "f": 2.5,
    "s": "hello",
    "yes": True,
    "no": False,
    "a": [1, 2, 3],
    "o": {"x": {"y": 1}, "list": [{"z": 5}]},
    "nothing": None,
    "ts": 1_765_792_486_013,
}

CASES: list[tuple[str, Any]] = [
    # int and float stay apart
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("-7 % 2", -1),
    ("7 / 2.0", 3.5),
    ("i / 2", 3),
    ("i / f", 2.8),
    ("7.5 % 2", 1.5),
    ("i * 2 + 1", 15),
    ("2 + 3 * 4", 14),
    ("6 & 3", 2),
    ("6 | 3", 7),
    ("6 ^ 3", 5),
    ("-i", -7),
    ("-(-f)", 2.5),
    # null: comparisons are false, arithmetic is null
    ("missing > 1", False),
    ("1 < missing", False),
    ("missing = missing", False),
    ("missing != 1", False),
    ("nothing = nothing", False),
    ("missing + 1", None),
    ("-missing", None),
    ("missing IN (1, 2)", False),
    ("missing NOT IN (1, 2)", False),
    ("i IN missing", False),
    ("i NOT IN missing", True),
    ("missing BETWEEN 1 AND 2", False),
    ("missing NOT BETWEEN 1 AND 2", False),
    ("i BETWEEN missing AND 9", False),
    ('missing LIKE "%"', False),
    ('missing NOT LIKE "x"', False),
    ("s LIKE missing", False),
    ("missing AND yes", False),
    ("missing OR yes", True),
    ("NOT missing", None),
    ("NOT (missing > 1)", True),
    # comparison
    ("i = 7.0", True),
    ("i >= 7", True),
    ("8 > i", True),
    ("7.5 >= i", True),
    ("i <> 7", False),
    ('s = "hello"', True),
    ('s < "help"', True),
    ('"abc" < s', True),
    ("yes = true", True),
    ("yes != no", True),
    ('cast(ts, "datetime") > 0', True),
    ('cast(ts, "datetime") = ts', True),
    ('cast(ts, "datetime") < "2026-01-01T00:00:00Z"', True),
    ('cast(ts, "datetime") = cast("2025-12-15T10:54:46.013+01:00", "datetime")', True),
    # conditions
    ("yes AND no", False),
    ("yes AND NOT no", True),
    ("no OR no OR yes", True),
    ("no AND 1 / i > s", False),  # decided before the right side
    ("yes OR s", True),
    ("i IN (1, 7)", True),
    ("i IN (7.0, f)", True),
    ("i NOT IN (1, 2)", True),
    ('s IN ("hello", "you")', True),
    ("2 IN a", True),
    ("9 NOT IN a", True),
    ("i BETWEEN 7 AND 7", True),
    ("i NOT BETWEEN 8 AND 9", True),
    ('s LIKE "h%o"', True),
    ('s LIKE "h_llo"', True),
    ('s LIKE "ell"', False),
    ('s NOT LIKE "%z%"', True),
    ("s LIKE s", True),
    # CASE
    ('CASE WHEN i > 3 THEN "big" WHEN i > 1 THEN "some" ELSE "small" END', "big"),
    ("CASE WHEN missing > 3 THEN 1 ELSE 2 END", 2),
    ("CASE WHEN missing THEN 1 END", None),
    ("CASE i WHEN 6 THEN 1 WHEN 7 THEN 2 END", 2),
    ("CASE missing WHEN 6 THEN 1 ELSE 3 END", 3),
    # arrays and objects
    ("a[0]", 1),
    ("a[-1]", 3),
    ("a[3]", None),
    ("a[-4]", None),
    ("a[i - 6]", 2),
    ("missing[0]", None),
    ("a[0:2]", [1, 2]),
    ("a[1:]", [2, 3]),
    ("a[:-1]", [1, 2]),
    ("a[:]", [1, 2, 3]),
    ("a[1:99]", [2, 3]),
    ("a[i - 5:i - 6]", []),
    ("missing[1:]", None),
    ("o->x->y", 1),
    ("o.x.y", 1),
    ("o->list[0]->z", 5),
    ("o->none->y", None),
    ("s->y", None),
    ("missing->y", None),
]


@pytest.mark.parametrize(("text", "answer"), CASES, ids=[text for text, _ in CASES])
def test_an_expression_has_the_value_found_by_hand(text: str, answer: Any) -> None:
    found = evaluated(text, ROW)
    assert (type(found), found) == (type(answer), answer)


ROW_ERRORS = [
    ("i / 0", "division by zero"),
    ("f % 0.0", "division by zero"),
    ("i + s", 'bigint 7 + string "hello": want numbers'),
    ("yes + 1", "boolean True + bigint 1: want numbers"),
    ('i > "x"', 'bigint 7 > string "x": these do not compare'),
    ("s = 1", "do not compare"),
    ("yes > no", "do not compare"),
    ("yes = 1", "do not compare"),
    ("a = a", "array [1, 2, 3] = array [1, 2, 3]: these do not compare"),
    ("o != o", "do not compare"),
    ('ts > cast("2020-01-01", "string")', "do not compare"),
    ('cast(ts, "datetime") > "yesterday"', "is not a time"),
    ("i IN (s)", "do not compare"),
    ("i IN s", "want an array"),
    ('i LIKE "7"', "want texts"),
    ("s LIKE i", "want texts"),
    ("NOT i", "want a condition"),
    ("yes AND i", "bigint 7 is not a condition"),
    ("i OR no", "is not a condition"),
    ("CASE WHEN i THEN 1 END", "is not a condition"),
    ("s[0]", "want an array"),
    ("a[f]", "want a whole number"),
    ("a[s:]", "want whole numbers"),
    ("f & 1", "want whole numbers"),
    ("-s", "want a number"),
    ("abs(s)", 'abs(string "hello"): want a number, not string "hello"'),
    ("f * big", "too large"),
]


@pytest.mark.parametrize(("text", "words"), ROW_ERRORS, ids=[text for text, _ in ROW_ERRORS])
def test_an_uncomputable_value_is_its_records_error(text: str, words: str) -> None:
    for fast in (True, False):
        evaluate = compile_expression(parse_expression(text), OneRecord(fast))
        with pytest.raises(RowError, match=re.escape(words)):
            evaluate(ROW | {"big": 10**400}, None)


REFUSED = [
    ("1 / 0", 3, "division by zero"),
    ('v + ("a" - 1)', 10, "want numbers"),
    ("a[2:1]", 2, "is always empty"),
    ("a[-1:-3]", 2, "is always empty"),
    ("a[1.5:2]", 2, "whole numbers"),
    ("v LIKE 5", 3, "want a text as pattern"),
    ("CASE WHEN 3 THEN 1 END", 11, "CASE WHEN bigint 3: want a condition"),
    ("v > 1 AND 5", 11, "bigint 5 is not a condition"),
    ("roudn(v)", 1, "function roudn not found"),
    ("round()", 1, "round takes 1 to 2 arguments, found 0"),
    ("concat()", 1, "concat takes at least 1 argument, found 0"),
    ("pi(1)", 1, "pi takes no arguments, found 1"),
    ('abs("x")', 1, "abs: argument 1 is string"),
    ("count(v) > 1", 1, "aggregate count is not allowed here"),
    ("lag(v)", 1, "lag is not allowed here"),
    ("unnest(a)", 1, "unnest is not allowed here"),
    ("abs(v) FILTER (WHERE v > 1)", 1, "FILTER after abs"),
    ("length(*)", 8, "length(*)"),
    ("meta(3)", 6, "want a name"),
]


@pytest.mark.parametrize(("text", "column", "words"), REFUSED, ids=[text for text, _, _ in REFUSED])
def test_an_impossible_expression_names_its_place(text: str, column: int, words: str) -> None:
    with pytest.raises(RuleError, match=re.escape(words)) as caught:
        compile_expression(parse_expression(text), OneRecord())
    assert (caught.value.code, caught.value.line, caught.value.column) == (2101, 1, column)


def test_a_near_function_name_gets_a_hint() -> None:
    with pytest.raises(RuleError) as caught:
        compile_expression(parse_expression("roudn(v)"), OneRecord())
    assert caught.value.hint == 'did you mean "round"?'


def test_constants_are_computed_once() -> None:
    assert constant_value(parse_expression("2 * 3 + length('abc')")) == 9
    assert constant_value(parse_expression("now()")) is UNKNOWN
    assert constant_value(parse_expression("rand()")) is UNKNOWN
    assert constant_value(parse_expression("v + 1")) is UNKNOWN


def test_null_counts_as_false() -> None:
    assert compile_condition(parse_expression("flag"), OneRecord())({}, None) is False
    assert compile_condition(parse_expression("flag"), OneRecord())({"flag": True}, None) is True
    with pytest.raises(RowError, match="is not a condition"):
        compile_condition(parse_expression("flag"), OneRecord())({"flag": 1}, None)
    with pytest.raises(RuleError, match="is not a condition"):
        compile_condition(parse_expression("3 + 4"), OneRecord())


def test_a_long_chain_of_conditions_is_flat() -> None:
    text = " OR ".join(f"v = {number}" for number in range(150))
    assert evaluated(text, {"v": 149}) is True
    assert evaluated(text, {"v": 150}) is False


@given(some.integers(-(10**6), 10**6), some.integers(-1000, 1000).filter(bool))
def test_division_and_remainder_fit_together(left: int, right: int) -> None:
    divide, modulo = ARITHMETIC["/"], ARITHMETIC["%"]
    assert divide(left, right) * right + modulo(left, right) == left
    assert abs(modulo(left, right)) < abs(right)
    assert modulo(left, right) == 0 or (modulo(left, right) < 0) == (left < 0)


VALUES = some.one_of(
    some.none(),
    some.booleans(),
    some.integers(),
    some.floats(allow_nan=False),
    some.text(max_size=3),
    some.lists(some.integers(), max_size=2),
    some.dictionaries(some.text(max_size=1), some.integers(), max_size=1),
)


@given(VALUES, VALUES, some.sampled_from(["=", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "&"]))
def test_any_two_values_give_value_or_error(left: Any, right: Any, sign: str) -> None:
    answers = []
    for fast in (True, False):
        try:
            node = parse_expression(f"a {sign} b")
            answers.append(compile_expression(node, OneRecord(fast))({"a": left, "b": right}, None))
        except RowError as error:
            answers.append(str(error))
    assert repr(answers[0]) == repr(answers[1])
    if left is None or right is None:
        assert answers[0] is (None if sign in "+-*/%&" else False)


@given(
    some.one_of(VALUES), some.one_of(some.integers(-9, 9), some.floats(-9, 9), some.text("ab", max_size=2))
)
def test_a_fast_comparison_equals_the_slow_one(value: Any, constant: Any) -> None:
    written = f'"{constant}"' if isinstance(constant, str) else repr(constant)
    for sign in ("=", "!=", "<", "<=", ">", ">="):
        fast = compile_expression(parse_expression(f"v {sign} {written}"), OneRecord())
        try:
            wanted: Any = compare(sign, value, constant)
        except RowError:
            with pytest.raises(RowError):
                fast({"v": value}, None)
        else:
            assert fast({"v": value}, None) is wanted


def _is_like(text: str, pattern: str) -> bool:
    """By definition, without regular expressions."""
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(_is_like(text[start:], pattern[1:]) for start in range(len(text) + 1))
    if pattern[0] == "\\" and len(pattern) > 1:
        return text[:1] == pattern[1] and _is_like(text[1:], pattern[2:])
    return bool(text) and pattern[0] in ("_", text[0]) and _is_like(text[1:], pattern[1:])


@given(some.text("ab%\n", max_size=8), some.text("ab%_\\", max_size=6))
def test_like_is_as_defined(text: str, pattern: str) -> None:
    assert (like_pattern(pattern).fullmatch(text) is not None) == _is_like(text, pattern)


def test_many_percent_signs_match_quickly() -> None:
    """Backtracking over 30 runs would never end; the run's time limit is the measure."""
    assert like_pattern("%a" * 30 + "%b").fullmatch("a" * 5_000) is None


@pytest.mark.parametrize("text", ["n + 1", "1 + n", "n * 2", "0 - n - 2", "-n - 2", "-(-n - 1)"])
def test_a_whole_result_beyond_64_bits_is_refused(text: str) -> None:
    with pytest.raises(RowError, match="does not fit into 64 bits"):
        evaluated(text, {"n": 2**63 - 1})


def test_a_float_result_fits() -> None:
    assert evaluated("n + 1.0", {"n": 2**63 - 1}) == 2.0**63
    assert evaluated("-n - 1", {"n": 2**63 - 1}) == -(2**63)
