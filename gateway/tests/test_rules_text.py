"""A tree written as SQL and parsed again is the same tree, whatever it is made of."""

import dataclasses
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rules_sql_text import sql

from opq_rules.sql.parse import parse
from opq_rules.sql.select import CYCLES
from opq_rules.sql.syntax import (
    Between,
    BinaryOperation,
    CaseExpression,
    Column,
    Create,
    ElementAt,
    Expression,
    Field,
    FromItem,
    FunctionCall,
    In,
    Item,
    Join,
    Like,
    Literal,
    MemberOf,
    OrderKey,
    Over,
    Select,
    Slice,
    Star,
    TextPlace,
    Type,
    Unary,
    WindowClause,
)

AT = TextPlace(1, 1)
WORDS = st.sampled_from(
    ["a", "b2", "_x", "Größe", "limit", "filter", "replace", "as", "select", "end", "odd name", "x.y", "1"]
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
CONSTANTS = st.one_of(
    st.booleans(),
    st.none(),
    st.integers(0, 2**63),
    st.floats(0, allow_nan=False, allow_infinity=False).map(abs),
    TEXTS,
)
LITERALS = CONSTANTS.map(lambda value: Literal(value, None, AT))
STREAMS = st.sampled_from(["s", "old/style", "odd one"])
COLUMNS = st.builds(Column, WORDS, st.one_of(st.none(), STREAMS), st.just(AT))
FUNCTIONS = st.sampled_from(["avg", "Lag", "replace", "filter"])
COMPARISONS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
OPERATORS = st.sampled_from(["+", "-", "*", "/", "%", "&", "|", "^", "AND", "OR"])
HERE = st.just(AT)


def _maybe(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), inner)


def _some(inner: st.SearchStrategy[Any], least: int = 1) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(inner, min_size=least, max_size=3).map(tuple)


