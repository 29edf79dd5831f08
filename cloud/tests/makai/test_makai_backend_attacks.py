"""Peers in clear that go wrong on 9881, 9884 and 9899: ended, counted, the others served, memory bounded."""

import socket as tcp
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import psutil
import pytest
import zmq

from opq_cloud.core.backend import peers as backend_peers
from opq_cloud.core.backend.addresses import in_clear
from opq_cloud.core.backend.fanout_socket import FanoutSocket
from opq_cloud.core.runner import ServiceBoard
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.config import CloudConfig
from opq_cloud.core.settings.makai_settings import TriggeringBrokerSection

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\x00") + bytes(32)
MEMORY_BYTES = 150_000_000
ASKS_FOR_TURNS = b"\x0bX-opq-turns\x00\x00\x00\x011"


def dialled(endpoint: str, kind: bytes, more: bytes = b"") -> tcp.socket:
    """A peer by hand: ZMTP 3.0 without security, through its handshake (RFC 23). more: properties."""
    host, port = endpoint.removeprefix("tcp://").split(":")
    raw = tcp.create_connection((host, int(port)), timeout=240)
    raw.sendall(GREETING)
    ready = b"\x05READY\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind + more
    raw.sendall(bytes([4, len(ready)]) + ready)
    received = b""
    while len(received) < 64 + 2 or len(received) < 64 + 2 + received[65]:
        received += raw.recv(1000)
    return raw


@contextmanager
def flooding(endpoint: str, kind: bytes, parts: Iterable[bytes]) -> Iterator[None]:
    """A peer that sends these as fast as it can, from a thread, until it is ended (or the block is)."""
    raw = dialled(endpoint, kind)

    def send() -> None:
        with suppress(OSError):
            for part in parts:
                raw.sendall(part)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        with suppress(OSError):
            raw.shutdown(tcp.SHUT_RDWR)  # the kernel can leave a sender waiting for a minute: end it here
        thread.join(240)
        raw.close()
        assert not thread.is_alive()


def topics(count: int) -> Iterator[bytes]:
    for begin in range(0, count, 1000):
        yield b"".join(b"\x00\x0d\x01%012d" % number for number in range(begin, begin + 1000))


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_subscriber_of_very_many_topics_is_ended(makai: Any, count: int) -> None:
    brokers = makai.brokers()
    with makai.running(brokers.triggering):
        box, client = makai.box(brokers, "1"), makai.client(brokers)
        assert makai.arrives(box, client)
        before = psutil.Process().memory_info().rss
        with flooding(brokers.triggering_config.backend_endpoint, b"SUB", topics(count)):
            makai.wait_for(lambda: brokers.triggering.counters.total("backend_ended"))
        assert psutil.Process().memory_info().rss - before < MEMORY_BYTES
        assert makai.arrives(box, client)


def test_a_subscriber_with_too_many_topics_is_ended(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend_peers, "MAX_TOPICS", 10)
    counters, context = ServiceCounters(), makai.peer().context
    fanout = FanoutSocket(context, counters, 100)
    endpoint = makai.free_endpoint()
    fanout.bind(endpoint, "test", "test.endpoint")
    honest, greedy = makai.peer().connect(zmq.SUB, endpoint), makai.peer().connect(zmq.SUB, endpoint)
    for number in range(11):
        greedy.subscribe(b"%d" % number)

    def ended() -> bool:
        fanout.read_subscriptions()
        return counters.of("backend_ended", "test.endpoint topics") == 1

    makai.wait_for(ended)
    greedy.close()

    def heard() -> bool:
        fanout.read_subscriptions()
        fanout.send([b"news"])
        return bool(honest.poll(20))

    makai.wait_for(heard)
    fanout.close()


