"""Functions where rules call them: in SELECT, WHERE, windows and HAVING, by `rule try`'s engine."""

from typing import Any

import pytest

from opq_plugins.sdk import Function
from opq_rules.engine.types.plugin_functions import PluginFunctions, box_of
from opq_rules.query.planning.select_plan import plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import definition_of
from opq_rules.trying import try_cases
from opq_rules.values.batch import Batch

FIRST_MS = 1_765_792_486_013


def tried(sql: str, rows: list[dict[str, Any]], **options: Any) -> Any:
    """The emissions of `rows`, 100 ms apart; or the error."""
    records = [{"stream": "s", "ts": FIRST_MS + 100 * place, "data": row} for place, row in enumerate(rows)]
    ddl = ['CREATE STREAM s () WITH (DATASOURCE="x", TYPE="mock", FORMAT="json")']
    found = try_cases({"name": "t", "stream_ddl": ddl, "sql": sql, "options": options, "input": records})
    return found["emissions"] if "emissions" in found else found["error"]


def of(*values: Any, key: str = "v") -> list[dict[str, Any]]:
    return [{key: value} for value in values]


CASES: list[tuple[str, list[dict[str, Any]], list[list[dict[str, Any]]]]] = [
    ("SELECT rms(w) AS r FROM s", of([3, -3], key="w"), [[{"r": 3.0}]]),
    ("SELECT rms(w) AS r FROM s WHERE rms(w) > 3", of([3, -3], [4, 4], key="w"), [[{"r": 4.0}]]),
    ("SELECT max(rms(w)) AS r FROM s GROUP BY COUNTWINDOW(2)", of([3, -3], [5, 5], key="w"), [[{"r": 5.0}]]),
    ("SELECT rms(w) AS r FROM s GROUP BY COUNTWINDOW(2)", of([3], [3, 3, 3], key="w"), [[{"r": 3.0}]]),
    ("SELECT avg(v) AS a, sum(v) AS b FROM s GROUP BY COUNTWINDOW(2)", of(1, 2), [[{"a": 1.5, "b": 3}]]),
    (
        "SELECT percentile_cont(v, 0.5) AS p FROM s GROUP BY COUNTWINDOW(3)",
        of(100, 150, 200),
        [[{"p": 150.0}]],
    ),
    (
        "SELECT last_value(v, false) AS a, last_value(v) AS b FROM s GROUP BY COUNTWINDOW(2)",
        of(1, None),
        [[{"b": 1}]],
    ),
    (
        "SELECT deduplicate(v, true) AS d FROM s GROUP BY COUNTWINDOW(3)",
        of(1, 2, 1),
        [[{"d": [{"v": 1}, {"v": 2}]}]],
    ),
    (
        "SELECT collect(*)[1]->v AS a, merge_agg(*) AS m FROM s GROUP BY COUNTWINDOW(2)",
        of(1, 2),
        [[{"a": 2, "m": {"v": 2}}]],
    ),
    ("SELECT slope(v, event_time()) AS p FROM s GROUP BY COUNTWINDOW(3)", of(1, 2, 3), [[{"p": 0.01}]]),
    (
        "SELECT sum(v) AS b FROM s GROUP BY COUNTWINDOW(2) HAVING round(avg(v)) > 2",
        of(1, 2, 3, 4),
        [[{"b": 7}]],
    ),
    ("SELECT lag(v) AS l, v FROM s", of(1, 2), [[{"v": 1}], [{"l": 1, "v": 2}]]),
    ("SELECT had_changed(true, *) AS h FROM s", of(1, 1, 2), [[{"h": True}], [{"h": False}], [{"h": True}]]),
    ("SELECT v FROM s WHERE consecutive_count(v > 1) >= 2", of(1, 2, 3), [[{"v": 3}]]),
    (
        "SELECT acc_sum(v, v > 1, v > 2) AS p FROM s",
        of(1, 2, 3, 1),
        [[{"p": 0}], [{"p": 2}], [{"p": 5}], [{"p": 0}]],
    ),
    ("SELECT changed_cols('c_', true, *) FROM s", of(1, 2), [[{"c_v": 1}], [{"c_v": 2}]]),
    ("SELECT unnest(v) AS u FROM s", of([1, {"b": 5}]), [[{"u": 1}, {"b": 5}]]),
    ("SELECT extract(v), 1 AS one FROM s", of({"x": 1}), [[{"x": 1, "one": 1}]]),
    (
        "SELECT now() AS n, tstamp() AS t, rule_id() AS r FROM s",
        of(1),
        [[{"n": "2025-12-15 09:54:46", "t": FIRST_MS, "r": "t"}]],
    ),
    ("SELECT row_number() AS n FROM s GROUP BY COUNTWINDOW(2)", of(1, 2), [[{"n": 1}, {"n": 2}]]),
    (
        "SELECT itic(v, 0.3) AS i, f47(v, 0.3) AS f FROM s WHERE sag_depth(v, 100) > 10",
        of(95, 60),
        [[{"i": "no_damage", "f": "fail"}]],
    ),
]


@pytest.mark.parametrize(("sql", "rows", "emissions"), CASES, ids=[sql for sql, *_ in CASES])
def test_a_function_does_its_work_in_a_rule(
    sql: str, rows: list[dict[str, Any]], emissions: list[list[dict[str, Any]]]
) -> None:
    assert tried(sql, rows) == emissions


