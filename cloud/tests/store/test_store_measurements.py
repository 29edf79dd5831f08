"""Measurements and trends, held by both stores."""

from dataclasses import replace

import numpy as np
from store_cases import NOW_MS, NOW_NS, SECOND_NS, measured, numbered, stored_rows

from opq_cloud.store import CloudStore
from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_proto.messages import Measurement, Metric, TimeSource, Trend


def test_numbered_columns_and_single_rows_return_exactly(store: CloudStore) -> None:
    columns, late = numbered(10, 12), replace(numbered(5, 2), backfilled=True)
    first = [columns.part(np.arange(18)), late]
    assert store.append_measurements([measured(9), measured(None, "2")], first) == 26
    assert store.append_measurements([measured(11)], [columns]) == 18, "the rest of them"
    for box_id in ("1", "2", "3"):
        own = [row for row in stored_rows(columns) if row.box_id == box_id]
        assert store.measurements(box_id, NOW_MS + 10_000, NOW_MS + 10**6) == own
        again = [row for row in stored_rows(late) if row.box_id == box_id]
        assert store.measurements(box_id, NOW_MS + 5000, NOW_MS + 7000) == again and again[0].backfilled
        assert store.sequences(box_id, 0, 100) == [5, 6, *([9] if box_id == "1" else []), *range(10, 22)]
        assert store.highest_sequence(box_id) == 21
        assert store.latest_measurements()[box_id] == own[-1]
        assert store.measurements(box_id, NOW_MS + 12_000, NOW_MS + 13_000) == own[2:3]
    assert store.counts()["measurements"] == 44


def test_one_boxs_log_is_read_on(store: CloudStore) -> None:
    store.append_measurements([measured(None, "2"), measured(1, "20")], [numbered(10, 12)])
    read = list(store.all_measurements(print, box_id="2"))
    found = [row for _, rows in read for row in rows]
    own = [measured(None, "2"), *(row for row in stored_rows(numbered(10, 12)) if row.box_id == "2")]
    assert sorted(found, key=str) == sorted(own, key=str)
    store.append_measurements([measured(99, "2"), measured(99, "20")])
    later = [row for _, rows in store.all_measurements(print, read[-1][0], "2") for row in rows]
    assert measured(99, "2") in later and {row.box_id for row in later} == {"2"}
    assert list(store.all_measurements(print, box_id="3000")) == []


def test_measurements_return_equal_ordered_and_once(store: CloudStore) -> None:
    rows = [measured(sequence) for sequence in (3, 1, 2)]
    assert store.append_measurements(rows) == 3
    assert store.append_measurements([*rows, measured(4)]) == 1
    found = store.measurements("1", NOW_MS, NOW_MS + 10_000)
    assert found == [measured(sequence) for sequence in (1, 2, 3, 4)]
    assert store.measurements("2", 0, 2**52) == []
    assert store.append_measurements([]) == 0


def test_a_repeat_inside_one_batch_is_stored_once(store: CloudStore) -> None:
    plain = measured(None)
    assert store.append_measurements([measured(1), measured(1), plain, plain]) == 2


def test_a_time_span_excludes_its_end(store: CloudStore) -> None:
    """A span of time holds its start and not its end."""
    store.append_measurements([measured(sequence) for sequence in range(5)])
    found = store.measurements("1", NOW_MS + 1000, NOW_MS + 3000)
    assert [row.sequence for row in found] == [1, 2]
    assert [row.sequence for row in store.measurements("1", 0, 2**52, limit=2)] == [0, 1]


def test_an_unnumbered_original_box_is_unique_by_time(store: CloudStore) -> None:
    plain = Measurement("7", NOW_MS, {"rms": Metric(1.0, 1.0, 1.0)})
    later = replace(plain, timestamp_ms=NOW_MS + 1000)
    assert store.append_measurements([later]) == 1
    assert store.append_measurements([plain, later]) == 1
    assert store.append_measurements([plain, later]) == 0
    assert store.measurements("7", 0, 2**52) == [plain, later]
    assert store.highest_sequence("7") is None
    assert store.sequences("7", 0, 100) == []


