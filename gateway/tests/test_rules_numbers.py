"""Whole numbers: cut where they are declared; results have no point; what passes through stays."""

import json
from typing import Any

import pytest

from opq_rules.engine.definitions.rule_definition import options
from opq_rules.query.planning.select_plan import plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.decoding import StreamDecoder
from opq_rules.streams.definition import StreamDefinition, definition_of
from opq_rules.trying import try_text
from opq_rules.values.batch import Batch, Row
from opq_rules.values.sql_values import LARGEST_EXACT, put_out

BARE = 'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock")'
DECLARED = 'CREATE STREAM s (a BIGINT, b BIGINT) WITH (DATASOURCE="s", TYPE="mock")'
NS = 1_765_792_486_010_000_123


def rows(select: str, *records: dict[str, Any], ddl: str = BARE) -> Any:
    """As they are written: 5 is an int, 5.0 a float."""
    given = [{"ts": ms, "data": data} for ms, data in enumerate(records)]
    answer = json.loads(try_text(json.dumps({"stream_ddl": ddl, "sql": select, "input": given})))
    assert "emissions" in answer, answer
    return [row for emission in answer["emissions"] for row in emission]


def test_a_quotient_of_whole_numbers_is_not_cut() -> None:
    assert repr(rows("SELECT (a - b) / b * 100 AS p FROM s", {"a": 126, "b": 120})) == "[{'p': 5}]"
    halves = rows("SELECT rms / 2 AS r FROM s", {"rms": 121}, {"rms": 121.5}, {"rms": 122})
    assert repr(halves) == "[{'r': 60.5}, {'r': 60.75}, {'r': 61}]"


def test_an_average_of_whole_numbers_is_not_cut() -> None:
    values = [{"v": v} for v in (119, 120, 120, 120)]
    assert rows("SELECT avg(v) AS a, sum(v) AS b FROM s GROUP BY COUNTWINDOW(4)", *values) == [
        {"a": 119.75, "b": 479}
    ]


def test_columns_that_are_declared_bigint_are_cut() -> None:
    select = "SELECT a / b AS q, (a - b) / b * 100 AS p FROM s"
    found = rows(select, {"a": 126, "b": 120}, ddl=DECLARED)
    assert found == [{"q": 1, "p": 0}]
    assert rows("SELECT 7 / 2 AS q FROM s", {}) == [{"q": 3}]  # literals are bigint


@pytest.mark.parametrize(
    ("select", "answer"),
    [
        ("i / 2 AS r", 2.5),
        ("i AS r, r / 2 AS q", 2.5),
        ("-i / 2 AS q", -2.5),
        ("(i * 3) / 2 AS q", 7.5),
        ("abs(i) / 2 AS q", 2.5),
        ("coalesce(n, i) / 2 AS q", 2.5),
        ("CASE WHEN i > 4 THEN i END / 2 AS q", 2.5),
        ("lag(i) / 2 AS q, latest(i) / 2 AS r", 2.5),
        ("array_create(i)[0] / 2 AS q", 2.5),
        ("object_construct('k', i)->k / 2 AS q", 2.5),
        ("i / length(t) AS q", 2.5),
        ("i % 2 AS q", 1),
        ("length(t) / 4 AS q", 0),
        ("cardinality(o) / 2 AS q", 0),
    ],
)
def test_an_undeclared_number_stays(select: str, answer: Any) -> None:
    found = rows(f"SELECT {select} FROM s", {"i": 5, "t": "ab", "o": [1]})
    assert repr(list(found[0].values())[-1]) == repr(answer)


def test_aggregates_of_whole_numbers_are_not_cut_afterwards() -> None:
    select = "SELECT sum(v) / count(*) AS a, max(v) / 2 AS b, avg(v) / 2 AS c, count(*) / 3 AS d FROM s"
    found = rows(f"{select} GROUP BY COUNTWINDOW(4)", *({"v": v} for v in (119, 120, 120, 120)))
    assert found == [{"a": 119.75, "b": 60, "c": 59.875, "d": 1}]
    declared = rows(f"{select} GROUP BY COUNTWINDOW(4)".replace("v)", "a)"), *[{"a": 119}] * 4, ddl=DECLARED)
    assert declared == [{"a": 119, "b": 59, "c": 59, "d": 1}]


def test_nested_and_parsed_values_are_not_cut() -> None:
    record = {"o": {"k": [1, {"n": 3}]}, "t": '{"x": 7}'}
    select = "SELECT o->k[0] / 2 AS a, o->k[1]->n / 2 AS b, parse_json(t)->x / 2 AS c FROM s"
    assert rows(select, record) == [{"a": 0.5, "b": 1.5, "c": 3.5}]


@pytest.mark.parametrize(
    ("select", "answer"),
    [
        ("bitand(i, 6)", 4),
        ("i & 6", 4),
        ("i % 3", 2),
        ("tags[i - 5]", "a"),
        ("tags[:i - 4]", ["a"]),
        ("substring(t, i - 4)", "bc"),
        ("cast(i, 'string')", "5"),
        ("cast(i, 'bigint') / 2", 2),
        ("concat('box ', i)", "box 5"),
        ("dec2hex(i)", "0x5"),
        ("chr(i + 60)", "A"),
        ("to_json(o)", '{"n":5}'),
        ("CASE i WHEN 5 THEN 1 END", 1),
        ("i IN (4, 5)", True),
    ],
)
def test_a_whole_float_serves_as_integer(select: str, answer: Any) -> None:
    record = {"i": 5, "tags": ["a", "b"], "t": "abc", "o": {"n": 5}}
    assert repr(rows(f"SELECT {select} AS r FROM s", record)) == repr([{"r": answer}])


