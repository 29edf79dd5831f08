"""PublishReader: every message once, in order, however the bytes come; the rest of MQTT stays paho's."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mosquitto_of_ones_own import MOSQUITTO, Broker
from paho.mqtt.enums import CallbackAPIVersion
from structlog.testing import capture_logs
from waiting import wait_for

from opq_rules.connections.mqtt_publish_reader import PublishReader

V2 = CallbackAPIVersion.VERSION2
PINGRESP = b"\xd0\x00"
MESSAGES = st.lists(
    st.one_of(
        st.just(None),  # PINGRESP, a packet of paho's
        st.tuples(st.sampled_from([0, 1]), st.sampled_from(["t", "boxes/ü/rms"]), st.binary(max_size=300)),
    ),
    max_size=30,
)


def varint(size: int) -> bytes:
    found = b""
    while True:
        size, low = size >> 7, size & 0x7F
        found += bytes([low | (0x80 if size else 0)])
        if not size:
            return found


def publish(qos: int, topic: str, payload: bytes, number: int, v5: bool) -> bytes:
    name = topic.encode()
    body = len(name).to_bytes(2, "big") + name + (number.to_bytes(2, "big") if qos else b"")
    body += (b"\x02\x01\x01" if v5 else b"") + payload  # one property of 5.0: the payload is text
    return bytes([0x30 | qos << 1]) + varint(len(body)) + body


class Wire:
    """Instead of a socket: gives these pieces, then would block."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            raise BlockingIOError
        piece = self.pieces.pop(0)
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def close(self) -> None: ...


def plug(reader: PublishReader, wire: Wire | None) -> None:
    """Gives paho's client another socket, by paho's own name."""
    vars(reader)["_sock"] = wire


@given(messages=MESSAGES, cuts=st.lists(st.integers(1, 400)), v5=st.booleans())
def test_mqtt_messages_come_once_in_order(messages: list[Any], cuts: list[int], v5: bool) -> None:
    got: list[tuple[str, bytes, int]] = []
    acknowledged: list[bytes] = []

    def published(topics: Sequence[str], payloads: Sequence[bytes], ids: Sequence[int]) -> None:
        got.extend(zip(topics, payloads, ids, strict=True))

    handled: list[int] = []

    class Reader(PublishReader):
        def _packet_handle(self) -> Any:
            handled.append(1)
            return 0

        def _packet_queue(self, command: Any, packet: Any, *_: Any) -> Any:
            acknowledged.append(bytes(packet))
            return 0

    reader = Reader(published, V2, client_id="x", protocol=paho.MQTTv5 if v5 else paho.MQTTv311)
    whole, wanted = b"", []
    for number, message in enumerate(messages, 1):
        if message is None:
            whole += PINGRESP
        else:
            qos, topic, payload = message
            whole += publish(qos, topic, payload, number, v5)
            wanted.append((topic, payload, number if qos else 0))
    pieces = []
    for cut in cuts:
        pieces.append(whole[:cut])
        whole = whole[cut:]
    wire = Wire([piece for piece in [*pieces, whole] if piece])
    plug(reader, wire)
    while wire.pieces:
        assert reader.loop_read() == 0
    assert got == wanted
    assert len(handled) == messages.count(None)
    ids = [number for _, _, number in wanted if number]
    assert b"".join(acknowledged) == b"".join(b"\x40\x02" + number.to_bytes(2, "big") for number in ids)
    plug(reader, None)


