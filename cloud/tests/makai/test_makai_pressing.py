"""What comes is gathered and handled together; what may begin an event of milliseconds ends the wait."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from opq_cloud.core.backend.sockets import BURST
from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai import TriggeringServiceSection
from opq_cloud.makai import triggering_broker, triggering_service
from opq_cloud.makai.brokers import receive_queue
from opq_cloud.makai.brokers.receive_queue import ReceiveQueue
from opq_cloud.makai.pressing import is_pressing
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_proto.decision import Nominal
from opq_proto.messages import Measurement, Metric, TimeSource
from opq_proto.wire.frames import measurement_to_wire
from opq_proto.wire.opqbox3_pb2 import Measurement as WireMeasurement

LONG_S = 300.0
S = 10**9
QUIET = Measurement(
    "1", 2000, {"rms": Metric(118.0, 121.0, 120.0), "f": Metric(59.9, 60.1, 60.0)}, S, 2 * S, 1000,
    TimeSource.GPS, 7, 1,
)  # fmt: skip


def test_a_crossing_a_swing_and_what_is_no_measurement_press() -> None:
    def swings(low_v: float, high_v: float) -> bool:
        rms = {"rms": Metric(low_v, high_v, high_v)}
        return is_pressing(measurement_to_wire(replace(QUIET, metrics=rms)))

    assert not is_pressing(measurement_to_wire(QUIET))
    assert not is_pressing(measurement_to_wire(replace(QUIET, backfilled=True, nominal_v=120.0)))
    assert is_pressing(measurement_to_wire(replace(QUIET, crossing=True)))
    assert is_pressing(measurement_to_wire(replace(QUIET, metrics={"edge_dip": Metric(1.0, 1.0, 1.0)})))
    assert [swings(115.0, 120.0), swings(113.0, 120.0), swings(60.0, 60.5)] == [False, True, False]
    assert swings(float("nan"), 120.0) and is_pressing(b"") and is_pressing(b"\x0a\x03rms\x12\x0f\x0d")
    original = WireMeasurement(box_id=1, timestamp_ms=5)  # metrics in another order, no times
    for name, volts in (("thd", 0.1), ("rms", 120.0)):
        metric = original.metrics[name]
        metric.min = metric.max = metric.average = volts
    assert not is_pressing(original.SerializeToString())
    original.metrics["rms"].min = 60.0
    assert is_pressing(original.SerializeToString())


def test_a_broker_gathers_what_comes_and_waits_no_longer_for_what_presses(
    makai: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, endpoint = makai.peer(), makai.free_endpoint()
    reader = peer.context.socket(zmq.PULL)
    reader.bind(endpoint)
    sender = peer.connect(zmq.PUSH, endpoint)
    quiet, crossing = (measurement_to_wire(replace(QUIET, crossing=each)) for each in (False, True))
    queue, read = ReceiveQueue(10**7), 0
    for _ in range(3):
        sender.send_multipart([b"0001", quiet])
    while read < 3:
        assert reader.poll(60_000)
        read += queue.gather(reader, time.monotonic() + LONG_S)
    assert [frames[1] for _, frames, *_ in queue.next_messages(9)] == [quiet] * 3
    monkeypatch.setattr(receive_queue, "STEP_S", LONG_S)  # nobody waits so long
    for body, until_s in ((crossing, time.monotonic() + LONG_S), (quiet, time.monotonic())):
        sender.send_multipart([b"0001", body])
        assert reader.poll(60_000) and queue.gather(reader, until_s) == 1
        assert [frames[1] for _, frames, *_ in queue.next_messages(9)] == [body]
    for topic, body in ((b"0001", quiet), (b"0002", quiet), (b"0002", crossing), (b"0003", quiet)):
        sender.send_multipart([topic, body])
    read = 0
    while read < 4:
        assert reader.poll(60_000)
        read += queue.read_waiting(reader)
    assert queue.pressing == {b"0002"}
    found = [frames for _, frames, *_ in queue.next_messages(9)]
    assert [topic for topic, _ in found] == [b"0002", b"0002", b"0001", b"0003"]
    assert [body for _, body in found][:2] == [quiet, crossing], "each Box's in their order"
    for number in range(BURST + 50):  # a flood, while this one is late
        sender.send_multipart([b"%020d" % number, b"none"])
    read = 0
    while read < BURST + 50:
        assert reader.poll(60_000)
        read += queue.read_waiting(reader)
    assert len(queue.pressing) <= BURST and max(map(len, queue.pressing)) <= 16
    reader.close(0)


def test_a_dip_among_gathered_measurements_is_asked_for_at_once(
    makai: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = makai.brokers()
    shared = CloudContext(lambda: open_store(None, tmp_path / "store"))
    config = TriggeringServiceSection(
        measurement_endpoint=brokers.triggering_config.backend_endpoint,
        request_endpoint=brokers.acquisition_config.request_endpoint,
        batch_ms=20,
    )
    service = TriggeringService(config, shared, Nominal(120.0, 60.0))
    client, box = makai.client(brokers), makai.holding_box(brokers, "1")
    with makai.running(brokers.triggering), makai.running(brokers.acquisition), makai.running(service):
        makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
        makai.wait_for(lambda: makai.arrives(box.plain, client) and service.counters.total("received"))
        for module in (triggering_broker, triggering_service):
            monkeypatch.setattr(module, "GATHER_S", LONG_S)
        for _ in range(3):
            box.send()
        box.send(least=60.0)

        def asked() -> bool:  # it sends nothing again: that would be gathered for LONG_S
            command = box.plain.command(1000)
            return command is not None and command.WhichOneof("command") == "data_command"

        makai.wait_for(asked)
        monkeypatch.undo()
        makai.wait_for(lambda: shared.store.sequences("1", 1, 9) == [1, 2, 3, 4])
    shared.close()
