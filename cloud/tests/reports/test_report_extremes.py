"""Extremes are of values that no event flags, and the same in reports, indices and fleets."""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from golden_weeks import TEN_MS, TEN_S_MS, ZONE, columns, golden_week, starts_of
from hypothesis import given, settings
from hypothesis import strategies as st

from opq_cloud.reports.frequency_reading import box_extremes, read_frequency
from opq_cloud.reports.grid_frequency import GridFrequency
from opq_cloud.reports.verdicts import BoxWeek
from opq_cloud.store.intervals.distribution import summary_of
from opq_cloud.store.intervals.interval_rows import within
from opq_cloud.store.records.intervals.interval_records import SummaryRow
from opq_cloud.store.stated_facts import LAST_NS
from opq_proto.measurement.intervals import IntervalColumns
from opq_proto.time_units import DAY_NS

WEEK = golden_week()
TENS, TEN_SECONDS = starts_of(WEEK, TEN_MS), starts_of(WEEK, TEN_S_MS)


def found(*boxes: BoxWeek) -> GridFrequency:
    return read_frequency(Stored(*boxes), always(*boxes), WEEK.start_ns, WEEK.end_ns)


def always(*boxes: BoxWeek) -> dict[str, list[tuple[int, int]]]:
    return {each.box_id: [(0, LAST_NS)] for each in boxes}


