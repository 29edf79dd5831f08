"""Boxes of the original's generations at our brokers, over real CURVE: heard, asked, answered, stored.

The Boxes are those of opq_sim.foreign, whose bytes come from no encoder of ours (test_foreign_frames.py).
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import EventServiceSection as EventConfig
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.messages import TimeSource
from opq_proto.wire.frames import info_command, plugin_command, rate_command
from opq_proto.wire.opq_pb2 import DataMessage, RequestDataMessage, TriggerMessage
from opq_proto.wire.opqbox3_pb2 import Cycle, Measurement, Response
from opq_sim.foreign.cur_box import CurBox
from opq_sim.foreign.host import COUNTS_PER_VOLT, ConnectedBox, ForeignEndpoints, ForeignHost
from opq_sim.foreign.leg_box import LegBox
from opq_sim.mains.generator import Generator, MainsSignal

FAST = 6
"""Windows per Measurement: ten a second."""
SIGNAL = MainsSignal(fundamental_v=118.0, noise_v=0.1, v_per_lsb=1 / COUNTS_PER_VOLT)


def connected(brokers: Any, box_id: str, generation: str = "cur") -> ConnectedBox:
    pair = brokers.pair(box_id)
    source = Generator(SIGNAL, seed=int(box_id))
    if generation == "leg":
        return ConnectedBox(LegBox(box_id, COUNTS_PER_VOLT), source, pair)
    peer = CurBox(box_id, COUNTS_PER_VOLT, pair.public, windows_per_measurement=FAST)
    return ConnectedBox(peer, source, pair)


def endpoints(brokers: Any) -> ForeignEndpoints:
    return ForeignEndpoints(
        brokers.triggering_config.box_endpoint,
        brokers.acquisition_config.command_endpoint,
        brokers.acquisition_config.response_endpoint,
        brokers.server.public,
    )


@pytest.fixture
def running(makai: Any) -> Iterator[tuple[Any, Any, ExitStack]]:
    """Both brokers, and a client of 9881, 9884 and 9899."""
    brokers = makai.brokers()
    with ExitStack() as stack:
        for service in (brokers.triggering, brokers.acquisition):
            stack.enter_context(makai.running(service))
        yield brokers, makai.client(brokers), stack


def sent_samples(box_id: str, first_window: int, windows: int) -> np.ndarray:
    made = Generator(SIGNAL, seed=int(box_id)).counts(200 * first_window, 200 * windows)
    return np.asarray(made).reshape(-1, 200)


def place_of(row: np.ndarray, box_id: str, windows: int = 2000) -> int:
    """The number of the window (from 0) that has exactly these samples."""
    for first in range(0, windows, 200):
        found = np.flatnonzero((sent_samples(box_id, first, 200) == row).all(axis=1))
        if len(found):
            return first + int(found[0])
    raise AssertionError(f"Box {box_id} never sent these samples")


def test_cur_boxes_are_asked_one_by_one(makai: Any, running: Any, tmp_path: Path) -> None:
    """ "cur" Boxes are heard, asked and stored, and each is asked separately."""
    brokers, client, stack = running
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    stack.callback(shared.close)
    triggering = TriggeringConfig(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        batch_ms=20,
    )
    events = EventConfig(
        answer_endpoint=brokers.acquisition_config.answer_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        event_endpoint=makai.free_endpoint(),
        event_id_endpoint=makai.free_endpoint(),
        grouping_s=0.3,
    )
    stack.enter_context(makai.running(TriggeringService(triggering, shared, Nominal(120.0, 60.0))))
    stack.enter_context(makai.running(EventService(events, shared)))
    boxes = [connected(brokers, box_id) for box_id in ("1", "10")]
    host = stack.enter_context(ForeignHost(endpoints(brokers), boxes))
    for box_id in ("1", "10"):
        makai.wait_for(lambda box_id=box_id: brokers.acquisition.counters.of("boxes_listening", box_id))
    topics = set()
    while topics != {b"0001", b"0010"}:
        assert client.measurements.poll(240_000)
        topic, body = client.measurements.recv_multipart()
        heard = Measurement.FromString(body)
        assert topic == b"%04d" % heard.box_id
        topics.add(topic)

    makai.wait_for(lambda: set(shared.store.latest_measurements()) == {"1", "10"})
    stored = makai.wait_for(lambda: shared.store.measurements("10", 0, 2**60))[0]
    assert stored.metrics["rms"].average == pytest.approx(118.0, rel=2e-3)
    assert (stored.sequence, stored.start_ns, stored.nominal_v) == (None, None, None)  # nothing of ours

    token = "data_" + "A" * 30 + "_elsewhere"
    makai.wait_for(lambda: len(shared.store.measurements("10", 0, 2**60)) > 4)  # it has 300 ms and more
    now_ms = shared.store.latest_measurements()["10"].timestamp_ms
    client.ask("10", token, now_ms - 250, now_ms - 50)
    assert client.answers.poll(240_000)
    identity, head, *cycles = client.answers.recv_multipart()
    assert identity == token.encode()
    assert Response.FromString(head).box_id == 10
    client.ask("1", token.replace("A", "B"), now_ms - 250, now_ms - 50)
    assert client.answers.poll(240_000)  # after it Box 1 would have heard the other one's
    assert Response.FromString(client.answers.recv_multipart()[1]).box_id == 1
    assert [host.boxes[box_id].peer.counts.commands["of another Box"] for box_id in ("1", "10")] == [0, 0]
    assert brokers.acquisition.counters.total("foreign") == 0

    rows = np.array([Cycle.FromString(frame).datapoints for frame in cycles])
    assert 11 <= len(rows) <= 13  # windows of 16.7 ms strictly within 200 ms
    assert all(frame[0] == 0x08 for frame in cycles)  # the tag before every sample, not 0a for all
    first = place_of(rows[0], "10")
    assert np.array_equal(rows, sent_samples("10", first, len(rows)))

    event = makai.wait_for(
        lambda: next((e for e in shared.store.events() if e.finished and e.boxes_received == ("10",)), None)
    )
    [wave] = shared.store.event(event.event_id).waveforms
    assert np.array_equal(wave.counts, rows.ravel())
    assert (wave.source, wave.rate_millihz) == (TimeSource.FREE, 12_000_000)
    assert wave.v_per_lsb == pytest.approx(1 / COUNTS_PER_VOLT)


def test_cur_answers_every_command_of_a_client(makai: Any, running: Any) -> None:
    brokers, client, stack = running
    host = stack.enter_context(ForeignHost(endpoints(brokers), [connected(brokers, "4")]))
    makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "4"))

    def asked(command: bytes) -> Response:
        client.requests.send(command)
        assert client.answers.poll(240_000)
        identity, head = client.answers.recv_multipart()
        assert identity == b"mine"
        return Response.FromString(head)

    assert asked(info_command("4", "mine")).info_response.measurement_rate == FAST
    assert asked(rate_command("4", 3, "mine")).message_rate_reponse.old_rate_cycles == FAST
    assert asked(info_command("4", "mine")).info_response.measurement_rate == 3
    assert asked(plugin_command("4", "opq-update", "x", "mine")).command_to_plugin_response.ok
    client.ask("4", "mine", 1000, 2000)
    assert client.answers.poll(240_000)
    _, head = client.answers.recv_multipart()  # nothing of 1970: one frame, 0 and 0
    assert head.endswith(b"\x32\x00")
    assert host.boxes["4"].peer.counts.answers.total() == 5


def test_a_cur_box_answers_after_new_command_sockets(makai: Any, running: Any) -> None:
    """A "cur" Box makes its command sockets again after 121 silences, and answers."""
    brokers, client, stack = running
    box = connected(brokers, "4")
    assert (box.peer.sockets.silence_s, box.peer.sockets.silences) == (1.0, 121)
    box.peer.sockets = replace(box.peer.sockets, silence_s=0.001, silences=60)  # at most one per window
    stack.enter_context(ForeignHost(endpoints(brokers), [box]))
    makai.wait_for(lambda: box.peer.counts.rebuilt)
    box.peer.sockets = replace(box.peer.sockets, silence_s=1.0)
    listening = brokers.acquisition.counters
    makai.wait_for(lambda: listening.of("boxes_listening", "4") == 1 + box.peer.counts.rebuilt)
    client.ask("4", "mine", 1000, 2000)
    assert client.answers.poll(240_000)


def test_a_leg_box_answers_its_own_broker(makai: Any) -> None:
    brokers = makai.brokers()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = {}
    for name, kind in (("triggers", zmq.SUB), ("commands", zmq.XPUB), ("answers", zmq.PULL)):
        socket = sockets[name] = context.socket(kind)
        socket.linger, socket.curve_server = 0, True
        socket.curve_publickey, socket.curve_secretkey = brokers.server.public, brokers.server.secret
        if kind == zmq.SUB:
            socket.subscribe(b"")
        socket.bind("tcp://127.0.0.1:*")
    where = [socket.get(zmq.LAST_ENDPOINT).rstrip(b"\0").decode() for socket in sockets.values()]

    def ask(kind: int, number: int, **span: int) -> list[bytes]:
        request = RequestDataMessage(type=kind, sequence_number=number, **span)
        sockets["commands"].send_multipart([b"evget", request.SerializeToString()])
        assert sockets["answers"].poll(240_000)
        return sockets["answers"].recv_multipart()

    try:
        with ForeignHost(ForeignEndpoints(*where, brokers.server.public), [connected(brokers, "4", "leg")]):
            assert sockets["commands"].poll(240_000)
            assert sockets["commands"].recv() == b"\x01"  # everything
            assert sockets["triggers"].poll(240_000)
            topic, body = sockets["triggers"].recv_multipart()
            trigger = TriggerMessage.FromString(body)
            assert topic == b"4" and trigger.rms == pytest.approx(118.0, rel=2e-3)
            [pong] = ask(RequestDataMessage.PING, 1)
            assert RequestDataMessage.FromString(pong).type == RequestDataMessage.PONG
            head, *data = ask(RequestDataMessage.READ, 2, back=trigger.time - 150, forward=trigger.time)
    finally:
        context.destroy(linger=0)
    answer = RequestDataMessage.FromString(head)
    assert (answer.type, answer.sequence_number, answer.boxId) == (RequestDataMessage.RESP, 2, 4)
    rows = np.array([cycle.data for each in data for cycle in DataMessage.FromString(each).cycles])
    assert len(rows) == answer.num_cycles == 9 or len(rows) == 10
    first = place_of(rows[0], "4")
    assert np.array_equal(rows, sent_samples("4", first, len(rows)))
