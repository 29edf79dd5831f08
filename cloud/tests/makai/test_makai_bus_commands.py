"""The original's plug-ins of Mauka that command Boxes, on real sockets: TriggerRequest, rates by request."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import EventServiceSection
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.events.event_requests import OpenEvents
from opq_cloud.mauka.bus.broker import BusBroker
from opq_cloud.mauka.bus.bus_messages import new_message
from opq_cloud.mauka.bus_plugins import trigger_requests
from opq_cloud.mauka.bus_plugins.box_commands import DATA_KEY, TRIGGER_KEY, BoxOptimizationPlugin
from opq_cloud.mauka.bus_plugins.trigger_requests import EVENT_ID_KEY, TriggerRequestPlugin
from opq_cloud.mauka.plugin import PUB_KEY, SUB_KEY, MaukaPlugin
from opq_cloud.store import open_store
from opq_cloud.store.event_record import MAUKA_ASKED
from opq_proto.messages import Trigger
from opq_proto.wire.mauka_pb2 import MaukaMessage
from opq_proto.wire.opqbox3_pb2 import Command, Response


class CommandingMauka:
    """A bus, the acquisition broker with Boxes 1 and 4, and one plug-in between them."""

    def __init__(self, makai: Any, folder: Path, running: ExitStack) -> None:
        self.makai, self._running, self.brokers = makai, running, makai.brokers()
        self.shared = CloudContext(lambda: open_store(None, folder / "store"))
        running.callback(self.shared.close)
        self.bus = MaukaSection(
            bus_sub_endpoint=makai.free_endpoint(), bus_pub_endpoint=makai.free_endpoint()
        )
        acquisition = self.brokers.acquisition_config
        self.events = EventServiceSection(
            answer_endpoint=acquisition.answer_endpoint,
            request_endpoint=acquisition.request_endpoint,
            event_endpoint=makai.free_endpoint(),
            event_id_endpoint=makai.free_endpoint(),
        )
        self.settings = {
            PUB_KEY: self.bus.bus_sub_endpoint,
            SUB_KEY: self.bus.bus_pub_endpoint,
            TRIGGER_KEY: acquisition.request_endpoint,
            DATA_KEY: acquisition.answer_endpoint,
            EVENT_ID_KEY: self.events.event_id_endpoint,
        }
        for service in (BusBroker(self.bus), self.brokers.acquisition):
            running.enter_context(makai.running(service))
        self._heard = makai.peer().connect(zmq.SUB, self.bus.bus_pub_endpoint)
        self._out = makai.peer().connect(zmq.PUB, self.bus.bus_sub_endpoint)

    def start(self, plugin: MaukaPlugin, prefixes: int) -> None:
        """Returns when the broker would send it answers, and messages of ours reach it and us."""
        self._running.enter_context(self.makai.running(plugin))
        self.makai.wait_for(lambda: self.brokers.acquisition.counters.total("subscriptions") >= prefixes)

        def heard() -> bool:
            self._out.send_multipart([b"hello", new_message("test").SerializeToString()])
            return bool(self._heard.poll(50) and self._heard.recv_multipart()[0] == b"hello")

        self.makai.wait_for(heard)

    def box(self, box_id: str) -> Any:
        box = self.makai.box(self.brokers, box_id)
        self.makai.wait_for(lambda: self.brokers.acquisition.counters.of("boxes_listening", box_id))
        return box

    def publish(self, topic: str, message: MaukaMessage) -> None:
        self._out.send_multipart([topic.encode(), message.SerializeToString()])

    def next_message(self, topic: str) -> MaukaMessage:
        """The next of a topic on the bus."""
        while True:
            assert self._heard.poll(240_000), f"nothing of {topic}"
            frames = self._heard.recv_multipart()
            if frames[0] == topic.encode():
                return MaukaMessage.FromString(frames[1])


@pytest.fixture
def mauka(makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandingMauka]:
    # what is published once a plug-in is ready arrives
    monkeypatch.setattr("opq_cloud.mauka.plugin.WAIT_SUBSCRIBED_S", 60.0)
    monkeypatch.setattr(trigger_requests, "ID_S", 60.0)
    with ExitStack() as running:
        yield CommandingMauka(makai, tmp_path, running)


def request_of(start_ms: int, end_ms: int, *box_ids: str) -> MaukaMessage:
    message = new_message("MyPlugin")
    message.trigger_request.start_timestamp_ms = start_ms
    message.trigger_request.end_timestamp_ms = end_ms
    message.trigger_request.box_ids.extend(box_ids)
    message.trigger_request.incident_id = 7
    return message


def command_of(box: Any) -> Command:
    command: Command | None = box.command()
    assert command is not None
    return command


def test_a_trigger_request_becomes_an_event(mauka: CommandingMauka) -> None:
    """A trigger request becomes an event of both Boxes and a Makai event."""
    store = mauka.shared.store
    numbers = [store.next_event_id() for _ in range(4)]
    ids = mauka.makai.peer().context.socket(zmq.REP)
    ids.linger = 0
    ids.bind(mauka.events.event_id_endpoint)
    one, four = mauka.box("1"), mauka.box("4")
    mauka.start(TriggerRequestPlugin(mauka.settings, lambda: store, None), 1)
    start_ms = time.time_ns() // 10**6 - 60_000
    mauka.publish("TriggerRequest", request_of(start_ms, start_ms + 1000, "4", "1", "4"))
    assert ids.poll(240_000)
    ids.recv()
    ids.send(b"3")
    commands = {box.box_id: command_of(box) for box in (one, four)}
    tokens = {command.identity.split("_")[1] for command in commands.values()}
    assert len(tokens) == 1
    for box_id, command in commands.items():
        assert command.identity == f"mauka_{next(iter(tokens))}_{box_id}"
        assert (command.data_command.start_ms, command.data_command.end_ms) == (start_ms, start_ms + 1000)
        assert not command.data_command.wait
    for box in (one, four):
        box.push.send_multipart(box.answer(commands[box.box_id]))
    assert mauka.next_message("MakaiEvent").makai_event.event_id == 3 == numbers[2]
    record = store.event_record(3)
    assert record is not None and record.finished and record.boxes_received
    assert sorted(record.boxes_received) == ["1", "4"]
    assert record.because == "MyPlugin requested it, for incident 7"


def test_a_box_without_samples_is_missing(mauka: CommandingMauka, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Box without samples is missing and no id service is needed."""
    monkeypatch.setattr(trigger_requests, "ID_S", 0.05)
    store, one = mauka.shared.store, mauka.box("1")
    plugin = TriggerRequestPlugin(mauka.settings, lambda: store, None)
    mauka.start(plugin, 1)
    now_ms = time.time_ns() // 10**6
    for wrong in (
        request_of(now_ms, now_ms, "1"),
        request_of(now_ms - 70_000, now_ms, "1"),
        request_of(now_ms, now_ms + 1000),
        request_of(now_ms, now_ms + 1000, "kitchen"),
        request_of(now_ms, now_ms + 1000, *map(str, range(51))),
        request_of(now_ms + 3_600_000, now_ms + 3_601_000, "1"),
    ):
        mauka.publish("TriggerRequest", wrong)
    mauka.publish("TriggerRequest", request_of(now_ms - 5000, now_ms - 4000, "1"))
    command = command_of(one)
    one.push.send_multipart(one.answer(command, cycles=0))
    event_id = mauka.next_message("MakaiEvent").makai_event.event_id
    assert plugin.counters.total("requests_refused") == 6
    record = store.event_record(event_id)
    assert record is not None and record.missing == {"1": "no samples of this span"}


