"""Count, sliding and state windows see every row; WHERE chooses what is in their result."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_try_cases import R, S, emissions

from opq_rules.trying import try_text

FAULT = Path(__file__).parents[3] / "shared" / "data" / "faults" / "rules-where-state-window" / "cases.json"
ROWS = st.lists(
    st.fixed_dictionaries({"s": st.sampled_from("cde"), "v": st.integers(0, 9), "k": st.sampled_from("ab")}),
    max_size=40,
)
WINDOWS = (
    "STATEWINDOW(s = 'c', s = 'd')",
    "STATEWINDOW(s = 'c', s = 'd') OVER (PARTITION BY k)",
    "STATEWINDOW(s = 'c')",
    "SLIDINGWINDOW(ms, 30)",
    "SLIDINGWINDOW(ms, 30) OVER (WHEN s = 'c')",
    "SLIDINGWINDOW(ms, 30, 20) OVER (WHEN s = 'c')",
    "COUNTWINDOW(4)",
    "COUNTWINDOW(5, 2)",
)


@pytest.mark.skipif(not FAULT.exists(), reason="../shared is not beside the repository")
def test_the_reported_statement_gives_its_rows() -> None:
    answer = json.loads(try_text(FAULT.read_text()))
    (case,) = answer if isinstance(answer, list) else answer["cases"]
    assert case["emissions"] == [[{"c": [10, 20]}], [{"c": [30]}], [{"c": [40]}]]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("each", ["collect(v) AS c", "sum(v) AS t, count(*) AS n", "median(v) AS m"])
@given(rows=ROWS)
def test_where_equals_a_filter_on_windows(window: str, each: str, rows: list[dict[str, Any]]) -> None:
    """The same windows without WHERE, each filtered by hand."""
    records = [(number * 10, row) for number, row in enumerate(rows)]
    found = emissions(f"SELECT {each} FROM s WHERE v > 4 GROUP BY {window}", *records, end_ms=10_000)
    whole = emissions(f"SELECT collect(v) AS c FROM s GROUP BY {window}", *records, end_ms=10_000)
    kept = [[v for v in emission[0]["c"] if v > 4] for emission in whole]
    for emission, values in zip(found, [values for values in kept if values], strict=True):
        (row,) = emission
        if "c" in row:
            assert row["c"] == values
        elif "m" in row:
            middle = sorted(values)[(len(values) - 1) // 2], sorted(values)[len(values) // 2]
            assert row["m"] in (sum(middle) / 2, sum(middle) // 2)
        else:
            assert (row["t"], row["n"]) == (sum(values), len(values))


@pytest.mark.parametrize(
    "window", ["STATEWINDOW(s.v > 3, s.v < 1)", "SLIDINGWINDOW(ms, 30)", "COUNTWINDOW(4)"]
)
def test_a_joins_window_sees_every_row(window: str) -> None:
    sql = f"SELECT s.v AS a, r.v AS b FROM s INNER JOIN r ON s.id = r.id WHERE s.v > 4 GROUP BY {window}"
    records = [
        (0, {"id": 1, "v": 4}, "s"),
        (1, {"id": 1, "v": 9}, "s"),
        (2, {"id": 1, "v": 7}, "r"),
        (3, {"id": 1, "v": 0}, "s"),
    ]
    out = emissions(sql, *records, ddl=(S, R))
    assert out and all(emission == [{"a": 9, "b": 7}] for emission in out)


def test_a_refused_record_triggers_earlier_windows() -> None:
    sql = "SELECT collect(v) AS c FROM s WHERE v > 4 GROUP BY SLIDINGWINDOW(ss, 1) OVER (WHEN v = 0)"
    out = emissions(sql, (0, {"v": 5}), (10, {"v": 3}), (20, {"v": 0}))
    assert out == [[{"c": [5]}]]


def test_wheres_error_is_reported_once() -> None:
    sql = "SELECT collect(v) AS c FROM s WHERE v > 4 GROUP BY STATEWINDOW(s = 'c', s = 'd')"
    records = [(0, {"s": "c", "v": 5}), (1, {"s": "e", "v": "x"}), (2, {"s": "d", "v": 1})]
    out = emissions(sql, *records, sendError=True)
    assert [row.keys() for rows in out for row in rows] == [{"error": 0}.keys(), {"c": 0}.keys()]
    assert out[-1] == [{"c": [5]}]


def test_hits_of_where_are_counted_in_windows_too() -> None:
    sql = "SELECT count(*) AS n FROM s WHERE last_hit_count() < 3 GROUP BY COUNTWINDOW(4)"
    assert emissions(sql, *[(n, {"v": n}) for n in range(8)]) == [[{"n": 3}]]


@pytest.mark.parametrize(("event_time", "sessions"), [(False, [[5], [6]]), (True, [[5, 6]])])
def test_a_refused_record_prolongs_event_sessions(event_time: bool, sessions: list[list[int]]) -> None:
    ddl = 'CREATE STREAM s () WITH (TYPE="mock", FORMAT="json", TIMESTAMP="t")'
    sql = "SELECT collect(v) AS c FROM s WHERE v > 4 GROUP BY SESSIONWINDOW(ss, 60, 1)"
    records = [(ms, {"t": ms, "v": v}) for ms, v in ((0, 5), (900, 1), (1_800, 6), (9_000, 1), (20_000, 1))]
    options = {"isEventTime": True, "lateTolerance": 0} if event_time else {}
    out = emissions(sql, *records, ddl=(ddl,), **options)
    assert [rows[0]["c"] for rows in out] == sessions
