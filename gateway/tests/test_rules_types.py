"""Types at planning: what is refused no record could compute, and what is told of a value is so.

The first two tests are the proof: any expression and any function on values of the columns' types, held
against what a record gives.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some
from rules_engine import rule, running
from rules_sql_text import parse_expression
from sql_evaluation import Facts, OneRecord

from opq_rules.errors import RowError, RuleError
from opq_rules.expressions import compile, inference
from opq_rules.expressions.compile import compile_expression
from opq_rules.expressions.inference import Inference
from opq_rules.functions.registry import AggregateFunction, Analytic, Planned, Scalar, built_in
from opq_rules.functions.signatures import _table, signature
from opq_rules.query.planning.select_plan import plan
from opq_rules.query.planning.typing_pass import described
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Column, Create, Expression, FunctionCall, Select
from opq_rules.sql.walk import walk
from opq_rules.streams.definition import StreamDefinition, definition_of
from opq_rules.trying import try_case
from opq_rules.values.sql_values import kind_of
from opq_rules.values.types import UNKNOWN_TYPE, ValueType, of_column

COLUMNS = (
    "i BIGINT, f FLOAT, s STRING, b BOOLEAN, t DATETIME, y BYTEA, a ARRAY(BIGINT), x ARRAY(STRING), "
    "m ARRAY(ARRAY(FLOAT)), o STRUCT(k BIGINT, n STRING)"
)
STRICT = f'CREATE STREAM s ({COLUMNS}) WITH (TYPE="mock", STRICT_VALIDATION="true")'
LOOSE = f'CREATE STREAM s ({COLUMNS}) WITH (TYPE="mock")'
BARE = 'CREATE STREAM s () WITH (TYPE="mock")'
FLOATS = some.sampled_from([0.0, -0.0, 0.5, -2.5, 7.0, 1e300])
VALUES: dict[str, some.SearchStrategy[Any]] = {
    "i": some.integers(-3, 70) | some.just(10**30),
    "f": FLOATS,
    "s": some.sampled_from(["", "x", "5", "2026-01-31T12:00:00Z", "[1]", "base64", "float", "k", "1h"]),
    "b": some.booleans(),
    "t": some.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1), timezones=some.just(UTC)),
    "y": some.sampled_from([b"", b"x", b"{}", b"\xff"]),
    "a": some.lists(some.integers(-3, 9), max_size=4),
    "x": some.lists(some.sampled_from(["", "x", "k"]), max_size=3),
    "m": some.lists(some.lists(FLOATS, max_size=3), max_size=2),
    "o": some.fixed_dictionaries({"k": some.integers(0, 3), "n": some.sampled_from(["", "n"])}),
}
ROWS = some.fixed_dictionaries(VALUES | {"u": some.one_of(*VALUES.values())})


def definition(ddl: str) -> StreamDefinition:
    statement = parse(ddl)
    assert isinstance(statement, Create)
    return definition_of(statement)


TYPES = {field.name: of_column(field.type) for field in definition(STRICT).fields or ()}


class OneTyped:
    """inference.Scope of one record; `u` is not declared."""

    def column(self, node: Column, inference: Inference) -> ValueType:
        return TYPES.get(node.name, UNKNOWN_TYPE)

    def within(self, node: FunctionCall) -> "OneTyped":
        return self

    def filtering(self, node: FunctionCall) -> "OneTyped":
        return self


def is_of(value: Any, found: ValueType, put_out: bool = False) -> bool:
    """Whether a value, if it is not null, is what its type says. `put_out`: a whole float is an int there."""
    if value is None or found == UNKNOWN_TYPE:
        return True
    kind = "float" if put_out and type(value) is int and "float" in found.kinds else kind_of(value)
    if kind not in found.kinds:
        return False
    if isinstance(value, list):
        return all(is_of(each, found.element, put_out) for each in value)
    return not isinstance(value, dict) or all(
        is_of(value.get(name), each, put_out) for name, each in found.fields
    )


LEAVES = {
    "n": ["i", "f", "o->k", "a[0]", "m[0][-1]", "1", "2.5", "u", "NULL"],
    "s": ["s", "o->n", "x[0]", "'x'", "'5'", "u"],
    "c": ["b", "true", "false", "u"],
    "a": ["a", "x", "m", "m[1]", "u"],
    "o": ["t", "y", "o", "o->z", "u->k"],
}
"""Numbers, texts, conditions, arrays, others."""
FORMS = {
    "n": [
        *(f"{{n}} {sign} {{n}}" for sign in "+-*/%&|^"),
        *("-{n}", "abs({n})", "round({n})", "mod({n}, {n})", "length({e})", "sqrt({n})", "{a}[{n}]"),
        *("CASE WHEN {c} THEN {n} ELSE {e} END", "CASE {e} WHEN {e} THEN {n} WHEN {e} THEN {n} END"),
        *("coalesce({n}, {n})", "cast({e}, 'bigint')", "element_at({a}, {n})", "array_max({a})"),
    ],
    "s": ["concat({e}, {e})", "lower({e})", "cast({e}, 'string')", "coalesce({s}, {e})", "to_json({e})"],
    "c": [
        *(f"{{n}} {sign} {{n}}" for sign in ("=", "!=", "<", ">=")),
        *("{s} < {s}", "{e} = {e}", "{o} > {e}", "{s} LIKE {s}", "NOT {c}", "{c} AND {c}", "{c} OR {c}"),
        *("{n} IN ({n}, {e})", "{e} NOT IN {a}", "{n} BETWEEN {n} AND {n}", "isnull({e})"),
    ],
    "a": ["array_create({e}, {e})", "{a}[{n}:]", "repeat({e}, 2)", "array_distinct({a})", "concat({a}, {a})"],
    "o": ["cast({e}, 'datetime')", "object_construct('k', {e})", "parse_json({s})", "{o}->k"],
}
"""A letter in braces is an operand of that kind, `e` one of any."""


@some.composite
def expressions(draw: some.DrawFn, kind: str = "e", depth: int = 3) -> str:
    """Most make sense: one operand in seven is of any kind."""
    if kind == "e" or draw(some.integers(0, 6)) == 6:
        kind = draw(some.sampled_from(sorted(LEAVES)))
    if depth == 0 or draw(some.integers(0, 3)) == 0:
        return draw(some.sampled_from(LEAVES[kind]))
    form = draw(some.sampled_from(FORMS[kind]))
    return re.sub(r"\{(\w)\}", lambda hole: f"({draw(expressions(hole[1], depth - 1))})", form)


def evaluated(node: Expression, row: dict[str, Any]) -> Any:
    """Its value, or the RowError."""
    try:
        return compile_expression(node, OneRecord())(row, Facts())
    except (RowError, RuleError) as error:
        return error


@settings(max_examples=250, deadline=None)
@given(expressions(), some.lists(ROWS, min_size=1, max_size=3))
def test_a_refused_statement_never_works(text: str, rows: list[dict[str, Any]]) -> None:
    try:
        node = parse_expression(text)
        compile_expression(node, OneRecord())
    except RuleError:
        assume(False)
    try:
        found = Inference(None).type_of(node, OneTyped())
    except RuleError as error:
        assert error.code == 2101 and error.line == 1 and 1 <= (error.column or 0) <= len(text)
        for row in rows:
            if all(evaluated(each, row) is not None for each in walk(node)):
                assert isinstance(evaluated(node, row), RowError), (text, row, str(error))
        return
    for row in rows:
        value = evaluated(node, row)
        assert isinstance(value, RowError) or is_of(value, found), (text, row, value, str(found))


CALLED = sorted(
    name
    for name, each in built_in().items()
    if not (isinstance(each, Planned) or (isinstance(each, Scalar) and each.path))
)
CONSTANTS = {
    "cast": ["'bigint'", "'float'", "'datetime'", "'string'", "'boolean'", "'bytea'"],
    "histogram": ["0, 5, 3"],
    "percentile": ["0.5"],
    "percentile_cont": ["0.5"],
    "percentile_disc": ["1"],
    "lag": ["1", "2, 5", "2, 'x', true", "0, NULL, b"],
    "compress": ["'gzip'"],
    "decompress": ["'zlib'"],
    "encode": ["'base64'"],
    "decode": ["'base64'"],
    "deduplicate": ["true", "false"],
    "first_value": ["true"],
    "last_value": ["false"],
    "get_keyed_state": ["'bigint', 5"],
}
"""Arguments behind the first that are not columns."""
OF_EACH_KIND = [
    {
        "i": 5,
        "f": 0.0,
        "s": "5",
        "b": True,
        "t": datetime(2026, 1, 31, tzinfo=UTC),
        "y": b"x",
        "a": [5],
        "x": ["k"],
        "m": [[0.5]],
        "o": {"k": 1, "n": "n"},
    },
    {
        "i": 0,
        "f": -2.5,
        "s": "2026-01-31T12:00:00Z",
        "b": False,
        "t": datetime(1999, 12, 31, tzinfo=UTC),
        "y": b"{}",
        "a": [],
        "x": [],
        "m": [],
        "o": {"k": 0, "n": ""},
    },
    {
        "i": 70,
        "f": 0.5,
        "s": "",
        "b": True,
        "t": datetime(2026, 1, 31, 1, tzinfo=UTC),
        "y": b"",
        "a": [3, 1, 1],
        "x": ["x", ""],
        "m": [[0.5, 1.5], [2.5]],
        "o": {"k": 2, "n": "x"},
    },
]


def calls_of(name: str) -> Iterator[str]:
    """Calls with each column as each argument, the others being such as the function takes."""
    found = built_in()[name]
    if name in CONSTANTS:
        yield from (f"{name}({column}, {rest})" for column in TYPES for rest in CONSTANTS[name])
        return
    for count in range(found.least, (found.most if found.most < 5 else found.least + 1) + 1):
        known = signature(name, count)
        assert known is not None
        taken = [
            next(
                column for column in "ifsbtyaxo" if not known.wants(place)[0].isdisjoint(TYPES[column].kinds)
            )
            for place in range(count)
        ]
        if name == "array_map":
            taken[0] = "'abs'"
        yield f"{name}({', '.join(taken)})"
        for place in range(count):
            for column in TYPES:
                yield f"{name}({', '.join([*taken[:place], column, *taken[place + 1 :]])})"


@pytest.mark.parametrize("name", CALLED)
def test_a_refused_function_never_works(name: str) -> None:
    """In rules: of a stream that holds records to its columns, and of one that knows of none."""
    for call in dict.fromkeys(calls_of(name)):
        sql = f"SELECT {call} AS r FROM s"
        records = [{"ts": ms, "data": row} for ms, row in enumerate(OF_EACH_KIND)]
        case = {"sql": sql, "options": {"sendError": True}, "input": records}
        bare = try_case(case | {"stream_ddl": BARE})
        if "error" in bare:
            continue  # its constants, or how many there are
        strict = try_case(case | {"stream_ddl": STRICT})
        rows = [row for emission in bare["emissions"] for row in emission]
        if "error" in strict:
            assert strict["error"]["code"] == 2101, (sql, strict)
            assert len(rows) == len(records) and all("error" in row for row in rows), (sql, strict, rows)
        else:
            told = columns(sql).get("r", UNKNOWN_TYPE)
            rows = [row for emission in strict["emissions"] for row in emission]
            assert all("error" in row or is_of(row.get("r"), told, put_out=True) for row in rows), (
                sql,
                str(told),
                rows,
            )


@pytest.mark.parametrize(
    ("clause", "kind"), [("OVER (PARTITION BY s)", Analytic), ("FILTER (WHERE b)", AggregateFunction)]
)
def test_what_a_function_would_ignore_is_refused(clause: str, kind: type) -> None:
    """`row_number() OVER (PARTITION BY box)` would be taken and its OVER ignored."""
    own = {"last_hit_time", "last_hit_count", "last_agg_hit_time", "last_agg_hit_count"}
    accepted, refused = set(), set()
    for name, found in built_in().items():
        for call in calls_of(name):
            for sql in (f"SELECT {call} AS r FROM s", f"SELECT {call} AS r FROM s GROUP BY COUNTWINDOW(2)"):
                if "error" in try_case({"sql": sql, "stream_ddl": BARE, "input": []}):
                    continue
                after = try_case(
                    {"sql": sql.replace(" AS r", f" {clause} AS r"), "stream_ddl": BARE, "input": []}
                )
                (refused if "error" in after else accepted).add(name)
            break
        if isinstance(found, kind) and name not in accepted:
            assert name not in refused, name
    assert all(isinstance(built_in()[name], kind) for name in accepted - own) and accepted - own
    assert {"row_number", "window_trigger"} <= refused
    assert own <= (accepted if kind is Analytic else refused)


def test_own_values_with_over_explain_themselves() -> None:
    sql = "SELECT box, row_number() OVER (PARTITION BY box) AS before FROM s"
    error = try_case({"sql": sql, "stream_ddl": BARE, "input": []})["error"]
    assert error["message"] == "OVER after row_number: it has no partitions"
    assert (error["code"], error["column"], error["hint"]) == (
        2101,
        13,
        "OVER belongs to analytic functions and last_hit_*",
    )


def test_every_function_has_its_types() -> None:
    assert {name.split("/")[0] for name in _table()} == set(built_in())


def columns(sql: str, ddl: str = STRICT) -> dict[str, ValueType]:
    statement, streams = parse(sql), {"s": definition(ddl)}
    assert isinstance(statement, Select)
    return described(statement, plan(statement, streams).origins, None).columns


R = STRICT.replace("STREAM s", "STREAM r")
WINDOW = "GROUP BY COUNTWINDOW(5)"


@pytest.mark.parametrize(
    ("sql", "column", "told"),
    [
        ("SELECT f + s FROM s", 10, "float + string: want numbers; concat(a, b) joins texts"),
        ("SELECT u->k + 'a' FROM bare", 13, "unknown + string: want numbers"),
        ("SELECT NOT i FROM s", 8, "NOT bigint: want a condition"),
        ("SELECT -(s) FROM s", 8, "-(string): want a number"),
        ("SELECT b & i FROM s", 10, "boolean & bigint: want whole numbers"),
        (
            "SELECT f FROM s WHERE i",
            23,
            "bigint is not a condition; write a comparison such as v > 0 or name = 'x'",
        ),
        ("SELECT f FROM s WHERE s < 3", 25, "string < bigint: these do not compare"),
        ("SELECT f FROM s WHERE s > t", 25, "string > datetime: these do not compare"),
        ("SELECT f FROM s WHERE f BETWEEN s AND 3", 25, "float >= string: these do not compare"),
        ("SELECT i IN (s, 3) FROM s", 10, "bigint = string: these do not compare"),
        ("SELECT i IN s FROM s", 10, "bigint IN string: want an array, or values in parentheses"),
        ("SELECT f LIKE 'x' AS m FROM s", 10, "float LIKE string: want texts"),
        ("SELECT a[s] FROM s", 9, "array[string]: want a whole number"),
        ("SELECT o[0] FROM s", 9, "(struct(k bigint, n string))[ ]: want an array before [ ]"),
        ("SELECT o->k + o->n FROM s", 13, "bigint + string: want numbers"),
        ("SELECT CASE i WHEN s THEN 1 END FROM s", 20, "bigint = string: these do not compare"),
        ("SELECT thd(f) FROM s", 8, "thd: argument 1 is float; want an array"),
        (f"SELECT SUM(s) FROM s {WINDOW}", 8, "SUM: argument 1 is string; want a number"),
        (f"SELECT SUM('x') FROM s {WINDOW}", 8, 'SUM: argument 1 is string "x"; want a number'),
        ("SELECT acc_sum(f, 1, b) FROM s", 8, "acc_sum: argument 2 is bigint 1; want true or false"),
        ("SELECT changed_cols(1, true, f) FROM s", 8, "changed_cols: argument 1 is bigint 1; want a text"),
        (f"SELECT max(f) FILTER (WHERE s) FROM s {WINDOW}", 29, "string is not a condition"),
        (f"SELECT avg(f) AS f FROM s {WINDOW} HAVING f LIKE 'x'", 60, "float LIKE string: want texts"),
        (f"SELECT lag(avg(f)) LIKE s FROM s {WINDOW}", 20, "float LIKE string: want texts"),
        ("SELECT lag(s) OVER (WHEN i) FROM s", 26, "bigint is not a condition"),
        ("SELECT f FROM s GROUP BY STATEWINDOW(f)", 38, "float is not a condition"),
        (f"SELECT s.f FROM s INNER JOIN r ON s.i = r.s {WINDOW}", 39, "bigint = string: these do not"),
        ("SELECT s + 1 AS q INVISIBLE, q FROM s", 10, "string + bigint: want numbers"),
        ("SELECT * REPLACE (s + 1 AS f) FROM s", 21, "string + bigint: want numbers"),
    ],
)
def test_a_clash_is_refused_with_its_place(sql: str, column: int, told: str) -> None:
    bare = 'CREATE STREAM bare () WITH (TYPE="mock")'
    error = try_case({"sql": sql, "stream_ddl": [STRICT, R, bare]})["error"]
    assert (error["http"], error["code"], error["line"], error["column"]) == (400, 2101, 1, column)
    assert f"{error['message']}; {error.get('hint')}".startswith(told)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT f FROM s WHERE b AND f < 'x'",
        "SELECT CASE WHEN b THEN s + 1 ELSE 0 END AS r FROM s",
        "SELECT i IN (3, s) AS r FROM s",
        "SELECT s + 1 AS q INVISIBLE, f FROM s",
        "SELECT sum(s) FILTER (WHERE f > 5) AS r FROM s",
        "SELECT NULL + 'a' AS r, length(i) AS n FROM s",
    ],
)
def test_skippable_checks_are_left_to_records(sql: str) -> None:
    row = OF_EACH_KIND[0] | {"b": False, "i": 3, "f": 1.0}
    case = {
        "sql": sql,
        "stream_ddl": STRICT,
        "input": [{"ts": 0, "data": row}],
        "options": {"sendError": True},
    }
    assert "error" not in str(try_case(case))


def test_unchecked_columns_are_unknown_to_the_planner() -> None:
    """Without STRICT_VALIDATION a statement is not refused for its columns' types."""
    case = {"sql": "SELECT f LIKE 'x' AS r FROM s", "input": [{"ts": 0, "data": {"i": 1}}]}
    assert try_case(case | {"stream_ddl": LOOSE})["emissions"] == [[{"r": False}]]


