"""The sources of items for analyses that do not take Events: the brokers, and the store.

Measurements are a stream: what is published without a reader is given to no analysis. Trends, findings and
incidents are in the store, which is read again at a start, so each is given at least once.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace

import zmq

from opq_cloud.core.backend.peer_watch import WatchedConnections
from opq_cloud.core.backend.sockets import MESSAGES_PER_TURN, Socket, open_socket, service_context
from opq_cloud.core.service import ServiceCounters
from opq_cloud.store.store import CloudStore
from opq_proto.errors import FrameError
from opq_proto.measurement.wire import measurement_from_frames
from opq_proto.messages import TREND_MS, Finding, Incident, Measurement, StoredFinding, Trend
from opq_proto.wire.measurement_turns import request_turns, waiting_measurements

TURNS_WAITING = 1000
"""Turns of Measurements that wait in libzmq; each is what a broker received in 10 ms."""
TRENDS_S = 10.0
"""Interval of searches for new Trends."""
BACK_MS = 3_600_000
"""At a start, Trends and incidents of the last hour are given again."""
RECENT_INCIDENTS = 500
INCIDENTS_COMPARED = 100
"""Incidents that are compared when the store has changed; older ones are named on the bus."""
INCIDENTS_S = 0.2
"""Shortest interval of readings of incidents."""
READING_PAUSE_FACTOR = 3.0
"""After a long reading, the pause is this multiple of its time."""
ITEMS_REMEMBERED = 50_000
"""Findings, and incidents, that are known to have been given; others are given again when they are read."""


class MeasurementFeed:
    """Measurements from `open` to `close`. Counters: `measurements`, `measurements_unseen`, `malformed`.

    Unseen are those whose numbers were skipped: the broker or this feed was too slow, or they come later,
    sent again.
    """

    def __init__(self, endpoint: str, counters: ServiceCounters) -> None:
        self._endpoint, self._counters = endpoint, counters
        self._opened: tuple[ExitStack, Socket] | None = None
        self._connections = WatchedConnections()
        self._sequences: dict[str, int] = {}

    @property
    def problem(self) -> str | None:
        """Why the broker is missing; None: it is not, or the feed is closed."""
        return None if self._opened is None else self._connections.problem

    def open(self) -> None:
        """Subscribes; does nothing where it has. Raises ConfigError."""
        if self._opened is not None:
            return
        with ExitStack() as opening:
            context = opening.enter_context(service_context())
            self._connections = WatchedConnections()
            socket = open_socket(context, zmq.SUB, rcvhwm=TURNS_WAITING)
            opening.callback(socket.close, linger=0)
            request_turns(socket)
            socket.subscribe(b"")
            self._connections.connect(socket, self._endpoint, "mauka.measurement_endpoint")
            self._opened = opening.pop_all(), socket

    def close(self) -> None:
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None
            self._sequences.clear()

    def read(self) -> list[Measurement]:
        """Returns the Measurements that wait, some thousand at most."""
        if self._opened is None:
            return []
        found: list[Measurement] = []
        for frames in waiting_measurements(self._opened[1], MESSAGES_PER_TURN):
            try:
                found.append(measurement_from_frames(frames))
            except FrameError:
                self._counters.add("malformed")
        self._connections.check()
        for row in found:
            self._note_sequence(row)
        windows = [row for row in found if row.is_window]
        self._counters.add("measurements", len(windows))
        return windows

    def _note_sequence(self, row: Measurement) -> None:
        if row.sequence is None or row.backfilled:
            return
        before = self._sequences.get(row.box_id)
        if before is not None and row.sequence > before + 1:
            self._counters.add("measurements_unseen", row.sequence - before - 1)
        self._sequences[row.box_id] = row.sequence


class TrendFeed:
    """Minutes of each Box, in their order, as they are stored."""

    def __init__(self, store: Callable[[], CloudStore], clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._reached_ms: dict[str, int] = {}
        """Box -> start of the last minute that was given."""
        self._next_s = 0.0

    def read(self) -> list[Trend]:
        """Returns the minutes that are new, at an interval. Raises StoreError."""
        if self._clock() < self._next_s:
            return []
        self._next_s = self._clock() + TRENDS_S
        found: list[Trend] = []
        reached = dict(self._reached_ms)
        for box_id, newest in self._store().latest_measurements().items():
            since_ms = reached.setdefault(box_id, newest.timestamp_ms - BACK_MS)
            if newest.timestamp_ms <= since_ms + 2 * TREND_MS:
                continue  # the next minute is not over
            rows = self._store().trends(box_id, since_ms + 1, newest.timestamp_ms)
            minutes = [row for row in rows if row.length_ms == TREND_MS and row.start_ms > since_ms]
            if minutes:
                reached[box_id] = minutes[-1].start_ms
                found += minutes
        self._reached_ms = reached
        return found

    def recent(self) -> list[Trend]:
        """Returns the minutes of the last hour that were given already. Raises StoreError."""
        store = self._store()
        return [
            row
            for box_id, reached_ms in self._reached_ms.items()
            for row in store.trends(box_id, reached_ms - BACK_MS, reached_ms + 1)
            if row.length_ms == TREND_MS
        ]


class IncidentFeed:
    """Incidents that are new or have changed, and their findings that are new or have changed.

    Findings that analyses made from findings or incidents are given to no analysis of findings, and those
    made from incidents do not count as a change of their incident: so analyses do not form a circle.
    """

    def __init__(self, store: Callable[[], CloudStore], clock: Callable[[], float]) -> None:
        self._store, self._clock = store, clock
        self._named: dict[int, None] = {}
        """Incidents that the bus named."""
        self._revision: int | None = None
        self._next_s = 0.0
        self._findings: OrderedDict[int, int] = OrderedDict()
        self._incidents: OrderedDict[int, int] = OrderedDict()

    def note_named(self, incident_id: int) -> None:
        """Has an incident read that the bus named; the store shows others."""
        self._named[incident_id] = None
        while len(self._named) > ITEMS_REMEMBERED:
            del self._named[next(iter(self._named))]

    def recent(self, derived: Collection[str], own: Collection[str]) -> list[Incident]:
        """Returns the newest incidents, oldest first, for an analysis that begins. Raises StoreError.

        Args:
            derived, own: as in `new_findings` and `changed_incident`.
        """
        found = self._store().incidents(limit=RECENT_INCIDENTS)
        since_ns = max((one.end_ns for one in found), default=0) - BACK_MS * 1_000_000
        recent = [one for one in reversed(found) if one.end_ns >= since_ns]
        if self._revision is None:  # nothing was read yet: each analysis begins with these
            for one in recent:
                self.new_findings(one, derived)
                self.changed_incident(one, own)
        return [replace(one, findings=others) for one in recent if (others := _without(one, own))]

    def read(self) -> list[Incident]:
        """Returns incidents that may be new or have changed, at an interval. Raises StoreError."""
        began_s = self._clock()
        if began_s < self._next_s:
            return []
        store = self._store()
        revision = store.join_revision()  # before the incidents that it describes
        named = list(self._named)
        found = store.incidents_of(named)
        if revision != self._revision:
            known = {one.incident_id for one in found}
            newest = reversed(store.incidents(limit=INCIDENTS_COMPARED))
            found += [one for one in newest if one.incident_id not in known]
        self._revision = revision
        for number in named:
            del self._named[number]
        self._next_s = began_s + max(INCIDENTS_S, READING_PAUSE_FACTOR * (self._clock() - began_s))
        return found

    def new_findings(self, incident: Incident, derived: Collection[str]) -> list[Finding]:
        """Returns its findings that were not given in this form. `derived`: classes that are not given."""
        return [
            one.finding
            for one in incident.findings
            if one.finding.kind not in derived and _is_new(self._findings, one.finding_id, hash(one.finding))
        ]

    def changed_incident(self, incident: Incident, own: Collection[str]) -> Incident | None:
        """Returns the incident without findings of the classes `own`; None: nothing else has changed."""
        others = _without(incident, own)
        label = incident.kind if incident.machine_kind is not None else ""
        content = hash((label, *((one.finding_id, one.finding) for one in others)))
        if not others or not _is_new(self._incidents, incident.incident_id, content):
            return None
        return replace(incident, findings=others)


def _without(incident: Incident, classes: Collection[str]) -> tuple[StoredFinding, ...]:
    return tuple(one for one in incident.findings if one.finding.kind not in classes)


def _is_new(known: OrderedDict[int, int], number: int, content: int) -> bool:
    """Remembers the content of a number; returns whether it is new."""
    if known.get(number) == content:
        known.move_to_end(number)
        return False
    known[number] = content
    known.move_to_end(number)
    while len(known) > ITEMS_REMEMBERED:
        known.popitem(last=False)
    return True
