"""Windows that take records one by one equal windows computed from all records, as in D.2."""

from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_proto.time_units import DAY_MS, HOUR_MS, MINUTE_MS
from opq_rules.query.planning.select_plan import plan
from opq_rules.query.query import Query
from opq_rules.query.query_run import RuleFacts
from opq_rules.query.window import MAX_EMPTY_WINDOWS
from opq_rules.query.windows.by_time import SECOND_MS, Ends
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Select
from opq_rules.streams.definition import definition_of
from opq_rules.values.batch import Batch

BASE = 1_700_000_040_000  # a whole minute
DDL = 'CREATE STREAM s () WITH (DATASOURCE="s", TYPE="mock", TIMESTAMP="t")'
Told = dict[str, Any]
Naive = Callable[[Sequence[Told], int], list[tuple[int, int, list[Told]]]]
"""(records that left in order, each with `step`, when; last watermark) -> (start, end, records) in order."""


def query(sql: str, event_time: bool = True, tolerance_ms: int = 0, **facts_more: Any) -> Query:
    create, select = parse(DDL), parse(sql)
    assert isinstance(create, Create) and isinstance(select, Select)
    facts = RuleFacts("r", BASE, event_time=event_time, late_tolerance_ms=tolerance_ms, **facts_more)
    return Query(plan(select, {"s": definition_of(create)}), facts)


def left_in_order(records: Sequence[Told], tolerance_ms: int) -> tuple[list[Told], int, int]:
    """Those that the watermark has reached, sorted; the watermark; how many were late."""
    watermark, kept, late = -(10**18), [], 0
    for step, record in enumerate(records):
        if record["t"] < watermark:
            late += 1
        else:
            kept.append(record)
        watermark = max(watermark, record["t"] - tolerance_ms)
        for each in kept:
            if each["t"] <= watermark:
                each.setdefault("step", step)
    gone = [each for each in kept if "step" in each]
    return sorted(gone, key=lambda each: (each["t"], each["step"])), watermark, late


def tumbling(length: int) -> Naive:
    return hopping(length, length)


def hopping(length: int, hop: int) -> Naive:
    def naive(records: Sequence[Told], watermark: int) -> list[tuple[int, int, list[Told]]]:
        found = []
        for end in range(BASE - 60_000, BASE + 180_000, hop):
            held = [each for each in records if end - length <= each["t"] < end]
            if held and end <= watermark:
                found.append((end - length, end, held))
        return found

    return naive


def sliding(length: int) -> Naive:
    def naive(records: Sequence[Told], watermark: int) -> list[tuple[int, int, list[Told]]]:
        found = []
        for each in records:
            start, end = each["t"] - length, each["t"]
            held = [one for one in records if start <= one["t"] <= end and one["step"] <= each["step"]]
            found.append((start, end, held))
        return found

    return naive


def delayed(length: int, delay: int) -> Naive:
    def naive(records: Sequence[Told], watermark: int) -> list[tuple[int, int, list[Told]]]:
        found = []
        for each in records:
            start, end = each["t"] - length, each["t"] + delay
            if end <= watermark:
                found.append((start, end, [one for one in records if start <= one["t"] < end]))
        return found

    return naive


