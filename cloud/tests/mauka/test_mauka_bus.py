"""The bus and the event bridge, seen from plain pyzmq peers."""

import threading
import time

import pytest
import zmq

from opq_cloud.core.backend.waits import PollableEvent
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka.bus import broker
from opq_cloud.mauka.bus.broker import (
    BusBroker,
    EventBridge,
    NobodyListensError,
    Publisher,
    inject,
    read_notification,
)
from opq_cloud.mauka.bus.bus_messages import makai_event
from opq_proto.errors import FrameError, PortBusyError
from opq_proto.wire.mauka_pb2 import MaukaMessage


def test_frames_pass_the_bus_untouched_whatever_they_hold(bus, wire, until):
    reader, writer = wire.subscriber(bus), wire.publisher(bus.sub)
    body = bytes(range(256)) * 100
    writer.send_multipart([b"any \xff topic", body])
    assert reader.recv_multipart() == [b"any \xff topic", body]
    assert bus.broker.counters.total("malformed") == 0


def test_a_malformed_message_is_counted_and_kept_back(bus, wire, until):
    """It does not have two frames."""
    reader, writer = wire.subscriber(bus), wire.publisher(bus.sub)
    writer.send_multipart([b"alone"])
    writer.send_multipart([b"one", b"two", b"three"])
    writer.send_multipart([b"topic", b""])
    assert reader.recv_multipart() == [b"topic", b""]
    assert until(lambda: bus.broker.counters.total("malformed") == 2)


def test_a_subscriber_gets_only_its_prefix(bus, wire):
    """A subscriber gets what its prefix matches and no more."""
    reader, writer = wire.subscriber(bus, "Makai"), wire.publisher(bus.sub)
    for topic in (b"heartbeat", b"MakaiEvent", b"laha_gc", b"MakaiOther"):
        writer.send_multipart([topic, b""])
    assert [reader.recv_multipart()[0] for _ in range(2)] == [b"MakaiEvent", b"MakaiOther"]


@pytest.fixture
def stuck(wire, free_endpoint):
    """A publisher and a subscriber beside it that reads nothing, both with room for 10 messages."""
    context, counters = zmq.Context(), ServiceCounters()
    out = Publisher(context, hwm=10, counters=counters)
    reader = wire.context.socket(zmq.SUB)
    reader.setsockopt(zmq.RCVHWM, 10)
    reader.setsockopt(zmq.SUBSCRIBE, b"")
    yield out, reader, counters, free_endpoint()
    out.close()
    reader.close(linger=0)
    context.term()


LARGE = b"x" * 1_000_000  # 200 of them are more than queues and socket buffers hold


def test_each_message_of_a_full_peer_is_counted(stuck):
    """The counter moves by one for each message that the peer misses."""
    out, reader, counters, endpoint = stuck
    reader.bind(endpoint)
    out.connect(endpoint)
    while not out.wait_subscribed(0.05):
        reader.poll(10)  # a bound SUB subscribes when its thread enters it (docs/reference/limits.md 1)
    sent = sum(out.send([b"t", LARGE]) for _ in range(200))
    assert sent < 100
    assert counters.total("published") == sent
    assert counters.total("dropped") == 200 - sent
    reader.setsockopt(zmq.RCVTIMEO, 60_000)
    assert [len(reader.recv_multipart()) for _ in range(sent)] == [2] * sent


def test_a_full_subscriber_does_not_affect_others(stuck, wire):
    out, reader, counters, endpoint = stuck
    out.bind(endpoint, "test", "bus")
    reader.connect(endpoint)
    assert out.wait_subscribed(60)
    quick = wire.context.socket(zmq.SUB)
    quick.setsockopt(zmq.RCVTIMEO, 60_000)
    quick.setsockopt(zmq.SUBSCRIBE, b"t")
    quick.connect(endpoint)
    while out.send([b"t", b""]) and not quick.poll(10):
        pass
    assert out.send([b"t", b"last"])
    while quick.recv_multipart()[1] != b"last":
        pass  # those of before it had joined
    for number in range(100):
        out.send([b"t%d" % number, LARGE])
        assert quick.recv_multipart()[0] == b"t%d" % number
    assert counters.total("subscriber_full") >= 1