def test_the_output_has_types_as_declared() -> None:
    sql = (
        "SELECT f, i / 2, i / 2.0 AS x, o->k AS k, a[1:] AS a, phasor(m[0], 12000, 60) AS p, o->z AS z, "
        "CASE WHEN b THEN i ELSE s END AS e, *, unnest(m) AS n, NULL AS nothing FROM s"
    )
    for ddl in (STRICT, LOOSE):
        told = columns(sql, ddl)
        assert {name: str(each) for name, each in told.items()} == {
            "f": "float",
            "kuiper_field_0": "bigint",
            "x": "float",
            "k": "bigint",
            "a": "array(bigint)",
            "p": "struct(magnitude float, angle float)",
            "z": "unknown",
            "e": "bigint or string",
            "nothing": "null",
        }
        assert told["a"].as_json() == {"type": "array", "items": {"type": "bigint"}}
        assert told["p"].as_json()["properties"]["angle"] == {"type": "float"}
        assert told["z"].as_json() == {}


def test_of_a_group_the_output_has_types_too() -> None:
    sql = "SELECT avg(i), avg(o->z), collect(f), max(s), count(*), lag(avg(f)) FROM s"
    told = ["bigint", "number", "array(float)", "string", "bigint", "float"]
    items = [f"{item} AS c{place}" for place, item in enumerate(re.split(", ", sql[7:-7]))]
    assert [str(each) for each in columns(f"SELECT {', '.join(items)} FROM s").values()] == told


