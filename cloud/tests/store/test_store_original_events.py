"""Mauka beside an original event service: announced first, stored later, Boxes joined without a word.

The stand-in writes the original's documents (docs/reference/opq-interop.md D.3 to D.5) with pymongo alone.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import zmq
from bson.int64 import Int64
from free_ports import free_endpoint
from gridfs import GridFS
from pymongo import MongoClient

from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus.broker import BusBroker, EventBridge, event_message
from opq_cloud.mauka.bus.bus_messages import MAKAI_EVENT
from opq_cloud.mauka.bus_plugins.payloads import MakaiEventPlugin
from opq_cloud.mauka.flow.flow_runner import AnalysisRunner
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY
from opq_cloud.mauka.running.known.built_in_analyses import load_analyses
from opq_cloud.store.mongo.mongo_store import MongoStore
from opq_proto.wire.mauka_pb2 import MaukaMessage

CALIBRATION = 152.5
WAIT_S = 240.0
UNUSED_BUS = {PUB_KEY: "tcp://127.0.0.1:9", SUB_KEY: "tcp://127.0.0.1:9"}


class OriginalEventService:
    """What the original's writes into its database, step by step."""

    def __init__(self, uri: str) -> None:
        self.client: MongoClient[dict[str, Any]] = MongoClient(uri)
        self.db = self.client.get_default_database()
        for box_id in ("1", "2"):
            self.db.opq_boxes.insert_one({"box_id": box_id, "calibration_constant": CALIBRATION})
        self.start_ms = int(time.time() * 1000) - 5000

    def open_event(self, event_id: int, box_id: str) -> None:
        self.db.events.insert_one(
            {
                "event_id": event_id,
                "description": "Makai id x",
                "boxes_triggered": [box_id],
                "boxes_received": [box_id],
                "target_event_start_timestamp_ms": Int64(self.start_ms),
                "target_event_end_timestamp_ms": Int64(self.start_ms + 2000),
                "expire_at": Int64(self.start_ms // 1000 + 86_400),
            }
        )

    def join(self, event_id: int, box_id: str) -> None:
        lists = {"boxes_triggered": box_id, "boxes_received": box_id}
        self.db.events.update_one({"event_id": event_id}, {"$push": lists})

    def store_waveform(self, event_id: int, box_id: str, counts: "np.ndarray | None" = None) -> None:
        name = f"event_{event_id}_{box_id}"
        self.db.box_events.insert_one(
            {
                "event_id": event_id,
                "box_id": box_id,
                "event_start_timestamp_ms": Int64(self.start_ms),
                "event_end_timestamp_ms": Int64(self.start_ms + 2000),
                "location": "",
                "data_fs_filename": name,
            }
        )
        GridFS(self.db).put((sag() if counts is None else counts).astype("<i2").tobytes(), filename=name)

    def marked(self, event_id: int) -> bool:
        return bool((self.db.events.find_one({"event_id": event_id}) or {}).get("analysed"))


def sag() -> "np.ndarray":
    """2 s of 120 V, 60 Hz as an original Box counts it; 70 % from 0.8 to 1.0 s."""
    t_s = np.arange(24_000) / 12_000
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 * t_s)
    volts[(t_s >= 0.8) & (t_s < 1.0)] *= 0.7
    return np.round(volts * CALIBRATION).astype(np.int16)


def announced(event_id: int) -> MaukaMessage:
    return MaukaMessage.FromString(event_message(event_id)[1])


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def original(mongo_uri: str) -> Iterator[OriginalEventService]:
    made = OriginalEventService(mongo_uri)
    yield made
    made.client.close()


@pytest.fixture
def store(mongo_uri: str, original: OriginalEventService) -> Iterator[MongoStore]:
    opened = MongoStore(mongo_uri)
    yield opened
    opened.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runner(store: MongoStore, clock: Clock) -> AnalysisRunner:
    return AnalysisRunner(UNUSED_BUS, lambda: store, load_analyses([]), clock=clock)


@pytest.fixture
def idle_for(runner: AnalysisRunner, clock: Clock) -> Callable[[float], None]:
    """The runner's time between messages, in steps of 0.25 s of its clock."""

    def work(seconds: float) -> None:
        for _ in range(round(4 * seconds)):
            clock.now_s += 0.25
            while runner.on_idle():
                pass

    return work


def found(store: MongoStore) -> list[tuple[str, str]]:
    return sorted(
        (one.finding.box_id, one.finding.kind) for incident in store.incidents() for one in incident.findings
    )


def test_an_event_is_analysed_with_its_waveform(
    original: OriginalEventService,
    runner: AnalysisRunner,
    store: MongoStore,
    idle_for: Callable[[float], None],
) -> None:
    """An event is analysed when its waveform has come and not marked before."""
    runner.on_message(MAKAI_EVENT, announced(7))  # nothing of it is in the database
    idle_for(1)
    original.open_event(7, "1")
    runner.on_message(MAKAI_EVENT, announced(7))  # it names a Box whose waveform is not there
    idle_for(5)
    assert found(store) == [] and not original.marked(7)
    original.store_waveform(7, "1")
    idle_for(2)
    assert found(store) == [("1", "sag")]
    assert original.marked(7)
    (incident,) = store.incidents()
    assert incident.residual_percent == pytest.approx(70.0, abs=0.1)