def _known(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """What a comparison may have: a written NULL is refused there."""
    return inner.filter(lambda one: not isinstance(one, Literal) or one.value is not None)


def _over(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Over]:
    keyed = st.builds(Over, _some(inner), _maybe(inner), HERE)
    return st.one_of(keyed, st.builds(Over, st.just(()), inner, HERE))


def _calls(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[FunctionCall]:
    arguments = st.one_of(
        _some(inner, 0), st.just((Star(None, (), (), AT),)), st.just((Star("s", (), (), AT),))
    )
    parts = st.tuples(FUNCTIONS, arguments, _maybe(inner), _maybe(_over(inner)))
    return parts.map(lambda part: FunctionCall(part[0].lower(), part[1], part[2], part[3], part[0], AT))


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    known = _known(inner)
    pairs, compared = (
        st.lists(st.tuples(condition, inner), min_size=1, max_size=3).map(tuple)
        for condition in (inner, known)
    )
    behind_in = st.one_of(COLUMNS, _calls(inner))
    return st.one_of(
        st.builds(MemberOf, inner, WORDS, HERE),
        st.builds(ElementAt, inner, inner, HERE),
        st.builds(Slice, inner, _maybe(inner), _maybe(inner), HERE),
        st.builds(Unary, st.sampled_from(["-", "NOT"]), inner, HERE),
        st.builds(BinaryOperation, OPERATORS, inner, inner, HERE),
        st.builds(BinaryOperation, COMPARISONS, known, known, HERE),
        st.builds(In, known, _some(known), st.just(False), st.booleans(), HERE),
        st.builds(In, inner, behind_in.map(lambda one: (one,)), st.just(True), st.booleans(), HERE),
        st.builds(Between, known, known, known, st.booleans(), HERE),
        st.builds(Like, known, known, st.booleans(), HERE),
        st.builds(CaseExpression, st.none(), pairs, _maybe(inner), HERE),
        st.builds(CaseExpression, known, compared, _maybe(inner), HERE),
        _calls(inner),
    )


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(st.one_of(LITERALS, COLUMNS), _larger, max_leaves=8)
STARS = st.builds(
    Star, st.one_of(st.none(), STREAMS), _some(WORDS, 0), _some(st.tuples(EXPRESSIONS, WORDS), 0), HERE
)
ITEMS = st.one_of(
    st.builds(Item, EXPRESSIONS, _maybe(WORDS), st.booleans(), st.just(""), HERE),
    st.builds(Item, STARS, st.none(), st.just(False), st.just(""), HERE),
)
MS = st.integers(1, 10**9)
FILTERED = {"filter": _maybe(EXPRESSIONS), "at": HERE}
TIMED = {"unit": st.just("MS"), "length_ms": MS, **FILTERED}
WINDOWS = st.one_of(
    st.builds(WindowClause, kind=st.just("tumbling"), **TIMED),
    st.builds(WindowClause, kind=st.just("hopping"), hop_ms=MS, **TIMED),
    st.builds(
        WindowClause, kind=st.just("sliding"), delay_ms=st.integers(0, 9), when=_maybe(EXPRESSIONS), **TIMED
    ),
    st.builds(WindowClause, kind=st.just("session"), timeout_ms=MS, **TIMED),
    st.builds(
        WindowClause, kind=st.just("count"), count=st.integers(5, 9), every=st.integers(1, 5), **FILTERED
    ),
    st.builds(WindowClause, kind=st.just("cycle"), count=st.sampled_from(CYCLES), **FILTERED),
    st.builds(
        WindowClause,
        kind=st.just("state"),
        begin=EXPRESSIONS,
        end=_maybe(EXPRESSIONS),
        partition_by=_some(EXPRESSIONS, 0),
        **FILTERED,
    ),
)
JOINS = st.one_of(
    st.builds(
        Join,
        st.sampled_from(["INNER", "LEFT", "RIGHT", "FULL"]),
        st.just(FromItem("t", "old/style", AT)),
        EXPRESSIONS,
        HERE,
    ),
    st.builds(Join, st.just("CROSS"), st.just(FromItem("t/u", "old/style", AT)), st.none(), HERE),
)
LAST_JOIN = st.just(Join("CROSS", FromItem("odd one", None, AT), None, AT))
SELECTS = st.builds(
    Select,
    _some(ITEMS),
    st.just(FromItem("demo", "s", AT)),
    st.tuples(JOINS, LAST_JOIN),
    _maybe(EXPRESSIONS),
    _some(EXPRESSIONS, 0),
    _maybe(WINDOWS),
    _maybe(EXPRESSIONS),
    _some(st.builds(OrderKey, EXPRESSIONS, st.booleans(), HERE), 0),
    _maybe(st.integers(0, 9)),
    st.just(""),
)


def bare(node: Any) -> Any:
    """`node` without what the writer does not promise: places, slots, texts as they were written."""
    if isinstance(node, tuple):
        return tuple(map(bare, node))
    if not dataclasses.is_dataclass(node) or isinstance(node, type | TextPlace):
        return None if isinstance(node, TextPlace) else node
    kept = {
        field.name: bare(getattr(node, field.name))
        for field in dataclasses.fields(node)
        if field.name not in ("at", "slot", "text")
    }
    return type(node).__name__, kept


@settings(max_examples=300, deadline=None)
@given(SELECTS)
def test_a_select_comes_back(tree: Select) -> None:
    text = sql(tree)
    again = parse(text)
    assert repr(bare(again)) == repr(bare(tree)), text
    assert sql(again) == text


PLAIN = st.sampled_from(["bigint", "float", "string", "bytea", "datetime", "boolean"])
NAMES = st.sampled_from(["a", "B", "order", "odd name", "c1"])


def _fields(types: st.SearchStrategy[Type]) -> st.SearchStrategy[tuple[Field, ...]]:
    fields = st.builds(Field, NAMES, types)
    return st.lists(fields, max_size=3, unique_by=lambda field: field.name.lower()).map(tuple)


TYPES = st.recursive(
    st.builds(Type, PLAIN),
    lambda inner: st.one_of(
        st.builds(Type, st.just("array"), inner),
        st.builds(Type, st.just("struct"), st.none(), _fields(inner)),
    ),
    max_leaves=5,
)
DEFAULTS = st.one_of(
    st.builds(Field, NAMES, st.just(Type("bigint")), st.integers(-(2**63), 2**63)),
    st.builds(Field, NAMES, st.just(Type("float")), st.floats(allow_nan=False, allow_infinity=False)),
    st.builds(Field, NAMES, st.just(Type("string")), TEXTS),
    st.builds(Field, NAMES, st.just(Type("boolean")), st.booleans()),
    st.builds(Field, NAMES, TYPES),
)
COLUMN_LISTS = st.lists(DEFAULTS, min_size=1, max_size=4, unique_by=lambda field: field.name.lower()).map(
    tuple
)
OPTIONS = st.lists(
    st.tuples(st.sampled_from(["FORMAT", "TYPE", "ORDER"]), TEXTS, HERE), unique_by=lambda one: one[0]
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["stream", "table"]), _maybe(COLUMN_LISTS), OPTIONS.map(tuple))
def test_a_create_comes_back(what: Any, fields: Any, options: Any) -> None:
    tree = Create(what, "my/stream", fields, options, "")
    assert repr(bare(parse(sql(tree)))) == repr(bare(tree))