def test_a_message_that_nobody_hears_is_counted(free_endpoint):
    context, counters = zmq.Context(), ServiceCounters()
    out = Publisher(context, hwm=10, counters=counters)
    out.bind(free_endpoint(), "test", "bus")
    assert out.send([b"t", b""]) is False
    assert counters.total("unheard") == 1
    out.close()
    context.term()


def test_a_busy_port_is_named(bus, free_endpoint):
    """The line says what to do."""
    second = BusBroker(MaukaSection(bus_sub_endpoint=bus.sub, bus_pub_endpoint=free_endpoint()))
    with pytest.raises(PortBusyError, match=rf"mauka\.bus.*{bus.sub}.*--port-offset"):
        second.run(threading.Event())


def test_a_notification_becomes_a_makai_event(bus, running, wire, free_endpoint, until):
    endpoint = free_endpoint()
    events = wire.bound_publisher(endpoint)
    bridge = EventBridge(MaukaSection(event_endpoint=endpoint, bus_sub_endpoint=bus.sub))
    running.start(bridge)
    reader = wire.subscriber(bus, "MakaiEvent")
    wire.joined(events)
    before_ms = time.time_ns() // 1_000_000
    for frames in ([b"7"], [b"", b"-1"], [b"", b"0"], [b"", b"4294967296"], [b"", b"x"], [b"", b"1", b""]):
        events.send_multipart(frames)
    events.send_multipart([b"instance", b"17"])
    topic, body = reader.recv_multipart()
    message = MaukaMessage.FromString(body)
    assert topic == b"MakaiEvent"
    assert message.makai_event.event_id == 17
    assert message.source == "makai_event_bridge"
    assert before_ms <= message.timestamp_ms <= time.time_ns() // 1_000_000
    assert until(lambda: bridge.counters.total("malformed") == 6)


def test_an_event_waits_until_the_bus_has_subscribed(wire, free_endpoint, monkeypatch):
    """What is announced meanwhile is not lost."""
    monkeypatch.setattr(broker, "WAIT_BUS_S", 60.0)
    section = MaukaSection(event_endpoint=free_endpoint(), bus_sub_endpoint=free_endpoint())
    events, stop = wire.bound_publisher(section.event_endpoint), PollableEvent()
    bridge = EventBridge(section)
    thread = threading.Thread(target=bridge.run, args=(stop,))
    thread.start()
    try:
        wire.joined(events)
        events.send_multipart([b"instance", b"17"])
        thread.join(0.5)  # a bridge that passed it on now would have lost it
        bus = wire.context.socket(zmq.SUB)
        bus.setsockopt(zmq.RCVTIMEO, 60_000)
        bus.setsockopt(zmq.SUBSCRIBE, b"")
        bus.bind(section.bus_sub_endpoint)
        assert MaukaMessage.FromString(bus.recv_multipart()[1]).makai_event.event_id == 17
        assert not bridge.counters.total("unheard")
    finally:
        stop.set()
        thread.join(240)


@pytest.mark.parametrize("digits", [b"", b"+1", b" 1", "١".encode(), b"1" * 5000])
def test_an_event_id_is_plain_decimal_digits(digits):
    with pytest.raises(FrameError):
        read_notification([b"", digits])


def test_injection_reaches_the_bus_at_the_first_message(bus, wire):
    reader = wire.subscriber(bus)
    body = makai_event(5).SerializeToString()
    assert inject([("MakaiEvent", body), ("Mine", b"text")], bus.sub) == 2
    assert [reader.recv_multipart() for _ in range(2)] == [[b"MakaiEvent", body], [b"Mine", b"text"]]


def test_injection_without_a_bus_says_so(free_endpoint):
    with pytest.raises(NobodyListensError, match="no bus has subscribed at tcp://"):
        inject([("MakaiEvent", b"")], free_endpoint(), wait_s=0.2)
