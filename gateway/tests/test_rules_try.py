"""`rule try`: each clause of D.1 to D.3 but windows and joins, answers found by hand, and what is refused."""

from typing import Any

import msgspec
import pytest
from rules_try_cases import TABLE, R, S, case, emissions, one, refusal, values

from opq_rules.trying import try_cases, try_text


@pytest.mark.parametrize(
    ("sql", "data", "row"),
    [
        ("SELECT * FROM s", {"a": 1, "b": None}, {"a": 1, "b": None}),
        ("SELECT s.* FROM s", {"a": 1}, {"a": 1}),
        ("SELECT * EXCEPT (a) FROM s", {"a": 1, "b": 2}, {"b": 2}),
        ("SELECT * REPLACE (a * 2 AS a) FROM s", {"a": 1, "b": 2}, {"a": 2, "b": 2}),
        ("SELECT * EXCEPT (a) REPLACE (a * 2 AS a) FROM s", {"a": 1, "b": 2}, {"a": 2, "b": 2}),
        ("SELECT *, a + 1 AS a FROM s", {"a": 1, "b": 2}, {"a": 2, "b": 2}),
        ("SELECT a, b FROM s", {"a": 1, "c": 3}, {"a": 1}),
        ("SELECT A, b AS B FROM s", {"a": 1, "B": 3}, {"A": 1, "B": 3}),
        (
            "SELECT a + 1, b, a + 2 FROM s",
            {"a": 1, "b": 2},
            {"kuiper_field_0": 2, "b": 2, "kuiper_field_1": 3},
        ),
        ("SELECT abs(a) FROM s", {"a": -1}, {"abs": 1}),
        ("SELECT y + 1 AS z, x + 1 AS y, a AS x FROM s", {"a": 1}, {"z": 3, "y": 2, "x": 1}),
        ("SELECT a + 1 AS a, a AS b FROM s", {"a": 1}, {"a": 2, "b": 2}),
        ("SELECT a AS x INVISIBLE, x * 2 AS y FROM s", {"a": 1}, {"y": 2}),
        ("SELECT o->p->q AS q, o.p AS p FROM s", {"o": {"p": {"q": 5}}}, {"q": 5, "p": {"q": 5}}),
        ("SELECT d.a FROM s AS d WHERE d.a = 1", {"a": 1}, {"a": 1}),
        (
            "SELECT a[0] AS f, a[-1] AS l, a[1:] AS r, a[9] AS n FROM s",
            {"a": [1, 2, 3]},
            {"f": 1, "l": 3, "r": [2, 3]},
        ),
        ("SELECT CASE WHEN a > 1 THEN 'big' ELSE 'small' END AS c FROM s", {"a": 2}, {"c": "big"}),
        ("SELECT window_start() AS w, row_number() AS n FROM s", {"a": 2}, {"w": 0, "n": 1}),
        ("SELECT extract(o), a FROM s", {"a": 1, "o": {"x": 2, "y": 3}}, {"x": 2, "y": 3, "a": 1}),
        ("SELECT count(*), sum(a) AS t FROM s", {"a": 4}, {"count": 1, "t": 4}),
        ("SELECT missing FROM s", {"a": 4}, {}),
    ],
)
def test_what_select_puts_out(sql: str, data: dict[str, Any], row: dict[str, Any]) -> None:
    assert emissions(sql, one(data)) == [[row]]


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        ("v > 2", [3, 4]),
        ("V > 2", [3, 4]),
        ("2 < v", [3, 4]),
        ("v = 2 OR v = 4", [2, 4]),
        ("v != 2", [1, 3, 4]),
        ("NOT v > 2", [1, 2]),
        ("v IN (1, 4)", [1, 4]),
        ("v NOT IN (1, 4)", [2, 3]),
        ("v BETWEEN 2 AND 3", [2, 3]),
        ("d > 4", [3, 4]),
        ("lag(v) = 2", [3]),
        ("had_changed(true, v)", [1, 2, 3, 4]),
        ("last_hit_count() < 2", [1, 2]),
        ("v + missing > 0", []),
    ],
)
def test_what_where_lets_through(where: str, holds: list[int]) -> None:
    out = emissions(f"SELECT v, v * 2 AS d FROM s WHERE {where}", *values(1, 2, 3, 4))
    assert [row["v"] for rows in out for row in rows] == holds


