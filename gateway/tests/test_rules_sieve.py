"""A sieve changes nothing but the time: with it a rule gives what it gives without."""

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_rules.query.planning.select_plan import plan
from opq_rules.query.planning.where import sieve_of
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import definition_of
from opq_rules.values.batch import Batch, Emission

VALUES = st.sampled_from(
    [
        None,
        True,
        False,
        -3,
        0,
        2,
        2.0,
        2.5,
        3,
        10**30,
        float("nan"),
        float("inf"),
        "",
        "b",
        "c",
        [2],
        {"v": 2},
    ]
)
ROWS = st.lists(st.dictionaries(st.sampled_from(["v", "V", "w", "x"]), VALUES), max_size=12)
FIRST = [
    f"v {sign} {constant}" for sign in ("=", "!=", "<", "<=", ">", ">=") for constant in ("2", "-3", "'b'")
]
MIRRORED = [f"{constant} {sign} s.v" for sign in ("=", "<", ">=") for constant in ("2.5", "'b'")]
BEHIND = ["", " AND w > 2", " AND w / v > 1 AND x LIKE 'b%'"]


def select(where: str, items: str = "v, w, meta(topic) AS t, event_time() AS ms") -> Select:
    statement = parse(f"SELECT {items} FROM s WHERE {where}")
    assert isinstance(statement, Select)
    return statement


def query(where: str) -> Query:
    create = parse('CREATE STREAM s () WITH (DATASOURCE="x")')
    assert isinstance(create, Create)
    planned = plan(select(where), {"s": definition_of(create)}, typed=False)
    return Query(planned, RuleFacts.of("rule", 0, {"sendError": True}))


@settings(max_examples=150)
@given(st.sampled_from([*FIRST, *MIRRORED]), st.sampled_from(BEHIND), ROWS, st.booleans(), st.booleans())
def test_a_batch_equals_its_single_records(
    first: str, behind: str, rows: list[Any], own_times: bool, told: bool
) -> None:
    where = first + behind
    assert sieve_of(select(where)) is not None
    whole = query(where)
    with patch("opq_rules.query.emitting.sieve_of", return_value=None):
        single = query(where)
    times = list(range(1, len(rows) + 1)) if own_times else [1] * len(rows)
    metas = [{"topic": f"t{k}"} for k in range(len(rows))] if told else [None] * len(rows)
    got = whole.feed(Batch("s", rows, times if own_times else 1, metas if told else None))
    wanted: list[Emission] = []
    for row, ms, meta in zip(rows, times, metas, strict=True):
        wanted += single.feed(Batch("s", [row], ms, [meta]))
    assert repr(got) == repr(wanted)
    assert whole.counters == single.counters
    assert not rows or whole.state() == single.state()


@pytest.mark.parametrize(
    "where",
    ["v > 1 OR w > 1", "v > w", "v + 1 > 2", "v > true", "w > 1 AND a > 1", "abs(v) > 1", "NOT v > 1"],
)
def test_only_a_leading_constant_comparison_sieves(where: str) -> None:
    found = sieve_of(select(where, "v AS w, v AS a"))
    assert found is None


def test_few_are_left_where_few_pass() -> None:
    sieve = sieve_of(select("v > 126 AND w = 'b'"))
    assert sieve is not None
    rows: list[Any] = [
        {"v": 120.5},
        {"v": 127},
        {},
        {"v": None},
        {"v": True},
        {"V": 1},
        {"v": "x"},
        {"v": 126},
    ]
    assert [row for row, asked in zip(rows, sieve(rows), strict=True) if asked] == [
        {"v": 127},
        {},
        {"v": None},
        {"v": True},
        {"V": 1},
        {"v": "x"},
    ]
