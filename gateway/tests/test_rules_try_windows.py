"""`rule try`: each window, by arrival and by event time, answers found by hand."""

from typing import Any

import pytest
from rules_try_cases import COLLECTED, EVENT, EVENT_R, START, emissions, one, refusal, values


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


def test_without_an_end_the_clock_stops() -> None:
    sql = "SELECT count(*) AS c FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
    assert emissions(sql, *values(1, 2, 3, every_ms=600)) == [[{"c": 2}]]


def test_groups_come_in_arrival_order() -> None:
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


def test_having_alone_passes_whole_windows() -> None:
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


def test_sliding_windows_hold_both_ends() -> None:
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


def test_a_session_ends_after_its_timeout() -> None:
    sql = f"SELECT {COLLECTED} FROM s GROUP BY SESSIONWINDOW(ss, 60, 1)"
    out = emissions(sql, (100, {"v": 1}), (1_050, {"v": 2}), (2_051, {"v": 3}), (5_000, {"v": 4}))
    assert [(rows[0]["v"], rows[0]["a"] - START, rows[0]["z"] - START) for rows in out] == [
        ([1, 2], 100, 2_050),
        ([3], 2_051, 3_051),
    ]


def test_a_gap_equal_to_the_timeout_goes_on() -> None:
    sql = "SELECT collect(v) AS v, window_end() AS z FROM s GROUP BY SESSIONWINDOW(ss, 60, 1)"
    out = emissions(sql, (0, {"v": 1}), (1_000, {"v": 2}), (2_001, {"v": 3}), end_ms=9_000)
    assert [(rows[0]["v"], rows[0]["z"] - START) for rows in out] == [([1, 2], 2_000), ([3], 3_001)]


def test_an_old_session_is_cut_at_a_tick() -> None:
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


def test_mains_windows_restart_at_ten_minutes() -> None:
    """Windows of 200 ms and 3 s, by mains cycles."""
    sql = "SELECT count(*) AS c, window_end() AS z FROM s GROUP BY CYCLEWINDOW({})"
    out = emissions(sql.format(12), (0, {}), (199, {}), (200, {}), (400, {}))
    assert [(rows[0]["c"], rows[0]["z"] - START) for rows in out] == [(2, 200), (1, 400)]
    (rows,) = emissions(sql.format(150), (0, {}), (4_000, {}))
    assert rows[0]["z"] % 600_000 % 3_000 == 0


def test_an_aggregates_error_comes_at_its_end() -> None:
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


def test_distinct_counts_inside_the_window() -> None:
    sql = "SELECT count(DISTINCT v) AS n, count(v) AS c FROM s GROUP BY SLIDINGWINDOW(ms, 250)"
    out = emissions(sql, *values(1, 2, 1, None, 1.0, 3))
    assert [rows[0]["n"] for rows in out] == [1, 2, 2, 2, 1, 2]
    assert emissions("SELECT count(DISTINCT o) AS n FROM s", one({"o": {"a": 1}})) == [[{"n": 1}]]


def test_filter_of_one_aggregate() -> None:
    sql = "SELECT count(*) AS c, count(*) FILTER (WHERE v > 2) AS big FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
    assert emissions(sql, *values(1, 2, 3, 4), end_ms=1_000) == [[{"c": 4, "big": 2}]]


def test_last_agg_hit_count_counts_rows_put_out() -> None:
    sql = "SELECT count(*) AS c FROM s GROUP BY COUNTWINDOW(1) HAVING last_agg_hit_count() < 2"
    assert len(emissions(sql, *values(1, 2, 3, 4))) == 2


def test_a_hiding_alias_is_the_column() -> None:
    sql = "SELECT sum(v) AS v FROM s WHERE v > 1 GROUP BY TUMBLINGWINDOW(ss, 1) HAVING v > 4"
    assert emissions(sql, *values(1, 2, 3), end_ms=1_000) == [[{"v": 5}]]


def timed(*times: int, stream: str = "s") -> list[tuple[int, dict[str, Any], str]]:
    """Records whose event times are `times`, arriving 1 ms apart."""
    return [(i, {"t": START + t, "n": i}, stream) for i, t in enumerate(times)]


def test_event_time_sorts_and_drops_what_is_late() -> None:
    sql = "SELECT n FROM s"
    out = emissions(sql, *timed(0, 1_000, 500, 2_500, 1_499, 1_500, 3_000), ddl=(EVENT,), isEventTime=True)
    # watermark 1500 behind 2500: 1499 is late, 1500 is kept and leaves at once; 2500 waits for 3500
    assert [rows[0]["n"] for rows in out] == [0, 2, 1, 5]