def test_null_columns_are_left_out_unless_asked_for() -> None:
    assert emissions("SELECT a, b FROM s", one({"a": 1, "b": None})) == [[{"a": 1}]]
    assert emissions("SELECT a, b FROM s", one({"a": 1}), sendNilField=True) == [[{"a": 1, "b": None}]]


def test_a_records_error_is_sent_on_request() -> None:
    records = [one({"a": "x"}), (1, {"a": 2})]
    assert emissions("SELECT a + 1 AS b FROM s", *records) == [[{"b": 3}]]
    sent = emissions("SELECT a + 1 AS b FROM s", *records, sendError=True)
    assert [list(rows[0]) for rows in sent] == [["error"], ["b"]]
    assert sent[0][0]["error"] == 'Select b: string "x" + bigint 1: want numbers'
    assert emissions("SELECT a FROM s WHERE a > 1", *records, sendError=True)[0][0]["error"].startswith(
        "Where: "
    )


def test_unnest_puts_a_row_out_for_each_element() -> None:
    out = emissions("SELECT unnest(a) AS x, b FROM s", one({"a": [1, {"b": 5, "c": 6}], "b": 2}))
    assert out == [[{"x": 1, "b": 2}, {"b": 5, "c": 6}]]


@pytest.mark.parametrize(
    ("rest", "wanted"),
    [
        ("AS x FROM s ORDER BY x DESC LIMIT 2", [3, 2]),
        ("AS x FROM s ORDER BY X", [1, 2, 3, None]),
        ("AS x FROM s ORDER BY b, x DESC", [3, 2, 1, None]),
    ],
)
def test_rows_of_unnest_are_ordered_by_their_value(rest: str, wanted: list[Any]) -> None:
    (rows,) = emissions(f"SELECT unnest(a) {rest}", one({"a": [1, 3, None, 2], "b": 5}))
    assert [row.get("x") for row in rows] == wanted


def test_a_volatile_alias_has_one_value_per_record() -> None:
    ((row,),) = emissions("SELECT rand() AS r, r AS q FROM s WHERE r >= 0", one({}))
    assert row["r"] == row["q"]


@pytest.mark.parametrize(
    ("select", "wanted"),
    [
        ("lag(v) AS x", [None, 1, 1, 5]),
        ("lag(v, 2, 9) AS x", [9, 9, 1, 1]),
        ("latest(w, 0) AS x", [0, 0, 0, 7]),
        ("changed_col(true, v) AS x", [1, None, 5, None]),
        ("had_changed(true, v) AS x", [True, False, True, False]),
        ("lag(v) OVER (PARTITION BY k) AS x", [None, None, 1, 1]),
        ("lag(v) OVER (WHEN v > 1) AS x", [None, None, None, 5]),
        ("v - lag(v) AS x", [None, 0, 4, 0]),
        ("acc_sum(v) AS x", [1, 2, 7, 12]),
        ("lag(lag(v)) AS x", [None, None, 1, 1]),
    ],
)
def test_analytic_calls(select: str, wanted: list[Any]) -> None:
    records = [
        (0, {"v": 1, "k": 0}),
        (1, {"v": 1, "k": 1}),
        (2, {"v": 5, "k": 0}),
        (3, {"v": 5, "k": 1, "w": 7}),
    ]
    out = emissions(f"SELECT {select} FROM s", *records)
    assert [row.get("x") for rows in out for row in rows] == wanted


def test_changed_cols_spreads_and_names_by_prefix() -> None:
    out = emissions(
        "SELECT changed_cols('c_', true, a, b) FROM s", one({"a": 1, "b": 1}), (1, {"a": 1, "b": 2})
    )
    assert out == [[{"c_a": 1, "c_b": 1}], [{"c_b": 2}]]