def box(number: int = 1, **values: object) -> BoxWeek:
    """A Box with ten minutes in which the grid goes to 49.69 Hz, and a phase jump of a dip at 200."""
    mean, low, high = np.full(1008, 50.0), np.full(1008, 49.98), np.full(1008, 50.02)
    mean[500], low[500], high[700] = 49.72, 49.69, 50.31
    low[200], high[200], mean[200] = 49.179, 50.9, 49.9
    made = {"f_hz": mean, "f_min_hz": low, "f_max_hz": high, **values}
    kept = {name: each for name, each in made.items() if each is not None}
    tens = columns(TENS, TEN_MS, kept, flagged=[200, 2000 // 60], box_id=str(number))
    return BoxWeek(str(number), 230.0, 50.0, {TEN_MS: tens})


def with_seconds(given: BoxWeek, hours: float, lowest_hz: float = 49.7) -> BoxWeek:
    hertz = np.full(len(TEN_SECONDS), 50.0)
    hertz[1000], hertz[2000] = lowest_hz, 49.1
    flags = [2000]
    own = columns(TEN_SECONDS, TEN_S_MS, {"f_hz": hertz}, flags, box_id=given.box_id)
    count = round(hours * 360)
    cut = replace(
        own,
        start_ns=own.start_ns[:count],
        end_ns=own.end_ns[:count],
        flagged=own.flagged[:count],
        coverage=own.coverage[:count],
        values={name: each[:count] for name, each in own.values.items()},
    )
    return replace(given, intervals={**given.intervals, TEN_S_MS: cut})


@pytest.mark.parametrize(
    ("boxes", "lowest", "highest", "of"),
    [
        ([box()], 49.69, 50.31, "10 min"),
        ([box(f_min_hz=None, f_max_hz=None)], 49.72, 50.0, "10 min"),
        ([with_seconds(box(), 168)], 49.7, 50.0, "10 s"),
        ([with_seconds(box(), 3)], 49.69, 50.31, "10 s and 10 min"),  # an hour of it is Sunday's (UTC)
        ([with_seconds(box(), 100)], 49.7, 50.31, "10 s and 10 min"),
        ([box(1), box(2), box(3)], 49.69, 50.31, "10 min"),
        ([box(1), box(2), box(3, f_min_hz=np.full(1008, 45.0))], 49.69, 50.31, "10 min"),
        ([with_seconds(box(1), 168), with_seconds(box(2), 168)], 49.7, 50.0, "10 s"),
        ([box(1), BoxWeek("2", 230.0, 50.0, {})], 49.69, 50.31, "10 min"),
        ([box(f_min_hz=np.full(1008, np.nan), f_max_hz=np.full(1008, np.nan))], 49.72, 50.0, "10 min"),
    ],
)
def test_a_phase_jump_is_no_frequency(boxes: list[BoxWeek], lowest: float, highest: float, of: str) -> None:
    index = found(*boxes).index
    assert index.nadir_hz == pytest.approx(lowest, abs=1e-4)
    assert index.zenith_hz == pytest.approx(highest, abs=1e-4) and found(*boxes).of == of


def test_no_change_is_taken_across_a_flag() -> None:
    mean = np.full(1008, 50.0)
    mean[200], mean[400:], mean[600:] = (
        49.0,
        50.1,
        50.3,
    )  # a jump at a flag, at a hole, and between neighbours
    tens = columns(TENS, TEN_MS, {"f_hz": mean}, flagged=[200], missing=range(395, 405))
    grid = found(BoxWeek("1", 230.0, 50.0, {TEN_MS: tens}))
    assert grid.index.steepest_hz_per_s == pytest.approx(0.2 / 600, rel=1e-4)
    assert grid.index.steepest_ns == int(TENS[599])


def test_flagged_values_alone_say_nothing() -> None:
    tens = columns(TENS, TEN_MS, {"f_hz": 50.0}, flagged=range(1008))
    grid = found(BoxWeek("1", 230.0, 50.0, {TEN_MS: tens}))
    assert np.isnan(grid.index.nadir_hz) and grid.index.nadir_ns is None and grid.boxes == 0


class Stored:
    """The intervals of some Boxes, as a store gives them."""

    def __init__(self, *boxes: BoxWeek) -> None:
        self._boxes = {each.box_id: each for each in boxes}

    def read(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: object = None
    ) -> IntervalColumns:
        none = IntervalColumns(
            box_id, length_ms, *(np.zeros(0, np.int64),) * 2, *(np.zeros(0, bool),) * 2, {}
        )
        return within(self._boxes[box_id].intervals.get(length_ms, none), start_ns, end_ns)

    def days(
        self, box_id: str, length_ms: int, start_ns: int, end_ns: int, names: object = None
    ) -> list[SummaryRow]:
        starts_ns = range(-(-start_ns // DAY_NS) * DAY_NS, end_ns, DAY_NS)
        rows = ((at_ns, self.read(box_id, length_ms, at_ns, at_ns + DAY_NS)) for at_ns in starts_ns)
        return [
            SummaryRow(at_ns // 10**6, (at_ns + DAY_NS) // 10**6, summary_of(each))
            for at_ns, each in rows
            if len(each.start_ns)
        ]


def random_box(number: int, random: np.random.Generator, days: int = 8) -> BoxWeek:
    """A Box that stored some stretches of 10 s, and windows or means of ten minutes, some of them flagged."""
    intervals = {}
    for length_ms, whole in ((TEN_MS, TENS), (TEN_S_MS, TEN_SECONDS)):
        at = whole[whole < WEEK.start_ns + days * DAY_NS]
        hertz = 50 + random.normal(0, 0.05, len(at))
        values = {"f_hz": hertz}
        if length_ms == TEN_MS and random.random() < 0.8:
            lost = random.random(len(at)) < 0.1
            values["f_min_hz"] = np.where(lost, np.nan, hertz - random.exponential(0.02, len(at)))
            values["f_max_hz"] = np.where(lost, np.nan, hertz + random.exponential(0.02, len(at)))
        missing = np.zeros(len(at), bool)
        for _ in range(random.integers(0, 6)):
            first = random.integers(len(at))
            missing[first : first + random.integers(len(at) // 2)] = True
        flagged = np.flatnonzero(random.random(len(at)) < 0.02)
        intervals[length_ms] = columns(
            at, length_ms, values, flagged.tolist(), np.flatnonzero(missing).tolist(), box_id=str(number)
        )
    return BoxWeek(str(number), 230.0, 50.0, intervals)


@given(st.integers(0, 2**32), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_extremes_of_a_span_are_its_days(seed: int, count: int) -> None:
    """The same in a report, in indices and on pages, whatever is stored of each day."""
    random = np.random.default_rng(seed)
    boxes = [random_box(number, random) for number in range(1, count + 1)]
    stored, stays = Stored(*boxes), {each.box_id: [(0, WEEK.end_ns)] for each in boxes}
    edges = [WEEK.start_ns, *range(-(-WEEK.start_ns // DAY_NS) * DAY_NS, WEEK.end_ns, DAY_NS), WEEK.end_ns]
    spans = [each for each in pairwise(edges) if each[0] < each[1]]
    days = np.array([extremes(stored, stays, *each) for each in spans])
    whole = found(*boxes).index
    wanted = float(np.nanmin(days[:, 0])), float(np.nanmax(days[:, 1]))
    assert (whole.nadir_hz, whole.zenith_hz) == wanted
    assert extremes(stored, stays, WEEK.start_ns, WEEK.end_ns) == wanted
    for each in pairwise(edges[::3]):
        alone = box_extremes(stored, "1", stays["1"], *each)
        np.testing.assert_equal(alone, extremes(stored, {"1": stays["1"]}, *each))
    borders = np.sort(random.choice(TEN_SECONDS, 8, replace=False)).tolist()
    moved = list(zip(borders[::2], borders[1::2], strict=True))
    alone = box_extremes(stored, "1", moved, WEEK.start_ns, WEEK.end_ns)
    np.testing.assert_equal(alone, extremes(stored, {"1": moved}, WEEK.start_ns, WEEK.end_ns))


@given(
    st.integers(0, 2**32),
    st.integers(1, 12),
    st.sampled_from(["UTC", ZONE, "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Pacific/Honolulu"]),
)
@settings(max_examples=15, deadline=None)
def test_a_span_has_the_extremes_of_its_parts(seed: int, count: int, zone: str) -> None:
    """Whatever its Boxes stored, whenever they were there, and wherever it is cut."""
    random = np.random.default_rng(seed)
    boxes = [random_box(number, random, 3) for number in range(1, count + 1)]
    stored, last_ns = Stored(*boxes), WEEK.start_ns + 3 * DAY_NS
    stays = always(*boxes)
    for box_id in random.choice(list(stays), count // 2, replace=False):
        borders = np.sort(random.choice(range(WEEK.start_ns, last_ns, 10**9), 4, replace=False)).tolist()
        stays[box_id] = list(zip(borders[::2], borders[1::2], strict=True))
    first = datetime(2026, 11, 16, tzinfo=ZoneInfo(zone))
    midnights = [round((first + timedelta(day)).timestamp()) * 10**9 for day in range(5)]
    moments = random.choice(range(WEEK.start_ns, last_ns, 10**9), 2).tolist()
    inside = {max(WEEK.start_ns, min(each, last_ns)) for each in (*midnights, *moments)}
    edges = sorted({WEEK.start_ns, last_ns} | inside)
    whole = read_frequency(stored, stays, edges[0], edges[-1])
    parts = [read_frequency(stored, stays, *each) for each in pairwise(edges)]
    known = [part.index for part in parts if part.boxes]
    if not known:
        assert np.isnan(whole.index.nadir_hz) and whole.boxes == 0
        return
    lowest = min(known, key=lambda index: index.nadir_hz)
    assert (whole.index.nadir_hz, whole.index.nadir_ns) == (lowest.nadir_hz, lowest.nadir_ns)
    assert whole.index.zenith_hz == max(index.zenith_hz for index in known)
    steepest = [abs(index.steepest_hz_per_s) for index in known if index.steepest_ns is not None]
    assert not steepest or abs(whole.index.steepest_hz_per_s) >= max(steepest)
    assert whole.boxes >= max(part.boxes for part in parts)


def test_five_boxes_with_most_data_state_a_day() -> None:
    """Of seven, two stored the first half of each day alone, and one stored no frequency."""
    late, boxes = np.flatnonzero(TENS % DAY_NS >= DAY_NS // 2).tolist(), []
    for number in range(1, 8):
        values = {"rms_v": 230.0} if number == 3 else {"f_hz": 50 + number / 100}
        missing = late if number < 3 else ()
        tens = columns(TENS, TEN_MS, values, (), missing, box_id=str(number))
        boxes.append(BoxWeek(str(number), 230.0, 50.0, {TEN_MS: tens}))
    day_ns = (WEEK.start_ns // DAY_NS + 3) * DAY_NS
    halves = [(day_ns, day_ns + DAY_NS // 2), (day_ns + DAY_NS // 2, day_ns + DAY_NS)]
    found = [read_frequency(Stored(*boxes), always(*boxes), *each) for each in halves]
    assert [grid.boxes for grid in found] == [5, 4]  # 1, 4, 5, 6 and 7, then without 1
    assert all(50.04 <= grid.index.nadir_hz <= grid.index.zenith_hz <= 50.07 for grid in found)


def test_five_whole_boxes_end_the_search() -> None:
    """The others are not looked at, whose days would have to be unpacked."""
    asked = set()

    class Noted(Stored):
        def days(self, box_id: str, *rest: Any) -> list[SummaryRow]:
            asked.add(box_id)
            return super().days(box_id, *rest)

    boxes, day_ns = [box(number) for number in range(1, 13)], (WEEK.start_ns // DAY_NS + 1) * DAY_NS
    assert read_frequency(Noted(*boxes), always(*boxes), day_ns, day_ns + 3 * DAY_NS).boxes == 5
    assert asked == {"1", "2", "3", "4", "5"}


def test_windows_count_where_ten_seconds_are_missing() -> None:
    """10 s of Monday until 13:00, and the lowest window at 20:00, or where 10 s break off."""
    for at, seconds in ((126, 13 * 360), (78, 13 * 360 + 40)):
        low = np.full(1008, 49.98)
        low[at] = 49.2
        given = with_seconds(box(f_min_hz=low), seconds / 360)
        assert found(given).index.nadir_hz == pytest.approx(49.2, abs=1e-4)
        assert found(given).index.nadir_ns == TENS[at]
        stays = [(0, WEEK.end_ns)]
        alone = box_extremes(Stored(given), "1", stays, WEEK.start_ns, WEEK.end_ns)
        assert alone[0] == pytest.approx(49.2, abs=1e-4)


def test_two_stays_of_a_day_are_one_day() -> None:
    """10 s of four hours at one place, where a window was lower than they were, and windows at the next."""
    low = np.full(1008, 49.98)
    low[12], low[90] = 49.8, 49.85
    given = with_seconds(box(f_min_hz=low), 5, lowest_hz=49.9)
    hour = 3600 * 10**9
    stays = [
        (WEEK.start_ns + hour, WEEK.start_ns + 5 * hour),
        (WEEK.start_ns + 11 * hour, WEEK.start_ns + DAY_NS),
    ]
    alone = box_extremes(Stored(given), "1", stays, WEEK.start_ns, WEEK.end_ns)
    assert alone == extremes(Stored(given), {"1": stays}, WEEK.start_ns, WEEK.end_ns)
    assert alone[0] == pytest.approx(49.85, abs=1e-4)


def extremes(
    stored: Stored, stays: dict[str, list[tuple[int, int]]], start_ns: int, end_ns: int
) -> tuple[float, float]:
    index = read_frequency(stored, stays, start_ns, end_ns).index
    return index.nadir_hz, index.zenith_hz
