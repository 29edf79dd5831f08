"""Both generations at our brokers: a LEG Box, a CUR Box and ours in one event; the original's clients.

The foreign Boxes are those of opq_sim.foreign, whose bytes come from no encoder of ours.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.core.settings.makai_settings import EventServiceSection as EventConfig
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.makai.brokers.leg_boxes import LegBoxes
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.events.requested_events import RequestedEvents
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import CloudStore, open_store
from opq_proto.decision import Nominal
from opq_proto.errors import FrameError, StoreError
from opq_proto.messages import TimeSource, Waveform
from opq_proto.wire.frames import info_command, plugin_command, rate_command, waveform_to_frames
from opq_proto.wire.opq_pb2 import RequestDataMessage, RequestEventMessage
from opq_proto.wire.opqbox3_pb2 import Command, Cycle, Measurement, Response
from opq_sim.foreign.cur_box import CurBox
from opq_sim.foreign.host import COUNTS_PER_VOLT, ConnectedBox, ForeignEndpoints, ForeignHost
from opq_sim.foreign.leg_box import LegBox
from opq_sim.mains.generator import Generator, MainsSignal

SIGNAL = MainsSignal(fundamental_v=118.0, noise_v=0.1, v_per_lsb=1 / COUNTS_PER_VOLT)
LEG, CUR, OURS = "1", "4", "10"


def connected(brokers: Any, box_id: str) -> ConnectedBox:
    pair = brokers.pair(box_id)
    source = Generator(SIGNAL, seed=int(box_id))
    if box_id == LEG:
        return ConnectedBox(LegBox(box_id, COUNTS_PER_VOLT), source, pair)
    return ConnectedBox(CurBox(box_id, COUNTS_PER_VOLT, pair.public, windows_per_measurement=6), source, pair)


class OurBox:
    """Answers as a gateway does: every sample of the span, with its time and gain."""

    def __init__(self, box: Any) -> None:
        self._box, self._stop = box, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "OurBox":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            command = self._box.command(20)
            if command is None or command.WhichOneof("command") != "data_command":
                continue
            asked = command.data_command
            counts = np.arange(12 * (asked.end_ms - asked.start_ms)) % 1000
            wave = Waveform(
                self._box.box_id,
                asked.start_ms * 10**6,
                100,
                TimeSource.GPS,
                12_000_000,
                0.01,
                0,
                counts.astype(np.int16),
            )
            now_ms = time.time_ns() // 1_000_000
            self._box.push.send_multipart(waveform_to_frames(wave, self._box.box_id, command.seq, now_ms))


@pytest.fixture
def running(makai: Any, tmp_path: Path) -> Iterator[tuple[Any, Any, CloudStore, Any, ExitStack]]:
    """Brokers, event service and triggering service; a client of 9881, 9884 and 9899; a LEG and a CUR Box."""
    brokers = makai.brokers()
    with ExitStack() as stack:
        shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
        stack.callback(shared.close)
        endpoints = brokers.acquisition_config
        events = EventConfig(
            answer_endpoint=endpoints.answer_endpoint,
            request_endpoint=endpoints.request_endpoint,
            event_endpoint=makai.free_endpoint(),
            event_id_endpoint=makai.free_endpoint(),
            ask_again_s=0.5,
        )
        triggering = TriggeringConfig(
            measurement_endpoint=brokers.triggering_config.backend_endpoint,
            request_endpoint=endpoints.request_endpoint,
            batch_ms=20,
        )
        for service in (
            brokers.triggering,
            brokers.acquisition,
            EventService(events, shared),
            TriggeringService(triggering, shared, Nominal(120.0, 60.0)),
        ):
            stack.enter_context(makai.running(service))
        where = ForeignEndpoints(
            brokers.triggering_config.box_endpoint,
            endpoints.command_endpoint,
            endpoints.response_endpoint,
            brokers.server.public,
        )
        boxes = [connected(brokers, box_id) for box_id in (LEG, CUR)]
        host = stack.enter_context(ForeignHost(where, boxes))
        client = makai.client(brokers)
        for box_id in (LEG, CUR):
            makai.wait_for(lambda box_id=box_id: brokers.acquisition.counters.of("boxes_listening", box_id))
        yield brokers, client, shared.store, host, stack


def spoken(client: Any, topic: bytes, seconds: float = 240) -> list[bytes]:
    """The next message on 9899 whose first frame begins so."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if client.answers.poll(100):
            frames: list[bytes] = client.answers.recv_multipart()
            if frames[0].startswith(topic):
                return frames
    raise AssertionError(f"no {topic!r} on 9899")


def sampled(row: np.ndarray, box_id: str) -> bool:
    """Whether a foreign Box has these 200 samples."""
    for first in range(0, 6000, 200):
        made = np.asarray(Generator(SIGNAL, seed=int(box_id)).counts(200 * first, 200 * 200)).reshape(-1, 200)
        if (made == row).all(axis=1).any():
            return True
    return False


