"""What waits in the triggering broker is bounded in bytes, the oldest goes; each Box has its budget."""

import threading
from typing import Any

import pytest
import zmq

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringBrokerSection
from opq_cloud.makai.brokers.receive_queue import MESSAGE_BYTES, BoxBudget, ReceiveQueue
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_proto.wire.opqbox3_pb2 import Measurement


def test_the_oldest_message_is_dropped_beyond_the_limit(makai: Any) -> None:
    peer, endpoint = makai.peer(), makai.free_endpoint()
    reader = peer.context.socket(zmq.PULL)
    reader.bind(endpoint)
    sender = peer.connect(zmq.PUSH, endpoint)
    for number in range(50):
        sender.send_multipart([b"%04d" % number, bytes(96)])
    queue, read = ReceiveQueue(10 * (MESSAGE_BYTES + 100)), 0
    while read < 50:
        assert reader.poll(240_000)
        read += queue.read_waiting(reader)
    assert (len(queue), queue.overflow) == (10, 40)
    assert queue.waiting_bytes == 10 * (MESSAGE_BYTES + 100)
    assert [frames[0] for _, frames, _ in queue.next_messages(4)] == [b"0040", b"0041", b"0042", b"0043"]
    assert [frames[0] for _, frames, _ in queue.next_messages(99)][-1] == b"0049"
    assert (len(queue), queue.waiting_bytes) == (0, 0)
    reader.close(0)


def test_a_boxs_budget_is_renewed_every_second() -> None:
    counters = ServiceCounters()
    budget = BoxBudget(3, 1000, counters)
    budget.begin_turn(100.0)
    assert [budget.allows("1", 10) for _ in range(4)] == [True, True, True, False]
    assert [budget.allows("2", size) for size in (900, 200, 100)] == [True, False, True]
    budget.begin_turn(100.9)
    assert not budget.allows("1", 10)
    budget.begin_turn(101.0)
    assert budget.allows("1", 10)
    assert (counters.of("over_budget", "1"), counters.of("over_budget", "2")) == (2, 1)


def test_a_flooding_box_is_held_to_its_budget(makai: Any) -> None:
    """Other Boxes are still heard."""
    brokers = makai.brokers()
    own = brokers.triggering_config
    config = TriggeringBrokerSection(
        box_endpoint=own.box_endpoint, backend_endpoint=own.backend_endpoint, box_messages_per_s=50
    )
    broker = TriggeringBroker(config, brokers.keys)
    with makai.running(broker):
        flooding, quiet, client = makai.box(brokers, "1"), makai.box(brokers, "4"), makai.client(brokers)
        assert makai.arrives(quiet, client)
        flooding.pub.sndhwm = 0
        frames = flooding.measurement()

        def flooded() -> bool:
            for _ in range(100):
                flooding.pub.send_multipart(frames)
            return broker.counters.of("over_budget", "1") > 2000

        makai.wait_for(flooded)
        # none, unless this machine stood still while `arrives` sent 50 a second
        assert broker.counters.of("over_budget", "4") < 200
        own_frames = quiet.measurement(timestamp_ms=77)
        quiet.pub.send_multipart(own_frames)

        def heard() -> bool:
            return client.measurements.poll(1000) and client.measurements.recv_multipart() == own_frames

        makai.wait_for(heard)


@pytest.mark.parametrize("boxes", [["1", "4"]])
def test_a_paused_broker_drops_the_oldest(
    makai: Any, monkeypatch: pytest.MonkeyPatch, boxes: list[str]
) -> None:
    """It counts them and goes on."""
    brokers = makai.brokers()
    own, sent = brokers.triggering_config, 2000
    config = TriggeringBrokerSection(
        box_endpoint=own.box_endpoint, backend_endpoint=own.backend_endpoint, receive_queue_bytes=100_000
    )
    broker = TriggeringBroker(config, brokers.keys)
    stands, handle = threading.Event(), broker._passed
    stands.set()

    def handle_later(*values: Any) -> Any:
        stands.wait(240)
        return handle(*values)

    monkeypatch.setattr(broker, "_passed", handle_later)
    with makai.running(broker):
        made, client = [makai.box(brokers, box_id) for box_id in boxes], makai.client(brokers)
        assert all(makai.arrives(box, client) for box in made)
        before = broker.counters.total("received")
        stands.clear()
        for number in range(sent):
            for box in made:
                box.pub.sndhwm = 0
                box.pub.send_multipart(box.measurement(timestamp_ms=number))
        stands.set()
        makai.wait_for(lambda: broker.counters.total("received") >= before + sent)
        makai.wait_for(lambda: broker.counters.total("overflow") > 0)
        assert broker.counters.of("waiting_bytes_now", "") <= 100_000

        def newest() -> bool:
            for box in made:
                box.pub.send_multipart(box.measurement(timestamp_ms=sent))
            while client.measurements.poll(1000):
                if Measurement.FromString(client.measurements.recv_multipart()[1]).timestamp_ms == sent:
                    return True
            return False

        makai.wait_for(newest)
