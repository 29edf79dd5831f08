"""`rule try`: each clause and window of D.1 to D.3, answers found by hand. `python -m pytest -k windows`."""

from typing import Any

import msgspec
import pytest

from opq_rules.query.trying import try_cases, try_text

S = 'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock", FORMAT="json")'
R = 'CREATE STREAM r () WITH (DATASOURCE="r", TYPE="mock", FORMAT="json")'
EVENT = 'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock", TIMESTAMP="t")'
EVENT_R = 'CREATE STREAM r () WITH (DATASOURCE="r", TYPE="mock", TIMESTAMP="t")'
TABLE = 'CREATE TABLE tab () WITH (DATASOURCE="tab", TYPE="mock")'
LOOKUP = 'CREATE TABLE tab () WITH (DATASOURCE="tab", TYPE="memory", KIND="lookup", KEY="id")'
COLLECTED = "collect(v) AS v, window_start() AS a, window_end() AS z"
START = 1_700_000_000_000  # 22:13:20 UTC


def case(
    sql: str,
    *records: tuple[int, dict[str, Any]] | tuple[int, dict[str, Any], str],
    ddl: tuple[str, ...] = (S,),
    tables: dict[str, Any] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """`records`: (ms behind START, data[, stream])."""
    given = [
        {"stream": more[0] if more else "s", "ts": START + ms, "data": data} for ms, data, *more in records
    ]
    found: dict[str, Any] = {
        "name": "it",
        "stream_ddl": list(ddl),
        "sql": sql,
        "options": options,
        "input": given,
    }
    return found | ({"tables": tables} if tables else {})


def emissions(*args: Any, **options: Any) -> Any:
    answer = try_cases(case(*args, **options))
    assert "emissions" in answer, answer
    return answer["emissions"]


def refusal(sql: str, **options: Any) -> dict[str, Any]:
    answer = try_cases(case(sql, **options))
    assert "error" in answer, answer
    found: dict[str, Any] = answer["error"]
    return found


def values(*numbers: float | None, every_ms: int = 100) -> list[tuple[int, dict[str, Any]]]:
    """Records v, 100 ms apart; None leaves v out."""
    return [(i * every_ms, {} if v is None else {"v": v}) for i, v in enumerate(numbers)]


def one(data: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    return (0, data)


@pytest.mark.parametrize(
    ("sql", "data", "row"),
    [
        ("SELECT * FROM s", {"a": 1, "b": None}, {"a": 1}),
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


def test_an_error_of_a_record_is_sent_where_asked_and_the_rule_goes_on() -> None:
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


def test_analytic_calls_over_aggregates_go_from_group_to_group() -> None:
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


# --- windows ------------------------------------------------------------------------------------------------


def test_tumbling_windows_end_at_multiples_of_their_length() -> None:
    sql = (
        "SELECT count(*) AS c, window_start() AS a, window_end() AS z FROM s GROUP BY TUMBLINGWINDOW(ss, 10)"
    )
    out = emissions(sql, (3_000, {}), (9_999, {}), (10_000, {}), (31_000, {}), end_ms=40_000)
    assert [(rows[0]["c"], rows[0]["a"] - START, rows[0]["z"] - START) for rows in out] == [
        (2, 0, 10_000),
        (1, 10_000, 20_000),
        (1, 30_000, 40_000),
    ]


def test_empty_windows_are_sent_where_asked() -> None:
    sql = "SELECT count(*) AS c FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
    out = emissions(sql, (0, {}), (3_500, {}), end_ms=5_000, sendEmptyWindow=True)
    assert out == [[{"c": 1}], [], [], [{"c": 1}], []]


def test_without_an_end_the_clock_stops_at_the_last_record() -> None:
    sql = "SELECT count(*) AS c FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
    assert emissions(sql, *values(1, 2, 3, every_ms=600)) == [[{"c": 2}]]


def test_groups_are_put_out_in_the_order_in_which_they_came() -> None:
    sql = "SELECT k, count(*) AS c, v FROM s GROUP BY k, TUMBLINGWINDOW(ss, 1)"
    records = [(0, {"k": "b", "v": 1}), (1, {"k": "a", "v": 2}), (2, {"k": "b", "v": 3}), (3, {"v": 4})]
    out = emissions(sql, *records, end_ms=1_000)
    assert out == [[{"k": "b", "c": 2, "v": 1}, {"k": "a", "c": 1, "v": 2}, {"c": 1, "v": 4}]]


def test_without_aggregates_a_window_puts_out_its_records() -> None:
    sql = "SELECT v, row_number() AS n FROM s GROUP BY TUMBLINGWINDOW(ss, 1) ORDER BY v DESC LIMIT 2"
    assert emissions(sql, *values(1, 3, 2), end_ms=1_000) == [[{"v": 3, "n": 2}, {"v": 2, "n": 3}]]


def test_null_is_ordered_last() -> None:
    sql = "SELECT v, k FROM s GROUP BY TUMBLINGWINDOW(ss, 1) ORDER BY v {}, k"
    records = [(0, {"k": 1}), (1, {"v": 2, "k": 2}), (2, {"v": 1, "k": 3}), (3, {"v": 2, "k": 0})]
    for direction, wanted in (("ASC", [3, 0, 2, 1]), ("DESC", [0, 2, 3, 1])):
        ((rows),) = emissions(sql.format(direction), *records, end_ms=1_000)
        assert [row["k"] for row in rows] == wanted


def test_having_filters_groups() -> None:
    sql = "SELECT k, count(*) AS c FROM s GROUP BY k, TUMBLINGWINDOW(ss, 1) HAVING {}"
    records = [(i, {"k": k, "v": i}) for i, k in enumerate("abbcc")]
    for having, wanted in (
        ("count(*) > 1", "bc"),
        ("c > 1 AND max(v) > 3", "c"),
        ("count(*) > 1 AND k = 'b'", "b"),
    ):
        out = emissions(sql.format(having), *records, end_ms=1_000)
        assert [row["k"] for rows in out for row in rows] == list(wanted)
    assert emissions(sql.format("count(*) > 5"), *records, end_ms=1_000) == []


def test_having_alone_lets_all_records_of_a_window_through_or_none() -> None:
    sql = "SELECT v FROM s GROUP BY TUMBLINGWINDOW(ss, 1) HAVING count(*) > 2 ORDER BY v DESC"
    records = values(1, 2, 3, 4, 5, every_ms=400)
    assert emissions(sql, *records, end_ms=2_000) == [[{"v": 3}, {"v": 2}, {"v": 1}]]
    assert emissions("SELECT * FROM s HAVING count(*) > 0", one({"a": 1})) == [[{"a": 1}]]


def test_hopping_windows_overlap() -> None:
    sql = "SELECT collect(v) AS v, window_start() AS a FROM s GROUP BY HOPPINGWINDOW(ss, 2, 1)"
    out = emissions(sql, *values(1, 2, 3, 4, every_ms=700), end_ms=5_000)
    assert [(rows[0]["v"], rows[0]["a"] - START) for rows in out] == [
        ([1, 2], -1_000),
        ([1, 2, 3], 0),
        ([3, 4], 1_000),
        ([4], 2_000),
    ]


def test_a_hop_above_the_length_samples() -> None:
    sql = "SELECT sum(v) AS v FROM s GROUP BY HOPPINGWINDOW(ss, 1, 3)"
    out = emissions(sql, *values(1, 2, 4, 8, 16, 32, 64, every_ms=500), end_ms=6_000)
    assert out == [[{"v": 1 + 2}], [{"v": 64}]]  # START is :20, and ends are :21, :24


def test_sliding_windows_hold_both_ends_and_come_with_each_record() -> None:
    sql = "SELECT collect(v) AS v, window_end() AS z FROM s GROUP BY SLIDINGWINDOW(ss, 1)"
    out = emissions(sql, *values(1, 2, 3, 4, every_ms=500))
    assert [rows[0]["v"] for rows in out] == [[1], [1, 2], [1, 2, 3], [2, 3, 4]]
    assert [rows[0]["z"] - START for rows in out] == [0, 500, 1_000, 1_500]


def test_a_sliding_window_triggers_only_when_asked() -> None:
    sql = "SELECT collect(v) AS v FROM s GROUP BY SLIDINGWINDOW(ss, 1) OVER (WHEN v > 2)"
    assert emissions(sql, *values(1, 2, 3, 2)) == [[{"v": [1, 2, 3]}]]


def test_a_sliding_window_with_delay_looks_ahead() -> None:
    sql = "SELECT collect(v) AS v FROM s GROUP BY SLIDINGWINDOW(ss, 1, 1) OVER (WHEN v = 3)"
    records = values(1, 2, 3, 4, 5, 6, every_ms=500)  # 3 comes at 1000: [0, 2000)
    assert emissions(sql, *records) == [[{"v": [1, 2, 3, 4]}]]


def test_a_session_ends_a_timeout_behind_its_last_record() -> None:
    sql = f"SELECT {COLLECTED} FROM s GROUP BY SESSIONWINDOW(ss, 60, 1)"
    out = emissions(sql, (100, {"v": 1}), (1_050, {"v": 2}), (2_050, {"v": 3}), (5_000, {"v": 4}))
    assert [(rows[0]["v"], rows[0]["a"] - START, rows[0]["z"] - START) for rows in out] == [
        ([1, 2], 100, 2_050),
        ([3], 2_050, 3_050),
    ]


def test_a_session_is_cut_at_a_tick_once_it_is_old_enough() -> None:
    sql = f"SELECT {COLLECTED} FROM s GROUP BY SESSIONWINDOW(ss, 2, 1)"
    out = emissions(sql, *[(500 + i * 500, {"v": i}) for i in range(9)])
    assert [(rows[0]["v"], rows[0]["a"] - START, rows[0]["z"] - START) for rows in out] == [
        ([0, 1, 2, 3, 4, 5, 6], 500, 4_000),
    ]
    out = emissions(sql, *[(500 + i * 500, {"v": i}) for i in range(9)], end_ms=10_000)
    assert [(rows[0]["v"], rows[0]["a"] - START, rows[0]["z"] - START) for rows in out][1:] == [
        ([7, 8], 4_000, 5_500),
    ]


def test_count_windows() -> None:
    collected = "SELECT collect(v) AS v FROM s {} GROUP BY COUNTWINDOW({})"
    records = values(1, 2, 3, 4, 5, 6, 7)
    assert emissions(collected.format("", 3), *records) == [[{"v": [1, 2, 3]}], [{"v": [4, 5, 6]}]]
    assert emissions(collected.format("", "5, 2"), *records) == [[{"v": [2, 3, 4, 5, 6]}]]
    assert emissions(collected.format("WHERE v > 2", 3), *records) == [[{"v": [3]}], [{"v": [4, 5, 6]}]]
    assert emissions(collected.format("WHERE v > 4", "3, 1"), *records) == [
        [{"v": [5]}],
        [{"v": [5, 6]}],
        [{"v": [5, 6, 7]}],
    ]
    filtered = collected.format("", 3) + " FILTER (WHERE v > 2)"
    assert emissions(filtered, *records) == [[{"v": [3, 4, 5]}]]


def test_state_windows() -> None:
    def collected(window: str) -> Any:
        records = [(i, {"v": v, "k": i % 2}) for i, v in enumerate([0, 5, 1, 2, 9, 3, 5, 9])]
        out = emissions(f"SELECT collect(v) AS v FROM s GROUP BY {window}", *records)
        return [rows[0]["v"] for rows in out]

    assert collected("STATEWINDOW(v = 5)") == [[5, 1, 2, 9, 3]]
    assert collected("STATEWINDOW(v = 5, v = 9)") == [[5, 1, 2, 9], [5, 9]]
    assert collected("STATEWINDOW(v = 5, v >= 5)") == [[5, 1, 2, 9], [5, 9]]
    assert collected("STATEWINDOW(v = 5, v = 9) OVER (PARTITION BY k)") == [[5, 2, 3, 9]]
    assert collected("STATEWINDOW(v = 5, v = 3) OVER (PARTITION BY k)") == [[5, 2, 3]]


def test_mains_cycle_windows_are_200_ms_and_3_s_behind_the_ten_minute_tick() -> None:
    sql = "SELECT count(*) AS c, window_end() AS z FROM s GROUP BY CYCLEWINDOW({})"
    out = emissions(sql.format(12), (0, {}), (199, {}), (200, {}), (400, {}))
    assert [(rows[0]["c"], rows[0]["z"] - START) for rows in out] == [(2, 200), (1, 400)]
    (rows,) = emissions(sql.format(150), (0, {}), (4_000, {}))
    assert rows[0]["z"] % 600_000 % 3_000 == 0


def test_an_error_within_an_aggregate_is_told_when_the_window_ends() -> None:
    sql = "SELECT sum(v) AS t FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
    records = [(0, {"v": 1}), (1, {"v": "x"}), (1_500, {"v": 2})]
    out = emissions(sql, *records, end_ms=2_000, sendError=True)
    assert len(out) == 2 and "sum" in out[0][0]["error"] and out[1] == [{"t": 2}]


def test_a_record_without_a_group_is_told_once() -> None:
    records = [(0, {"v": 1}), (1, {"v": "x"}), (2, {"v": 2}), (3, {"v": 3})]
    for aggregate, window in (("max", "SLIDINGWINDOW(ss, 1)"), ("count", "SLIDINGWINDOW(ss, 1)")):
        sql = f"SELECT {aggregate}(v) AS m FROM s GROUP BY v * 0, {window}"
        out = emissions(sql, *records, sendError=True)
        assert sum("error" in rows[0] for rows in out) == 1, out


def test_filter_of_one_aggregate() -> None:
    sql = "SELECT count(*) AS c, count(*) FILTER (WHERE v > 2) AS big FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
    assert emissions(sql, *values(1, 2, 3, 4), end_ms=1_000) == [[{"c": 4, "big": 2}]]


def test_last_agg_hit_count_counts_rows_put_out() -> None:
    sql = "SELECT count(*) AS c FROM s GROUP BY COUNTWINDOW(1) HAVING last_agg_hit_count() < 2"
    assert len(emissions(sql, *values(1, 2, 3, 4))) == 2


def test_an_alias_that_hides_its_column_is_the_column_where_no_aggregate_can_stand() -> None:
    sql = "SELECT sum(v) AS v FROM s WHERE v > 1 GROUP BY TUMBLINGWINDOW(ss, 1) HAVING v > 4"
    assert emissions(sql, *values(1, 2, 3), end_ms=1_000) == [[{"v": 5}]]


# --- event time ---------------------------------------------------------------------------------------------


def timed(*times: int, stream: str = "s") -> list[tuple[int, dict[str, Any], str]]:
    """Records whose event times are `times`, arriving 1 ms apart."""
    return [(i, {"t": START + t, "n": i}, stream) for i, t in enumerate(times)]


def test_event_time_sorts_and_drops_what_is_late() -> None:
    sql = "SELECT n FROM s"
    out = emissions(sql, *timed(0, 1_000, 500, 2_500, 1_499, 1_500, 3_000), ddl=(EVENT,), isEventTime=True)
    # watermark 1500 behind 2500: 1499 is late, 1500 is kept and leaves at once; 2500 waits for 3500
    assert [rows[0]["n"] for rows in out] == [0, 2, 1, 5]


def test_event_time_tumbling_window_is_put_out_when_the_watermark_reaches_its_end() -> None:
    sql = "SELECT count(*) AS c, window_start() AS a, event_time() AS e FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
    records = timed(300, 1_200, 900, 999, 1_000, 2_000)
    out = emissions(sql, *records, ddl=(EVENT,), isEventTime=True, lateTolerance=1_000)
    assert [(rows[0]["c"], rows[0]["a"] - START, rows[0]["e"] - START) for rows in out] == [(3, 0, 1_000)]


def test_event_time_watermark_is_that_of_the_slowest_stream() -> None:
    sql = "SELECT count(*) AS c FROM s INNER JOIN r ON s.t = r.t GROUP BY TUMBLINGWINDOW(ss, 1)"
    options: dict[str, Any] = {"ddl": (EVENT, EVENT_R), "isEventTime": True, "lateTolerance": 0}
    fast = timed(0, 1_000, 2_000, 3_000)
    assert emissions(sql, *fast, **options) == []
    assert emissions(sql, *fast, *timed(0, 1_000, stream="r"), **options) == [[{"c": 1}]]


def test_event_time_idle_streams_do_not_hold_the_watermark_back_where_asked() -> None:
    sql = "SELECT s.n FROM s LEFT JOIN r ON s.t = r.t GROUP BY TUMBLINGWINDOW(ss, 1)"
    records = [(0, {"t": START}, "r"), (0, {"t": START, "n": 1}, "s"), (9_000, {"t": START + 5_000}, "s")]
    options: dict[str, Any] = {"ddl": (EVENT, EVENT_R), "isEventTime": True, "lateTolerance": 0}
    assert emissions(sql, *records, **options) == []
    assert emissions(sql, *records, **options, idleTimeout=3_000) == [[{"n": 1}]]


def test_event_time_sliding_windows_of_equal_times_see_each_other() -> None:
    sql = "SELECT collect(n) AS n FROM s GROUP BY SLIDINGWINDOW(ss, 1)"
    out = emissions(sql, *timed(0, 500, 500, 2_000), ddl=(EVENT,), isEventTime=True, lateTolerance=1_000)
    assert [rows[0]["n"] for rows in out] == [[0], [0, 1, 2], [0, 1, 2]]


def test_event_time_sessions() -> None:
    sql = "SELECT collect(n) AS n, window_end() AS z FROM s GROUP BY SESSIONWINDOW(ss, 60, 1)"
    out = emissions(sql, *timed(0, 900, 400, 1_900, 4_000), ddl=(EVENT,), isEventTime=True, lateTolerance=500)
    assert [(rows[0]["n"], rows[0]["z"] - START) for rows in out] == [([0, 2, 1], 1_900), ([3], 2_900)]


@pytest.mark.parametrize(
    ("pattern", "text", "ms"),
    [
        ("", "2023-11-14T22:13:20.5Z", 500),
        ("yyyy-MM-dd HH:mm:ss.SSS", "2023-11-14 22:13:20.250", 250),
        ("dd/MM/yyyy'T'HH:mm:ssXXX", "14/11/2023T23:13:21+01:00", 1_000),
    ],
)
def test_event_time_from_text(pattern: str, text: str, ms: int) -> None:
    option = f', TIMESTAMP_FORMAT="{pattern}"' if pattern else ""
    ddl = EVENT.replace('TIMESTAMP="t"', f'TIMESTAMP="t"{option}')
    ((row,),) = emissions(
        "SELECT event_time() AS e FROM s", one({"t": text}), ddl=(ddl,), isEventTime=True, lateTolerance=0
    )
    assert row["e"] - START == ms


def test_event_time_without_a_time_is_an_error_of_the_record() -> None:
    records = [one({"t": "soon"}), one({}), one({"t": START})]
    out = emissions(
        "SELECT t FROM s", *records, ddl=(EVENT,), isEventTime=True, lateTolerance=0, sendError=True
    )
    assert ["error" in rows[0] for rows in out] == [True, True, False]
    assert refusal("SELECT t FROM s", isEventTime=True)["http"] == 400


# --- joins --------------------------------------------------------------------------------------------------

LEFT = [(0, {"id": 1, "a": "x"}, "s"), (1, {"id": 2, "a": "y"}, "s"), (2, {"a": "z"}, "s")]
RIGHT = [(3, {"id": 2, "b": "q"}, "r"), (4, {"id": 3, "b": "p"}, "r"), (5, {"b": "o"}, "r")]


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("INNER", [("y", "q")]),
        ("LEFT", [("x", None), ("y", "q"), ("z", None)]),
        ("RIGHT", [("y", "q"), (None, "p"), (None, "o")]),
        ("FULL", [("x", None), ("y", "q"), ("z", None), (None, "p"), (None, "o")]),
    ],
)
def test_joins_within_a_window(kind: str, wanted: list[tuple[str | None, str | None]]) -> None:
    sql = f"SELECT s.a, r.b FROM s {kind} JOIN r ON s.id = r.id GROUP BY TUMBLINGWINDOW(ss, 1)"
    (rows,) = emissions(sql, *LEFT, *RIGHT, ddl=(S, R), end_ms=1_000)
    assert [(row.get("a"), row.get("b")) for row in rows] == wanted


@pytest.mark.parametrize("kind", ["INNER", "LEFT", "RIGHT", "FULL"])
@pytest.mark.parametrize("keys", [[1, 2, 2.0, None, 3], ["a", "b", None, "b", "c"], [1, 2, None, "x"]])
def test_a_large_join_gives_what_a_small_one_gives(
    kind: str, keys: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many rows are found by value; a clash of types is an error either way."""
    joined = f"s {kind} JOIN r ON s.k = r.k AND s.n != r.n"
    sql = f"SELECT s.n AS a, r.n AS b FROM {joined} GROUP BY TUMBLINGWINDOW(ss, 1)"
    records = [(i, {"k": keys[i % len(keys)], "n": i}, "sr"[i % 2]) for i in range(40)]
    by_value = emissions(sql, *records, ddl=(S, R), end_ms=1_000, sendError=True)
    monkeypatch.setattr("opq_rules.query.joins._WORTH_IT", 10**9)
    assert by_value == emissions(sql, *records, ddl=(S, R), end_ms=1_000, sendError=True)
    assert ("error" in by_value[0][0]) == (keys[-1] == "x")


def test_a_cross_join_has_all_pairs() -> None:
    sql = "SELECT a, b FROM s CROSS JOIN r GROUP BY TUMBLINGWINDOW(ss, 1)"
    (rows,) = emissions(sql, *LEFT[:2], *RIGHT[:2], ddl=(S, R), end_ms=1_000)
    assert [(row["a"], row["b"]) for row in rows] == [("x", "q"), ("x", "p"), ("y", "q"), ("y", "p")]


def test_nothing_joined_is_not_sent() -> None:
    sql = "SELECT s.a FROM s INNER JOIN r ON s.id = r.id GROUP BY TUMBLINGWINDOW(ss, 1)"
    assert emissions(sql, *LEFT[:1], *RIGHT, ddl=(S, R), end_ms=1_000) == []


def test_of_equal_names_the_left_counts_in_star() -> None:
    sql = "SELECT * FROM s LEFT JOIN r ON s.id = r.id GROUP BY TUMBLINGWINDOW(ss, 1)"
    (rows,) = emissions(
        sql, (0, {"id": 1, "x": "l"}, "s"), (1, {"id": 1, "x": "r", "y": 2}, "r"), ddl=(S, R), end_ms=1_000
    )
    assert rows == [{"id": 1, "x": "l", "y": 2}]


def test_joined_windows_aggregate() -> None:
    joined = "s INNER JOIN r ON s.id = r.id"
    sql = f"SELECT s.id, count(*) AS c FROM {joined} GROUP BY s.id, TUMBLINGWINDOW(ss, 1) HAVING c > 1"
    records = [(0, {"id": 1}, "s"), (1, {"id": 2}, "s"), (2, {"id": 2}, "r"), (3, {"id": 2}, "r")]
    assert emissions(sql, *records, ddl=(S, R), end_ms=1_000) == [[{"id": 2, "c": 2}]]


def test_types_that_clash_in_on_are_an_error_of_the_window() -> None:
    sql = "SELECT s.id FROM s INNER JOIN r ON s.id = r.id GROUP BY TUMBLINGWINDOW(ss, 1)"
    out = emissions(sql, (0, {"id": 1}, "s"), (1, {"id": "1"}, "r"), ddl=(S, R), end_ms=1_000, sendError=True)
    assert out[0][0]["error"].startswith("Join: ")


def test_where_of_a_stream_is_asked_before_its_records_join() -> None:
    where = "WHERE r.b > 'q' AND s.a != 'x'"
    sql = f"SELECT s.a, r.b FROM s LEFT JOIN r ON s.id = r.id {where} GROUP BY TUMBLINGWINDOW(ss, 1)"
    (rows,) = emissions(sql, *LEFT, *RIGHT, ddl=(S, R), end_ms=1_000)
    assert rows == [{"a": "y"}, {"a": "z"}]


@pytest.mark.parametrize("ddl", [TABLE, LOOKUP])
@pytest.mark.parametrize(
    ("kind", "wanted"), [("INNER", ["one", "uno"]), ("LEFT", ["one", "uno", None, None])]
)
def test_tables_join_record_by_record(ddl: str, kind: str, wanted: list[str | None]) -> None:
    table = [{"id": 1, "name": "one"}, {"id": 5, "name": "five"}, {"id": 1, "name": "uno"}]
    sql = f"SELECT s.id, tab.name FROM s {kind} JOIN tab ON s.id = tab.id"
    out = emissions(sql, one({"id": 1}), (1, {"id": 2}), (2, {}), ddl=(S, ddl), tables={"tab": table})
    assert [row.get("name") for rows in out for row in rows] == wanted


def test_a_table_needs_no_statement() -> None:
    sql = "SELECT tab.name FROM s INNER JOIN tab ON s.id = tab.id"
    assert emissions(sql, one({"id": 1}), tables={"tab": [{"id": 1, "name": "x"}]}) == [[{"name": "x"}]]


def test_a_scan_table_takes_rows_while_the_rule_runs() -> None:
    ddl = TABLE.replace('TYPE="mock"', 'TYPE="memory", RETAIN_SIZE="2"')
    sql = "SELECT tab.n FROM s INNER JOIN tab ON s.id = tab.id"
    rows = [(i, {"id": 1, "n": i}, "tab") for i in range(3)]
    assert emissions(sql, *rows, (5, {"id": 1}), ddl=(S, ddl)) == [[{"n": 1}, {"n": 2}]]


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
        ("SELECT last_hit_count(), count(*) FROM s", 2101, "last_hit_count"),
        ("SELECT 1/0 AS x FROM s", 2101, "division"),
        ("SELECT a FROM s WHERE 'text'", 2101, "condition"),
    ],
)
def test_what_can_never_run_is_refused_with_its_place(sql: str, code: int | None, words: str) -> None:
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
    assert emissions("SELECT f / 2 AS h, n, b FROM s", one(data), ddl=(loose,)) == [
        [{"h": 3.5, "n": "x", "b": b"\1\2"}]
    ]
    (rows,) = emissions("SELECT f, n FROM s", one(data), ddl=(strict,), sendError=True)
    assert "column n" in rows[0]["error"]
    assert emissions("SELECT f FROM s", one(data), ddl=(strict,)) == [[{"f": 7.0}]]


@pytest.mark.parametrize(
    "select",
    [
        "had_changed(true, v) AS x FROM s",
        "array_flatten(v) AS x FROM s",
        "deduplicate(v, true) AS x FROM s GROUP BY COUNTWINDOW(2)",
        "lag(v) OVER (PARTITION BY v) AS x FROM s",
        "v FROM s GROUP BY v",
    ],
)
def test_records_nested_deeper_than_the_stack_are_no_fault_of_the_engine(select: str) -> None:
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


def test_one_case_gives_an_object_and_many_give_an_array() -> None:
    good = case("SELECT v FROM s", one({"v": 1}))
    assert try_cases(good) == {"name": "it", "emissions": [[{"v": 1}]]}
    answers = msgspec.json.decode(try_text(msgspec.json.encode([good, {"sql": "x"}])))
    assert answers[0]["emissions"] == [[{"v": 1}]] and answers[1]["error"]["code"] == 2001
