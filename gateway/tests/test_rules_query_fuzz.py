"""Whatever a statement says and whatever records hold: an answer or a RuleError, and counted row errors."""

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_rules.functions.registry import AggregateFunction, Analytic, Planned, Scalar, built_in
from opq_rules.trying import try_case

DDL = [
    'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock", TIMESTAMP="t")',
    'CREATE STREAM r (a BIGINT, b STRING, t DATETIME) WITH (DATASOURCE="r", TYPE="mock", TIMESTAMP="t")',
    'CREATE TABLE tab () WITH (DATASOURCE="tab", TYPE="mock")',
]
FUNCTIONS = built_in()
ORDINARY = sorted(name for name, found in FUNCTIONS.items() if isinstance(found, Scalar | Analytic))
AGGREGATES = sorted(
    name for name, found in FUNCTIONS.items() if isinstance(found, AggregateFunction | Planned)
)

columns = st.sampled_from(["a", "b", "c", "s.a", "A", "c->x", "c[0]", "x", "t"])
numbers = st.sampled_from(["1", "0", "-3", "2.5", "10000000000000000000"])
literals = st.one_of(numbers, st.sampled_from(["'x'", "''", "'%a_'", "'bigint'", "'1h'", "TRUE", "NULL"]))


@st.composite
def calls(draw: st.DrawFn, names: list[str], inner: st.SearchStrategy[str]) -> str:
    name = draw(st.sampled_from(names))
    found = FUNCTIONS[name]
    most = min(found.most, found.least + 2)
    given = draw(st.lists(inner, min_size=found.least, max_size=most))
    behind = ""
    if isinstance(found, Analytic):
        behind = draw(st.sampled_from(["", " OVER (PARTITION BY b)", " OVER (WHEN a > 1)"]))
    elif isinstance(found, AggregateFunction):
        behind = draw(st.sampled_from(["", "", " FILTER (WHERE a > 1)"]))
    return f"{name}({', '.join(given)}){behind}"


def conditions_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    comparing = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "LIKE", "IN"])
    return st.one_of(
        st.tuples(columns, comparing, inner).map(" ".join),
        st.tuples(columns, inner, inner).map(lambda of: "({} BETWEEN {} AND {})".format(*of)),
        st.tuples(columns, inner).map(lambda of: "{} NOT IN ({}, 1, 'x')".format(*of)),
    )


def deeper(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    condition = conditions_of(inner)
    return st.one_of(
        st.tuples(inner, st.sampled_from("+-*/%&|^"), columns).map(lambda of: "({} {} {})".format(*of)),
        calls(ORDINARY, st.one_of(columns, inner)),
        calls(ORDINARY, st.one_of(columns, literals)),
        st.tuples(condition, inner, inner).map(lambda of: "CASE WHEN {} THEN {} ELSE {} END".format(*of)),
        inner.map(lambda of: f"c[{of}:]"),
    )


expressions = st.recursive(st.one_of(columns, columns, literals), deeper, max_leaves=6)
conditions = st.one_of(
    conditions_of(expressions),
    conditions_of(expressions).map(lambda of: f"NOT {of}"),
    st.tuples(conditions_of(expressions), conditions_of(expressions)).map(" AND ".join),
    expressions,
)
aggregates = st.one_of(
    st.sampled_from(["count(*)", "collect(*)"]), calls(AGGREGATES, st.one_of(columns, expressions))
)
items = st.one_of(
    st.sampled_from(
        ["*", "s.*", "* EXCEPT (a)", "count(*) AS n", "unnest(c) AS u", "extract(c)", "row_number()"]
    ),
    expressions,
    aggregates,
    st.tuples(aggregates, expressions).map(" + ".join),
    st.tuples(expressions, st.sampled_from(["y", "z"])).map(" AS ".join),
    st.tuples(aggregates, st.sampled_from(["y", "z"])).map(" AS ".join),
)
windows = st.sampled_from(
    [
        "TUMBLINGWINDOW(ms, 100)",
        "HOPPINGWINDOW(ms, 300, 100)",
        "SLIDINGWINDOW(ms, 200)",
        "SLIDINGWINDOW(ms, 200, 100)",
        "SESSIONWINDOW(ms, 500, 100)",
        "COUNTWINDOW(2)",
        "COUNTWINDOW(3, 2)",
    ]
)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**20), 10**20),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=4),
        st.sampled_from([0, 1, -1, 1_700_000_000_000, "2023-11-14T22:13:20Z", "x", 1e300]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("xyab"), inner, max_size=3)
    ),
    max_leaves=4,
)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    sql = "SELECT " + ", ".join(draw(st.lists(items, min_size=1, max_size=3))) + " FROM s"
    window = draw(st.one_of(st.none(), windows, windows, conditions.map(lambda of: f"STATEWINDOW({of})")))
    joins = ["", "", " LEFT JOIN tab ON s.a = tab.a"]
    joins += [" INNER JOIN r ON s.a = r.a", " FULL JOIN r ON s.a < r.a"] if window else []
    sql += draw(st.sampled_from(joins))
    if draw(st.booleans()):
        sql += f" WHERE {draw(conditions)}"
    keys = [*draw(st.lists(expressions, max_size=1)), *([window] if window else [])]
    sql += f" GROUP BY {', '.join(keys)}" if keys else ""
    if draw(st.integers(0, 3)) == 0:
        sql += f" HAVING {draw(aggregates)} > {draw(literals)}"
    if draw(st.booleans()):
        sql += f" ORDER BY {draw(expressions)} DESC LIMIT 2"
    row = st.dictionaries(st.sampled_from("abctAx"), values, max_size=5)
    records = draw(st.lists(st.tuples(st.sampled_from(["s", "s", "r", "tab"]), row), max_size=8))
    return {
        "name": "fuzz",
        "stream_ddl": DDL,
        "sql": sql,
        "options": {
            "sendError": True,
            "isEventTime": draw(st.booleans()),
            "sendNilField": draw(st.booleans()),
        },
        "input": [
            {"stream": stream, "ts": 1_700_000_000_000 + 40 * number, "data": data}
            for number, (stream, data) in enumerate(records)
        ],
    }


@settings(max_examples=400, deadline=None)
@given(case=cases())
def test_every_case_has_an_answer(case: dict[str, Any]) -> None:
    answer = try_case(case)
    if "error" in answer:
        assert answer["error"]["http"] == 400 and answer["error"]["message"]
    else:
        assert all(isinstance(row, dict) for rows in answer["emissions"] for row in rows)
    msgspec.json.encode(answer)


@settings(max_examples=200, deadline=None)
@given(case=values)
def test_what_is_no_case_has_an_answer(case: Any) -> None:
    answer = try_case({"stream_ddl": DDL, "sql": "SELECT * FROM s", "input": case, "options": case})
    assert json.loads(msgspec.json.encode(answer)).keys() >= {"name"}
    assert "error" in try_case(case)