def test_a_time_in_ns_keeps_its_last_digits() -> None:
    select = "SELECT t_ns, t_ns - u_ns AS d, sum(t_ns) AS s, avg(t_ns) AS m FROM s GROUP BY COUNTWINDOW(1)"
    found = rows(select, {"t_ns": NS, "u_ns": NS - 7})
    assert found == [{"t_ns": NS, "d": 7, "s": NS, "m": NS}]
    assert rows("SELECT t_ns / 10 AS a, (t_ns - u_ns) / 2 AS b FROM s", {"t_ns": NS, "u_ns": NS - 7}) == [
        {"a": NS // 10, "b": 3.5}
    ]


def defined(ddl: str) -> StreamDefinition:
    statement = parse(ddl)
    assert isinstance(statement, Create)
    return definition_of(statement)


def live(select: str, ddl: str, row: Row) -> Row:
    """What the rule puts out, before any sink writes it."""
    statement, definition = parse(select), defined(ddl)
    assert isinstance(statement, Select)
    query = Query(plan(statement, {"s": definition}), RuleFacts.of("r", 0, options({}).for_query()))
    ((found,),) = query.feed(Batch("s", [row], 0))
    return found


def test_passed_values_are_the_same_object() -> None:
    payload = b'{"a":5,"b":5.0,"c":{"k":[1,2.0]},"t":1765792486010000123}'
    (row,) = StreamDecoder(defined(BARE)).decode([payload]).rows
    assert repr(row) == "{'a': 5, 'b': 5.0, 'c': {'k': [1, 2.0]}, 't': 1765792486010000123}"
    assert repr(live("SELECT * FROM s", BARE, row)) == repr(row)
    found = live(
        "SELECT a, b, c, b * 2 AS d, a / 2 AS e, sqrt(a - 1) AS f, array_create(b) AS g FROM s", BARE, row
    )
    assert repr(found) == "{'a': 5, 'b': 5.0, 'c': {'k': [1, 2.0]}, 'd': 10, 'e': 2.5, 'f': 2, 'g': [5]}"
    assert found["c"] is row["c"]


def test_an_alias_of_what_is_computed_is_computed() -> None:
    assert repr(live("SELECT b * 2 AS d, d AS e FROM s", BARE, {"b": 2.5})) == "{'d': 5, 'e': 5}"
    assert repr(live("SELECT * REPLACE (b * 2 AS b) FROM s", BARE, {"b": 2.5})) == "{'b': 5}"


@pytest.mark.parametrize(
    ("with_options", "answer"),
    [
        ('DATASOURCE="1", TYPE="opqbox"', {"a": 2, "b": 60.5}),
        ('DATASOURCE="1", TYPE="opqwave"', {"a": 2, "b": 60.5}),
        ('DATASOURCE="1", TYPE="memory"', {"a": 2.5, "b": 60.5}),
        ('DATASOURCE="1", FORMAT="protobuf", SCHEMAID="opqbox3.Measurement"', {"a": 2, "b": 60}),
    ],
)
def test_whole_columns_are_bigints(with_options: str, answer: Row) -> None:
    ddl = f"CREATE STREAM s () WITH ({with_options})"
    assert live("SELECT end_ms / 2 AS a, rms / 2 AS b FROM s", ddl, {"end_ms": 5, "rms": 121}) == answer


def test_nested_protobuf_numbers_are_bigints() -> None:
    ddl = 'CREATE STREAM s () WITH (DATASOURCE="1", FORMAT="protobuf", SCHEMAID="opqbox3.Measurement")'
    assert live("SELECT o->k / 2 AS a, l[0] / 2 AS b FROM s", ddl, {"o": {"k": 5}, "l": [5]}) == {
        "a": 2,
        "b": 2,
    }


def test_undeclared_columns_stay() -> None:
    """And a float column is not cut."""
    given = {"a": 1, "c": 2, "o": {"k": 3}}
    decoder = StreamDecoder(defined(DECLARED))
    assert decoder.conform([given]).rows[0] is given
    assert decoder.decode([json.dumps(given).encode()]).rows == [given]
    floats = DECLARED.replace("BIGINT", "FLOAT")
    assert rows("SELECT a / b AS q FROM s", {"a": 7, "b": 2}, ddl=floats) == [{"q": 3.5}]


def test_results_are_put_out_without_a_point() -> None:
    row = {
        "a": 5.0,
        "b": [1.0, 2.5],
        "c": {"k": -0.0},
        "d": "x.0,",
        "e": 1e15,
        "f": None,
        "g": True,
        "h": 1e300,
    }
    wanted = {
        "a": 5,
        "b": [1, 2.5],
        "c": {"k": 0},
        "d": "x.0,",
        "e": 10**15,
        "f": None,
        "g": True,
        "h": 1e300,
    }
    assert repr(put_out(row)) == repr(wanted)
    assert put_out(wanted) is wanted and type(put_out(float(LARGEST_EXACT))) is int
    assert type(put_out(float("inf"))) is type(put_out(float("nan"))) is float
    assert put_out(1e300) == 1e300
    deep: Any = 1.0
    for _ in range(100_000):
        deep = [deep]
    assert put_out(deep) is not None
