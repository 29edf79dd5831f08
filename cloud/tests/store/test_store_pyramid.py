"""The pyramid of trends, in both stores: right, right again after late data, at most 2,000 rows a span."""

import random
from collections.abc import Callable
from math import isclose
from typing import Any

import pytest

from opq_cloud.store import BoxRecord, CloudStore
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_cloud.store.records import trends
from opq_cloud.store.trends.pyramid import LEVELS_MS, MAX_ROWS, SETTLE_MS, level_below, level_for, merged
from opq_proto.measurement.intervals import TEN_MINUTES_MS
from opq_proto.messages import TREND_MS, Trend
from opq_proto.time_units import DAY_MS, HOUR_MS
from opq_proto.trend_histogram import TrendHistogram, bin_of, quantile

DAY = 1_767_225_600_000 // DAY_MS * DAY_MS
"""2026-01-01, UTC."""
LATER = DAY + 2 * DAY_MS
PLACES = (*range(30), *range(30, 150, 4))
"""Each minute of half an hour, then each fourth; FerretDB reads all of them for each that it writes."""


def minute(place: int, box_id: str = "1", covered_ms: int = 60_000) -> Trend:
    draw = random.Random(place)
    mean = 120.0 + draw.gauss(0, 0.5)
    metrics = {"rms": (mean - draw.random(), mean + draw.random(), mean), "f": (59.9, 60.1, 60.0)}
    return Trend(box_id, DAY + place * TREND_MS, metrics, covered_ms=covered_ms)


def roll_up(store: CloudStore, now_ms: int = LATER) -> int:
    done = 0
    while part := store.roll_up(now_ms):
        done += part
    return done


def expected(minutes: list[Trend], start_ms: int, length_ms: int) -> tuple[float, float, float, int]:
    """Lowest, highest, mean weighted by time, and the time: of the minutes in the row, by hand."""
    inside = [row for row in minutes if start_ms <= row.start_ms < start_ms + length_ms]
    time_ms = sum(row.covered_ms or 0 for row in inside)
    mean = sum(row.metrics["rms"][2] * (row.covered_ms or 0) for row in inside) / time_ms
    return (
        min(row.metrics["rms"][0] for row in inside),
        max(row.metrics["rms"][1] for row in inside),
        mean,
        time_ms,
    )