def test_two_sequences_at_one_time_are_two(store: CloudStore) -> None:
    """A crossing is sent at once, and may carry the time of the regular one."""
    crossing = replace(measured(1), sequence=2, crossing=True, metrics={"rms": Metric(1.0, 2.0, 1.5)})
    assert store.append_measurements([measured(1), crossing]) == 2
    assert len(store.measurements("1", 0, 2**52)) == 2


def test_every_field_of_a_measurement_comes_back(store: CloudStore) -> None:
    rows = [
        measured(1, backfilled=True, crossing=True, metrics={}),
        measured(2, uncertainty_ns=0xFFFF_FFFF, source=TimeSource.HOLDOVER),
        measured(3, start_ns=None, end_ns=None, uncertainty_ns=None, oldest_sequence=None),
        measured(4, metrics={"rms": Metric(0.1, 0.3, 0.2), "harmonic_3": Metric(1.0, 3.0, 2.0)}),
        measured(5, start_ns=NOW_NS - 600 * SECOND_NS, oldest_sequence=5),
        replace(measured(6), sequence=2**33, oldest_sequence=2**33 - 2**20),
    ]
    assert store.append_measurements(rows) == len(rows)
    assert store.measurements("1", 0, 2**52) == rows


def test_every_double_of_a_measurement_comes_back_exactly(store: CloudStore) -> None:
    third = measured(
        1, metrics={"trans": Metric(-1 / 3, 1e300, 5e-324), "f": Metric(0.1, 0.2, 59.999999999999)}
    )
    odd = measured(2, metrics={"rms": Metric(float("-inf"), float("inf"), float("nan"))})
    store.append_measurements([third, odd])
    first, second = store.measurements("1", 0, 2**52)
    assert first == third
    assert second.metrics["rms"].max == float("inf")
    assert np.isnan(second.metrics["rms"].average)


def test_the_latest_has_the_highest_number(store: CloudStore) -> None:
    assert store.latest_measurements() == {}
    store.append_measurements([measured(5), measured(9, "2"), measured(7), measured(6)])
    store.append_measurements([measured(2, backfilled=True)])
    assert store.latest_measurements() == {"1": measured(7), "2": measured(9, "2")}


def set_back(sequence: int | None, at_s: int, box_id: str = "1") -> Measurement:
    """One whose clock has another time than its number says."""
    at_ms = NOW_MS + 1000 * at_s
    whole = measured(sequence, box_id, start_ns=at_ms * 1_000_000 - SECOND_NS, end_ns=at_ms * 1_000_000)
    return replace(whole, timestamp_ms=at_ms)


def test_after_a_step_back_the_last_counts(store: CloudStore) -> None:
    """Box 1 has numbers, Box 9 is an original one; the rows before are in parcels, blocks and the table."""
    store.append_measurements([set_back(None, at_s, "9") for at_s in (98, 99, 100)], [numbered(118, 10)])
    assert store.latest_measurements()["9"] == set_back(None, 100, "9")
    assert store.latest_measurements()["1"].sequence == 127
    later = [(128, 20), (129, 21), (140, 22), (141, 23)]
    for at, (sequence, at_s) in enumerate(later):
        store.append_measurements([set_back(sequence, at_s), set_back(None, 40 + at, "9")])
        newest = store.latest_measurements()
        assert newest["1"] == set_back(sequence, at_s), "140: after numbers that never came"
        assert newest["9"] == set_back(None, 40 + at, "9")
        assert newest["2"].sequence == 127
    if isinstance(store, EmbeddedStore):
        store.seal()
        assert store.latest_measurements() == newest
    last_minutes = {rows[-1].box_id: rows for rows in store.last_minutes(10_000, 100)}
    assert last_minutes["1"] == [
        set_back(n, at_s) for n, at_s in [(128, 20), (129, 21), (140, 22), (141, 23)]
    ]
    assert last_minutes["9"][-1] == set_back(None, 43, "9")
    store.append_measurements([set_back(None, 101, "9")])
    assert store.latest_measurements()["9"] == set_back(None, 101, "9"), (
        "its time is beyond the old ones again"
    )
    store.append_measurements([set_back(None, 101, "9"), set_back(None, 43, "9"), set_back(None, 102, "9")])
    assert store.latest_measurements()["9"] == set_back(None, 102, "9"), "repeats change nothing"


