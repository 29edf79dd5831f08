"""The live reader: from the measurements' socket, the bus and the store to the hub.

In: Measurements (SUB 9881), `incident` and `laha_gc` messages (SUB 9883), the store. Out: `LiveHub`.

An incident is read from the store as soon as the bus names it; new incidents come before growing ones, and a
storm is limited in rate (`_Pace`). The newest incidents are also read regularly, so that a message that the
bus loses (PUB/SUB does not promise delivery) only delays the incident by a second.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
import zmq
from google.protobuf.message import DecodeError

from opq_cloud.core.backend.sockets import MESSAGES_PER_TURN, Socket, connect
from opq_cloud.core.backend.waits import PollableEvent, wait_for
from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.store.store import CloudStore
from opq_cloud.view.live.feed_messages import LARGEST_ID
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.recent import RECENT_MEASUREMENTS, RECENT_MS
from opq_cloud.view.web.words import Names, listed_boxes, names_of
from opq_proto.errors import FrameError, StoreError
from opq_proto.kit.zmq_inbox import waiting_messages
from opq_proto.measurement.wire import measurement_from_frames
from opq_proto.messages import Incident, Measurement
from opq_proto.wire import mauka_pb2
from opq_proto.wire.measurement_turns import request_turns, waiting_measurements

log = structlog.get_logger()

TURNS_WAITING = 1000
"""Waiting turns of Measurements; each holds what a broker read in 10 ms."""
BUS_TOPICS = (b"incident", b"laha_gc")
"""Our topic, also for edits by hand and re-analyses; and the original's, which its plug-ins publish."""
NAMES_S = 10.0
SEEDED_TOTAL = 50_000
"""Measurements of all Boxes together that are read at the start."""
SEEDED_PER_BOX = 3
"""Measurements of each Box that are read at the start, at least."""
SEEDED_INCIDENTS = 100
"""The newest incidents that are read at the start."""
INCIDENTS_COMPARED = 20
"""The newest incidents are compared with what was last sent: one may still grow or be joined."""
MAX_NAMED = 100
"""Incidents that may wait to be read; if there are more, only the newest wait."""
COMPARED_ANYWAY_S = 10.0
"""Compares this often even if the store's revision is the same: expiry does not raise it."""


@dataclass(slots=True)
class _Pace:
    """Delays the next reading by `between_s`, or by `times` the duration of the last one if longer."""

    between_s: float
    times: float
    next_s: float = 0.0
    named: set[int] = field(default_factory=set)
    """Incidents that wait."""

    def note_end(self, began_s: float) -> None:
        now_s = time.monotonic()
        self.next_s = now_s + max(self.between_s, self.times * (now_s - began_s))


def live_windows(messages: Iterable[Sequence[bytes]]) -> tuple[list[Measurement], list[FrameError]]:
    """Returns the Measurements of windows in their order, and why other messages cannot be read.

    Intervals and disturbances are left out, because pages do not show them live.

    messages: a topic and a Measurement each.
    """
    found: list[Measurement] = []
    malformed: list[FrameError] = []
    for frames in messages:
        try:
            measurement = measurement_from_frames(frames)
        except FrameError as error:
            malformed.append(error)
            continue
        if measurement.is_window:
            found.append(measurement)
    return found, malformed


