"""`rule try`: each join of streams and tables, answers found by hand."""

from typing import Any

import pytest
from rules_try_cases import LOOKUP, TABLE, R, S, emissions, one

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
def test_a_large_join_equals_a_small_one(kind: str, keys: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Many rows are found by value; a clash of types is an error either way."""
    joined = f"s {kind} JOIN r ON s.k = r.k AND s.n != r.n"
    sql = f"SELECT s.n AS a, r.n AS b FROM {joined} GROUP BY TUMBLINGWINDOW(ss, 1)"
    records = [(i, {"k": keys[i % len(keys)], "n": i}, "sr"[i % 2]) for i in range(40)]
    by_value = emissions(sql, *records, ddl=(S, R), end_ms=1_000, sendError=True)
    monkeypatch.setattr("opq_rules.query.planning.joins._DICT_PAIRS", 10**9)
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


def test_clashing_join_types_are_an_error() -> None:
    sql = "SELECT s.id FROM s INNER JOIN r ON s.id = r.id GROUP BY TUMBLINGWINDOW(ss, 1)"
    out = emissions(sql, (0, {"id": 1}, "s"), (1, {"id": "1"}, "r"), ddl=(S, R), end_ms=1_000, sendError=True)
    assert out[0][0]["error"].startswith("Join: ")


def test_where_precedes_a_join() -> None:
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


def test_a_scan_table_takes_rows_live() -> None:
    ddl = TABLE.replace('TYPE="mock"', 'TYPE="memory", RETAIN_SIZE="2"')
    sql = "SELECT tab.n FROM s INNER JOIN tab ON s.id = tab.id"
    rows = [(i, {"id": 1, "n": i}, "tab") for i in range(3)]
    assert emissions(sql, *rows, (5, {"id": 1}), ddl=(S, ddl)) == [[{"n": 1}, {"n": 2}]]