def request(box_ids: list[int], start_ms: int, end_ms: int, data: bool = True) -> bytes:
    return RequestEventMessage(
        start_timestamp_ms_utc=start_ms,
        end_timestamp_ms_utc=end_ms,
        trigger_type=RequestEventMessage.VOLTAGE_SAG,
        percent_magnitude=12.5,
        box_ids=box_ids,
        requestee="mauka",
        description="a dip",
        request_data=data,
    ).SerializeToString()


def test_boxes_of_all_generations_are_in_one_event(makai: Any, running: Any) -> None:
    """A "leg" Box, a "cur" Box and ours are in one event."""
    brokers, client, store, host, stack = running
    ours = makai.box(brokers, OURS)
    stack.enter_context(OurBox(ours))
    makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", OURS))
    makai.wait_for(lambda: all(len(store.measurements(box_id, 0, 2**60)) > 4 for box_id in (LEG, CUR)))
    now_ms = min(row.timestamp_ms for row in store.latest_measurements().values())
    client.requests.send(request([int(LEG), int(CUR), int(OURS)], now_ms - 400, now_ms - 50))
    _, number = spoken(client, b"evnew")
    event = makai.wait_for(
        lambda: next((e for e in store.events() if e.event_id == int(number) and e.finished), None)
    )
    assert set(event.boxes_triggered) == set(event.boxes_received) == {LEG, CUR, OURS}
    waves = {wave.box_id: wave for wave in store.event(event.event_id).waveforms}
    for box_id in (LEG, CUR):
        rows = waves[box_id].counts.reshape(-1, 200)
        assert 18 <= len(rows) <= 24 and sampled(rows[0], box_id) and sampled(rows[-1], box_id)
    assert len(waves[OURS].counts) == 12 * 350
    assert host.boxes[LEG].peer.counts.commands["read"] >= 1
    assert brokers.acquisition.counters.total("foreign") == 0


def test_a_leg_boxs_trigger_messages_are_measurements(makai: Any, running: Any) -> None:
    brokers, client, store, _, _ = running
    until = time.monotonic() + 240
    while time.monotonic() < until:
        assert client.measurements.poll(240_000)
        topic, body = client.measurements.recv_multipart()
        if topic == b"0001":
            break
    heard = Measurement.FromString(body)
    assert heard.box_id == 1 and heard.metrics["rms"].average == pytest.approx(118.0, rel=2e-3)
    stored = makai.wait_for(lambda: store.measurements(LEG, 0, 2**60))
    assert stored[0].metrics["rms"].min == stored[0].metrics["rms"].max
    assert brokers.triggering.counters.of("leg_measurements", LEG) > 0
    assert brokers.triggering.counters.total("malformed") == 0


def test_the_originals_clients_are_served_by_all_boxes(makai: Any, running: Any) -> None:
    """box_trigger, Mauka's TriggerPlugin and its rate and info requests, each under its own identity."""
    brokers, client, store, host, _ = running
    makai.wait_for(lambda: all(len(store.measurements(box_id, 0, 2**60)) > 4 for box_id in (LEG, CUR)))
    now_ms = min(row.timestamp_ms for row in store.latest_measurements().values())
    one, tool = uuid.uuid4(), str(uuid.uuid4())
    for box_id in (LEG, CUR):
        identity = f"mauka_{one}_{box_id}"
        client.ask(box_id, identity, now_ms - 250, now_ms - 50)
        topic, head, *cycles = spoken(client, b"mauka_")
        assert topic == identity.encode()
        answered = Response.FromString(head)
        assert (str(answered.box_id), answered.WhichOneof("response")) == (box_id, "get_data_response")
        assert 10 <= len(cycles) <= 14 and all(
            len(Cycle.FromString(each).datapoints) == 200 for each in cycles
        )
        assert answered.get_data_response.start_ts == Cycle.FromString(cycles[0]).timestamp_ms
        client.ask(box_id, tool, now_ms - 250, now_ms - 50)
        assert str(Response.FromString(spoken(client, tool.encode())[1]).box_id) == box_id
        client.ask(box_id, tool, 1000, 2000)  # nothing of 1970: one frame, 0 and 0
        [head] = spoken(client, tool.encode())[1:]
        assert head.endswith(b"\x32\x00")
    client.requests.send(rate_command(CUR, 3, f"maukarate_{one}_0"))
    topic, head = spoken(client, b"maukarate_")
    assert topic == f"maukarate_{one}_0".encode()
    assert Response.FromString(head).message_rate_reponse.old_rate_cycles == 6
    client.requests.send(info_command(CUR, f"maukainfo_{one}_0"))
    assert Response.FromString(spoken(client, b"maukainfo_")[1]).info_response.measurement_rate == 3
    client.requests.send(plugin_command(LEG, "x", "y", tool))  # nothing in that generation answers it
    makai.wait_for(lambda: brokers.acquisition.counters.of("commands_not_for_leg", LEG))
    assert host.boxes[LEG].peer.counts.ignored["topic"] <= 1  # today's form only until it had answered