def test_analytic_calls_go_by_group() -> None:
    records = values(1, 3, 2, 2, 5, 5)
    sql = "SELECT {} FROM s GROUP BY COUNTWINDOW(2)"
    changed = emissions(sql.format("changed_cols('t', true, avg(v))"), *records)
    assert changed == [[{"tavg": 2}], [{}], [{"tavg": 5}]]
    lagged = emissions(sql.format("sum(v) AS t, lag(t) AS l, t - lag(t) AS d"), *records)
    assert lagged == [[{"t": 4}], [{"t": 4, "l": 4, "d": 0}], [{"t": 10, "l": 4, "d": 6}]]
    had = emissions(sql.format("avg(v) AS a") + " HAVING had_changed(true, avg(v))", *records)
    assert had == [[{"a": 2}], [{"a": 5}]]


def test_analytic_calls_see_what_where_refuses() -> None:
    out = emissions("SELECT v, lag(v) AS l FROM s WHERE v > 2", *values(1, 3, 2, 4))
    assert out == [[{"v": 3, "l": 1}], [{"v": 4, "l": 2}]]


# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "code", "words"),
    [
        ("SELEC a FROM s", 2001, "SELEC"),
        ("SELECT a FROM nowhere", 2101, "nowhere"),
        ("SELECT nosuch(a) FROM s", 2101, "nosuch"),
        ("SELECT abs() FROM s", 2101, "abs"),
        ("SELECT a + b AS a, a AS c, c AS b FROM s", 2101, "alias"),
        ("SELECT a FROM s WHERE count(*) > 1", 2101, "WHERE"),
        ("SELECT a FROM s WHERE c > 1 GROUP BY COUNTWINDOW(2)", None, ""),
        ("SELECT count(*) AS c FROM s WHERE c > 1 GROUP BY COUNTWINDOW(2)", 2101, "WHERE"),
        ("SELECT avg(sum(a)) FROM s", 2101, "within"),
        ("SELECT a FROM s GROUP BY sum(a)", 2101, "GROUP BY"),
        ("SELECT count(*) FROM s GROUP BY COUNTWINDOW(2) HAVING a > 1", 2101, "HAVING"),
        ("SELECT count(*) FROM s GROUP BY COUNTWINDOW(2) HAVING sin(a) > 1", 2101, "HAVING"),
        ("SELECT a FROM s HAVING 1 = 1", 2101, "HAVING"),
        ("SELECT a FROM s INNER JOIN r ON s.a = r.a", 2101, "window"),
        ("SELECT a FROM tab GROUP BY TUMBLINGWINDOW(ss, 1)", 2101, "table"),
        ("SELECT a FROM s WHERE row_number() > 1", 2101, "row_number"),
        ("SELECT abs(unnest(a)) FROM s", 2101, "unnest"),
        ("SELECT unnest(unnest(a)) FROM s", 2101, "unnest"),
        ("SELECT unnest(a), unnest(b) FROM s", 2101, "unnest"),
        ("SELECT abs(changed_cols('c', true, a)) FROM s", 2101, "changed_cols"),
        ("SELECT a FROM s WHERE lag(sum(a)) > 1", 2101, "sum"),
        ("SELECT sum(lag(sum(a))) FROM s", 2101, "lag"),
        ("SELECT last_agg_hit_count(), v FROM s", 2101, "last_agg_hit_count"),
        ("SELECT 1/0 AS x FROM s", 2101, "division"),
        ("SELECT a FROM s WHERE 'text'", 2101, "condition"),
    ],
)
def test_an_impossible_statement_names_its_place(sql: str, code: int | None, words: str) -> None:
    answer = try_cases(case(sql, ddl=(S, R, TABLE)))
    if code is None:
        assert "emissions" in answer
        return
    error = answer["error"]
    assert (error["http"], error["code"]) == (400, code), error
    assert words in error["message"] and error["line"] == 1 and error["column"] >= 1