class LiveReader:
    """One thread."""

    def __init__(
        self,
        store: CloudStore,
        hub: LiveHub,
        counters: ServiceCounters,
        config: ViewSection,
    ) -> None:
        self._store = store
        self._hub = hub
        hub.seeding = True
        self._counters = counters
        self._config = config
        self._ended = PollableEvent()
        self._failing: set[str] = set()
        self._names: Names = {}
        self._named_boxes: set[str] = set()
        self._names_until_s = 0.0
        self._new, self._grown = _Pace(0.05, 1.0), _Pace(0.1, 3.0)
        self._newest, self._incidents_due = _Pace(0.25, 3.0), True
        self._revision, self._next_poll_s, self._compare_s = -1, 0.0, 0.0

    def _seed(self) -> None:
        """Reads the last minutes and incidents from the store."""
        boxes = max(1, len(self._store.boxes()))
        limit = max(SEEDED_PER_BOX, min(RECENT_MEASUREMENTS, SEEDED_TOTAL // boxes))
        for rows in self._store.last_minutes(RECENT_MS, limit):
            for item in sorted(rows, key=lambda row: row.sequence or 0):  # in the order of arrival
                self._hub.accept_measurement(item, received_ms=item.timestamp_ms)
        self._read_newest(SEEDED_INCIDENTS)
        self._hub.seeding = False

    def end(self) -> None:
        """Makes `run` return; from any thread."""
        self._ended.set()

    def run(self, seeded: threading.Event) -> None:
        """Runs until `end`; sets `seeded` once the hub has what the store had at the start.

        Raises:
            ConfigError: an address is not valid.
            StoreError: the store cannot be read at the start.
        """
        context = zmq.Context()
        bus, measurements = context.socket(zmq.SUB), context.socket(zmq.SUB)
        try:
            for socket, endpoint, key, topics in (
                (measurements, self._config.measurement_endpoint, "view.measurement_endpoint", (b"",)),
                (bus, self._config.bus_endpoint, "view.bus_endpoint", BUS_TOPICS),
            ):
                socket.linger = 0
                socket.rcvhwm = 10_000 if socket is bus else TURNS_WAITING  # the store has further ones
                socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 1000
                if socket is not bus:
                    request_turns(socket)
                for topic in topics:
                    socket.subscribe(topic)
                connect(socket, endpoint, key)
            self._seed()
            seeded.set()
            self._loop(measurements, bus)
        finally:
            context.destroy(linger=0)

    def _loop(self, measurements: Socket, bus: Socket) -> None:
        while not self._ended.is_set():
            ready = wait_for(self._ended, bus, measurements, due_s=self._due_s())
            if bus in ready:
                self._read_bus(bus)
            self._notify()
            if measurements in ready:
                self._read_measurements(measurements)

    def _due_s(self) -> float:
        """Seconds until the store is to be read."""
        waiting = [pace.next_s for pace in (self._new, self._grown) if pace.named]
        waiting += [self._newest.next_s] if self._incidents_due else [self._next_poll_s]
        return min(waiting) - time.monotonic()

    def _read_bus(self, bus: "zmq.Socket[bytes]") -> None:
        known = self._hub.known_incidents()
        for frames in waiting_messages(bus):
            if len(frames) != 2:
                self._count_malformed("bus", f"{len(frames)} frames, not 2")
                continue
            message = mauka_pb2.MaukaMessage()
            try:
                message.ParseFromString(frames[1])
                if message.incident_json:
                    self._note_named(json.loads(message.incident_json), known)
            except (DecodeError, ValueError, KeyError, TypeError, RecursionError) as error:
                self._count_malformed("bus", str(error))
                continue
            self._counters.add("bus_messages")
            if message.laha.WhichOneof("laha_type") == "gc_update":
                self._incidents_due |= message.laha.gc_update.from_domain == mauka_pb2.INCIDENTS

    def _note_named(self, notice: Mapping[str, Any], known: set[int]) -> None:
        """Accepts a notice of Mauka on topic `incident` (`mauka/incident_notice.py`)."""
        number = notice["incident"]["id"]
        if type(number) is not int or not 0 < number <= LARGEST_ID:
            raise ValueError("the id is not a number of an incident")
        if notice["kind"] == "incident_gone":
            self._hub.drop_incident(number)
        elif number > max(known, default=0) - INCIDENTS_COMPARED:
            named = (self._grown if number in known else self._new).named
            named.add(number)
            if len(named) > MAX_NAMED:
                named.remove(min(named))
                self._counters.add("live_dropped", label="incident")

    def _notify(self) -> None:
        """Reads incidents that are due."""
        for pace in (self._new, self._grown):
            if pace.named and time.monotonic() >= pace.next_s:
                named = sorted(pace.named)
                pace.named.clear()
                self._try(pace, partial(self._read_named, named))
        if self._incidents_due and time.monotonic() >= self._newest.next_s:
            self._try(self._newest, self._read_newest)
        elif time.monotonic() >= self._next_poll_s:
            self._try(self._newest, self._poll)

    def _read_measurements(self, measurements: "zmq.Socket[bytes]") -> None:
        found, malformed = live_windows(waiting_measurements(measurements, MESSAGES_PER_TURN))
        for error in malformed:
            self._count_malformed("measurement", str(error))
        self._hub.accept_measurements([each for each in found if not each.backfilled])
        self._counters.add("measurements", len(found))  # counted only once the hub has them

    def _count_malformed(self, what: str, why: str) -> None:
        self._counters.add("malformed", label=what)
        if what not in self._failing:
            self._failing.add(what)
            log.warning("message.malformed", what=what, why=why, logged="once, then counted")

    def _try(self, pace: _Pace, read: Callable[[], None]) -> None:
        began_s = time.monotonic()
        try:
            read()
            self._failing.discard("store")
        except StoreError as error:
            self._incidents_due = True
            self._counters.add("store_errors")
            if "store" not in self._failing:
                self._failing.add("store")
                log.warning("store.unreadable", why=str(error))
        pace.note_end(began_s)

    def _given_names(self, found: list[Incident]) -> Names:
        """The names of the Boxes, read again every `NAMES_S`."""
        now_s = time.monotonic()
        if now_s >= self._names_until_s:
            self._names, self._named_boxes, self._names_until_s = {}, set(), now_s + NAMES_S
        unnamed = listed_boxes(found) - self._named_boxes
        records = [self._store.box(box_id) for box_id in unnamed]
        self._names = {**self._names, **names_of(record for record in records if record is not None)}
        self._named_boxes |= unnamed
        return self._names

    def _read_named(self, numbers: list[int]) -> None:
        self._send(self._store.incidents_of(numbers))

    def _poll(self) -> None:
        self._next_poll_s = time.monotonic() + self._config.poll_s
        if self._store.join_revision() != self._revision or time.monotonic() >= self._compare_s:
            self._read_newest()

    def _read_newest(self, limit: int = INCIDENTS_COMPARED) -> None:
        revision = self._store.join_revision()  # read before the incidents that it describes
        self._read_incidents(limit)
        self._revision, self._incidents_due = revision, False
        self._compare_s = time.monotonic() + COMPARED_ANYWAY_S
        self._next_poll_s = time.monotonic() + self._config.poll_s

    def _read_incidents(self, limit: int) -> None:
        """Reads the newest incidents; sends those that are new, changed or joined into an older one."""
        known = self._hub.known_incidents()
        floor = max(known, default=0) - INCIDENTS_COMPARED
        found = self._store.incidents(after_id=max(0, floor), limit=max(limit, 2 * INCIDENTS_COMPARED))
        self._send(sorted(found, key=lambda item: item.incident_id))
        if found:
            lowest = min(incident.incident_id for incident in found)
            for gone in known - {incident.incident_id for incident in found}:
                if gone > max(lowest, floor):
                    self._hub.drop_incident(gone)

    def _send(self, found: list[Incident]) -> None:
        names = self._given_names(found)
        for incident in found:
            if self._hub.accept_incident(incident, names):
                self._counters.add("incidents_told")
