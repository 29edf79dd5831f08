"""last_hit_count and last_hit_time: what counts as a match, per partition, in each clause and window."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_try_cases import emissions, refusal

from opq_rules.query import hits
from opq_rules.query.hits import HitCall, HitCounters

OVER_BOX = "OVER (PARTITION BY box)"
ALARM = f"SELECT box, v FROM s WHERE v < 108 AND event_time() - last_hit_time() {OVER_BOX} >= 60000"


def rows_of(sql: str, *records: tuple[int, dict[str, Any]], **options: Any) -> list[Any]:
    return [row for each in emissions(sql, *records, **options) for row in each]


def sags(*times: tuple[int, str]) -> list[tuple[int, dict[str, Any]]]:
    return [(second * 1000, {"box": box, "v": 80}) for second, box in times]


def test_an_alarm_comes_once_a_minute_per_box() -> None:
    records = sags((0, "1"), (20, "2"), (70, "1"), (75, "1"), (140, "1"), (140, "2"), (140, "3"), (141, "3"))
    found = rows_of(ALARM, *records)
    assert [row["box"] for row in found] == ["1", "2", "1", "1", "2", "3"]


def test_without_over_one_minute_serves_all() -> None:
    records = sags((0, "1"), (20, "2"), (70, "1"), (140, "1"), (140, "2"), (140, "3"))
    found = rows_of(ALARM.replace(OVER_BOX, ""), *records)
    assert [row["box"] for row in found] == ["1", "1", "1"]


@given(st.lists(st.tuples(st.sampled_from("123"), st.integers(0, 9)), max_size=60))
def test_counts_are_those_of_each_box_alone(given_rows: list[tuple[str, int]]) -> None:
    """Each Box's rows are what a rule gives that sees this Box alone."""
    records = [(number, {"box": box, "v": v, "n": number}) for number, (box, v) in enumerate(given_rows)]
    sql = f"SELECT n, box, last_hit_count() {OVER_BOX} AS c FROM s WHERE v > 3 AND c < 4"
    together = rows_of(sql, *records)
    alone = [
        row
        for box in "123"
        for row in rows_of(sql.replace(OVER_BOX, ""), *[each for each in records if each[1]["box"] == box])
    ]
    assert sorted(together, key=str) == sorted(alone, key=str)


def test_only_when_matches_count() -> None:
    sql = "SELECT v, last_hit_count() OVER (PARTITION BY box WHEN v > 5) AS c FROM s"
    found = rows_of(
        sql, *[(n, {"box": box, "v": v}) for n, (box, v) in enumerate([(1, 9), (1, 2), (2, 9), (1, 3)])]
    )
    assert [row["c"] for row in found] == [0, 1, 0, 1]


def test_having_counts_groups_that_passed_it() -> None:
    sql = (
        "SELECT box, count(*) AS c FROM s GROUP BY box, COUNTWINDOW(4)"
        f" HAVING last_agg_hit_count() {OVER_BOX} < 2"
    )
    found = rows_of(sql, *[(n, {"box": str(n % 2), "v": 1}) for n in range(16)])
    assert Counter(row["box"] for row in found) == {"0": 2, "1": 2}


def test_last_hit_time_is_the_former_rows() -> None:
    sql = (
        "SELECT box, count(*) AS c FROM s GROUP BY box, TUMBLINGWINDOW(ss, 1)"
        f" HAVING count(*) > 0 AND event_time() - last_hit_time() {OVER_BOX} >= 3000"
    )
    records = [(1000 * n, {"box": box}) for n in range(8) for box in ("1", "2")]
    found = rows_of(sql, *records, end_ms=9_000)
    assert Counter(row["box"] for row in found) == {"1": 3, "2": 3}


def test_a_sliding_window_triggers_once_per_box() -> None:
    sql = (
        "SELECT collect(v) AS v FROM s GROUP BY"
        f" SLIDINGWINDOW(ss, 10) OVER (WHEN v > 5 AND last_hit_count() {OVER_BOX} = 0)"
    )
    found = rows_of(
        sql, *[(n, {"box": box, "v": v}) for n, (box, v) in enumerate([(1, 9), (1, 8), (2, 3), (2, 7)])]
    )
    assert [row["v"] for row in found] == [[9], [9, 8, 3, 7]]


def test_having_alone_counts_one_match_for_its_window() -> None:
    sql = "SELECT v FROM s GROUP BY COUNTWINDOW(2) HAVING last_agg_hit_count() < 2"
    assert len(rows_of(sql, *[(n, {"v": n}) for n in range(8)])) == 4


@pytest.mark.parametrize("window", ["COUNTWINDOW(2)", "SLIDINGWINDOW(ss, 1)", "STATEWINDOW(v > 3)"])
def test_windows_know_the_matches(window: str) -> None:
    sql = f"SELECT last_hit_count() AS n, count(*) AS c FROM s GROUP BY {window}"
    found = rows_of(sql, *[(n, {"v": n}) for n in range(12)])
    assert [row["n"] for row in found] == list(range(len(found))) and found


def test_an_uncomputable_partition_is_an_error() -> None:
    sql = "SELECT v FROM s WHERE last_hit_count() OVER (PARTITION BY v + 1) = 0"
    found = rows_of(sql, (0, {"v": "x"}), (1, {"v": 1}), sendError=True)
    assert found[0]["error"].startswith("Where: Partition By: ") and found[1] == {"v": 1}


def test_an_aggregate_rules_function_is_refused_elsewhere() -> None:
    assert refusal("SELECT last_agg_hit_count() AS n FROM s")["code"] == 2101
    assert refusal("SELECT v FROM s WHERE last_agg_hit_count() = 0")["code"] == 2101


def test_the_partition_that_matched_longest_ago_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hits, "MAX_PARTITIONS", 2)
    counters = HitCounters([HitCall("where", (lambda row, context: row,), None)])
    for ms, box in enumerate("1213"):
        counters.add("where", box, None, ms)  # type: ignore[arg-type]  # the context is not read
    assert [counters.last(0, box, None) for box in "123"] == [(2, 2), (0, 0), (1, 3)]  # type: ignore[arg-type]
    assert counters.forgotten == 1
