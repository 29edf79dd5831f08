"""What is acknowledged to a Box: held to a plain set, in any order of arrival."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from in_thread import in_thread
from judged_triggers import batch
from store_cases import numbered

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as Config
from opq_cloud.makai.measurements import measurement_writer
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.makai.measurements.missed_minutes import KEPT_MS, lost_between
from opq_cloud.makai.measurements.sequence_tracker import MAX_RANGES, LostNumbers, SequenceTracker
from opq_cloud.store import open_store
from opq_proto.kit import log
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import TREND_MS, Measurement, Trend


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80))
def test_upto_and_holes_follow_from_stored_numbers(numbers: list[int]) -> None:
    tracker = SequenceTracker()
    new = [tracker.add(number, oldest=1) for number in numbers]
    assert new == [number not in numbers[:place] for place, number in enumerate(numbers)]
    stored, upto = set(numbers), 0
    while upto + 1 in stored:
        upto += 1
    assert tracker.upto == upto
    told = {missing for first, last in tracker.missing() for missing in range(first, last + 1)}
    assert told == set(range(upto + 1, max(stored) + 1)) - stored if max(stored) > upto else not told
    assert tracker.lost == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=60))
def test_lost_numbers_and_stored_ones_add_up(arrivals: list[tuple[int, int]]) -> None:
    tracker = SequenceTracker()
    stored: set[int] = set()
    first = min(arrivals[0])
    for number, oldest in arrivals:
        tracker.add(number, oldest)
        if number >= first:
            stored.add(number)
    known = tracker.upto - first + 1
    open_ones = sum(last - begin + 1 for begin, last in tracker.missing(10**6))
    highest = max([tracker.upto, *stored])
    assert known + open_ones + len([n for n in stored if n > tracker.upto]) == highest - first + 1
    assert tracker.lost <= known


def test_the_message_names_upto_and_holes() -> None:
    """`upto` is the highest number without a hole before it; the holes and the highest number follow."""
    tracker = SequenceTracker()
    for number in (1, 2, 3, 6, 7, 10):
        tracker.add(number, oldest=1)
    assert tracker.message() == "3,4-5,8-9,11-10"
    tracker.add(4, 1)
    tracker.add(5, 1)
    assert tracker.message() == "7,8-9,11-10"


def test_nothing_stored_has_no_message() -> None:
    assert SequenceTracker().message() is None


def test_a_new_cloud_begins_where_the_box_does() -> None:
    tracker = SequenceTracker()
    tracker.add(500, oldest=498)
    assert tracker.message() == "497,498-499,501-500"
    assert tracker.lost == 0


def test_numbers_that_the_box_dropped_are_lost() -> None:
    """Measurements that the Box no longer holds are lost, not missing."""
    tracker = SequenceTracker([1, 2])
    tracker.add(10, oldest=8)
    assert tracker.message() == "7,8-9,11-10"
    assert tracker.lost == 5  # 3..7


def test_a_tracker_continues_from_the_store() -> None:
    """A tracker made from the store goes on there."""
    tracker = SequenceTracker([5, 6, 7, 9])
    tracker.add(10, oldest=5)
    assert tracker.message() == "7,8-8,11-10"


def test_a_hole_below_stored_numbers_stays() -> None:
    """The Box still holds numbers below the lowest stored one."""
    tracker = SequenceTracker([285, 286, 288], begin=263)
    assert tracker.message() == "262,263-284,287-287,289-288"
    assert tracker.add(263, oldest=263)
    assert tracker.message() == "263,264-284,287-287,289-288"
    assert tracker.lost == 0


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=60))
def test_only_what_was_stored_is_said_to_be(rows: list[tuple[int, int]]) -> None:
    tracker, stored = SequenceTracker(), set[int]()
    for sequence, held in rows:  # a Box may let go what was never stored
        tracker.add(sequence, sequence - held if held < 3 else None)
        stored.add(sequence)
        assert {number for number in range(45) if tracker.has(number)} <= stored
        assert tracker.has(sequence) or sequence <= (tracker.upto or 0)
    assert not SequenceTracker([5, 6], begin=3).has(2) and SequenceTracker([5, 6], begin=3).has(5)


def test_stored_measurements_are_acknowledged_again(makai: Any, tmp_path: Path) -> None:
    """A stored batch is acknowledged again and not judged again."""

    def columns(*sequences: int) -> Measurements:
        return replace(
            numbered(sequences[0], len(sequences), 1), backfilled=True, sequence=np.array(sequences)
        )

    store = open_store(None, tmp_path)
    counters, told = ServiceCounters(), list[str]()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda _, text: told.append(text))
    with in_thread(writer.run):
        for each in (columns(7), columns(8), columns(9)):
            assert writer.without_stored(each) is each
            writer.accept(each)
        makai.wait_for(lambda: told[-1:] == ["9"])
        before = len(told)
        assert writer.without_stored(columns(8, 9, 10)).sequence.tolist() == [10]
        makai.wait_for(lambda: len(told) > before)
    store.close()
    assert told[-1] == "9" and counters.total("measurements_doubled") == 2


def test_lost_measurements_are_named_with_their_span(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage: new ones come first, then the backlog, whose oldest were given up meanwhile."""
    monkeypatch.setattr(measurement_writer, "WAIT_S", 0.02)
    store = open_store(None, tmp_path)
    told = list[str]()
    config = Config(batch_ms=10, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, ServiceCounters(), log.get(), lambda _, text: told.append(text))
    at_ms = {row.sequence: row.timestamp_ms for row in numbered(1, 60, 1).rows()}

    def send(sequence: int, oldest: int, message: str) -> None:
        (row,) = numbered(sequence, 1, 1).rows()
        writer.accept(batch(replace(row, oldest_sequence=oldest)))
        makai.wait_for(lambda: told[-1:] == [message])

    def named() -> list[tuple[int, int, int]]:
        box = store.box("1")
        return [] if box is None else [(each.count, each.start_ms, each.end_ms) for each in box.lost]

    with in_thread(writer.run):
        send(3, 3, "3")
        send(50, 8, "7,8-49,51-50")
        send(51, 10, "9,10-49,52-51")
        assert not named(), "10 may be given up, too"
        send(10, 10, "10,11-49,52-51")
        makai.wait_for(named)
        send(52, 50, "52")
        makai.wait_for(lambda: len(named()) == 2)
        send(60, 58, "57,58-59,61-60")
    assert named() == [
        (6, at_ms[3], at_ms[10]),
        (39, at_ms[10], at_ms[50]),
        (5, at_ms[52], at_ms[60]),
    ]
    first_ms = at_ms[3] // TREND_MS * TREND_MS
    store.put_trends(
        Trend("1", first_ms - ago_ms, {"rms": (1.0, 3.0, 2.0)}) for ago_ms in (TREND_MS, KEPT_MS)
    )
    for last, end_ms in ((2, at_ms[3]), (5, at_ms[10])):  # those before them expired
        lost = lost_between(store, "1", LostNumbers(1, last, 2))
        assert (lost.start_ms, lost.end_ms) == (first_ms, end_ms)
    store.close()