@pytest.mark.parametrize("qos", [1, 2])
def test_a_failing_handler_is_not_bad_mqtt(qos: int) -> None:
    """Of messages that this file reads, and of those that paho does."""
    taken: list[Sequence[bytes]] = []

    def published(_: object, payloads: Sequence[bytes], __: object) -> None:
        taken.append(payloads)
        raise ValueError("the rule is at fault")

    reader = PublishReader(published, V2, client_id="x")
    plug(reader, Wire([publish(qos, "t", b"one", 1, False) + (b"\x62\x02\x00\x01" if qos == 2 else b"")]))
    with capture_logs() as lines:
        assert [reader.loop_read() for _ in range(3)] == [0, 0, 0]
    assert taken == [[b"one"]] and reader.socket() is not None
    (line,) = [each for each in lines if each["event"] == "mqtt.messages_failed"]
    assert (line["messages"], line["reason"]) == (1, "ValueError('the rule is at fault')")
    plug(reader, None)


def test_a_length_of_five_bytes_ends_the_connection() -> None:
    reader = PublishReader(lambda *_: None, V2, client_id="x")
    plug(reader, Wire([b"\x30\xff\xff\xff\xff\x01"]))
    with pytest.raises(ConnectionError):
        reader._sock_recv(1)
    plug(reader, None)


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\x00",  # no topic
        b"\x30\x01\x00",
        b"\x30\x02\x00\x09",  # a topic of nine bytes in two
        b"\x32\x03\x00\x01t",  # no packet id
        b"\x34\x00",  # QoS 2, which paho reads
        b"\x36\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\xf0\x00",
    ],
)
def test_what_is_not_mqtt_ends_the_connection(packet: bytes, version: int) -> None:
    """What came before it is handed on; paho's thread goes on, and connects again."""
    got: list[bytes] = []
    reader = PublishReader(lambda _, payloads, __: got.extend(payloads), V2, client_id="x", protocol=version)
    plug(reader, Wire([publish(0, "t", b"good", 0, version == paho.MQTTv5) + packet]))
    answers = [reader.loop_read(), reader.loop_read()]
    assert got == [b"good"] and any(answers) and reader.socket() is None


@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed: apt install mosquitto")
@pytest.mark.parametrize(
    "version",
    [
        pytest.param(paho.MQTTv31, marks=pytest.mark.slow),
        pytest.param(paho.MQTTv311, marks=pytest.mark.slow),
        paho.MQTTv5,
    ],
)
def test_a_real_broker_keeps_every_qos(tmp_path: Path, version: int) -> None:
    got: list[tuple[str, bytes]] = []
    linked = threading.Event()
    with Broker(tmp_path) as broker:
        reader = PublishReader(
            lambda topics, payloads, ids: got.extend(zip(topics, payloads, strict=True)),
            V2,
            client_id="reader",
            protocol=version,
        )
        reader.reconnect_delay_set(1, 1)
        reader.on_connect = lambda client, *_: client.subscribe("t/#", 2)
        reader.on_subscribe = lambda *_: linked.set()
        sender = paho.Client(V2, client_id="sender", protocol=version)
        sender.max_inflight_messages_set(0)
        sender.connect("127.0.0.1", broker.port)
        sender.loop_start()
        reader.connect("127.0.0.1", broker.port, keepalive=5)
        reader.loop_start()
        try:
            assert linked.wait(240)
            wanted = [(f"t/{n % 3}", bytes([n % 251]) * (n * 97 % 5000)) for n in range(900)]
            wanted.append(("t/large", b"x" * 3_000_000))
            for number, (topic, payload) in enumerate(wanted):
                sender.publish(topic, payload, number % 3).wait_for_publish(60)
            wait_for(lambda: len(got) >= len(wanted))
            assert sorted(got) == sorted(wanted)
            for qos in range(3):
                own = [each for number, each in enumerate(wanted) if number % 3 == qos]
                assert [each for each in got if each in own][:5] == own[:5]
            linked.clear()
            broker.stop()
            broker.start()
            assert linked.wait(240)
            got.clear()
            wait_for(sender.is_connected)
            sender.publish("t/again", b"1", 1).wait_for_publish(60)
            wait_for(lambda: ("t/again", b"1") in got)
        finally:
            for client in (sender, reader):
                client.disconnect()
                client.loop_stop()