def test_a_box_joined_later_is_analysed(
    original: OriginalEventService,
    runner: AnalysisRunner,
    store: MongoStore,
    idle_for: Callable[[float], None],
) -> None:
    original.open_event(7, "1")
    original.store_waveform(7, "1")
    runner.on_message(MAKAI_EVENT, announced(7))
    idle_for(3)
    assert found(store) == [("1", "sag")] and original.marked(7)
    original.join(7, "2")
    idle_for(2)
    original.store_waveform(7, "2")
    idle_for(3)
    assert found(store) == [("1", "sag"), ("2", "sag")]
    (incident,) = store.incidents()
    assert incident.box_ids == ("1", "2"), "their waveforms say how far their clocks are apart"
    assert original.marked(7)
    analysed = runner.counters.total("events")
    idle_for(40)
    assert runner.counters.total("events") == analysed == 2


def test_after_10_s_available_boxes_are_analysed(
    original: OriginalEventService,
    runner: AnalysisRunner,
    store: MongoStore,
    idle_for: Callable[[float], None],
) -> None:
    """After 10 s the available waveforms are analysed; an empty file is not one."""
    original.open_event(7, "1")
    original.join(7, "2")
    original.store_waveform(7, "1")
    original.store_waveform(7, "2", np.zeros(0, np.int16))  # it had nothing of the span
    runner.on_message(MAKAI_EVENT, announced(7))
    idle_for(9)
    assert found(store) == []
    idle_for(2)
    assert found(store) == [("1", "sag")]
    assert runner.counters.total("failures") == 0


def test_an_event_without_waveform_is_counted(
    original: OriginalEventService, runner: AnalysisRunner, idle_for: Callable[[float], None]
) -> None:
    """An event whose waveform never comes is counted and left as it is."""
    original.open_event(7, "1")
    runner.on_message(MAKAI_EVENT, announced(7))
    idle_for(31)
    assert runner.counters.total("events_without_waveform") == 1
    assert runner.counters.total("events") == 0
    assert "analysed" not in (original.db.events.find_one({"event_id": 7}) or {})


def test_an_unannounced_event_is_found_in_the_store(
    original: OriginalEventService,
    runner: AnalysisRunner,
    store: MongoStore,
    idle_for: Callable[[float], None],
) -> None:
    original.open_event(7, "1")
    original.store_waveform(7, "1")
    original.open_event(6, "1")
    hour_ms = 3_600_000
    old = {"target_event_end_timestamp_ms": Int64(original.start_ms - hour_ms)}
    original.db.events.update_one({"event_id": 6}, {"$set": old})
    original.store_waveform(6, "1")
    idle_for(4)
    assert original.marked(7) and found(store) == [("1", "sag")]
    assert not original.marked(6), "of before Mauka was there: not for us"


def test_original_plug_ins_get_each_box_once(
    original: OriginalEventService, store: MongoStore, clock: Clock
) -> None:
    plugin = MakaiEventPlugin(UNUSED_BUS, lambda: store)
    plugin._originals._clock = clock
    said: list[str] = []

    def produce(topic: str, message: Any) -> None:
        said.append(f"{topic} {MaukaMessage.FromString(message).payload.box_id}")

    plugin.produce = produce  # type: ignore[method-assign]
    plugin.on_message(MAKAI_EVENT, announced(7))

    def idle(seconds: float) -> None:
        for _ in range(round(4 * seconds)):
            clock.now_s += 0.25
            plugin.on_idle()

    original.open_event(7, "1")
    original.store_waveform(7, "1")
    idle(3)
    assert said == ["AdcSamples 1", "RawVoltage 1", "RmsWindowedVoltage 1", "windowed_frequency 1"]
    original.join(7, "2")
    original.store_waveform(7, "2")
    idle(3)
    assert said[4:] == ["AdcSamples 2", "RawVoltage 2", "RmsWindowedVoltage 2", "windowed_frequency 2"]


def test_the_whole_way_with_a_late_waveform(
    original: OriginalEventService, store: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The complete way from port 10000, with the waveform after the announcement."""
    monkeypatch.setattr("opq_cloud.mauka.plugin.WAIT_SUBSCRIBED_S", WAIT_S)  # what comes after that arrives
    monkeypatch.setattr("opq_cloud.mauka.bus.broker.WAIT_BUS_S", WAIT_S)
    section = MaukaSection(
        event_endpoint=free_endpoint(), bus_sub_endpoint=free_endpoint(), bus_pub_endpoint=free_endpoint()
    )
    settings = {PUB_KEY: section.bus_sub_endpoint, SUB_KEY: section.bus_pub_endpoint}
    runner = AnalysisRunner(settings, lambda: store, load_analyses([]))
    context: zmq.Context[Any] = zmq.Context()
    stop = threading.Event()
    with ExitStack() as ended:
        ended.callback(context.destroy, linger=0)
        announcements = context.socket(zmq.XPUB)
        announcements.bind(section.event_endpoint)
        for service in (BusBroker(section), runner, EventBridge(section)):
            ready = threading.Event()
            thread = threading.Thread(target=service.run, args=(stop, ready))
            thread.start()
            ended.callback(thread.join, WAIT_S)
            assert ready.wait(WAIT_S)
        ended.callback(stop.set)
        assert announcements.poll(1000 * int(WAIT_S))
        announcements.recv()  # the bridge has subscribed
        announcements.send_multipart([b"instance", b"12"])
        original.open_event(12, "1")
        end_s = time.monotonic() + WAIT_S
        while (
            not (runner.flow.waiting._unfinished or runner.flow.waiting._originals)
            and time.monotonic() < end_s
        ):
            time.sleep(0.01)
        assert not original.marked(12)
        original.store_waveform(12, "1")
        while not original.marked(12) and time.monotonic() < end_s:
            time.sleep(0.05)
        assert original.marked(12)
        assert found(store) == [("1", "sag")]
