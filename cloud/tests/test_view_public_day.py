"""The day of grids and regions: rows read once and then only what is new, medians, charts, kept answers."""

import threading
import weakref
from math import isnan

import numpy as np
import pytest

from opq_cloud.view.pages.map.day_page import day_chart
from opq_cloud.view.pages.map.day_trends import DAY_ROWS, LATE_ROWS, ROW_MS, DayTrends, first_row_ms, medians
from opq_cloud.view.pages.visible.registry import sampled
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_proto.messages import Trend

NOW_MS = 1_795_000_000_000
FIRST_MS = first_row_ms(NOW_MS)


class RowsStore:
    """The store's `trend_rows` alone; counts what it is asked for."""

    def __init__(self) -> None:
        self.rows: dict[int, Trend] = {}
        self.asked: list[tuple[int, int]] = []

    def put(self, number: int, volts: float) -> None:
        start_ms = FIRST_MS + number * ROW_MS
        self.rows[start_ms] = Trend("1", start_ms, {"rms": (volts - 1, volts + 2, volts)}, ROW_MS)

    def trend_rows(self, box_id: str, start_ms: int, end_ms: int, length_ms: int) -> list[Trend]:
        self.asked.append(((start_ms - FIRST_MS) // ROW_MS, (end_ms - FIRST_MS) // ROW_MS))
        return [row for at, row in sorted(self.rows.items()) if start_ms <= at < end_ms]


@pytest.fixture
def store() -> RowsStore:
    found = RowsStore()
    for number in (0, 5, DAY_ROWS - 1):
        found.put(number, 120.0 + number)
    return found


def test_the_last_row_of_a_day_is_the_present_one() -> None:
    assert FIRST_MS % ROW_MS == 0
    assert FIRST_MS + (DAY_ROWS - 1) * ROW_MS <= NOW_MS < FIRST_MS + DAY_ROWS * ROW_MS


def test_rows_lie_where_their_time_is_and_others_are_unknown(store: RowsStore) -> None:
    rows = DayTrends(store, lambda: 0.0).day_rows("1", FIRST_MS)  # type: ignore[arg-type]
    assert rows.shape == (DAY_ROWS, 2, 3)
    assert rows[5, 0].tolist() == [124.0, 125.0, 127.0] and isnan(rows[5, 1, 1]) and isnan(rows[4, 0, 1])


def test_a_second_look_reads_nothing_and_a_later_one_only_the_newest(store: RowsStore) -> None:
    now_s = [0.0]
    trends = DayTrends(store, lambda: now_s[0])  # type: ignore[arg-type]
    trends.day_rows("1", FIRST_MS)
    trends.day_rows("1", FIRST_MS)
    assert store.asked == [(0, DAY_ROWS)]
    store.put(DAY_ROWS - 1, 100.0)
    now_s[0] = 61.0
    assert trends.day_rows("1", FIRST_MS)[-1, 0, 1] == 100.0
    store.put(DAY_ROWS, 90.0)
    moved = trends.day_rows("1", FIRST_MS + ROW_MS)
    assert moved[-1, 0, 1] == 90.0 and moved[4, 0, 1] == 125.0 and moved[-2, 0, 1] == 100.0
    assert store.asked[1:] == [(DAY_ROWS - LATE_ROWS, DAY_ROWS), (DAY_ROWS - LATE_ROWS + 1, DAY_ROWS + 1)]
    store.put(10, 55.0)  # late data
    assert isnan(trends.day_rows("1", FIRST_MS + ROW_MS)[9, 0, 1])
    now_s[0] = 2000.0
    assert trends.day_rows("1", FIRST_MS + ROW_MS)[9, 0, 1] == 55.0


def test_what_a_reader_does_to_its_rows_stays_there(store: RowsStore) -> None:
    trends = DayTrends(store, lambda: 0.0)  # type: ignore[arg-type]
    trends.day_rows("1", FIRST_MS)[:] = 0.0
    assert trends.day_rows("1", FIRST_MS)[5, 0, 1] == 125.0


def test_a_median_is_no_boxs_extreme_and_a_row_that_nobody_has_is_unknown() -> None:
    days = [np.full((DAY_ROWS, 2, 3), value) for value in (1.0, 2.0, 90.0)]
    for day in days:
        day[3] = np.nan
    days[0][4] = np.nan
    found = medians(days)
    assert found[0, 0, 1] == 2.0 and isnan(found[3, 0, 1]) and found[4, 0, 1] == 46.0
    assert np.isnan(medians([])).all()


def test_the_same_boxes_are_read_of_many() -> None:
    ids = [str(k) for k in range(1000)]
    assert sampled(ids) == sampled(reversed(ids)) and len(set(sampled(ids))) == 50
    assert len({int(each) // 100 for each in sampled(ids)}) >= 8  # spread over all
    assert sorted(sampled(["2", "1"])) == ["1", "2"]


def test_a_day_is_drawn_with_its_gap_and_said_in_a_sentence() -> None:
    rows = np.full((DAY_ROWS, 3), (59.98, 60.0, 60.03))
    rows[30:40] = np.nan
    found = day_chart(rows, "Frequency", "Hz", 3, 2, FIRST_MS, 60.0)
    assert found.chart is not None and found.chart.means.count("M") == 2
    (gap,) = found.gaps
    assert gap.percent == pytest.approx(30 / 1.44, abs=0.01) and gap.width == pytest.approx(
        10 / 1.44, abs=0.01
    )
    assert found.sentence == (
        "Frequency of the last day: 59.980\u202fHz to 60.030\u202fHz, 60.000\u202fHz on average."
    )
    assert 22 <= len(found.rows) <= 24 and found.rows[0][0] > found.rows[-1][0]
    nothing = day_chart(np.full((DAY_ROWS, 3), np.nan), "Voltage", "%", 2, 0, FIRST_MS, 100.0)
    assert nothing.chart is None and "Nothing of the last day" in nothing.sentence


def test_an_answer_is_made_once_and_again_after_its_time() -> None:
    now_s = [0.0]
    made: list[str] = []
    kept: AnswerCache[str] = AnswerCache(1.0, 2, lambda: now_s[0])

    def make(name: str) -> str:
        made.append(name)
        return name.upper()

    assert [kept.of("a", lambda: make("a")) for _ in range(3)] == ["A"] * 3
    kept.of("b", lambda: make("b"))
    kept.of("c", lambda: make("c"))  # the third: "a", asked for longest ago, goes
    kept.of("a", lambda: make("a"))
    assert made == ["a", "b", "c", "a"]
    now_s[0] = 1.0
    with pytest.raises(ZeroDivisionError):
        kept.of("a", lambda: str(1 / 0))
    assert kept.of("a", lambda: make("a")) == "A" and made[-1] == "a" and len(made) == 5


def test_an_answer_past_its_time_goes_when_the_next_is_made() -> None:
    now_s = [0.0]
    kept: AnswerCache[RowsStore] = AnswerCache(1.0, 1000, lambda: now_s[0])
    first, second = weakref.ref(kept.of("a", RowsStore)), weakref.ref(kept.of("b", RowsStore))
    now_s[0] = 0.9
    assert kept.of("a", RowsStore) is first() and second() is not None
    now_s[0] = 1.0
    third = weakref.ref(kept.of("c", RowsStore))
    assert (first(), second()) == (None, None) and third() is not None


def test_who_asks_for_another_answer_does_not_wait_for_the_one_being_made() -> None:
    kept: AnswerCache[str] = AnswerCache(60.0)
    making, go_on = threading.Event(), threading.Event()
    made: list[str] = []

    def slow() -> str:
        making.set()
        assert go_on.wait(60)
        made.append("slow")
        return "slow"

    first = threading.Thread(target=lambda: kept.of("a", slow))
    first.start()
    assert making.wait(60)
    assert kept.of("b", lambda: "quick") == "quick"  # while the other one is still being made
    second = threading.Thread(target=lambda: kept.of("a", slow))
    second.start()
    go_on.set()
    first.join(60)
    second.join(60)
    assert made == ["slow"] and kept.of("a", lambda: "again") == "slow"
