"""A query gives the same by its fast ways (one stream; a window alone) as by the general one."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opq_rules.query.planning.select_plan import plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import definition_of
from opq_rules.values.batch import Batch, Emission

STREAMS = {name: f'CREATE STREAM {name} () WITH (DATASOURCE="{name}", TYPE="mock")' for name in ("s", "r")}
STATEMENTS = [
    "SELECT k, v + 1 AS w FROM s WHERE v > 1",
    "SELECT k, lag(v) OVER (PARTITION BY k) AS before FROM s WHERE v > 0",
    "SELECT had_changed(true, v) AS c, v FROM s",
    "SELECT unnest(l) AS u, row_number() AS n FROM s LIMIT 1",
    "SELECT k, sum(v) AS n FROM s WHERE v > 0 GROUP BY k, TUMBLINGWINDOW(ms, 10) HAVING sum(v) > 2",
    "SELECT collect(v) AS n FROM s GROUP BY HOPPINGWINDOW(ms, 10, 4)",
    "SELECT k, avg(v) AS n FROM s GROUP BY k, SLIDINGWINDOW(ms, 8)",
    "SELECT k, v FROM s GROUP BY SLIDINGWINDOW(ms, 8) FILTER (WHERE v > 1) ORDER BY v DESC",
    "SELECT k, max(v) AS n FROM s GROUP BY k, SESSIONWINDOW(ms, 30, 5)",
    "SELECT sum(v) AS n, lag(sum(v)) AS before FROM s GROUP BY COUNTWINDOW(3)",
    "SELECT s.v AS a, r.v AS b FROM s INNER JOIN r ON s.k = r.k GROUP BY TUMBLINGWINDOW(ms, 10)",
]


records = st.lists(
    st.tuples(
        st.sampled_from("sr"),
        st.integers(0, 12),
        st.fixed_dictionaries(
            {"k": st.sampled_from("ab")},
            optional={"v": st.integers(-2, 5) | st.just("x"), "l": st.lists(st.integers(0, 9), max_size=3)},
        ),
    ),
    max_size=40,
)


def query_of(sql: str) -> Query:
    definitions = {}
    for name, text in STREAMS.items():
        created = parse(text)
        assert isinstance(created, Create)
        definitions[name] = definition_of(created)
    select = parse(sql)
    assert isinstance(select, Select)
    return Query(plan(select, definitions), RuleFacts.of("r", 0, {"sendError": True}))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(STATEMENTS), records)
def test_the_fast_ways_give_the_same(sql: str, given_records: list[Any]) -> None:
    fast, general = query_of(sql), query_of(sql)
    general._work = general._feed_now
    named = {origin.stream for origin in fast.plan.origins}
    out: list[list[Emission]] = [[], []]
    now_ms = 0
    for stream, step_ms, row in given_records:
        now_ms += step_ms
        for query, emissions in zip((fast, general), out, strict=True):
            emissions += query.advance(now_ms)
            if stream in named:
                emissions += query.feed(Batch(stream, [dict(row)], now_ms))
    assert repr(out[0]) == repr(out[1])
    assert fast.counters == general.counters
    assert repr(fast.state()) == repr(general.state())


def test_the_statements_take_each_of_the_ways() -> None:
    ways = {query_of(sql)._work.__qualname__ for sql in STATEMENTS}
    assert ways == {"Plain.feed", "Query._feed_window", "Query._feed_now"}
