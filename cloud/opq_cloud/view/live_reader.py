"""The live reader: from the measurements' socket, the bus and the store to the hub.

In: Measurements (SUB 9881), `incident` and `laha_gc` messages (SUB 9883), the store. Out: `LiveHub`.
An incident is looked up in the store as soon as the bus names one; the store is polled beside
it, so that a message lost on the bus (PUB/SUB promises nothing) is a second late, not missing.
"""

import threading
import time

import structlog
import zmq
from google.protobuf.message import DecodeError

from opq_cloud.config import ViewSection
from opq_cloud.own_keys import OwnKeys
from opq_cloud.service import ServiceCounters
from opq_cloud.sockets import BURST, POLL_MS
from opq_cloud.store.store import CloudStore
from opq_cloud.view.context import given_names
from opq_cloud.view.feed_decoding import FeedDecoder
from opq_cloud.view.live import LiveHub
from opq_cloud.view.recent import RECENT_MEASUREMENTS, RECENT_MS
from opq_cloud.view.words import Names
from opq_proto import mauka_pb2
from opq_proto.errors import StoreError
from opq_proto.messages import Incident
from opq_proto.zmq_inbox import waiting_messages

log = structlog.get_logger()

BUS_TOPICS = (b"incident", b"laha_gc")
"""Ours, with edits by hand and re-analyses; the original's, which a plug-in of its form publishes."""
NAMES_S = 10.0
SEEDED, LEAST_SEEDED = 50_000, 3
"""Measurements that are read at the start: of all Boxes together, and at least of each."""
INCIDENTS_COMPARED = 20
"""The newest incidents are compared with what was last sent: one may still grow or be joined."""


class LiveReader:
    """One thread; `run` returns when `stop` is set."""

    def __init__(
        self, store: CloudStore, hub: LiveHub, counters: ServiceCounters, config: ViewSection
    ) -> None:
        self._store = store
        self._hub = hub
        self._counters = counters
        self._config = config
        self._decoder = FeedDecoder()
        self._failing: set[str] = set()
        self._names: Names = {}
        self._named_boxes: set[tuple[str, ...]] = set()
        self._names_until_s = 0.0

    def seed(self) -> None:
        """The last minutes and incidents from the store, before the first page is served."""
        boxes = max(1, len(self._store.boxes()))
        limit = max(LEAST_SEEDED, min(RECENT_MEASUREMENTS, SEEDED // boxes))
        for rows in self._store.last_minutes(RECENT_MS, limit):
            for item in rows:
                self._hub.accept_measurement(item, heard_ms=item.timestamp_ms)
        self._read_incidents(limit=100)

    def run(self, stop: threading.Event) -> None:
        """Connects its own sockets and closes them. Raises ConfigError when an address is none."""
        context = zmq.Context()
        keys = OwnKeys()
        measurements, bus = context.socket(zmq.SUB), context.socket(zmq.SUB)
        try:
            for socket, endpoint, key, topics in (
                (measurements, self._config.measurement_endpoint, "view.measurement_endpoint", (b"",)),
                (bus, self._config.bus_endpoint, "view.bus_endpoint", BUS_TOPICS),
            ):
                socket.linger = 0
                socket.rcvhwm = 10_000  # drops the newest beyond; the store has them all
                socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 1000
                for topic in topics:
                    socket.subscribe(topic)
                keys.connect(socket, endpoint, key)
            self._loop(stop, measurements, bus, keys)
        finally:
            context.destroy(linger=0)

    def _loop(
        self,
        stop: threading.Event,
        measurements: "zmq.Socket[bytes]",
        bus: "zmq.Socket[bytes]",
        keys: OwnKeys,
    ) -> None:
        poller = zmq.Poller()
        poller.register(bus, zmq.POLLIN)
        poller.register(measurements, zmq.POLLIN)
        next_read_s = 0.0
        while not stop.is_set():
            ready = dict(poller.poll(POLL_MS))
            if bus in ready and self._read_bus(bus):
                next_read_s = 0.0
            if time.monotonic() >= next_read_s:
                self._try_read_incidents()
                next_read_s = time.monotonic() + self._config.poll_s
            if measurements in ready:
                self._read_measurements(measurements)
            keys.follow()

    def _read_bus(self, bus: "zmq.Socket[bytes]") -> bool:
        """True when an incident was named."""
        named = False
        for frames in waiting_messages(bus):
            if len(frames) != 2:
                self._count_malformed("bus", f"{len(frames)} frames, not 2")
                continue
            message = mauka_pb2.MaukaMessage()
            try:
                message.ParseFromString(frames[1])
            except DecodeError as error:
                self._count_malformed("bus", str(error))
                continue
            self._counters.add("bus_messages")
            named = named or bool(message.incident_json)
            if message.laha.WhichOneof("laha_type") == "gc_update":
                named = named or message.laha.gc_update.from_domain == mauka_pb2.INCIDENTS
        return named

    def _read_measurements(self, measurements: "zmq.Socket[bytes]") -> None:
        found, malformed = self._decoder.read(
            [frames[-1] for frames in waiting_messages(measurements, BURST)]
        )
        for error in malformed:
            self._count_malformed("measurement", str(error))
        self._hub.accept_measurements([each for each in found if not each.backfilled])
        self._counters.add("measurements", len(found))  # what is counted is there

    def _count_malformed(self, what: str, why: str) -> None:
        self._counters.add("malformed", label=what)
        if what not in self._failing:
            self._failing.add(what)
            log.warning("message.malformed", what=what, why=why, logged="once, then counted")

    def _try_read_incidents(self) -> None:
        try:
            self._read_incidents(INCIDENTS_COMPARED)
            self._failing.discard("store")
        except StoreError as error:
            self._counters.add("store_errors")
            if "store" not in self._failing:
                self._failing.add("store")
                log.warning("store.unreadable", why=str(error))

    def _given_names(self, found: list[Incident]) -> Names:
        """Read again for other Boxes, and every `NAMES_S`, not at every poll."""
        shown, now_s = {incident.box_ids for incident in found}, time.monotonic()
        if shown != self._named_boxes or now_s >= self._names_until_s:
            self._names = given_names(self._store, found)
            self._named_boxes, self._names_until_s = shown, now_s + NAMES_S
        return self._names

    def _read_incidents(self, limit: int) -> None:
        """The newest incidents: send what is new, has changed or was joined into an older one."""
        known = self._hub.known_incidents()
        floor = max(known, default=0) - INCIDENTS_COMPARED
        found = self._store.incidents(after_id=max(0, floor), limit=max(limit, 2 * INCIDENTS_COMPARED))
        names = self._given_names(found)
        for incident in sorted(found, key=lambda item: item.incident_id):
            if self._hub.accept_incident(incident, names):
                self._counters.add("incidents_told")
        if found:
            lowest = min(incident.incident_id for incident in found)
            for gone in known - {incident.incident_id for incident in found}:
                if gone > max(lowest, floor):
                    self._hub.drop_incident(gone)
