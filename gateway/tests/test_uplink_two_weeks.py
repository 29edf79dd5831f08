"""Two weeks without a cloud: all that the ledger holds arrives in order at the stated rate, bit for bit."""

from pathlib import Path
from typing import cast

import numpy as np
import pytest

from opq_cloud.store.embedded.embedded_store import EmbeddedStore
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger import Ledger
from opq_gateway.measuring.ledger_rows import LedgerRows, kinds_of
from opq_gateway.uplink import uplink as uplink_module
from opq_gateway.uplink.backlog import CloudAcknowledgement
from opq_gateway.uplink.connection import Endpoints, UplinkConnection, UplinkPlace, UplinkPlaces
from opq_gateway.uplink.queue import Queue
from opq_gateway.uplink.uplink import INTERVALS_PER_S, Uplink
from opq_proto.keys.key_files import KeyPair
from opq_proto.measurement.wire import MeasurementReader
from opq_proto.messages import TimeSource

TEN_NS = 600 * 10**9
T0_NS = 1_700_000_000 * 10**9 // (144 * TEN_NS) * 144 * TEN_NS
LENGTHS_MS = {"10min": 600_000, "2h": 7_200_000}
KINDS = kinds_of(("10min", "2h", "disturbances"))


class Standing:
    """A connection that stands, and takes every frame."""

    stands = True

    def __init__(self) -> None:
        self.frames: list[list[bytes]] = []

    def publish(self, frames: list[bytes]) -> str:
        self.frames.append(frames)
        return "sent"


def row(kind: str, at: int, length_ns: int, values: dict[str, float | tuple[float, ...]]) -> Values:
    start_ns = T0_NS + at * length_ns
    return Values("1", kind, start_ns, start_ns + length_ns, 5, TimeSource.NTP, at % 9 == 0, values)


def ledger_of(folder: Path, days: int) -> list[Values]:
    """Writes what a gateway measures in some days; returns it in the order of writing."""
    rng = np.random.default_rng(61)
    ledger, rows = Ledger(folder, "1", 24.0, 30.0), []
    for at in range(days * 144):
        harmonics = tuple(rng.random(50, np.float32).tolist())
        values: dict[str, float | tuple[float, ...]] = {
            "rms_v": 120 + rng.normal(),
            "rms_min_v": 118.0,
            "rms_max_v": 122.0,
            "f_hz": 60 + rng.normal() / 50,
            "thd_ratio": 0.02,
            "harmonics_v": harmonics,
            "interharmonics_v": harmonics,
        }
        rows.append(row("10min", at, TEN_NS, {**values, "coverage_ratio": 1.0 - at % 3 / 8}))
        rows.append(row("10min", at, TEN_NS, {"pst": 0.2 + rng.random(), "pinst_max": 1.0}))
        if at % 12 == 11:
            rows.append(row("2h", at // 12, 12 * TEN_NS, {**values, "coverage_ratio": 1.0}))
        for each in rows[-3:] if at % 12 == 11 else rows[-2:]:
            ledger.append(each)
        if at % 36 == 35:
            ledger.flush()
    return rows


def uplink_of(folder: Path) -> tuple[Queue, Uplink]:
    counters = {"1": BoxCounters()}
    queue = Queue(folder / "queue.sqlite", counters, now_ms=1000)
    endpoints = Endpoints("tcp://127.0.0.1:1", "tcp://127.0.0.1:1", "tcp://127.0.0.1:1")
    uplink = Uplink(UplinkPlaces(UplinkPlace(endpoints, b"x" * 40)), queue, 100, lambda box_id, data: None)
    uplink.add("1", KeyPair(b"x" * 40, b"y" * 40), counters["1"], BoxStatus("1", 60))
    return queue, uplink


def test_two_weeks_arrive_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the stated rate, and stored bit for bit."""
    rows = ledger_of(tmp_path / "ledger", 14)
    ledger = Ledger(tmp_path / "ledger", "1", 24.0, 30.0)
    now_s, connection, rate = 0.0, Standing(), list[int]()
    queue, uplink = uplink_of(tmp_path)
    killed_after = 40
    for start in range(2):  # the gateway is killed once on the way
        line = uplink._lines["1"]
        line.connection, line.acknowledging = cast(UplinkConnection, connection), True
        line.stores.combine(CloudAcknowledgement(1, takes_intervals=True), now_s)
        taken = LedgerRows(ledger, KINDS, queue.ledger_places("1"))
        uplink.send_rows("1", taken)
        uplink._intervals_s = now_s
        while True:
            taken.read_ahead()
            before = len(connection.frames)
            now_s += uplink_module.INTERVALS_S
            uplink._send_intervals(now_s)
            sent = len(connection.frames) - before
            rate.append(sent)
            if sent == 0 or (start == 0 and len(rate) == killed_after):
                break
        if start == 0:
            queue, uplink = uplink_of(tmp_path)
    most_in_a_record = 36 * 2
    assert max(rate) <= INTERVALS_PER_S + most_in_a_record
    assert len(connection.frames) == len(rows) and len(rate) > 40
    reader = MeasurementReader()
    reader.read(connection.frames)
    intervals = reader.intervals
    assert len(intervals) == len(connection.frames)
    numbers = [each.sequence or 0 for each in intervals]
    assert numbers == sorted(set(numbers))
    for kind, length_ms in LENGTHS_MS.items():
        sent_starts = [
            each.start_ns
            for each in intervals
            if each.interval is not None and each.interval.length_ms == length_ms
        ]
        assert sent_starts == [each.start_ns for each in rows if each.kind == kind]
    store = EmbeddedStore(tmp_path / "opq.db")
    store.intervals.append(intervals)
    while store.intervals.settle((T0_NS + 30 * 144 * TEN_NS) // 10**6):
        pass
    for kind, length_ms in LENGTHS_MS.items():
        found = store.intervals.read("1", length_ms, T0_NS, T0_NS + 15 * 144 * TEN_NS)
        wanted = [each for each in rows if each.kind == kind and "rms_v" in each.values]
        assert found.start_ns.tolist() == [each.start_ns for each in wanted]
        assert found.flagged.tolist() == [each.flagged for each in wanted]
        for name in ("coverage_ratio", "rms_v", "f_hz", "harmonics_v", "interharmonics_v"):
            held = found.coverage if name == "coverage_ratio" else found.values[name]
            assert np.array_equal(held, np.array([each.values[name] for each in wanted], np.float32)), name
        if kind == "10min":
            severity = [each.values["pst"] for each in rows if "pst" in each.values]
            assert np.array_equal(found.values["pst"], np.array(severity, np.float32))
    store.close()