def test_unused_numbers_do_not_delay_acknowledgements(makai: Any, tmp_path: Path) -> None:
    """A gateway that was killed skips numbers. What came after them is stored while the Box still holds older
    ones; then it holds no more than that, measures nothing new, and sends it again until it hears."""
    store = open_store(None, tmp_path)
    told = list[str]()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, ServiceCounters(), log.get(), lambda _, text: told.append(text))
    with in_thread(writer.run):
        for sequence in (7, 8, 12, 13):
            (row,) = numbered(sequence, 1, 1).rows()
            writer.accept(batch(replace(row, oldest_sequence=7)))
        makai.wait_for(lambda: told[-1:] == ["8,9-11,14-13"])
        again = replace(numbered(12, 2, 1), backfilled=True, oldest_sequence=np.array([12, 12]))
        assert not len(writer.without_stored(again))
        makai.wait_for(lambda: told[-1:] == ["13"])
    store.close()


def test_stored_copies_are_not_written_again(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Box sends again what a slow store has not taken; a copy would cost it as much as a new row."""
    store = open_store(None, tmp_path)
    written, append = list[int](), store.append_measurements

    def counted(rows: Any, columns: Any) -> int:
        written.append(len(rows) + sum(map(len, columns)))
        return append(rows, columns)

    monkeypatch.setattr(store, "append_measurements", counted)
    counters, told = ServiceCounters(), list[str]()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda _, text: told.append(text))
    rows = [replace(row, backfilled=True) for row in numbered(7, 2, 1).rows()]
    with in_thread(writer.run):
        writer.accept(batch(rows[0]))
        makai.wait_for(lambda: told[-1:] == ["7"])
        for _ in range(3):
            writer.accept(batch(rows[0]))
            writer.accept(replace(numbered(7, 1, 1), backfilled=True))
        writer.accept(replace(numbered(7, 2, 1), backfilled=True))
        makai.wait_for(lambda: told[-1:] == ["8"])
    store.close()
    assert sum(written) == 2 and counters.total("measurements_doubled") == 7


def test_a_box_is_forgotten_between_two_batches(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's loop learns that it was deleted while the writer stores what came before."""
    store = open_store(None, tmp_path)
    counters, told = ServiceCounters(), list[str]()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda _, text: told.append(text))
    append = store.append_measurements

    def deleted_meanwhile(rows: Any, columns: Any) -> int:
        monkeypatch.undo()
        stored = append(rows, columns)
        store.delete_box("1")
        writer.forget(["1"])
        return stored

    monkeypatch.setattr(store, "append_measurements", deleted_meanwhile)
    (row,) = numbered(7, 1, 1).rows()
    with in_thread(writer.run):
        writer.accept(batch(replace(row, nominal_v=230.0)))
        makai.wait_for(lambda: counters.total("measurements_stored") == 1)
        writer.accept(batch(replace(row, sequence=3, nominal_v=230.0)))
        makai.wait_for(lambda: counters.total("measurements_stored") == 2)
    record = store.box("1")
    store.close()
    assert told[-1] == "3" and record is not None and record.nominal_v == 230.0


def test_a_restarted_cloud_requests_unstored_measurements(makai: Any, tmp_path: Path) -> None:
    """The killed cloud never stored them."""

    def measured(sequence: int) -> Measurement:
        return Measurement("1", 60_000 + 100 * sequence, {}, sequence=sequence, oldest_sequence=263)

    store = open_store(None, tmp_path)
    store.append_measurements([measured(number) for number in range(285, 289)])  # 263..284 were held back
    counters, told = ServiceCounters(), list[str]()
    config = Config(batch_ms=20, ack_interval_s=0.1)
    writer = MeasurementWriter(store, config, counters, log.get(), lambda _, text: told.append(text))
    with in_thread(writer.run):
        for number in range(263, 283):
            writer.accept(batch(measured(number)))
        makai.wait_for(lambda: counters.total("measurements_stored") == 20)
    store.close()
    assert told[-1] == "282,283-284,289-288"


def test_scattered_numbers_do_not_grow_without_bound() -> None:
    tracker = SequenceTracker([1])
    for number in range(3, 10 * MAX_RANGES, 2):
        tracker.add(number, oldest=1)
    assert len(tracker.missing(10**9)) <= MAX_RANGES
    assert tracker.upto == 1