def test_the_newest_time_is_independent_of_order(store: CloudStore) -> None:
    """The newest time is the latest whatever was written last."""
    assert store.newest_ms() is None
    store.append_measurements([set_back(7, 500), set_back(None, 300, "9"), set_back(8, 3)])
    assert store.newest_ms() == set_back(7, 500).timestamp_ms
    store.append_measurements([set_back(None, 700, "9"), set_back(None, 4, "9")], [numbered(98, 30)])
    assert store.newest_ms() == set_back(None, 700, "9").timestamp_ms
    if isinstance(store, EmbeddedStore):
        store.seal()
        assert store.newest_ms() == set_back(None, 700, "9").timestamp_ms, "in a block"


def test_a_batchs_step_back_is_found_at_once(store: CloudStore) -> None:
    """A step back within one batch is found at the first question."""
    store.append_measurements(
        [set_back(7, 500), set_back(None, 500, "9"), set_back(8, 3), set_back(None, 3, "9")]
    )
    assert store.latest_measurements() == {"1": set_back(8, 3), "9": set_back(None, 3, "9")}


def test_sequences_show_stored_ranges_and_gaps(store: CloudStore) -> None:
    store.append_measurements([measured(n) for n in (10, 11, 14, 15, 20)])
    store.append_measurements([measured(12, "2")])
    assert store.sequences("1", 11, 15) == [11, 14, 15]
    assert store.highest_sequence("1") == 20
    assert store.highest_sequence("3") is None


def test_a_trend_put_twice_is_widened_not_doubled(store: CloudStore) -> None:
    minute_ms = NOW_MS // 60_000 * 60_000
    first = Trend("1", minute_ms, {"rms": (119.0, 121.0, 120.0), "f": (59.9, 60.1, 60.0)})
    second = Trend("1", minute_ms, {"rms": (118.0, 120.5, 119.75), "thd": (0.01, 0.03, 0.02)})
    for trend in (first, second, second):
        store.put_trends([trend], "oahu-1")
    widened = {"rms": (118.0, 121.0, 119.75), "f": (59.9, 60.1, 60.0), "thd": (0.01, 0.03, 0.02)}
    assert store.trends("1", minute_ms, minute_ms + 60_000) == [Trend("1", minute_ms, widened)]
    assert store.trends("1", minute_ms + 60_000, minute_ms + 120_000) == []
    assert store.trends("2", minute_ms, minute_ms + 60_000) == []


def test_a_minute_can_be_replaced_by_a_narrower(store: CloudStore) -> None:
    """A minute says that it existed and may be replaced by a narrower one."""
    minute_ms = NOW_MS // 60_000 * 60_000
    key, span = ("1", minute_ms), (minute_ms, minute_ms + 60_000)
    first = {"rms": (119.0, 121.0, 120.0), "thd": (0.01, 0.03, 0.02), "flagged": (1.0, 3.0, 2.0)}
    assert store.put_trends([Trend("1", minute_ms, first, covered_ms=60_000)]) == set()
    assert store.put_trends([Trend("1", minute_ms, {"rms": (110.0, 120.0, 119.0)})]) == {key}
    (widened,) = store.trends("1", *span)
    assert widened.metrics == {**first, "rms": (110.0, 121.0, 119.0)}
    again = Trend(
        "1", minute_ms, {"rms": (119.5, 120.5, 120.25), "h5": (0.0, 0.25, 0.125)}, covered_ms=40_000
    )
    other = Trend("1", minute_ms + 60_000, {"flagged": (2.0, 2.0, 2.0)}, covered_ms=60_000)
    store.replace_trends([again, other])
    assert store.trends("1", minute_ms, minute_ms + 120_000) == [again, other]
    store.roll_up(minute_ms + 86_400_000)
    (ten,) = store.trend_rows("1", minute_ms // 600_000 * 600_000, minute_ms + 120_000, 600_000)[:1]
    assert ten.metrics["rms"] == (119.5, 120.5, 120.25)
    assert ten.metrics["flagged"] == (0.0, 2.0, 2.0), "one minute is not flagged"
