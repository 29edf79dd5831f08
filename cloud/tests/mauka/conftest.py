"""Mauka on real sockets and free ports, in threads that end with the test."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import free_ports
import pytest
import zmq
from waiting import pause

from opq_cloud.core.backend.waits import PollableEvent
from opq_cloud.core.settings.mauka import MaukaSection
from opq_cloud.mauka import plugin
from opq_cloud.mauka.bus import broker as bus_broker
from opq_cloud.mauka.bus.broker import BusBroker, inject
from opq_cloud.mauka.plugin import HEARTBEAT_KEY, PUB_KEY, SUB_KEY


@dataclass
class Running:
    """Services in threads; `start` returns once they are ready, `end` joins them all."""

    threads: list[tuple[threading.Event, threading.Thread]] = field(default_factory=list)

    def start(self, service: Any) -> threading.Event:
        stop, ready = PollableEvent(), threading.Event()
        thread = threading.Thread(target=service.run, args=(stop, ready), name=service.name)
        thread.start()
        self.threads.append((stop, thread))
        assert ready.wait(240), f"{service.name} did not start"
        return stop

    def end(self) -> None:
        for stop, thread in reversed(self.threads):  # plug-ins before the bus that takes their last word
            stop.set()
            thread.join(240)
            assert not thread.is_alive(), f"{thread.name} did not end"


@dataclass
class Bus:
    """A running broker and its addresses."""

    broker: BusBroker
    sub: str
    pub: str

    @property
    def settings(self) -> dict[str, Any]:
        return {PUB_KEY: self.sub, SUB_KEY: self.pub, HEARTBEAT_KEY: 0.1}


@pytest.fixture
def free_endpoint() -> Callable[[], str]:
    return free_ports.free_endpoint


@pytest.fixture
def running() -> Iterator[Running]:
    services = Running()
    yield services
    services.end()


@pytest.fixture
def bus(running: Running, monkeypatch: pytest.MonkeyPatch) -> Bus:
    """Whoever joins it waits until it has, however busy the machine: what is published then arrives."""
    monkeypatch.setattr(plugin, "WAIT_SUBSCRIBED_S", 60.0)
    monkeypatch.setattr(bus_broker, "WAIT_BUS_S", 60.0)
    monkeypatch.setattr(inject, "__defaults__", (60.0,))
    broker = BusBroker(
        MaukaSection(bus_sub_endpoint=free_ports.free_endpoint(), bus_pub_endpoint=free_ports.free_endpoint())
    )
    running.start(broker)
    return Bus(broker, broker._config.bus_sub_endpoint, broker._config.bus_pub_endpoint)


@dataclass
class Wire:
    """Plain pyzmq sockets, as a foreign peer has them; every wait has a time limit."""

    context: "zmq.Context[Any]"

    def subscriber(self, bus: Bus, topic: str = "") -> "zmq.Socket[bytes]":
        """A SUB on the bus that surely hears all that is published from now on."""
        made: zmq.Socket[bytes] = self.context.socket(zmq.SUB)
        made.setsockopt(zmq.RCVTIMEO, 60_000)
        made.setsockopt(zmq.SUBSCRIBE, topic.encode())
        made.setsockopt(zmq.SUBSCRIBE, b"joined?")
        made.connect(bus.pub)
        writer = self.publisher(bus.sub)
        end_s = time.monotonic() + 240
        while not made.poll(20):
            assert time.monotonic() < end_s, "the bus does not answer"
            writer.send_multipart([b"joined?", b""])
        writer.send_multipart([b"joined?", b"last"])
        while made.recv_multipart() != [b"joined?", b"last"]:
            continue
        made.setsockopt(zmq.UNSUBSCRIBE, b"joined?")
        writer.close()
        return made

    def publisher(self, endpoint: str) -> "zmq.Socket[bytes]":
        """A PUB that whoever is bound at `endpoint` has subscribed to."""
        made: zmq.Socket[bytes] = self.context.socket(zmq.XPUB)
        made.connect(endpoint)
        self.joined(made)
        return made

    def bound_publisher(self, endpoint: str) -> "zmq.Socket[bytes]":
        """A PUB to connect to; `joined` waits for the first subscriber."""
        made: zmq.Socket[bytes] = self.context.socket(zmq.XPUB)
        made.bind(endpoint)
        return made

    def joined(self, publisher: "zmq.Socket[bytes]") -> None:
        assert publisher.poll(240_000), "no subscriber"
        publisher.recv()


@pytest.fixture
def wire() -> Iterator[Wire]:
    context: zmq.Context[Any] = zmq.Context()
    yield Wire(context)
    context.destroy(linger=0)


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], Any]:
    """Wait, at most four minutes, for what is true in the end; returns it."""

    def wait(ask: Callable[[], Any]) -> Any:
        began_s = time.monotonic()
        while time.monotonic() < began_s + 240:
            answer = ask()
            if answer:
                return answer
            pause(began_s, 0.01)
        raise AssertionError("did not come true within 240 s")

    return wait