@pytest.mark.parametrize("turns", [False, True])
def test_a_subscriber_that_never_reads_is_ended(
    makai: Any, monkeypatch: pytest.MonkeyPatch, turns: bool
) -> None:
    """A subscriber that never reads is ended and another gets everything."""
    monkeypatch.setattr(backend_peers, "UNREAD_S", 1.0)
    counters, context = ServiceCounters(), makai.peer().context
    fanout = FanoutSocket(context, counters, 100_000, turns=turns)
    endpoint = makai.free_endpoint()
    fanout.bind(endpoint, "test", "test.endpoint")
    reading = makai.peer().connect(zmq.SUB, endpoint)
    with closing(dialled(endpoint, b"SUB", ASKS_FOR_TURNS if turns else b"")) as raw:
        raw.sendall(b"\x00\x01\x01")

        def both() -> bool:
            fanout.read_subscriptions()
            return counters.total("subscriptions") == 2

        makai.wait_for(both)
        sent, received, body = 0, 0, bytes(50_000)

        def ended() -> bool:
            nonlocal sent, received
            time.sleep(0.02)
            for _ in range(20):
                fanout.send_turn([[b"0001", body]]) if turns else fanout.send([b"0001", body])
                sent += 1
            while received < sent and reading.poll(1000):
                reading.recv_multipart()
                received += 1
            fanout.read_subscriptions()
            return bool(counters.of("backend_connections_now", "test.endpoint") == 1)

        makai.wait_for(ended)
        while received < sent:
            assert reading.poll(240_000)
            reading.recv_multipart()
            received += 1
    fanout.close()


def test_a_turn_is_made_only_with_a_subscriber(makai: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is put together only if somebody subscribes to turns."""
    monkeypatch.setattr("opq_cloud.core.backend.fanout_socket.turn_message", pytest.fail)
    fanout = FanoutSocket(makai.peer().context, ServiceCounters(), 100, turns=True)
    endpoint = makai.free_endpoint()
    fanout.bind(endpoint, "test", "test.endpoint")
    reading = makai.peer().connect(zmq.SUB, endpoint)

    def heard() -> bool:
        fanout.read_subscriptions()
        fanout.send_turn([[b"0001", b"a Measurement"]])
        return bool(reading.poll(20))

    makai.wait_for(heard)
    assert reading.recv_multipart() == [b"0001", b"a Measurement"]
    fanout.close()


def test_more_connections_than_an_address_takes_are_ended(
    makai: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_peers, "MAX_CONNECTIONS", 3)
    counters, context = ServiceCounters(), makai.peer().context
    fanout = FanoutSocket(context, counters, 100)
    endpoint = makai.free_endpoint()
    fanout.bind(endpoint, "test", "test.endpoint")
    host, port = endpoint.removeprefix("tcp://").split(":")
    dialling = [tcp.create_connection((host, int(port))) for _ in range(8)]

    def ended() -> bool:
        fanout.read_subscriptions()
        return bool(counters.of("backend_ended", "test.endpoint connections") == 5)

    makai.wait_for(ended)
    assert counters.of("backend_connections_now", "test.endpoint") == 3
    for each in dialling:
        each.close()
    fanout.close()


@pytest.mark.parametrize(
    "endpoint", ["tcp://*:9881", "tcp://0.0.0.0:9881", "tcp://10.0.0.1:9881", "tcp://[::]:9881"]
)
def test_a_reachable_address_in_clear_is_reported(endpoint: str) -> None:
    config = CloudConfig(triggering_broker=TriggeringBrokerSection(backend_endpoint=endpoint))
    said = f"in clear, without a key, beyond loopback: triggering_broker.backend_endpoint {endpoint}"
    assert in_clear("all", config) == in_clear("triggering-broker", config) == said
    assert in_clear("view", config) is None
    board = ServiceBoard()
    board.note = said
    assert (board.health("opq").ok, board.health("opq").info) == (True, said)


def test_nothing_is_said_of_loopback() -> None:
    assert in_clear("all", CloudConfig()) is None
