"""Both brokers and the triggering service in this process, on free ports, with real keys and a real store."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import zmq
from free_ports import free_offset
from in_thread import in_thread
from waiting import pause

from opq_cloud.core.service import CloudContext
from opq_cloud.core.settings.makai_settings import (
    AcquisitionBrokerSection,
    EventServiceSection,
    TriggeringBrokerSection,
    TriggeringServiceSection,
)
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.acquisition_broker import AcquisitionBroker
from opq_cloud.makai.event_service import EventService
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_gateway.uplink.connection import Endpoints
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder, KeyPair, read_secret_file
from opq_proto.kit.ports import endpoint
from opq_proto.messages import Waveform
from opq_proto.wire.frames import Response, waveform_from_frames

WAIT_S = 240.0


def wait_for(condition: Callable[[], object], what: str, seconds: float = WAIT_S) -> None:
    """Until it is true."""
    began_s = time.monotonic()
    while not condition():
        assert time.monotonic() < began_s + seconds, f"not within {seconds:g} s: {what}"
        pause(began_s, 0.02)


class FleetCloud:
    """A cloud for Boxes with these ids; `run` them, end them, run them again on the same store."""

    def __init__(self, folder: Path, box_ids: Sequence[str]) -> None:
        self.folder, self.box_ids = folder, list(box_ids)
        self.keys = KeyFolder(folder / "curve")
        self.keys.create(True, box_ids)
        self.server: KeyPair = read_secret_file(self.keys.server_secret)
        self.offset = free_offset()
        names = ("triggering_box", "command_box", "response_box")
        self.endpoints = Endpoints(*(endpoint(name, self.offset) for name in names))
        self.shared = CloudContext(lambda: open_store(None, folder / "store"))
        self.queue_rows = 200_000
        self.plugins: tuple[PluginEntry, ...] = ()
        """Triggers; with any, the event service runs too."""
        self.events: EventService | None = None
        self.service: TriggeringService | None = None
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def pairs(self) -> list[KeyPair]:
        return [read_secret_file(self.keys.box_secret(box_id)) for box_id in self.box_ids]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Brokers and triggering service for the block; their sockets are gone behind it."""
        backend, requests = (
            endpoint("triggering_backend", self.offset),
            endpoint("command_backend", self.offset),
        )
        own = TriggeringBrokerSection(box_endpoint=self.endpoints.trigger, backend_endpoint=backend)
        broker = TriggeringBroker(own, self.keys)
        acquisition = AcquisitionBroker(
            AcquisitionBrokerSection(
                command_endpoint=self.endpoints.command,
                response_endpoint=self.endpoints.response,
                request_endpoint=requests,
                answer_endpoint=endpoint("response_backend", self.offset),
            ),
            self.keys,
        )
        config = TriggeringServiceSection(
            measurement_endpoint=backend,
            request_endpoint=requests,
            plugins=self.plugins,
            batch_ms=20,
            ack_interval_s=0.3,
            queue_rows=self.queue_rows,
        )
        self.service = service = TriggeringService(config, self.shared, Nominal(120.0, 60.0), self.folder)
        self.events = EventService(
            EventServiceSection(
                answer_endpoint=endpoint("response_backend", self.offset),
                request_endpoint=requests,
                event_endpoint=endpoint("events", self.offset),
                event_id_endpoint=endpoint("event_ids", self.offset),
            ),
            self.shared,
        )
        with ExitStack() as stack:
            for each in (broker, acquisition, service, *((self.events,) if self.plugins else ())):
                stack.enter_context(in_thread(each.run, until_ready=True))
            yield

    def stored(self, box_id: str) -> list[int]:
        """Sequences that the store has."""
        return self.shared.store.sequences(box_id, 0, 2**62)

    def backfilled(self, box_id: str) -> int:
        """Stored Measurements that were sent again, or later."""
        rows = self.shared.store.measurements(box_id, 0, 2**42)
        return sum(row.backfilled for row in rows)

    @contextmanager
    def client(self) -> Iterator["FleetClient"]:
        """A program that asks Boxes."""
        client = FleetClient(self)
        try:
            yield client
        finally:
            client.close()

    def close(self) -> None:
        self.shared.close()
        self.context.destroy(linger=0)


class FleetClient:
    """PUSH 9884, SUB 9899."""

    def __init__(self, cloud: FleetCloud) -> None:
        self.requests = cloud.context.socket(zmq.PUSH)
        self.answers = cloud.context.socket(zmq.SUB)
        self.answers.subscribe(b"")
        self.requests.connect(endpoint("command_backend", cloud.offset))
        self.answers.connect(endpoint("response_backend", cloud.offset))

    def answer(self, command: bytes, identity: str) -> tuple[Response, Waveform | None]:
        """The answer to a command; it is sent again until one comes, for subscriptions take their time.

        Each command has its own identity: a late answer to one is not that to the next.
        """
        until_s = time.monotonic() + WAIT_S
        while time.monotonic() < until_s:
            self.requests.send(command)
            if self.answers.poll(1000):
                topic, header, *cycles = self.answers.recv_multipart()
                if topic == identity.encode():
                    return waveform_from_frames(header, cycles)
        raise AssertionError(f"no answer within {WAIT_S:g} s")

    def close(self) -> None:
        self.requests.close(0)
        self.answers.close(0)
