"""The live hub: what the reader learns goes to every open page, and to a page that just opened.

The reader's thread publishes; each page is a `Subscriber` read on the event loop. A page that
does not keep up loses its oldest measurements, then its oldest incidents; both are counted.
"""

import asyncio
import contextlib
import json
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from opq_cloud.service import ServiceCounters
from opq_cloud.store.incident_json import incident_json
from opq_cloud.view.charts import window_ms
from opq_cloud.view.recent import NewestMeasurement, RecentMeasurements
from opq_cloud.view.words import NO_NAMES, Names, class_tone, class_words, headline, outline
from opq_proto.decision import NS_PER_MS
from opq_proto.messages import Incident, Measurement

MEASUREMENTS_WAITING = 256
INCIDENTS_WAITING = 64
SUBSCRIBERS = 64
"""Open pages at once; the next one is asked to come back later."""
MAX_BOXES = 10_000
"""Boxes kept in memory; a flood of strange ids must not fill it."""
RECENT_INCIDENTS = 200


@dataclass(frozen=True, slots=True)
class LiveMessage:
    """One server-sent event; `event_id` only where a client may ask for what followed it."""

    event: str
    data: str
    event_id: str | None = None
    box_id: str = ""
    """The Box of a measurement; empty for others."""
    incident: Incident | None = None
    names: Names = field(default_factory=dict)

    def encode(self) -> bytes:
        """Its bytes on the wire (WHATWG HTML, 9.2.5)."""
        head = f"id: {self.event_id}\n" if self.event_id else ""
        return f"{head}event: {self.event}\ndata: {self.data}\n\n".encode()


def measurement_json(measurement: Measurement) -> dict[str, object]:
    """A Measurement as the page and `/api/boxes` show it; unknown is None."""
    rms, f, thd, trans = (measurement.metrics.get(key) for key in ("rms", "f", "thd", "trans"))
    return {
        "box_id": measurement.box_id,
        "timestamp_ms": measurement.timestamp_ms,
        "rms_v": _rounded(rms.average, 3) if rms else None,
        "rms_min_v": _rounded(rms.min, 3) if rms else None,
        "rms_max_v": _rounded(rms.max, 3) if rms else None,
        "f_hz": _rounded(f.average, 4) if f else None,
        "thd_percent": _rounded(thd.average * 100, 3) if thd else None,
        "trans_v": _rounded(trans.max, 2) if trans else None,
        "window_ms": _rounded(window_ms(measurement), 1),
        "uncertainty_ns": measurement.uncertainty_ns,
        "source": measurement.source.name.lower(),
    }


def fingerprint(incident: Incident) -> str:
    """Eight hex digits that change when anything that pages show of the incident does."""
    return f"{zlib.crc32(repr(incident).encode()):08x}"


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if abs(value) < float("inf") else None  # a NaN compares false


Shown = Callable[[LiveMessage], LiveMessage | None]
"""What a page gets of a message; None: nothing."""


@dataclass(slots=True, eq=False)
class Subscriber:
    """One open page. `wake` and `shown` are called from the publishing thread."""

    wake: Callable[[], None]
    shown: Shown = field(default=lambda message: message)
    measurements: deque[LiveMessage] = field(default_factory=deque)
    incidents: deque[LiveMessage] = field(default_factory=deque)
    closed: bool = False

    def add(self, message: LiveMessage) -> int:
        """Queue what the page gets of it; returns how many older ones had to go."""
        part = self.shown(message)
        if part is None:
            return 0
        message = part
        urgent = message.event != "measurement"
        queue = self.incidents if urgent else self.measurements
        queue.append(message)
        dropped = 0
        while len(queue) > (INCIDENTS_WAITING if urgent else MEASUREMENTS_WAITING):
            queue.popleft()
            dropped += 1
        return dropped

    def waiting_messages(self) -> list[LiveMessage]:
        """All that waits, incidents first."""
        waiting = []
        for queue in (self.incidents, self.measurements):
            while queue:
                waiting.append(queue.popleft())
        return waiting