@pytest.mark.parametrize(
    ("sql", "column", "words"),
    [
        ("SELECT suum(v) FROM s", 8, "function suum not found"),
        ("SELECT round(v, 'x') FROM s", 8, "round: argument 2"),
        ("SELECT v FROM s WHERE sum(v) > 1", 23, "aggregate sum is not allowed"),
        ("SELECT percentile_cont(v, 2) FROM s GROUP BY COUNTWINDOW(2)", 8, "0.0 to 1.0"),
        ("SELECT percentile(v, v) FROM s GROUP BY COUNTWINDOW(2)", 22, "percentile: want a constant"),
        ("SELECT last_value(v, 1) FROM s GROUP BY COUNTWINDOW(2)", 8, "true or false"),
        ("SELECT deduplicate(v, w) FROM s GROUP BY COUNTWINDOW(2)", 23, "want a constant"),
        ("SELECT deduplicate(v, null) FROM s GROUP BY COUNTWINDOW(2)", 23, "want a constant"),
        ("SELECT histogram(v, 2, 1, 5) FROM s GROUP BY COUNTWINDOW(2)", 8, "low < high"),
        ("SELECT histogram(v, v, 1, 5) FROM s GROUP BY COUNTWINDOW(2)", 21, "want a constant"),
        ("SELECT lag(v, 1, null, 'x') FROM s", 8, "true or false"),
        ("SELECT changed_col(1, v) FROM s", 8, "true or false"),
        ("SELECT change_to(v, 1, 'x') FROM s", 8, "true or false"),
        ("SELECT change_capture(v, v, 1, 5) FROM s", 8, "true or false"),
        ("SELECT round(v, 301) FROM s", 8, "want -300 to 300"),
        ("SELECT convert_tz(v, 'Mars') FROM s", 8, 'string "Mars" is not a time zone'),
        ("SELECT lag(v, v) FROM s", 8, "a constant"),
        ("SELECT v FROM s WHERE v > 1 / 0", 29, "division by zero"),
    ],
)
def test_an_impossible_call_names_its_place(sql: str, column: int, words: str) -> None:
    error = tried(sql, of(1))
    assert (error["code"], error["line"], error["column"]) == (2101, 1, column)
    assert words in error["message"]


def test_an_unfit_value_is_an_error_row() -> None:
    """The rule goes on."""
    emissions = tried("SELECT round(v) AS r FROM s", of("x", 2.5), sendError=True)
    assert emissions[1] == [{"r": 3.0}]
    assert 'round(string "x"): want a number' in emissions[0][0]["error"]


class Remembering(Function):
    """A plug-in's function that notes for which rule and Box it is called."""

    def __init__(self, aggregate: bool) -> None:
        self._aggregate = aggregate
        self.calls: list[tuple[str, str]] = []

    def validate(self, args: Any) -> str:
        return ""

    def is_aggregate(self) -> bool:
        return self._aggregate

    def exec(self, args: Any, context: Any) -> Any:
        self.calls.append((context.rule_id, context.box))
        return sum(args[0]) if self._aggregate else args[0]


@pytest.mark.parametrize(
    ("aggregate", "sql", "boxes"),
    [
        (True, "SELECT noted(v) AS t FROM s GROUP BY COUNTWINDOW(3)", [""]),
        (True, "SELECT noted(v) AS t FROM s GROUP BY box, COUNTWINDOW(3)", ["1", "2"]),
        (False, "SELECT noted(v) AS t FROM s", ["1", "2", "1"]),
        (False, "SELECT v FROM s WHERE noted(v) > 0", ["1", "2", "1"]),
        (False, "SELECT v FROM s WHERE noted(v) > 0 GROUP BY COUNTWINDOW(3)", ["1", "2", "1"]),
    ],
)
def test_a_function_knows_its_rule_and_box(aggregate: bool, sql: str, boxes: list[str]) -> None:
    """So that rows which end its process pause it for this Box of this rule, and for no other."""
    function = Remembering(aggregate)

    class Types:
        def functions(self) -> list[str]:
            return ["noted"]

        def function(self, name: str) -> Any:
            return lambda: function

    functions = PluginFunctions(Types())()  # type: ignore[arg-type]
    create = parse('CREATE STREAM s () WITH (DATASOURCE="x", TYPE="mock", FORMAT="json")')
    select = parse(sql)
    assert isinstance(create, Create) and isinstance(select, Select)
    made = plan(select, {"s": definition_of(create)}, functions)
    rows = [{"v": 1, "box": "1"}, {"v": 2, "box": "2"}, {"v": 3, "box": "1"}]
    for rule_id in ("bad", "good"):
        function.calls.clear()
        assert Query(made, RuleFacts(rule_id)).feed(Batch("s", rows, 5))
        assert function.calls == [(rule_id, box) for box in boxes]


def test_a_joined_rows_box_is_its_only_one() -> None:
    one, other = {"box": "1"}, {"box": "2"}
    assert box_of(one) == box_of((one, None)) == box_of((one, {"v": 1})) == box_of((one, one)) == "1"
    assert box_of((one, other)) == box_of({}) == box_of({"box": 1}) == box_of(None) == ""
