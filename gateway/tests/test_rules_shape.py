"""The shape of a text agrees with its tree: the same literals, in the same slots, and nothing else lifted."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rules_sql_text import sql

from opq_rules.errors import RuleError
from opq_rules.sql.parse import parse, shape
from opq_rules.sql.syntax import Literal, Select
from opq_rules.sql.tokens import MAX_CHARS, Tokens
from opq_rules.sql.walk import walk


def literals_of(found: Select) -> dict[int, Any]:
    roots = [item.expression for item in found.items]
    roots += [each for each in (found.where, found.having) if each is not None]
    nodes = [node for root in roots for node in walk(root)]
    return {node.slot: node.value for node in nodes if isinstance(node, Literal) and node.slot is not None}


def test_rules_that_differ_in_constants_share_a_key() -> None:
    first, second = (
        shape(f"SELECT box FROM demo WHERE v > {limit} AND name = '{name}'")
        for limit, name in ((126, "a"), (-5, "b ' c".replace("'", "''")))
    )
    assert first.key == second.key
    assert first.literals == (126, "a") and second.literals == (-5, "b ' c")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT v / 2 FROM s", "SELECT v / 2.0 FROM s"),
        ("SELECT v FROM s WHERE v > 1", "SELECT v FROM s WHERE v > '1'"),
        ("SELECT v FROM s WHERE v > 1", "SELECT v FROM s WHERE v >= 1"),
        ("SELECT v - 1 FROM s", "SELECT v + 1 FROM s"),
        ("SELECT v1 FROM s", "SELECT v2 FROM s"),
        ("SELECT `v 1` FROM s", "SELECT `v 2` FROM s"),
        ("SELECT v FROM s WHERE TRUE", "SELECT v FROM s WHERE FALSE"),
    ],
)
def test_what_else_differs_has_another_key(one: str, other: str) -> None:
    assert shape(one).key != shape(other).key


def test_names_and_comments_keep_their_digits() -> None:
    found = shape("SELECT a1, `2 b` /* 3 '4' */ FROM s5 -- 6\nWHERE a1 > 7")
    assert found.literals == (7,)
    assert "a1, `2 b` /* 3 '4' */ FROM s5 -- 6\nWHERE a1 >" in found.key


PIECES = st.sampled_from(
    [
        *"abs()[]+-*/%&|^=<>,.:",
        " ",
        "\n",
        "5",
        "1.5",
        ".5",
        "1e3",
        "-7",
        "'x'",
        '"y"',
        "`z 1`",
        "''",
        "/* 1 */",
        "--2\n",
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_the_shape_lifts_the_tokens_literals(text: str) -> None:
    try:
        tokens = Tokens(text)
    except RuleError:
        return
    values = [value for value, slot in zip(tokens.values, tokens.slots, strict=True) if slot is not None]
    found = shape(text)
    assert list(found.literals) == values and [*map(type, found.literals)] == [*map(type, values)]


NUMBERS = st.one_of(st.integers(-(2**63), 2**63), st.floats(allow_nan=False, allow_infinity=False))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(max_examples=200, deadline=None)
@given(NUMBERS, TEXTS, st.integers(0, 9))
def test_a_trees_literal_is_the_shapes(number: float, text: str, third: int) -> None:
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
    written = f"SELECT a + {third}, 'x1' FROM s WHERE v > {number!r} AND name = {quoted} AND b IN (1, - 2)"
    tree = parse(written)
    assert isinstance(tree, Select)
    literals = shape(written).literals
    assert literals_of(tree) == dict(enumerate(literals))
    assert literals[2:4] == (number, text)
    again = parse(sql(tree))
    assert isinstance(again, Select) and literals_of(again) == literals_of(tree)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_shape_or_error(text: str) -> None:
    try:
        found = shape(text)
    except RuleError:
        return
    assert len(found.literals) == sum(found.key.count(mark) for mark in ("\0i", "\0f", "\0s"))


def test_an_oversized_number_names_its_place() -> None:
    with pytest.raises(RuleError, match="64 bits") as told:
        shape("SELECT a,\n  99999999999999999999 FROM s")
    assert (told.value.line, told.value.column) == (2, 3)


def test_a_shape_takes_no_quadratic_time() -> None:
    for piece in ("/*", "'\\", "`", "\\'", '""', "-- ", "1.", "0", ">  ", "> - "):
        shape_or_error("SELECT " + piece * (MAX_CHARS // len(piece) - 10))


def shape_or_error(text: str) -> None:
    try:
        shape(text)
    except RuleError:
        return
