"""A query stopped at any record that goes on from its state as JSON gives what one that ran through does."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_rules.query.planning.select_plan import plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts, frozen, thawed
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import definition_of
from opq_rules.values.batch import Batch
from opq_rules.values.sql_values import moment

BASE = 1_700_000_040_000
DDL = [
    'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock", TIMESTAMP="t")',
    'CREATE STREAM r () WITH (DATASOURCE="r", TYPE="mock", TIMESTAMP="t")',
    'CREATE TABLE tab () WITH (DATASOURCE="tab", TYPE="memory", RETAIN_SIZE="2")',
]
AGGREGATES = (
    "count(*) AS c, sum(v) AS t, avg(v) AS m, min(v) AS lo, max(v) AS hi, collect(v) AS vs, median(v) AS me, "
    "stddev(v) AS sd, last_value(v, true) AS lv, deduplicate(v, true) AS dd, collect(*) AS rows"
)
RULES = [
    *[
        f"SELECT k, {AGGREGATES}, window_start() AS a FROM s GROUP BY k, {window}"
        for window in (
            "TUMBLINGWINDOW(ms, 200)",
            "HOPPINGWINDOW(ms, 500, 200)",
            "SLIDINGWINDOW(ms, 300)",
            "SLIDINGWINDOW(ms, 300, 200) OVER (WHEN v > 2)",
            "SESSIONWINDOW(ms, 500, 250)",
            "COUNTWINDOW(3)",
            "COUNTWINDOW(4, 3) FILTER (WHERE v > -5)",
            "STATEWINDOW(v > 3, v < 0) OVER (PARTITION BY k)",
            "STATEWINDOW(v > 3)",
            "CYCLEWINDOW(10)",
        )
    ],
    "SELECT k, count(*) AS c FROM s GROUP BY k, HOPPINGWINDOW(ms, 500, 200)",
    "SELECT k, count(*) AS c, sum(v) AS t FROM s GROUP BY k, SLIDINGWINDOW(ms, 300)",
    "SELECT count(*) AS c FROM s WHERE v > 0 GROUP BY COUNTWINDOW(3)",
    "SELECT v, lag(v) OVER (PARTITION BY k WHEN v > 0) AS l, had_changed(true, v), acc_sum(v) FROM s",
    "SELECT changed_cols('c_', true, *) FROM s WHERE last_hit_count() < 7",
    "SELECT lag(v) AS l, collect(v) AS vs FROM s GROUP BY COUNTWINDOW(2)",
    "SELECT s.v, r.v AS w FROM s FULL JOIN r ON s.k = r.k AND s.v < r.v GROUP BY TUMBLINGWINDOW(ms, 200)",
    "SELECT s.k, count(*), lag(s.v) FROM s INNER JOIN r ON s.k = r.k GROUP BY s.k, SLIDINGWINDOW(ms, 200)",
    "SELECT s.v, tab.v AS w FROM s LEFT JOIN tab ON s.k = tab.k",
    "SELECT count(*) AS c FROM s GROUP BY COUNTWINDOW(2) HAVING last_agg_hit_count() < 3",
    "SELECT v, last_hit_time() OVER (PARTITION BY k) FROM s WHERE last_hit_count() OVER (WHEN k > 1) < 4",
    "SELECT k, count(*) FROM s GROUP BY k, COUNTWINDOW(3) HAVING last_hit_count() OVER (PARTITION BY k) < 2",
    "SELECT k, lag(sum(v)) OVER (PARTITION BY k) AS l FROM s GROUP BY k, COUNTWINDOW(2)",
    "SELECT v FROM s GROUP BY TUMBLINGWINDOW(ms, 300) HAVING count(*) > 1 AND lag(count(*)) > 1",
    "SELECT sum(k) AS t, count(*) AS c FROM s GROUP BY COUNTWINDOW(2)",
    "SELECT count(DISTINCT v) AS c FROM s GROUP BY SLIDINGWINDOW(ms, 300)",
    "SELECT k, count(DISTINCT v) AS c FROM s GROUP BY k, HOPPINGWINDOW(ms, 500, 200)",
]
Given = tuple[str, int, dict[str, Any]]
records_of = st.lists(
    st.tuples(
        st.sampled_from(["s", "s", "s", "r", "tab"]),
        st.integers(0, 150),
        st.fixed_dictionaries(
            {
                "t": st.integers(0, 30).map(lambda at: BASE + at * 50),
                "k": st.sampled_from(["a", "b", True, 1, None]),
                "v": st.one_of(st.none(), st.integers(-9, 9), st.floats(-4, 4)),
            }
        ),
    ),
    max_size=25,
)


def made(sql: str, event_time: bool) -> Query:
    streams = {}
    for text in DDL:
        create = parse(text)
        assert isinstance(create, Create)
        streams[create.name] = definition_of(create)
    select = parse(sql)
    assert isinstance(select, Select)
    facts = RuleFacts("r", BASE, event_time=event_time, late_tolerance_ms=100, send_error=True)
    return Query(plan(select, streams), facts)


def fed(query: Query, records: Iterable[Given]) -> list[Any]:
    out: list[Any] = []
    for stream, after_ms, data in records:
        now_ms = query.state()["now_ms"] + after_ms
        out += query.advance(now_ms)
        if stream in query.plan.streams:
            out += query.feed(Batch(stream, [data], now_ms))
    return out


@pytest.mark.parametrize("event_time", [False, True])
@pytest.mark.parametrize("sql", RULES)
@settings(max_examples=25, deadline=None)
@given(records=records_of, at=st.integers(0, 25))
def test_stopped_anywhere_a_query_goes_on(sql: str, event_time: bool, records: list[Given], at: int) -> None:
    through = made(sql, event_time)
    wanted = fed(through, records)
    first, second = made(sql, event_time), made(sql, event_time)
    got = fed(first, records[:at])
    second.restore(json.loads(json.dumps(first.state())))
    got += fed(second, records[at:])
    assert got == wanted
    assert second.state() == through.state()
    assert second.next_due_ms == through.next_due_ms


def test_deeply_nested_records_are_kept_too() -> None:
    deep: Any = 1
    for _ in range(400):
        deep = [{"x": deep}]
    query = made("SELECT collect(v) AS vs FROM s GROUP BY COUNTWINDOW(2)", False)
    query.feed(Batch("s", [{"v": deep}], BASE))
    other = made("SELECT collect(v) AS vs FROM s GROUP BY COUNTWINDOW(2)", False)
    other.restore(json.loads(json.dumps(query.state())))
    ((row,),) = other.feed(Batch("s", [{"v": 2}], BASE))
    assert row["vs"] == [deep, 2]


def test_what_json_has_no_form_for_comes_back() -> None:
    time = moment("2026-01-31T12:00:00Z")
    array = np.array([[1.5, 2.5]], np.float32)
    state = {"b": b"\0\xff", "t": time, "a": array, "l": (1, [None, True]), "n": np.int64(3)}
    back = thawed(json.loads(json.dumps(frozen(state))))
    assert np.array_equal(back.pop("a"), array)
    assert back == {"b": b"\0\xff", "t": time, "l": [1, [None, True]], "n": 3}
