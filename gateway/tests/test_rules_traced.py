"""A query gives the same whether it is traced or not, from and to whatever record."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opq_rules.batch import Batch, Emission
from opq_rules.query.plan import plan
from opq_rules.query.query import Query
from opq_rules.query.run import RuleFacts
from opq_rules.query.traced import Traced
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import definition_of

STREAMS = {
    name: f'CREATE STREAM {name} () WITH (DATASOURCE="{name}", TYPE="mock", TIMESTAMP="t")'
    for name in ("s", "r")
}
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


class Deaf:
    """`query.traced.Steps`; what is told must fit together, and no more."""

    def __init__(self) -> None:
        self.cuts = 0

    def now_ns(self) -> int:
        return 0

    def became(self, row: Any, changed: Any) -> None:
        assert isinstance(row, dict)
        assert isinstance(changed, dict)

    def passed(self, row: Any, name: str, began_ns: int, given: int, error: str) -> None:
        assert isinstance(row, dict)

    def entered(self, row: Any, ms: int) -> None:
        assert isinstance(row, dict)

    def in_window(self) -> None: ...

    def cut(self, cut: Any) -> None:
        self.cuts += 1

    def note_output(self, row: Any, began_ns: int, taken: int, emission: Any, count: int, error: str) -> None:
        assert row is not None or self.cuts
        assert count == len(emission or ())


records = st.lists(
    st.tuples(
        st.sampled_from("sr"),
        st.integers(0, 12),
        st.integers(-15, 5),
        st.fixed_dictionaries(
            {"k": st.sampled_from("ab")},
            optional={"v": st.integers(-2, 5) | st.just("x"), "l": st.lists(st.integers(0, 9), max_size=3)},
        ),
    ),
    max_size=40,
)


def query_of(sql: str, event_time: bool) -> Query:
    definitions = {}
    for name, text in STREAMS.items():
        created = parse(text)
        assert isinstance(created, Create)
        definitions[name] = definition_of(created)
    select = parse(sql)
    assert isinstance(select, Select)
    options = {"isEventTime": event_time, "lateTolerance": 5, "sendError": True}
    return Query(plan(select, definitions), RuleFacts.of("r", 0, options))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(STATEMENTS), st.booleans(), records, st.integers(0, 40), st.integers(0, 40))
def test_a_traced_query_gives_the_same(
    sql: str, event_time: bool, given_records: list[Any], begin: int, end: int
) -> None:
    alone, traced = query_of(sql, event_time), query_of(sql, event_time)
    named = {origin.stream for origin in alone.plan.origins}
    out: list[list[Emission]] = [[], []]
    now_ms = 0
    for number, (stream, step_ms, off_ms, row) in enumerate(given_records):
        if number == begin:
            Traced.begin(traced, Deaf())
        if number == end and isinstance(traced, Traced):
            Traced.end(traced)
        now_ms += step_ms
        for query, emissions in zip((alone, traced), out, strict=True):
            emissions += query.advance(now_ms)
            if stream in named:
                own = {**row, "t": max(0, now_ms + off_ms)}
                emissions += query.feed(Batch(stream, [own], now_ms))
    assert repr(out[0]) == repr(out[1])
    assert alone.counters == traced.counters
    assert repr(alone.state()) == repr(traced.state())