def test_event_time_tumbling_ends_at_the_watermark() -> None:
    sql = "SELECT count(*) AS c, window_start() AS a, event_time() AS e FROM s GROUP BY TUMBLINGWINDOW(ss, 1)"
    records = timed(300, 1_200, 900, 999, 1_000, 2_000)
    out = emissions(sql, *records, ddl=(EVENT,), isEventTime=True, lateTolerance=1_000)
    assert [(rows[0]["c"], rows[0]["a"] - START, rows[0]["e"] - START) for rows in out] == [(3, 0, 1_000)]


def test_event_time_follows_the_slowest_stream() -> None:
    sql = "SELECT count(*) AS c FROM s INNER JOIN r ON s.t = r.t GROUP BY TUMBLINGWINDOW(ss, 1)"
    options: dict[str, Any] = {"ddl": (EVENT, EVENT_R), "isEventTime": True, "lateTolerance": 0}
    fast = timed(0, 1_000, 2_000, 3_000)
    assert emissions(sql, *fast, **options) == []
    assert emissions(sql, *fast, *timed(0, 1_000, stream="r"), **options) == [[{"c": 1}]]


def test_event_time_may_ignore_idle_streams() -> None:
    sql = "SELECT s.n FROM s LEFT JOIN r ON s.t = r.t GROUP BY TUMBLINGWINDOW(ss, 1)"
    records = [(0, {"t": START}, "r"), (0, {"t": START, "n": 1}, "s"), (9_000, {"t": START + 5_000}, "s")]
    options: dict[str, Any] = {"ddl": (EVENT, EVENT_R), "isEventTime": True, "lateTolerance": 0}
    assert emissions(sql, *records, **options) == []
    assert emissions(sql, *records, **options, idleTimeout=3_000) == [[{"n": 1}]]


def test_event_time_sliding_sees_equal_times() -> None:
    sql = "SELECT collect(n) AS n FROM s GROUP BY SLIDINGWINDOW(ss, 1)"
    out = emissions(sql, *timed(0, 500, 500, 2_000), ddl=(EVENT,), isEventTime=True, lateTolerance=1_000)
    assert [rows[0]["n"] for rows in out] == [[0], [0, 1, 2], [0, 1, 2]]


def test_event_time_sessions() -> None:
    sql = "SELECT collect(n) AS n, window_end() AS z FROM s GROUP BY SESSIONWINDOW(ss, 60, 1)"
    out = emissions(sql, *timed(0, 900, 400, 1_901, 4_000), ddl=(EVENT,), isEventTime=True, lateTolerance=500)
    assert [(rows[0]["n"], rows[0]["z"] - START) for rows in out] == [([0, 2, 1], 1_900), ([3], 2_901)]


@pytest.mark.parametrize(
    ("pattern", "text", "ms"),
    [
        ("", "2023-11-14T22:13:20.5Z", 500),
        ("yyyy-MM-dd HH:mm:ss.SSS", "2023-11-14 22:13:20.250", 250),
        ("dd/MM/yyyy'T'HH:mm:ssXXX", "14/11/2023T23:13:21+01:00", 1_000),
        ("YYYY-MM-dd HH:mm:ss", "2023-11-14 22:13:21", 1_000),
        ("EEE, d MMM yy hh:mm:ss a z", "Tue, 14 Nov 23 10:13:20 PM UTC", 0),
        ("yyyy-MM-ddTHH:mm:ss.SSSSSSSSSX", "2023-11-14T22:13:20.000999999Z", 0),
    ],
)
def test_event_time_from_text(pattern: str, text: str, ms: int) -> None:
    option = f', TIMESTAMP_FORMAT="{pattern}"' if pattern else ""
    ddl = EVENT.replace('TIMESTAMP="t"', f'TIMESTAMP="t"{option}')
    ((row,),) = emissions(
        "SELECT event_time() AS e FROM s", one({"t": text}), ddl=(ddl,), isEventTime=True, lateTolerance=0
    )
    assert row["e"] - START == ms


def test_event_time_without_time_is_an_error() -> None:
    records = [one({"t": "soon"}), one({}), one({"t": START})]
    out = emissions(
        "SELECT t FROM s", *records, ddl=(EVENT,), isEventTime=True, lateTolerance=0, sendError=True
    )
    assert ["error" in rows[0] for rows in out] == [True, True, False]
    assert refusal("SELECT t FROM s", isEventTime=True)["http"] == 400


def test_group_by_gives_the_rows_of_distinct() -> None:
    """The hint of `SELECT DISTINCT` and docs/rules-sql.md say so."""
    boxes = [(ms, {"box": box}) for ms, box in enumerate((1, 2, 1, 1))]
    hint = refusal("SELECT DISTINCT box FROM s")["hint"]
    assert hint == "write GROUP BY column and a window"
    rows = emissions("SELECT box FROM s GROUP BY box, COUNTWINDOW(4)", *boxes)
    assert rows == [[{"box": 1}, {"box": 2}]]