def session(longest: int, timeout: int) -> Naive:
    def naive(records: Sequence[Told], watermark: int) -> list[tuple[int, int, list[Told]]]:
        found: list[tuple[int, int, list[Told]]] = []
        waiting = deque(records)
        carried, quiet = 0, -1
        while waiting:
            start = carried if waiting[0]["t"] <= quiet else waiting[0]["t"]
            tick = -(-(start + longest) // longest) * longest
            held = [waiting.popleft()]
            while waiting and waiting[0]["t"] <= held[-1]["t"] + timeout and waiting[0]["t"] < tick:
                held.append(waiting.popleft())
            end = min(held[-1]["t"] + timeout, tick)
            carried, quiet = tick, held[-1]["t"] + timeout if end == tick else -1
            if min(held[-1]["t"] + timeout + 1, tick) <= watermark:
                found.append((start, end, held))
        return found

    return naive


def count(size: int, every: int) -> Naive:
    def naive(records: Sequence[Told], watermark: int) -> list[tuple[int, int, list[Told]]]:
        ends = range(every, len(records) + 1, every)
        windows = [list(records[end - size : end]) for end in ends if end >= size]
        return [(held[0]["t"], held[-1]["t"], held) for held in windows]

    return naive


WINDOWS: dict[str, Naive] = {
    "TUMBLINGWINDOW(ms, 200)": tumbling(200),
    "TUMBLINGWINDOW(ss, 2)": tumbling(2_000),
    "CYCLEWINDOW(10)": tumbling(200),
    "HOPPINGWINDOW(ms, 500, 200)": hopping(500, 200),
    "HOPPINGWINDOW(ss, 3, 1)": hopping(3_000, 1_000),
    "HOPPINGWINDOW(ms, 200, 500)": hopping(200, 500),
    "SLIDINGWINDOW(ms, 300)": sliding(300),
    "SLIDINGWINDOW(ms, 300, 200)": delayed(300, 200),
    "SESSIONWINDOW(ms, 500, 250)": session(500, 250),
    "COUNTWINDOW(3)": count(3, 3),
    "COUNTWINDOW(4, 3)": count(4, 3),
}

COMMON = "count(*) AS c, sum(v) AS t, min(v) AS lo, max(v) AS hi, avg(v) AS m, collect(v) AS vs"
AGGREGATES = {
    "incremental": COMMON,
    "taken out": "count(*) AS c, sum(v) AS t, avg(v) AS m, median(v) AS me",
    "kept": f"{COMMON}, median(v) AS me, deduplicate(v, true) AS x",
}
"""Aggregates that merge; that take records out again; of which one wants the records themselves."""
records_of = st.lists(
    st.fixed_dictionaries(
        {
            "t": st.integers(0, 40).map(lambda at: BASE + at * 50),
            "k": st.sampled_from(["a", "b"]),
            "v": st.one_of(st.none(), st.integers(-9, 9)),
        }
    ),
    max_size=40,
)


def aggregated(held: Sequence[Told], with_median: bool) -> list[Told]:
    rows = []
    for key in dict.fromkeys(each["k"] for each in held):
        own = [each for each in held if each["k"] == key]
        found = [each["v"] for each in own if each["v"] is not None]
        row: Told = {"k": key, "c": len(own), "n": own[0]["n"], "vs": found}
        if found:
            total = sum(found)
            row |= {"t": total, "lo": min(found), "hi": max(found), "m": total / len(found)}
        if found and with_median:
            middle = sorted(found)
            half = len(middle) // 2
            row["me"] = middle[half] if len(middle) % 2 else (middle[half - 1] + middle[half]) / 2
        rows.append(row)
    return rows


@pytest.mark.parametrize("kind", AGGREGATES)
@pytest.mark.parametrize("window", WINDOWS)
@settings(deadline=None)
@given(records=records_of, tolerance=st.sampled_from([0, 100, 1_000]))
def test_a_window_equals_the_naive_one(window: str, kind: str, records: list[Told], tolerance: int) -> None:
    compare(window, kind, records, tolerance)


def compare(window: str, kind: str, records: list[Told], tolerance: int) -> None:
    """What the running window gives, and what the naive one does."""
    records = [{**each, "n": number} for number, each in enumerate(records)]
    columns = f"k, {AGGREGATES[kind]}, n, window_start() AS a, window_end() AS z"
    running = query(f"SELECT {columns} FROM s GROUP BY k, {window}", tolerance_ms=tolerance)
    got = []
    for number, record in enumerate(records):
        got += running.feed(Batch("s", [dict(record)], BASE + number))
    gone, watermark, late = left_in_order(records, tolerance)
    wanted = [
        [row | {"a": start, "z": end} for row in aggregated(held, kind != "incremental")]
        for start, end, held in WINDOWS[window](gone, watermark)
    ]
    for row in (row for rows in (*got, *wanted) for row in rows):
        row.pop("x", None)
        if not row.get("vs") or kind == "taken out":
            row.pop("vs", None)
        for name in ("lo", "hi") if kind == "taken out" else ():
            row.pop(name, None)
    assert got == wanted
    assert running.counters.late == late and running.counters.records_in == len(records)


@settings(deadline=None)
@given(records=records_of, tolerance=st.sampled_from([0, 100, 1_000]), block=st.integers(1, 5))
def test_blocks_of_a_sliding_window_change_nothing(records: list[Told], tolerance: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("opq_rules.query.windows.sliding.BLOCK_RECORDS", block)
        for window in ("SLIDINGWINDOW(ms, 300)", "SLIDINGWINDOW(ms, 300, 200)"):
            compare(window, "incremental", records, tolerance)


@settings(deadline=None)
@given(records=records_of, sizes=st.lists(st.integers(1, 7), max_size=40))
def test_batches_change_nothing(records: list[Told], sizes: list[int]) -> None:
    for window in ("HOPPINGWINDOW(ms, 500, 200)", "SLIDINGWINDOW(ms, 300)", "SESSIONWINDOW(ms, 500, 250)"):
        sql = f"SELECT k, count(*) AS c FROM s GROUP BY k, {window}"
        single, batched = query(sql, tolerance_ms=100), query(sql, tolerance_ms=100)
        wanted = [each for record in records for each in single.feed(Batch("s", [record], BASE))]
        got, rest = [], list(records)
        for size in [*sizes, len(records) or 1]:
            batch, rest = rest[:size], rest[size:]
            got += batched.feed(Batch("s", batch, BASE))
        assert got == wanted


@settings(deadline=None)
@given(records=records_of)
def test_in_order_both_kinds_of_time_agree(records: list[Told]) -> None:
    """Sliding windows apart: there a moment's records see each other only in event time."""
    records.sort(key=lambda each: int(each["t"]))
    for window in WINDOWS:
        if window.startswith("SLIDING"):
            continue
        sql = f"SELECT k, count(*) AS c, window_end() AS z FROM s GROUP BY k, {window}"
        by_event, by_arrival = query(sql), query(sql, event_time=False)
        one = [each for record in records for each in by_event.feed(Batch("s", [record], BASE))]
        other = []
        for record in records:
            other += by_arrival.advance(record["t"])
            other += by_arrival.feed(Batch("s", [record], record["t"]))
        assert one == other


@settings(deadline=None)
@given(
    length=st.integers(1, 200),
    unit=st.sampled_from(["MS", "SS", "MI", "HH", "DD"]),
    ms=st.integers(0, 2_000_000_000_000),
    zone=st.sampled_from(["UTC", "Pacific/Honolulu", "Asia/Kolkata", "Europe/Berlin"]),
)
def test_windows_lie_gapless_one_behind_the_other(length: int, unit: str, ms: int, zone: str) -> None:
    units_ms = {"MS": 1, "SS": SECOND_MS, "MI": MINUTE_MS, "HH": HOUR_MS, "DD": DAY_MS}
    ends = Ends.of(unit, length * units_ms[unit], ZoneInfo(zone))
    end = ends.after(ms)
    assert ends.at_or_before(ms) <= ms < end <= ms + max(length * units_ms[unit], 1) + HOUR_MS
    if zone in ("UTC", "Pacific/Honolulu"):  # where no hour is there twice
        assert ends.at_or_before(end) == end and ends.at_or_before(end - 1) == ends.at_or_before(ms)


@pytest.mark.parametrize(
    ("unit", "length_ms", "at", "end"),
    [
        ("SS", 10_000, "12:00:03", "12:00:10"),
        ("SS", 10_000, "12:00:10", "12:00:20"),
        ("SS", 7_000, "12:00:57", "12:01:00"),
        ("SS", 90_000, "12:01:31", "12:03:00"),
        ("MS", 1_000, "12:00:03", "12:00:04"),
        ("MI", 15 * MINUTE_MS, "12:03:00", "12:15:00"),
        ("HH", 5 * HOUR_MS, "12:03:00", "15:00:00"),
        ("HH", 5 * HOUR_MS, "21:03:00", "00:00:00"),
        ("DD", DAY_MS, "12:03:00", "00:00:00"),
    ],
)
def test_ends_go_by_the_clock_of_the_zone(unit: str, length_ms: int, at: str, end: str) -> None:
    zone = ZoneInfo("Pacific/Honolulu")
    ms = int(datetime.fromisoformat(f"2026-03-08T{at}").replace(tzinfo=zone).timestamp() * 1_000)
    found = datetime.fromtimestamp(Ends.of(unit, length_ms, zone).after(ms) / 1_000, zone)
    assert found.strftime("%H:%M:%S") == end


def test_days_end_at_midnight_across_dst() -> None:
    """Also if an hour is missing or comes twice."""
    zone = ZoneInfo("Europe/Berlin")
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        midnight = datetime.fromisoformat(day).replace(tzinfo=zone)
        ms = int(midnight.timestamp() * 1_000)
        assert Ends.of("DD", DAY_MS, zone).after(ms) - ms == hours * HOUR_MS


@pytest.mark.parametrize(
    "select", ["count(*) AS n", "median(v) AS n"], ids=["aggregates that merge", "records that are kept"]
)
@pytest.mark.parametrize("window", ["TUMBLINGWINDOW(ms, 1)", "HOPPINGWINDOW(ms, 3, 1)"])
@pytest.mark.parametrize("event_time", [True, False])
def test_a_clock_set_by_years_skips_windows(window: str, select: str, event_time: bool) -> None:
    made = query(f"SELECT {select} FROM s GROUP BY {window}", event_time, send_empty_window=True)
    later = BASE + 30 * 365 * DAY_MS

    def told(ms: int) -> list[Any]:
        return made.feed(Batch("s", [{"t": ms, "v": 1}], ms))

    told(BASE)
    assert MAX_EMPTY_WINDOWS < len(told(later)) < MAX_EMPTY_WINDOWS + 10
    assert made.counters.errors == 1 and "were left out" in made.counters.last_error
    after = told(later + 10)
    assert len(after) == 10 and len([each for each in after if each]) == (3 if "HOPPING" in window else 1)


@pytest.mark.parametrize(
    "window", ["TUMBLINGWINDOW(hh, 1)", "SESSIONWINDOW(dd, 10, 1)", "HOPPINGWINDOW(dd, 2, 1)"]
)
def test_a_time_beyond_calendars_is_an_error(window: str) -> None:
    made = query(f"SELECT count(*) AS n FROM s GROUP BY {window}", send_error=True)
    wrong = [BASE * 1_000, BASE * 10**6, 2**70, -(2**62), 1e300]
    told = made.feed(Batch("s", [{"t": each} for each in [BASE, *wrong]], BASE))
    assert [list(each[0]) for each in told] == [["error"]] * len(wrong)
    assert "want Unix ms" in told[0][0]["error"]
    told = made.feed(Batch("s", [{"t": BASE + 12 * DAY_MS}, {"t": "9999-12-31T23:59:59.999Z"}], BASE))
    assert told[0] == [{"n": 1}] and made.counters.late == 0


def test_an_extreme_arrival_stops_no_rule() -> None:
    made = query("SELECT count(*) AS n FROM s GROUP BY TUMBLINGWINDOW(hh, 1)", event_time=False)
    assert made.feed(Batch("s", [{"v": 1}], 253_402_300_799_999)) == []
    assert made.advance(253_402_300_800_000 + DAY_MS) == [[{"n": 1}]]