def test_aliases_that_multiply_are_refused_before_they_compute() -> None:
    items = ", ".join(f"a{i} + a{i} AS a{i + 1}" for i in range(60))
    for sql in (
        f"SELECT {items} FROM s",
        f"SELECT lag(a60) AS l, {items} FROM s",
        f"SELECT {items} FROM s HAVING a60",
    ):
        assert "aliases" in refusal(sql)["message"]
    items = ", ".join(f"a{i} + 1 AS a{i + 1}" for i in reversed(range(1_500)))
    assert "aliases" in refusal(f"SELECT {items} FROM s")["message"]
    items = ", ".join(f"a{i} + 1 AS a{i + 1}" for i in range(30))
    assert emissions(f"SELECT {items} FROM s", one({"a0": 1}))[0][0]["a30"] == 31


def test_columns_are_checked_where_the_stream_declares_them() -> None:
    ddl = ('CREATE STREAM s (volts FLOAT, box BIGINT) WITH (DATASOURCE="s", TYPE="mock")',)
    assert emissions("SELECT Volts FROM s", one({"volts": 1.5, "x": 1}), ddl=ddl) == [[{"Volts": 1.5}]]
    assert emissions("SELECT * FROM s", one({"volts": 1.5, "x": 1}), ddl=ddl) == [[{"volts": 1.5}]]
    error = refusal("SELECT vols FROM s", ddl=ddl)
    assert error["column"] == 8 and "volts" in error["hint"]


def test_records_have_the_types_that_the_stream_declares() -> None:
    ddl = 'CREATE STREAM s (f FLOAT, n BIGINT, b BYTEA) WITH (DATASOURCE="s", TYPE="mock", {})'
    loose, strict = ddl.format('SHARED="false"'), ddl.format('STRICT_VALIDATION="true"')
    data = {"f": 7, "n": "x", "b": "AQI="}
    assert emissions("SELECT f / 2 AS h, b FROM s", one(data), ddl=(loose,)) == [[{"h": 3.5, "b": b"\1\2"}]]
    for ddl in (loose, strict):
        (rows,) = emissions("SELECT f, n FROM s", one(data), ddl=(ddl,), sendError=True)
        assert "column n" in rows[0]["error"]
    assert emissions("SELECT f FROM s", one(data), ddl=(strict,)) == [[{"f": 7.0}]]


@pytest.mark.parametrize(
    "select",
    [
        "had_changed(true, v) AS x FROM s",
        "array_flatten(v) AS x FROM s",
        "deduplicate(v, true) AS x FROM s GROUP BY COUNTWINDOW(2)",
        "lag(v) OVER (PARTITION BY v) AS x FROM s",
        "v FROM s GROUP BY v, COUNTWINDOW(1)",
    ],
)
def test_deeply_nested_records_spare_the_engine(select: str) -> None:
    deep = msgspec.json.decode("[" * 900 + "]" * 900)
    again = msgspec.json.decode("[" * 900 + "]" * 900)
    assert "emissions" in try_cases(case(f"SELECT {select}", one({"v": deep}), (1, {"v": again})))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sql": 5}, 5000),
        ({"input": [{"stream": "x", "ts": 1, "data": {}}]}, 5000),
        ({"input": [{"stream": "s", "ts": "1", "data": {}}]}, 5000),
        ({"input": [{"stream": "s", "ts": 1, "data": []}]}, 5000),
        ({"options": {"lateTolerance": -1}}, 4000),
        ({"options": {"nope": 1}}, 4000),
        ({"options": {"end_ms": "x"}}, 5000),
        ({"stream_ddl": ["SELECT 1"]}, None),
        ({"stream_ddl": [S, S]}, 3000),
        ({"sql": "DROP STREAM s"}, 2001),
        ({"more": 1}, 5000),
    ],
)
def test_cases_that_are_none_are_refused(change: dict[str, Any], code: int | None) -> None:
    error = try_cases(case("SELECT * FROM s", one({})) | change)["error"]
    assert error["http"] == 400 and error["code"] == (code or error["code"])


def test_one_case_gives_an_object() -> None:
    good = case("SELECT v FROM s", one({"v": 1}))
    assert try_cases(good) == {"name": "it", "emissions": [[{"v": 1}]]}
    answers = msgspec.json.decode(try_text(msgspec.json.encode([good, {"sql": "x"}])))
    assert answers[0]["emissions"] == [[{"v": 1}]] and answers[1]["error"]["code"] == 2001