def test_schema_and_explain_tell_types(tmp_path: Path) -> None:
    with running(tmp_path) as (engine, _):
        engine.execute('CREATE STREAM s (v FLOAT, name STRING) WITH (TYPE="hand", DATASOURCE="x")')
        engine.create_rule(rule("r", "SELECT v * 2 AS w, name, now() AS t, * FROM s WHERE name > v"))
        assert engine.views.schema("r") == {
            "w": {"hasIndex": True, "index": 0, "type": "float"},
            "name": {"hasIndex": True, "index": 1, "type": "string"},
            "t": {"hasIndex": True, "index": 2, "type": "string"},
            "*": {"hasIndex": True, "index": 3},
        }
        lines = engine.views.explain("r").splitlines()
        assert "  gives w float, name string, t string" in lines
        (clash,) = [line for line in lines if "as declared" in line]
        assert "line 1, column 58: string > float: these do not compare" in clash


def test_types_are_checked_once_per_shape(tmp_path: Path) -> None:
    """Except for the kind in a cast."""
    with running(tmp_path) as (engine, _):
        engine.execute(STRICT.replace('TYPE="mock"', 'TYPE="hand", DATASOURCE="x"'))
        for number, name in enumerate(("bigint", "float")):
            sql = f"SELECT cast(s, '{name}') + {number} AS r FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
            engine.create_rule(rule(f"r{number}", sql))
        for kind in ("string", "bytea"):
            with pytest.raises(RuleError, match="want numbers"):
                engine.create_rule(rule("q", sql.replace("float", kind)))
        for text in ("f > 5 AND s > 'a'", "f > 6 AND s > 'b'"):
            engine.create_rule(rule(f"c{text[4]}", f"SELECT f FROM s WHERE {text}"))
        with pytest.raises(RuleError, match="do not compare"):
            engine.create_rule(rule("q", "SELECT f FROM s WHERE f > 'x' AND s > 'a'"))


def test_every_expression_compiles_with_a_type() -> None:
    assert set(get_args(Expression)) == set(compile._KINDS) == set(inference._KINDS)
