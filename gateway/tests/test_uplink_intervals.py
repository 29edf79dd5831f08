"""Intervals and disturbances of the ledger on their way up: each once, in order, also after a kill."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from uplink_bench import SECOND_NS, Bench, measurement
from waiting import wait_for

from opq_gateway.counters import BoxCounters
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.ledger_rows import LedgerReader, LedgerRows, kinds_of, measurement_of
from opq_gateway.uplink.backlog import CloudAcknowledgement
from opq_gateway.uplink.queue import Queue
from opq_proto.errors import ConfigError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement, TimeSource

T0_NS = 1_800_000_000 * SECOND_NS // (600 * SECOND_NS) * 600 * SECOND_NS
KINDS = kinds_of(("10min", "2h", "disturbances"))


def f4(value: float) -> float:
    return float(np.float32(value))


def ten(at: int) -> Values:
    """Ten minutes number `at`, with all that a gateway measures of them."""
    harmonics = tuple(f4(120 / (order * (1 + abs(at)))) for order in range(1, 51))
    values: dict[str, float | tuple[float, ...]] = {
        name: f4(100 + abs(at) + place / 7)
        for place, name in enumerate(
            (
                "rms_v",
                "rms_min_v",
                "rms_max_v",
                "urms_min_v",
                "urms_max_v",
                "f_hz",
                "f_min_hz",
                "f_max_hz",
                "thd_ratio",
                "thd_max_ratio",
                "under_ratio",
                "over_ratio",
            )
        )
    }
    values |= {"coverage_ratio": f4(1 - at % 4 / 10), "harmonics_v": harmonics, "interharmonics_v": harmonics}
    start_ns = T0_NS + at * 600 * SECOND_NS
    return Values(
        "1", "10min", start_ns, start_ns + 600 * SECOND_NS, 500, TimeSource.GPS, at % 3 == 0, values
    )


def dip(at: int, closed: float = 1.0) -> Values:
    start_ns = T0_NS + at * 600 * SECOND_NS + 7
    values = {"residual_v": 80.5, "closed_ratio": closed}
    return Values("1", "dip", start_ns, start_ns + SECOND_NS, 500, TimeSource.GPS, False, values)


def ledger_of(folder: Path, *rows: Values) -> Ledger:
    ledger = Ledger(folder / "ledger", "1", 24.0, 30.0)
    for row in rows:
        ledger.append(row)
        ledger.flush()
    return ledger


def taken(rows: LedgerRows) -> list[Measurement]:
    found: list[Measurement] = []
    rows.read_ahead()
    while (record := rows.take()) is not None:
        found += record.rows
        rows.read_ahead()
    return found


def test_a_ledger_row_survives_the_wire() -> None:
    for values in (ten(2), dip(1), dip(1, 0.0)):
        sent = measurement_of(values)
        read = measurement_from_wire(measurement_to_wire(sent))
        assert read == sent and not read.is_window and read.metrics == {}
    assert sent.disturbance is not None and sent.disturbance.end_ns is None
    flicker = Values(
        "1", "10min", T0_NS, T0_NS + 600 * SECOND_NS, 5, TimeSource.NTP, True, {"pinst_max": 2.0}
    )
    read = measurement_from_wire(measurement_to_wire(measurement_of(flicker)))
    assert read.interval is not None and read.interval.coverage is None
    assert read.interval.values == {"pinst_max": 2.0}


def test_full_harmonics_cost_4_bytes_a_second() -> None:
    """A Box with 50 harmonics and interharmonics costs less than 4 bytes a second."""
    flicker = Values(
        "1", "10min", T0_NS, T0_NS + 600 * SECOND_NS, 5, TimeSource.NTP, True, {"pst": 0.3, "pinst_max": 2.0}
    )
    interval, severity = (len(measurement_to_wire(measurement_of(each))) for each in (ten(1), flicker))
    numbers, topic, zmtp = 24, 6, 6
    every = 2 * (numbers + topic + zmtp)
    per_s = (interval + severity + every) / 600 + (interval + severity + every) / 7200
    assert 2.0 < per_s < 4.0


def test_rows_are_read_in_writing_order(tmp_path: Path) -> None:
    three = Values("1", "3s", T0_NS, T0_NS + 3 * SECOND_NS, 5, TimeSource.NTP, False, {"rms_v": 1.0})
    days = [ten(0), three, dip(0), three, ten(1), ten(200), ten(400), ten(398)]
    ledger = ledger_of(tmp_path, *days)
    wanted = [measurement_of(each) for each in days if each.kind != "3s"]
    assert taken(LedgerRows(ledger, KINDS, {})) == wanted
    rows, places, found = LedgerRows(ledger, KINDS, {}), dict[int, int](), list[Measurement]()
    for _ in range(3):
        rows.read_ahead()
        record = rows.take()
        assert record is not None
        found += record.rows
        places |= record.places
    assert found + taken(LedgerRows(ledger, KINDS, places)) == wanted
    ledger.append(ten(401))
    ledger.flush()
    assert taken(rows)[-1] == measurement_of(ten(401))


def test_a_torn_record_ends_its_file(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, ten(0), ten(1))
    (path,) = (tmp_path / "ledger").glob("v-*.led")
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    rows = LedgerRows(ledger, KINDS, {17: 4})
    rows.read_ahead()
    record = rows.take()
    assert record is not None and record.rows == [measurement_of(ten(0))] and record.places[17] == -1
    assert rows.take() is None
    path.write_bytes(whole)  # the rest of a write that was under way
    assert taken(rows) == [measurement_of(ten(1))]


def test_unknown_intervals_are_refused() -> None:
    with pytest.raises(ConfigError, match="15min: not known; there are 3s 10s 10min 2h disturbances"):
        kinds_of(("10min", "15min"))
    assert kinds_of(()) == frozenset()


def queue_of(folder: Path, hours: float = 168.0) -> Queue:
    return Queue(folder / "queue.sqlite", {"1": BoxCounters()}, hours, now_ms=1000)


def test_numbers_and_places_are_one_transaction(tmp_path: Path) -> None:
    queue = queue_of(tmp_path)
    rows = [measurement_of(ten(at)) for at in range(3)]
    assert [each.sequence for each in queue.store_rows("1", rows, {5: 100, 6: 7})] == [1000, 1001, 1002]
    after_kill = queue_of(tmp_path)  # nothing was closed
    assert after_kill.ledger_places("1") == {5: 100, 6: 7}
    held = after_kill.read("1", 0, 2**62, 100)
    assert [measurement_from_wire(body) for _, body in held] == rows
    assert after_kill.last_end_ns("1") is None  # measuring does not go on at an interval's end
    after_kill.store_rows("1", rows[:1], {5: -1, 6: 9})
    assert queue_of(tmp_path).ledger_places("1") == {6: 9}


def test_intervals_and_measurements_expire_apart(tmp_path: Path) -> None:
    queue = queue_of(tmp_path, hours=1.0)
    queue.store([("1", measurement(0))])
    rows = [measurement_of(ten(-2000)), measurement_of(dip(-2000))]
    queue.store_rows("1", rows, {5: 100})
    queue.store([("1", measurement(1))])
    assert len(queue.read("1", 0, 2**62, 100)) == 4
    for number in range(2, 200):  # minutes apart: the first ones are too old
        queue.store([("1", measurement(60 * number))])
    queue._ticked_s = 0.0
    queue.tick()
    held = [measurement_from_wire(body) for _, body in queue.read("1", 0, 2**62, 1000)]
    assert [each for each in held if not each.is_window] == rows
    assert held[0].is_window and (held[0].start_ns or 0) > (measurement(60).start_ns or 0)
    queue.close()


@pytest.fixture
def bench(tmp_path: Path, makai: Any, keys: KeyFolder) -> Iterator[Bench]:
    made = Bench(tmp_path, makai, keys)
    yield made
    made.uplink.close()
    made.queue.close()


def lines_of(makai: Any) -> list[Measurement]:
    return [each for each in makai.decoded() if not each.is_window]


def test_intervals_go_up_once_in_order(bench: Bench, makai: Any, tmp_path: Path) -> None:
    """To a cloud that acknowledges."""
    rows = [row for at in range(40) for row in (ten(at), dip(at))]
    ledger = ledger_of(tmp_path, *rows[:50])
    reader = LedgerReader({"1": LedgerRows(ledger, KINDS, {})}, {"1": bench.counters})
    bench.uplink.send_rows("1", reader.rows["1"])
    reader.rows["1"].read_ahead()
    with bench.running():
        bench.publish(*range(20))
        wait_for(lambda: bench.counters["measurements_sent"] == 20)
        assert lines_of(makai) == []  # it has not acknowledged anything
        bench.uplink.acknowledge("1", CloudAcknowledgement(1019, takes_intervals=True))
        wait_for(lambda: len(lines_of(makai)) == 50)
    bench.restart()
    for row in rows[50:]:
        ledger.append(row)
        ledger.flush()
    places = bench.queue.ledger_places("1")
    reader = LedgerReader({"1": LedgerRows(ledger, KINDS, places)}, {"1": bench.counters})
    bench.uplink.send_rows("1", reader.rows["1"])
    reader.rows["1"].read_ahead()
    with bench.running():
        bench.uplink.acknowledge("1", CloudAcknowledgement(1019, takes_intervals=True))
        wait_for(lambda: {each.start_ns for each in lines_of(makai)} == {row.start_ns for row in rows})
    first = {each.sequence: each for each in reversed(lines_of(makai))}
    assert len(first) == len(rows)
    sent = [first[number] for number in sorted(first)]
    wanted = [measurement_of(row) for row in rows]
    for found, expected in zip(sent, wanted, strict=True):
        assert (found.interval, found.disturbance) == (expected.interval, expected.disturbance)
        assert (found.start_ns, found.end_ns, found.uncertainty_ns, found.source) == (
            expected.start_ns,
            expected.end_ns,
            expected.uncertainty_ns,
            expected.source,
        )