class LiveHub:
    """RecentMeasurements state and fan-out; every method may be called from any thread."""

    def __init__(
        self, counters: ServiceCounters, now_ms: Callable[[], int] = lambda: time.time_ns() // NS_PER_MS
    ) -> None:
        self._counters = counters
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._recent: dict[str, RecentMeasurements] = {}
        self._incidents: dict[int, LiveMessage] = {}
        self._subscribers: set[Subscriber] = set()
        self._closed = False

    def accept_measurement(self, measurement: Measurement, heard_ms: int | None = None) -> None:
        """Remember it and send it to every page; late (backfilled) and repeated ones change nothing.

        `heard_ms`: when it was heard, if not now (milliseconds since 1970).
        """
        with self._lock:
            recent = self._recent.get(measurement.box_id)
            if recent is None:
                if len(self._recent) >= MAX_BOXES:
                    self._counters.add("boxes_refused")
                    return
                recent = self._recent[measurement.box_id] = RecentMeasurements()
            if not recent.accept(measurement, self._now_ms() if heard_ms is None else heard_ms):
                self._counters.add("measurements_late")
                return
            if self._subscribers:
                self._publish(_message(recent.filled(measurement), recent.newest(), self._now_ms()))

    def accept_incident(self, incident: Incident, names: Names = NO_NAMES) -> bool:
        """Send it to every page if it is new or has changed; True when it was sent."""
        message = incident_message(incident, names)
        with self._lock:
            known = self._incidents.get(incident.incident_id)
            if known is not None and known.event_id == message.event_id:
                return False
            self._incidents[incident.incident_id] = message
            while len(self._incidents) > RECENT_INCIDENTS:
                del self._incidents[min(self._incidents)]
            self._publish(message)
        return True

    def drop_incident(self, incident_id: int) -> None:
        """It was joined into an older one: pages remove it."""
        with self._lock:
            if self._incidents.pop(incident_id, None) is not None:
                self._publish(LiveMessage("incident_gone", json.dumps({"id": incident_id})))

    def known_incidents(self) -> set[int]:
        with self._lock:
            return set(self._incidents)

    def newest_incidents(self) -> list[LiveMessage]:
        """Those that are known, newest first."""
        with self._lock:
            return [self._incidents[incident_id] for incident_id in sorted(self._incidents, reverse=True)]

    def latest(self) -> dict[str, Measurement]:
        """The newest Measurement of each Box."""
        with self._lock:
            return {box_id: recent.newest().measurement for box_id, recent in self._recent.items()}

    def box_ids(self) -> list[str]:
        """Of all Boxes that were heard."""
        with self._lock:
            return list(self._recent)

    def live_boxes(self, now_ms: int) -> set[str]:
        """Those that are not silent."""
        with self._lock:
            return {box_id for box_id, recent in self._recent.items() if recent.is_live(now_ms)}

    def newest(self, box_id: str) -> NewestMeasurement | None:
        """The newest of one Box and its rhythm; None: never heard."""
        with self._lock:
            recent = self._recent.get(box_id)
            return None if recent is None else recent.newest()

    def recent(self, box_id: str) -> list[Measurement]:
        """Those of the last minutes, oldest first."""
        with self._lock:
            recent = self._recent.get(box_id)
            return [] if recent is None else recent.rows()

    def subscribe(
        self, wake: Callable[[], None], after: str | None, shown: Shown | None = None
    ) -> Subscriber | None:
        """A page opens: it first gets each Box's newest values and, with `after` (a Last-Event-ID:
        `ID` or `ID-checksum`), the incidents above that id, and that one if it has changed since.

        None when too many pages are open, or on the way down.
        """
        with self._lock:
            if self._closed or len(self._subscribers) >= SUBSCRIBERS:
                return None
            subscriber = Subscriber(wake) if shown is None else Subscriber(wake, shown)
            for message in self._missed(after):
                subscriber.add(message)
            for recent in self._recent.values():
                heard = recent.newest()
                subscriber.add(_message(heard.measurement, heard, self._now_ms()))
            self._subscribers.add(subscriber)
            self._counters.add("clients")
            self._counters.set("clients_now", len(self._subscribers))
        return subscriber

    def full(self) -> bool:
        """One more page would be refused."""
        with self._lock:
            if len(self._subscribers) >= SUBSCRIBERS:
                self._counters.add("clients_refused")
                return True
            return self._closed

    def unsubscribe(self, subscriber: Subscriber) -> None:
        with self._lock:
            self._subscribers.discard(subscriber)
            self._counters.set("clients_now", len(self._subscribers))

    def waiting_messages(self, subscriber: Subscriber) -> list[LiveMessage]:
        with self._lock:
            return subscriber.waiting_messages()

    def close(self) -> None:
        """Ends every page's stream, so that the server can stop."""
        with self._lock:
            self._closed = True
            for subscriber in self._subscribers:
                subscriber.closed = True
                subscriber.wake()

    def _missed(self, after: str | None) -> list[LiveMessage]:
        text = (after or "").partition("-")[0]
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            return []
        first = int(text)
        same_if_only_a_number = "-" not in (after or "")
        return [
            message
            for incident_id, message in sorted(self._incidents.items())
            if incident_id > first
            or (incident_id == first and not same_if_only_a_number and message.event_id != after)
        ]

    def _publish(self, message: LiveMessage) -> None:
        for subscriber in self._subscribers:
            dropped = subscriber.add(message)
            if dropped:
                self._counters.add("live_dropped", dropped, label=message.event)
            subscriber.wake()


def _message(measurement: Measurement, heard: NewestMeasurement, now_ms: int) -> LiveMessage:
    rhythm = {"age_ms": max(0, now_ms - heard.heard_ms), "silent_after_ms": heard.silent_after_ms}
    data = json.dumps({**measurement_json(measurement), **rhythm})
    return LiveMessage("measurement", data, box_id=measurement.box_id)


def incident_message(incident: Incident, names: Names) -> LiveMessage:
    """What open pages get of it, with words for ours."""
    mark = fingerprint(incident)
    show = {
        "outline": outline(incident, names),
        "class_words": class_words(incident.kind),
        "tone": class_tone(incident.kind),
        "fingerprint": mark,
    }
    data = json.dumps({**incident_json(incident), "summary": headline(incident, names), "show": show})
    event_id = f"{incident.incident_id}-{mark}"
    return LiveMessage("incident", data, event_id, incident=incident, names=names)


def loop_wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    """Sets `event` from any thread; a loop that has ended needs no waking."""

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # what a closed loop raises
            loop.call_soon_threadsafe(event.set)

    return wake
