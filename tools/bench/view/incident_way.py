"""Latency from a stored waveform to an open page: the whole cloud in one process, as in `up`.

This process stores events as Makai does, announces them on Mauka's bus, and reads a page's live feed. Both
processes have the same clock. Events begin at any moment of View's second, one after another.
"""

import json
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.mauka_waveforms import put_waveforms
from bench.result import BenchCase, case, percentile
from bench.view.timed_requests import cloud_server
from opq_cloud.core.backend.sockets import Context, service_context
from opq_cloud.core.service import ServiceCounters
from opq_cloud.mauka.bus.broker import Publisher, subscriber
from opq_cloud.mauka.bus.incident_notice import INCIDENT, read_notice
from opq_cloud.mauka.bus.messages import MAKAI_EVENT, makai_event
from opq_cloud.store import open_store
from opq_proto.kit.ports import PORTS
from opq_proto.wire.mauka_pb2 import MaukaMessage

LATENCY_MS = 250.0
EVENTS = 100
"""Events of a run."""
QUICK_EVENTS = 4
"""The same in a quick run."""
WARM_EVENTS = 4
"""Events before the measured ones."""
BOXES = 2
END_S = 60.0


class _Arrivals(threading.Thread):
    """Arrival of the first notice of each event's incident; `close` ends `run` of a subclass."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._came = threading.Condition()
        self._came_ns: dict[int, int] = {}

    def note(self, now_ns: int, event_ids: Sequence[int]) -> None:
        with self._came:
            for event_id in event_ids:
                self._came_ns.setdefault(event_id, now_ns)
            self._came.notify()

    def wait_for(self, event_id: int) -> int:
        """Waits for the arrival; UTC in ns, or END_S from now where it did not come."""
        last_ns = time.time_ns() + round(END_S * 1e9)
        with self._came:
            self._came.wait_for(lambda: event_id in self._came_ns, END_S)
            return self._came_ns.get(event_id, last_ns)


class _BusArrivals(_Arrivals):
    """Reads Mauka's notices of incidents from the bus."""

    def __init__(self, context: Context, endpoint: str) -> None:
        super().__init__()
        self._socket, self._ended = subscriber(context, 1000, [INCIDENT]), threading.Event()
        self._socket.connect(endpoint)

    def run(self) -> None:
        while not self._ended.is_set():
            if self._socket.poll(100):
                _, body = self._socket.recv_multipart()
                now_ns, message = time.time_ns(), MaukaMessage()
                message.ParseFromString(body)
                self.note(now_ns, read_notice(message).incident.get("event_ids", ()))
        self._socket.close()

    def close(self) -> None:
        self._ended.set()
        self.join()


class _Page(_Arrivals):
    """A page without Boxes that has `/live` open."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(b"GET /live?values= HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    def run(self) -> None:
        text = b""
        while part := self._received():
            now_ns = time.time_ns()
            *events, text = (text + part).split(b"\n\n")
            for event in events:
                if b"event: incident\n" in event:
                    self.note(now_ns, json.loads(event.partition(b"data: ")[2])["event_ids"])

    def _received(self) -> bytes:
        with suppress(OSError):
            return self._socket.recv(65536)
        return b""

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self.join()
        self._socket.close()


@contextmanager
def _bus(context: Context, port: int) -> Iterator[Publisher]:
    """Publishes Makai's events to Mauka."""
    with closing(Publisher(context, 1000, ServiceCounters())) as bus:
        bus.connect(f"tcp://127.0.0.1:{port}")
        if not bus.wait_subscribed(END_S):
            raise RuntimeError(f"no listener on {port}")
        yield bus


def rows(quick: bool) -> Iterator[BenchCase]:
    """Percentiles of wall time; what did not come counts as END_S."""
    count = QUICK_EVENTS if quick else EVENTS
    click.echo(f"{count} events of {BOXES} Boxes to an open page, one at a time ...", err=True)
    spent_ms = list(_spent_ms(count))
    whole = f"waveforms of {BOXES} Boxes stored to their incident on a page's live feed"
    for place, name in enumerate((whole, "of that from Mauka's word on the bus")):
        each_ms = [one[place] for one in spent_ms]
        for percent in (50, 90, 99):
            value = percentile(each_ms, percent / 100)
            limit = LATENCY_MS if percent == 99 and not place else None
            yield case(f"{name}, p{percent}", "ms", each_ms, value, limit=limit)


def _spent_ms(count: int) -> Iterator[tuple[float, float]]:
    """Yields (ms to the page's feed, ms of that after the notice on the bus)."""
    chance = random.Random(1)
    with (
        TemporaryDirectory() as folder,
        closing(open_store(None, Path(folder))) as store,
        cloud_server(Path(folder)) as server,
        service_context() as context,
        _bus(context, PORTS["mauka_in"] + server.offset) as bus,
        closing(
            _BusArrivals(context, f"tcp://127.0.0.1:{PORTS['mauka_out'] + server.offset}")
        ) as announcements,
        closing(_Page(server.port)) as page,
    ):
        announcements.start()
        page.start()
        for number in range(WARM_EVENTS + count):
            event_id = put_waveforms(store, number, BOXES)
            stored_ns = time.time_ns()
            store.finish_event(event_id)
            bus.send([MAKAI_EVENT.encode(), makai_event(event_id).SerializeToString()])
            came_ns = page.wait_for(event_id)
            if number >= WARM_EVENTS:
                yield (came_ns - stored_ns) / 1e6, (came_ns - announcements.wait_for(event_id)) / 1e6
            until_s = time.monotonic() + END_S
            while time.monotonic() < until_s and any(
                one.event_id == event_id for one in store.unanalysed_events()
            ):
                time.sleep(0.02)
            time.sleep(chance.random())