def test_the_event_service_finishes_an_event_of_mauka(mauka: CommandingMauka) -> None:
    """Mauka ends before the answers come."""
    store, one = mauka.shared.store, mauka.box("1")
    now_ns = time.time_ns()
    trigger = Trigger(
        "u" * 30,
        now_ns - 70 * 10**9,
        now_ns - 69 * 10**9,
        ("1",),
        "1",
        "asked",
        asked_as=((MAUKA_ASKED, ("1",)),),
    )
    event_id = store.open_event(trigger, "Mauka u")
    fresh = OpenEvents(20, 5)
    fresh.refresh(store.unfinished_events(), 0.0, trigger.end_ns + 50 * 10**9)
    assert len(fresh) == 0, "Mauka asks it itself"
    service = EventService(mauka.events, mauka.shared)
    wait: Callable[..., Any] = mauka.makai.wait_for
    with mauka.makai.running(service):
        command = command_of(one)
        one.push.send_multipart(one.answer(command))
        wait(lambda: store.event_record(event_id).finished)
    assert store.event_record(event_id).boxes_received == ("1",)


def test_rates_are_set_as_by_the_original(mauka: CommandingMauka) -> None:
    one, four = mauka.box("1"), mauka.box("4")
    plugin = BoxOptimizationPlugin(mauka.settings)
    mauka.start(plugin, 2)
    setting = new_message("test")
    setting.box_optimization_request.box_ids.extend(["1", "4"])
    mauka.publish("BoxOptimizationRequest", setting)  # 0 cycles
    setting.box_optimization_request.measurement_window_cycles = 12
    mauka.publish("BoxOptimizationRequest", setting)
    commands = [command_of(box) for box in (one, four)]
    assert [command.sampling_rate_command.measurement_window_cycles for command in commands] == [12, 12]
    parts = [command.identity.split("_") for command in commands]
    assert [(name, index) for name, _, index in parts] == [("maukarate", "0"), ("maukarate", "1")]
    assert parts[0][1] == parts[1][1]
    answer = Response(box_id=1, seq=commands[0].seq)
    answer.message_rate_reponse.old_rate_cycles = 60
    one.push.send_multipart([answer.SerializeToString()])
    mauka.makai.wait_for(lambda: plugin.counters.total("rates_set") == 1)
    asking = new_message("test")
    asking.box_measurement_rate_request.box_ids.append("4")
    mauka.publish("BoxMeasurementRateRequest", asking)
    command = command_of(four)
    assert command.WhichOneof("command") == "info_command"
    assert command.identity.startswith("maukainfo_") and command.identity.endswith("_0")
    answer = Response(box_id=4, seq=command.seq)
    answer.info_response.measurement_rate = 12
    four.push.send_multipart([answer.SerializeToString()])
    told = mauka.next_message("BoxMeasurementRateResponse")
    assert told.source == "box_optimization_plugin"
    assert (
        told.box_measurement_rate_response.box_id,
        told.box_measurement_rate_response.measurement_rate,
    ) == ("4", 12)
    assert plugin.counters.total("requests_refused") == 1
