"""Intervals and disturbances through Makai: stored and acknowledged with the Measurements, not published."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from in_thread import in_thread
from judged_triggers import batch
from store_cases import numbered

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as Config
from opq_cloud.makai.measurements import interval_queue
from opq_cloud.makai.measurements.interval_queue import IntervalQueue
from opq_cloud.makai.measurements.measurement_writer import MeasurementWriter
from opq_cloud.store import CloudStore, open_store
from opq_cloud.view.live.reader import live_windows
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.measurement.wire import MeasurementReader, measurement_to_wire
from opq_proto.messages import Disturbance, Interval, Measurement

T0_NS = 1_700_000_000_000_000_000


def interval(sequence: int, oldest: int | None = None) -> Measurement:
    start_ns = T0_NS + sequence * 600 * 10**9
    values = {"rms_v": 120.0 + sequence}
    return Measurement(
        "1",
        1,
        {},
        start_ns,
        start_ns + 600 * 10**9,
        5,
        sequence=sequence,
        oldest_sequence=oldest,
        interval=Interval(600_000, False, 1.0, values),
    )


def window(sequence: int) -> Any:
    (row,) = numbered(sequence, 1, 1).rows()
    return batch(replace(row, oldest_sequence=7))


def writer_of(store: CloudStore, told: list[str], counters: ServiceCounters) -> MeasurementWriter:
    config = Config(batch_ms=20, ack_interval_s=0.1)
    return MeasurementWriter(store, config, counters, log.get(), lambda _, text: told.append(text))


def test_numbers_of_both_are_acknowledged_as_one_row(makai: Any, tmp_path: Path) -> None:
    store, told, counters = open_store(None, tmp_path), list[str](), ServiceCounters()
    writer = writer_of(store, told, counters)
    with in_thread(writer.run):
        writer.accept(window(7))
        writer.accept_intervals([interval(8, 7), interval(9, 7)])
        writer.accept(window(10))
        makai.wait_for(lambda: told[-1:] == ["10"])
        writer.accept_intervals([interval(8, 7), interval(12, 7)])
        makai.wait_for(lambda: told[-1:] == ["10,11-11,13-12"])
    assert counters.total("intervals_stored") == 3 and counters.total("intervals_doubled") == 1
    assert [row.sequence for row in store.measurements("1", 0, 2**50)] == [7, 10]
    found = store.intervals.read("1", 600_000, T0_NS, T0_NS + 10**14)
    assert found.values["rms_v"].tolist() == [128.0, 129.0, 132.0]
    assert store.latest_measurements()["1"].sequence == 10
    told.clear()
    again = writer_of(store, told, counters)  # a restart knows the numbers of both
    with in_thread(again.run):
        again.accept(window(11))
        makai.wait_for(lambda: told[-1:] == ["12"])
    store.close()


def test_refused_intervals_wait_without_acknowledgement(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store refuses the batch."""
    store, told, counters = open_store(None, tmp_path), list[str](), ServiceCounters()
    writer = writer_of(store, told, counters)

    def refused(rows: list[Measurement]) -> int:
        raise StoreError("disk full")

    with in_thread(writer.run), monkeypatch.context() as patch:
        patch.setattr(store.intervals, "append", refused)
        writer.accept_intervals([interval(7, 7)])
        makai.wait_for(lambda: writer.problem == "disk full")
        assert told == []
        patch.undo()
        makai.wait_for(lambda: told[-1:] == ["7"])
    assert writer.problem is None and store.intervals.sequences("1", 0, 100) == [7]
    store.close()


def test_a_full_queue_refuses_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interval_queue, "MOST_ROWS", 3)
    counters = ServiceCounters()
    queue = IntervalQueue(counters)
    queue.offer([interval(at) for at in range(5)])
    assert [row.sequence for row in queue.first(10)] == [0, 1, 2]
    assert counters.total("intervals_dropped") == 2
    queue.remove(2)
    assert [row.sequence for row in queue.first(10)] == [2]


def test_neither_judging_nor_the_live_pages_see_them() -> None:
    dip = Disturbance("1", "dip", T0_NS, T0_NS + 10**8, 5, 80.0)
    of_dip = Measurement("1", 1, {}, T0_NS, T0_NS + 10**8, 5, disturbance=dip)
    bodies = [measurement_to_wire(each) for each in (interval(7), of_dip)]
    reader = MeasurementReader()
    reader.read([[b"0001", body] for body in bodies])
    assert not reader.pressing and len(reader.intervals) == 2
    assert live_windows([[b"0001", body] for body in bodies]) == ([], [])
    windows, _ = live_windows(
        [[b"0001", measurement_to_wire(numbered(7, 1, 1).rows()[0])], [b"0001", bodies[0]]]
    )
    assert [row.sequence for row in windows] == [7]