def test_a_requested_event_may_be_recorded_without_data(makai: Any, running: Any) -> None:
    """A wrong request is counted."""
    brokers, client, store, _, _ = running
    now_ms = time.time_ns() // 1_000_000
    client.requests.send(request([4], now_ms - 900, now_ms - 800, data=False))
    _, number = spoken(client, b"evnew")
    event = store.event_record(int(number))
    assert event is not None and event.finished and event.boxes_received == ()
    assert event.missing == {"4": "not asked: request_data is false"}
    client.requests.send(request([4], now_ms, now_ms - 800))
    makai.wait_for(lambda: brokers.acquisition.counters.total("malformed_commands") == 1)
    client.requests.send_multipart([b"evnew", b"not a number"])
    makai.wait_for(lambda: brokers.acquisition.counters.total("malformed_commands") == 2)


def test_events_without_data_are_bounded_for_each_box(tmp_path: Path) -> None:
    clock, counters = [0.0], ServiceCounters()
    store = open_store(None, tmp_path / "store")
    asked = RequestedEvents(counters, "test", noted_per_min=2, monotonic_s=lambda: clock[0])

    def ask(box_id: int) -> int:
        data = request([box_id], 1000, 2000, data=False)
        return asked.open_event(data, store, lambda token: True, 3000)[0]

    ask(4), ask(4)
    with pytest.raises(FrameError, match="Box 4: 2 events a minute without data"):
        ask(4)
    assert counters.total("event_requests_refused") == 1
    ask(5)
    clock[0] = 30.0
    ask(4)
    with pytest.raises(FrameError, match="60 s ahead of this clock"):
        asked.open_event(request([9], 1000, 64_000), store, lambda token: True, 3000)
    assert len(store.events()) == 4, "what was refused is not on disk"
    store.close()


def test_a_partly_stored_request_is_one_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that the store takes in parts is one event."""
    store, counters = open_store(None, tmp_path / "store"), ServiceCounters()
    asked, refusals = RequestedEvents(counters, "test", noted_per_min=2), [StoreError("full")] * 3
    mark = store.mark_missing

    def refusing(*values: Any) -> None:
        if refusals:
            raise refusals.pop()
        mark(*values)

    monkeypatch.setattr(store, "mark_missing", refusing)
    data = request([4], 1000, 2000, data=False)
    for _ in range(3):  # as the event service tries it again
        with pytest.raises(StoreError):
            asked.open_event(data, store, lambda token: True, 3000)
    assert [asked.open_event(data, store, lambda token: True, 3000)[0] for _ in range(2)] == [1, 2]
    assert [each.finished for each in store.events()] == [True, True]
    assert counters.total("events_requested") == 2
    store.close()


def test_requests_for_one_span_are_one_read() -> None:
    """A ping follows silence."""
    counters, numbers = ServiceCounters(), iter(range(100, 200))
    leg = LegBoxes(counters, lambda: next(numbers), 10, 60.0)
    assert list(leg.messages(0.0)) == []
    leg.add_box("1")
    leg.add_box("2")
    assert leg.forms("1") == (True, True) and leg.forms("9") == (True, False)
    [[topic, ping]] = leg.messages(0.0)
    assert topic == b"evget" and RequestDataMessage.FromString(ping).type == RequestDataMessage.PING
    pong = RequestDataMessage(type=RequestDataMessage.PONG, sequence_number=100).SerializeToString()
    answer = leg.answer_of("1", [pong])
    assert answer is not None and list(leg.responses("1", answer, [pong])) == []
    assert leg.forms("1") == (False, True)
    leg.note_today("2")
    assert leg.forms("2") == (True, False)
    for box_id, identity in (("1", "a"), ("3", "b"), ("1", "c")):
        command = Command(box_id=int(box_id), identity=identity)
        command.data_command.start_ms, command.data_command.end_ms = 1000, 2000
        leg.gather(command, 5.0)
    [[_, read]] = leg.messages(5.0)
    number = RequestDataMessage.FromString(read).sequence_number
    error = RequestDataMessage(type=RequestDataMessage.ERROR, sequence_number=number, boxId=1)
    frames = [error.SerializeToString()]
    answer = leg.answer_of("1", frames)
    assert answer is not None
    assert [made[0] for made in leg.responses("1", answer, frames)] == [b"a", b"c"]
    assert list(leg.responses("1", answer, frames)) == []
    assert counters.of("responses_not_asked_for", "1") == 1
    assert list(leg.messages(17.9)) == []
    assert len(list(leg.messages(18.1))) == 1
    assert list(leg.messages(65.0)) != [] and counters.total("leg_unanswered") == 1


def test_a_false_leg_box_is_malformed(makai: Any) -> None:
    """A CUR Box, subscribed to its own id: its Response without a one-of is not an LEG answer."""
    brokers = makai.brokers()
    with makai.running(brokers.acquisition):
        box = makai.box(brokers, "4")
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "4"))
        pong = RequestDataMessage(type=RequestDataMessage.RESP, sequence_number=7, boxId=1, time=5)
        box.push.send(pong.SerializeToString())
        makai.wait_for(lambda: brokers.acquisition.counters.of("responses_not_asked_for", "4"))
        assert brokers.acquisition.counters.of("leg_pongs", "4") == 0
