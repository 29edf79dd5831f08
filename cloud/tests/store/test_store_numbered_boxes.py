"""Documents of other programs whose Box is a number: the legacy mongo shell stores each as a Double."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from bson.int64 import Int64
from store_cases import SAG, TRIGGER

from opq_cloud.mauka.joining.finding_writer import put_findings
from opq_cloud.store.mongo.filters import MANY_VALUES, of_boxes
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_proto.messages import TREND_MS
from opq_proto.time_units import DAY_MS, HOUR_MS

T_MS = 1_600_000_200_000 // HOUR_MS * HOUR_MS
THREE = {"min": 118.0, "max": 121.0, "average": 120.0}


@pytest.fixture
def store(cleared_uri: str) -> Iterator[MongoStore]:
    with closing(MongoStore(cleared_uri)) as opened:
        yield opened


def put_row(store: MongoStore, box_id: object, at_ms: int) -> None:
    row = {"box_id": box_id, "timestamp_ms": Int64(T_MS + at_ms), "voltage": 119.0, "frequency": 60.0}
    store._db.measurements.insert_one(row)


def times(rows: Any) -> list[tuple[str, int]]:
    return [(row.box_id, row.timestamp_ms - T_MS) for row in rows]


def test_the_latest_row_may_name_a_number(store: MongoStore) -> None:
    for box_id, at_ms in (("10", 10), (3.0, 50), ("4", 20), (4, 40), ("5", 30), (5.0, 10), (11, 5)):
        put_row(store, box_id, at_ms)
    newest = store.latest_measurements()
    assert {each: row.timestamp_ms - T_MS for each, row in newest.items()} == {
        "10": 10,
        "3": 50,
        "4": 40,
        "5": 30,
        "11": 5,
    }
    assert store.newest_ms() == T_MS + 50
    assert sorted(times(rows[-1] for rows in store.last_minutes(60_000, 9)))[-1] == ("5", 30)


def test_every_row_is_read_once(store: MongoStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where reading goes on at any place, and of one Box in the order of time."""
    monkeypatch.setattr("opq_cloud.store.mongo.mongo_store.COPIED_ROWS", 1)
    stored = [(3.0, 50), (4, 40), (4.0, 41), ("10", 10), ("4", 20), ("4", 40), ("5", 30)]
    for box_id, at_ms in reversed(stored):
        put_row(store, box_id, at_ms)
    expected = [(f"{box_id:g}" if not isinstance(box_id, str) else box_id, at) for box_id, at in stored]
    parts = list(store.all_measurements(print))
    assert times(row for _, rows in parts for row in rows) == expected
    for done, (place, _) in enumerate(parts, 1):
        rest = [row for _, rows in store.all_measurements(print, place) for row in rows]
        assert times(rest) == expected[done:], place
    of_box = list(store.all_measurements(print, box_id="4"))
    assert [at for _, rows in of_box for _, at in times(rows)] == [20, 40, 40, 41]
    (last,) = [rows for _, rows in store.all_measurements(print, of_box[1][0], "4")]
    assert times(last) == [("4", 41)]


def test_minutes_of_a_number_are_rolled_up(cleared_uri: str) -> None:
    with closing(MongoStore(cleared_uri)) as first:
        first._db.opq_counters.delete_one({"_id": "rollups_fill"})
        first._db.trends.insert_many(
            {"box_id": box_id, "timestamp_ms": Int64(T_MS + k * TREND_MS), "voltage": THREE}
            for box_id, minutes in ((3.0, range(1, 31)), (4, range(1, 16)), ("4", range(16, 41)))
            for k in minutes
        )
    with closing(MongoStore(cleared_uri)) as store:
        while store.roll_up(T_MS + 2 * DAY_MS):
            continue
        assert not store.trends_wait(T_MS + 2 * DAY_MS)
        for box_id, minutes in (("3", 30), ("4", 40)):
            (hour,) = store.trend_rows(box_id, T_MS, T_MS + 1, HOUR_MS)
            assert hour.covered_ms == minutes * TREND_MS
        with store.driver.read() as documents:
            spans = documents.trends.spans(TREND_MS)
        assert spans == {"3": (T_MS, T_MS + 29 * TREND_MS), "4": (T_MS, T_MS + 39 * TREND_MS)}


def test_a_finding_copies_rows_of_a_number(store: MongoStore) -> None:
    inside_ms = SAG.start_ns // 10**6 + 10
    row = {"timestamp_ms": Int64(inside_ms), "voltage": 100.0, "frequency": 60.0}
    store._db.measurements.insert_one({"box_id": float(SAG.box_id), **row})
    put_findings(store, store.open_event(TRIGGER, "x"), [SAG])
    found = store._db.incidents.find_one({"box_id": SAG.box_id}) or {}
    assert [each["voltage"] for each in found["measurements"]] == [100.0]


@pytest.mark.parametrize("order", [["4", 4.0], [4.0, "4"]])
def test_a_text_goes_before_its_number(store: MongoStore, order: list[object]) -> None:
    """Both documents name Box 4: what the original and this project write is read, and changed."""
    for box_id in order:
        name = "in use" if box_id == "4" else "by hand, years ago"
        store._db.opq_boxes.insert_one({"box_id": box_id, "name": name, "calibration_constant": 150.0})
    assert [box.name for box in store.boxes()] == ["in use"]
    box = store.box("4")
    assert box is not None and box.name == "in use"
    store.put_box(box.__class__("4", "changed"))
    assert [each["name"] for each in store._db.opq_boxes.find({"box_id": "4"})] == ["changed"]
    assert [each["name"] for each in store._db.opq_boxes.find({"box_id": 4})] == ["by hand, years ago"]


@pytest.mark.parametrize("count", [2, MANY_VALUES, MANY_VALUES * 2])
def test_many_boxes_are_asked_by_their_bounds(store: MongoStore, count: int) -> None:
    """FerretDB compares each document with each value: those outside the bounds are compared with none."""
    asked = [str(number) for number in range(100, 100 + 3 * count, 3)]
    stored: list[object] = ["100", 100.0, asked[-1], float(asked[-1]), "1", 9, "zoo", 5000]
    store._db.some.insert_many({"box_id": each} for each in stored)
    wanted = of_boxes(asked)
    found = [each["box_id"] for each in store._db.some.find(wanted)]
    assert sorted(map(str, found)) == sorted(map(str, stored[:4]))
    assert count < MANY_VALUES or ["$gte" in each["box_id"] for each in wanted["$or"]] == [True, True]