def assert_right(store: CloudStore, minutes: list[Trend], length_ms: int, end_ms: int = DAY + DAY_MS) -> None:
    rows = store.trend_rows("1", DAY, end_ms, length_ms)
    assert {row.start_ms for row in rows} == {row.start_ms // length_ms * length_ms for row in minutes}
    for row in rows:
        low, high, mean, time_ms = expected(minutes, row.start_ms, length_ms)
        assert (row.metrics["rms"][0], row.metrics["rms"][1], row.covered_ms) == (low, high, time_ms)
        assert isclose(row.metrics["rms"][2], mean, rel_tol=1e-12)
        assert row.length_ms == length_ms
        if length_ms > TREND_MS:
            assert sum(row.histograms["rms"].bins().values()) == round(time_ms / 1000)


def test_each_level_says_what_its_minutes_say(store: CloudStore) -> None:
    minutes = [minute(place, covered_ms=60_000 - 1000 * (place % 7)) for place in PLACES if place != 17]
    store.put_trends(minutes)
    for length_ms in (TREND_MS, HOUR_MS, DAY_MS):  # the last three are made of the minutes
        assert_right(store, minutes, length_ms, DAY + 150 * TREND_MS)
    assert roll_up(store) == 15 + 3 + 1
    for length_ms in LEVELS_MS:
        assert_right(store, minutes, length_ms)
    assert store.roll_up(LATER) == 0, "each row is written once"


def test_what_comes_late_shows_in_every_level(store: CloudStore) -> None:
    minutes = [minute(place) for place in PLACES if place < 120 and place not in (17, 18)]
    store.put_trends(minutes)
    roll_up(store)
    late = [minute(17), minute(18)]
    store.put_trends(late)
    assert roll_up(store) == 3, "its ten minutes, its hour, its day, and no other"
    for length_ms in LEVELS_MS:
        assert_right(store, sorted([*minutes, *late], key=lambda row: row.start_ms), length_ms)
    store.put_trends(late)  # the same again changes nothing
    roll_up(store)
    for length_ms in LEVELS_MS:
        assert_right(store, sorted([*minutes, *late], key=lambda row: row.start_ms), length_ms)


def test_the_minutes_order_does_not_matter(store: CloudStore) -> None:
    minutes = [minute(place) for place in PLACES if place < 90]
    draw = random.Random(1)
    coming = sorted(minutes, key=lambda row: random.Random(row.start_ms).random())
    while coming:
        count = draw.randint(1, 7)
        store.put_trends(coming[:count])
        del coming[:count]
        if draw.random() < 0.5:
            store.roll_up(LATER, slice_rows=3)
    roll_up(store)
    for length_ms in LEVELS_MS:
        assert_right(store, minutes, length_ms)


def test_a_finished_row_is_rolled_up(store: CloudStore) -> None:
    store.put_trends([minute(place) for place in range(10)])
    assert store.roll_up(DAY + TEN_MINUTES_MS + SETTLE_MS - 1) == 0
    assert store.roll_up(DAY + TEN_MINUTES_MS + SETTLE_MS) == 1
    assert store.roll_up(DAY + TEN_MINUTES_MS + SETTLE_MS) == 0, "the hour goes on"
    (hour,) = store.trend_rows("1", DAY, DAY + 1, HOUR_MS)
    assert hour.covered_ms == 600_000 and isclose(hour.coverage, 1 / 6)


def test_pyramids_of_boxes_are_their_own(store: CloudStore) -> None:
    store.put_trends([minute(0, "1"), minute(1, "10"), minute(2, "2")])
    roll_up(store)
    for box_id, place in (("1", 0), ("10", 1), ("2", 2)):
        (day,) = store.trend_rows(box_id, DAY, DAY + DAY_MS, DAY_MS)
        assert day.metrics["rms"][:2] == minute(place).metrics["rms"][:2]
    assert store.trend_rows("3", DAY, DAY + DAY_MS, DAY_MS) == []


def test_a_second_process_resumes_the_first(store: CloudStore, open_again: Callable[[], CloudStore]) -> None:
    minutes = [minute(place) for place in PLACES if place < 120]
    store.put_trends(minutes)
    assert store.roll_up(LATER, slice_rows=4) == 4
    other = open_again()
    roll_up(other)
    for length_ms in LEVELS_MS:
        assert_right(store, minutes, length_ms)


def test_a_late_minute_is_rolled_up_again(mongo_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In SQLite it waits for the end of the transaction."""
    store, made, minutes = MongoStore(mongo_uri), trends.merged, [minute(place) for place in range(3)]
    store.put_trends(minutes[:2])

    def merged_while_another_comes(*given: Any) -> Trend:
        monkeypatch.undo()
        store.put_trends(minutes[2:])
        return made(*given)

    monkeypatch.setattr(trends, "merged", merged_while_another_comes)
    roll_up(store)
    for length_ms in LEVELS_MS:
        assert_right(store, minutes, length_ms)
    store.close()


def test_a_new_metric_is_in_each_level(store: CloudStore) -> None:
    """A metric that is not of the original is in each level."""
    store.put_trends([Trend("1", DAY, {"pst": (0.1, 0.9, 0.4)}, covered_ms=60_000)])
    roll_up(store)
    for length_ms in LEVELS_MS:
        (row,) = store.trend_rows("1", DAY, DAY + 1, length_ms)
        assert row.metrics == {"pst": (0.1, 0.9, 0.4)}


def test_a_length_that_is_no_level_is_refused(store: CloudStore) -> None:
    with pytest.raises(ValueError, match="90000 ms is not a level of the trends; want one of 60000, 600000"):
        store.trend_rows("1", DAY, DAY + 1, 90_000)


def test_a_trend_has_the_location_of_its_box(store: CloudStore) -> None:
    store.put_box(BoxRecord("1", "kitchen", "oahu-1"))
    store.put_trends([minute(0), minute(1, "2")])
    assert locations(store) == {"1": "oahu-1", "2": "unknown"}


def locations(store: CloudStore) -> dict[str, str]:
    """As the original's readers find it."""
    if hasattr(store, "_db"):
        return {row["box_id"]: row["location"] for row in store._db.trends.find()}
    with store._database.read() as connection:  # type: ignore[attr-defined]
        return dict(connection.execute("SELECT box_id, location FROM trends_new").fetchall())


@pytest.mark.parametrize("days", [0.003, 1, 7, 30, 365, 1999])
def test_any_span_is_at_most_2000_rows(days: float) -> None:
    start_ms, end_ms = DAY + 12_345, DAY + 12_345 + round(days * DAY_MS)
    length_ms = level_for(start_ms, end_ms)
    assert (end_ms - start_ms) / length_ms <= MAX_ROWS
    shorter = [each for each in LEVELS_MS if each < length_ms]
    assert not shorter or (end_ms - start_ms) / shorter[-1] > MAX_ROWS - 2


def test_a_span_beyond_every_level_is_refused() -> None:
    with pytest.raises(ValueError, match="2001 days has more than 2000 rows; the longest row is one day"):
        level_for(0, 2001 * DAY_MS)


def test_histograms_add_up_in_any_order() -> None:
    """Histograms add up in any order and give quantiles."""
    minutes = [minute(place) for place in range(1440)]
    whole = merged("1", DAY, DAY_MS, minutes).histograms["rms"]
    hours = [merged("1", DAY + h * HOUR_MS, HOUR_MS, minutes[60 * h : 60 * h + 60]) for h in range(24)]
    assert merged("1", DAY, DAY_MS, hours[::-1]).histograms["rms"] == whole
    means = sorted(row.metrics["rms"][2] for row in minutes)
    for share in (0.05, 0.5, 0.95):
        found = quantile("rms", whole.bins(), share)
        assert found is not None and isclose(found, means[int(share * 1440) - 1], rel_tol=0.0015)
    assert quantile("rms", {}, 0.5) is None
    assert bin_of("rms", float("nan")) is None and bin_of("pst", 1.0) is None


def test_a_histogram_comes_back_from_its_bytes() -> None:
    for bins in (
        {},
        {-70_000: 1},
        {-3: 5, 0: 86_400, 4: 1, 12_000: 60},
        {k: k + 201 for k in range(-200, 200)},
    ):
        assert TrendHistogram.of(bins).bins() == bins


def test_no_level_is_below_the_minute() -> None:
    assert [level_below(each) for each in LEVELS_MS[1:]] == list(LEVELS_MS[:-1])
    with pytest.raises(ValueError, match="60000 ms is the shortest level"):
        level_below(TREND_MS)
