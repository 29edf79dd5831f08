"""The live hub: passes what the reader receives to every open page and program, and to new ones.

The reader's thread publishes; each stream is read on the event loop. A program (`Subscriber`) gets each
Measurement that it wants at once; a program that is too slow loses the oldest. A page (`PageStream`) gets
those of the Boxes that it shows once a second (`page_feed`). Incidents go to both at once. Losses are
counted.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from heapq import nlargest
from itertools import islice
from operator import attrgetter, itemgetter

from opq_cloud.core.service import ServiceCounters
from opq_cloud.view.live.feed_messages import LiveMessage, incident_message, measurement_message
from opq_cloud.view.live.feed_places import FeedPlaces
from opq_cloud.view.live.feed_streams import (
    MEASUREMENTS_WAITING,
    THIS_MACHINE,
    FeedHolder,
    PageStream,
    Shown,
    Subscriber,
)
from opq_cloud.view.live.page_feed import BATCH_S, NEWEST_BOXES, Audience, Boxes, BoxIndex
from opq_cloud.view.live.recent import NewestMeasurement, RecentMeasurements, kept_of_each
from opq_cloud.view.web.words import NO_NAMES, Names
from opq_proto.messages import Incident, Measurement
from opq_proto.time_units import NS_PER_MS

MAX_STREAMS = 600
"""The most open streams, unless `[view] live_streams` sets another number."""
REPORTING_S = 2.0
"""The reporting Boxes are counted this often."""
AUDIENCES_COUNTED = 256
MAX_BOXES = 10_000
"""Boxes in memory; a flood of unknown ids must not fill it."""
RECENT_INCIDENTS = 200
ACCEPTED_AT_ONCE = 100
"""Measurements accepted under one hold of the lock, because pages wait for it."""
_newest_ms = attrgetter("newest_ms")


class LiveHub:
    """The last minutes of each Box, and their distribution; every method may be called from any thread."""

    def __init__(
        self,
        counters: ServiceCounters,
        now_ms: Callable[[], int] = lambda: time.time_ns() // NS_PER_MS,
        streams: int = MAX_STREAMS,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`streams`: how many may be open at once."""
        self._counters = counters
        self._now_ms = now_ms
        self._monotonic_s = monotonic_s
        self.streams = streams
        self.seeding = False
        """Whether the reader has not read yet what the store had at the start: no incident of it is new."""
        self._places = FeedPlaces(streams)
        self.streams_of_holder = self._places.of_holder
        self._lock = threading.Lock()
        self._recent: dict[str, RecentMeasurements] = {}
        self._kept = kept_of_each(0)
        self._incidents: dict[int, LiveMessage] = {}
        self._subscribers: set[Subscriber] = set()
        self._offered: BoxIndex[Subscriber] = BoxIndex()
        self._audiences: dict[Boxes, Audience] = {}
        self._shown: BoxIndex[Audience] = BoxIndex()
        self._live: tuple[float, frozenset[str]] = (float("-inf"), frozenset())
        self._counted: dict[Boxes, tuple[float, bytes]] = {}
        self._closed = False

    def accept_measurement(self, measurement: Measurement, received_ms: int | None = None) -> None:
        """Stores a Measurement and sends it to streams; late (backfilled) or repeated ones change nothing.

        `received_ms`: the time of arrival, if not now (milliseconds since 1970).
        """
        self.accept_measurements((measurement,), received_ms)

    def accept_measurements(
        self, measurements: Sequence[Measurement], received_ms: int | None = None
    ) -> None:
        """Like `accept_measurement`, for several that arrived together."""
        for first in range(0, len(measurements), ACCEPTED_AT_ONCE):
            with self._lock:
                at_ms = self._now_ms() if received_ms is None else received_ms
                for measurement in measurements[first : first + ACCEPTED_AT_ONCE]:
                    self._accept(measurement, at_ms)

    def accept_incident(self, incident: Incident, names: Names = NO_NAMES) -> bool:
        """Sends an incident to the streams if it is new or has changed; returns True when it was sent.

        One that the store had at the start goes only to streams that continue before it.
        """
        with self._lock:
            known = self._incidents.get(incident.incident_id)
        if known is not None and known.incident == incident:
            return False
        message = incident_message(incident, names)
        with self._lock:
            known = self._incidents.get(incident.incident_id)
            if known is not None and known.event_id == message.event_id:
                return False
            self._incidents[incident.incident_id] = message
            while len(self._incidents) > RECENT_INCIDENTS:
                del self._incidents[min(self._incidents)]
            wanting = self._subscribers
            if self.seeding:
                number, made = incident.incident_id, message.event_id
                wanting = {each for each in wanting if is_missed(number, made, each.after)}
            self._publish(message, wanting)
        return True

    def drop_incident(self, incident_id: int) -> None:
        """Removes an incident from the pages, after it was joined into an older one."""
        with self._lock:
            known = self._incidents.pop(incident_id, None)
            if known is not None:
                text = json.dumps({"id": incident_id})
                message = LiveMessage("incident_gone", text, incident=known.incident)
                self._publish(message, self._subscribers)

    def lowest_incident(self) -> int | None:
        """The lowest number of the known incidents; None: none is known."""
        with self._lock:
            return min(self._incidents, default=None)

    def known_incidents(self) -> set[int]:
        with self._lock:
            return set(self._incidents)

    def kept_incidents(self) -> dict[int, LiveMessage]:
        """The known incidents by number."""
        with self._lock:
            return dict(self._incidents)

    def highest_incident(self) -> int:
        """The highest number of the known incidents; 0 if no incident is known."""
        return max(self.kept_incidents(), default=0)

    def newest_incidents(self, limit: int) -> list[LiveMessage]:
        """The known incidents that began last, newest first."""
        kept = self.kept_incidents().values()
        return newest_of(((each.incident, each) for each in kept), limit)

    def latest(self) -> dict[str, Measurement]:
        """The newest Measurement of each Box."""
        with self._lock:
            return {box_id: recent.newest().measurement for box_id, recent in self._recent.items()}

    def forget_boxes(self, box_ids: Iterable[str]) -> None:
        """Forgets the Measurements of deleted Boxes."""
        with self._lock:
            for box_id in box_ids:
                self._recent.pop(box_id, None)

    def box_ids(self) -> list[str]:
        """Ids of all Boxes that have sent data."""
        with self._lock:
            return list(self._recent)

    def live_boxes(self, now_ms: int) -> set[str]:
        """The Boxes that are not silent."""
        with self._lock:
            return {box_id for box_id, recent in self._recent.items() if now_ms < recent.silent_ms}

    def newest(self, box_id: str) -> NewestMeasurement | None:
        """The newest Measurement of one Box and its rhythm; None where it has sent no data."""
        with self._lock:
            recent = self._recent.get(box_id)
            return None if recent is None else recent.newest()

    def newest_ms(self, box_ids: Iterable[str] | None = None) -> int | None:
        """Time of the newest Measurement of all Boxes, or of these; None where none has sent data."""
        with self._lock:
            return max(map(_newest_ms, self._boxes_with_data(box_ids)), default=None)

    def box_count(self) -> int:
        """The number of Boxes that have sent data; none is forgotten."""
        return len(self._recent)

    def values_now(self) -> list[tuple[float, float, int, int, int, int]]:
        """`RecentMeasurements.values_now` of each Box that has sent data, in the order of `box_ids`."""
        with self._lock:
            return [recent.values_now() for recent in self._recent.values()]

    def recent(self, box_id: str) -> list[Measurement]:
        """The Measurements of the last minutes, oldest first."""
        with self._lock:
            recent = self._recent.get(box_id)
            return [] if recent is None else recent.rows()

    def subscribe(
        self,
        wake: Callable[[], None],
        after: str | None,
        shown: Shown | None = None,
        boxes: Boxes = None,
        holder: FeedHolder = THIS_MACHINE,
    ) -> Subscriber | None:
        """Opens a program's stream.

        It begins with each Box's newest values and, with `after` (a Last-Event-ID: `ID` or `ID-checksum`),
        the incidents above that id, and that one if it has changed since. Returns None when `holder` gets no
        place, or when the hub is closed.
        """
        with self._lock:
            subscriber = Subscriber(wake, boxes=boxes) if shown is None else Subscriber(wake, shown, boxes)
            subscriber.holder = holder
            if not self._enter(subscriber, after):
                return None
            for recent in self._boxes_with_data(boxes):
                newest = recent.newest()
                subscriber.add(measurement_message(newest.measurement, newest, self._now_ms()))
                if len(subscriber.measurements) >= MEASUREMENTS_WAITING:
                    break
            self._offered.add(subscriber, boxes)
        return subscriber

    def open_page(
        self,
        wake: Callable[[], None],
        after: str | None,
        shown: Shown,
        boxes: Boxes,
        seen: Boxes,
        holder: FeedHolder = THIS_MACHINE,
    ) -> PageStream | None:
        """Opens the stream of a page with these Boxes; like `subscribe`, but `shown` is only for incidents.

        Args:
            boxes: those of the page that its visitor may see; None means all.
            seen: all that the visitor may see.
        """
        with self._lock:
            page = PageStream(wake, shown, boxes, audience=self._audience(boxes), seen=seen)
            page.holder = holder
            if not self._enter(page, after):
                self._leave_audience(page)
                return None
        return page

    def show(self, stream: Subscriber, boxes: Boxes, seen: Boxes) -> None:
        """Changes the Boxes of a stream, after its visitor's rights have changed."""
        with self._lock:
            if stream not in self._subscribers:
                return
            if isinstance(stream, PageStream):
                stream.seen = seen
                if stream.audience.boxes != boxes:
                    self._leave_audience(stream)
                    stream.audience, stream.sent = self._audience(boxes), None
            elif stream.boxes != boxes:
                self._offered.discard(stream, stream.boxes)
                self._offered.add(stream, boxes)
            stream.boxes = boxes

    def page_parts(self, page: PageStream) -> tuple[list[bytes], float]:
        """What to send to a page now, incidents first; and the seconds until there may be more."""
        with self._lock:
            now_s, audience = self._monotonic_s(), page.audience
            parts = [message.wire for message in page.waiting_messages()]
            reporting = self._reporting(page.seen, now_s)
            if reporting != page.reporting:
                page.reporting = reporting
                parts.append(reporting)
            text, page.sent, lost = audience.read_after(page.sent, now_s, lambda: self._newest_text(audience))
            if lost:
                self._counters.add("live_dropped", lost, label="measurement")
            if text:
                parts.append(text)
            return parts, audience.next_s - now_s

    def full(self, holder: FeedHolder = THIS_MACHINE) -> bool:
        """Whether one more page of that holder would be refused, because all places are taken."""
        with self._lock:
            if len(self._subscribers) >= self.streams and self._places.giver(holder) is None:
                self._counters.add("clients_refused")
                return True
            return self._closed

    def full_of(self, holder: FeedHolder) -> bool:
        """Whether one more page of that holder would be refused, because it has its most."""
        with self._lock:
            if self._places.has_its_most(holder):
                self._counters.add("clients_refused_of_address")
                return True
            return False

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Notes that the connection of a stream has ended."""
        with self._lock:
            if subscriber in self._subscribers:
                self._stop_sending(subscriber)
                self._places.leave(subscriber)
            elif subscriber.gave_up:
                subscriber.gave_up = False
                self._places.leave(subscriber)

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

    def _accept(self, measurement: Measurement, at_ms: int) -> None:
        recent = self._recent.get(measurement.box_id)
        if recent is None:
            if len(self._recent) >= MAX_BOXES:
                self._counters.add("boxes_refused")
                return
            recent = self._recent[measurement.box_id] = RecentMeasurements()
            self._kept = kept_of_each(len(self._recent))
        if not recent.accept(measurement, at_ms, self._kept):
            self._counters.add("measurements_late")
            return
        self._publish_measurement(measurement, recent)

    def _enter(self, subscriber: Subscriber, after: str | None) -> bool:
        holder = subscriber.holder
        if self._closed or self._places.has_its_most(holder):
            return False
        if len(self._subscribers) >= self.streams:
            giver = self._places.giver(holder)
            if giver is None:
                return False
            self._stop_sending(giver)
            self._places.give_up(giver)
            self._counters.add("clients_displaced")
            giver.gave_up = giver.closed = True
            giver.wake()
        subscriber.after = after
        for incident_id, message in sorted(self._incidents.items()):
            if is_missed(incident_id, message.event_id, after):
                subscriber.add(message)
        self._subscribers.add(subscriber)
        self._places.enter(subscriber)
        self._counters.add("clients")
        self._counters.set("clients_now", len(self._subscribers))
        return True

    def _stop_sending(self, subscriber: Subscriber) -> None:
        self._subscribers.discard(subscriber)
        if isinstance(subscriber, PageStream):
            self._leave_audience(subscriber)
        else:
            self._offered.discard(subscriber, subscriber.boxes)
        self._counters.set("clients_now", len(self._subscribers))

    def _audience(self, boxes: Boxes) -> Audience:
        """The audience of these Boxes, with one page more."""
        found = self._audiences.get(boxes)
        if found is None:  # new audiences begin at different moments, so that they do not all send together
            first_s = self._monotonic_s() + BATCH_S * (0.5 + len(self._audiences) * 0.618 % 0.5)
            found = self._audiences[boxes] = Audience(boxes, first_s)
            self._shown.add(found, boxes)
        found.pages += 1
        return found

    def _leave_audience(self, page: PageStream) -> None:
        audience = page.audience
        audience.pages -= 1
        if not audience.pages:
            del self._audiences[audience.boxes]
            self._shown.discard(audience, audience.boxes)

    def _boxes_with_data(self, boxes: Iterable[str] | None) -> Iterable[RecentMeasurements]:
        if boxes is None:
            return self._recent.values()
        return [self._recent[box_id] for box_id in boxes if box_id in self._recent]

    def _newest_text(self, audience: Audience) -> bytes:
        newest = [recent.newest() for recent in islice(self._boxes_with_data(audience.boxes), NEWEST_BOXES)]
        now_ms = self._now_ms()
        return b"".join(measurement_message(each.measurement, each, now_ms).wire for each in newest)

    def _reporting(self, seen: Boxes, now_s: float) -> bytes:
        """How many of these Boxes report; where none does, the time of the newest value."""
        made_s, text = self._counted.get(seen, (float("-inf"), b""))
        if now_s - made_s < REPORTING_S:
            return text
        if now_s - self._live[0] >= REPORTING_S:
            now_ms = self._now_ms()
            live = (box_id for box_id, recent in self._recent.items() if now_ms < recent.silent_ms)
            self._live = now_s, frozenset(live)
        live_now = self._live[1]
        facts: dict[str, int | None] = {"reporting": len(live_now if seen is None else live_now & seen)}
        if not facts["reporting"]:
            facts["newest_ms"] = max(map(_newest_ms, self._boxes_with_data(seen)), default=None)
        if len(self._counted) >= AUDIENCES_COUNTED:
            self._counted.clear()
        self._counted[seen] = now_s, LiveMessage("reporting", json.dumps(facts)).wire
        return self._counted[seen][1]

    def _publish_measurement(self, measurement: Measurement, recent: RecentMeasurements) -> None:
        """Sends a Measurement to the streams that want its Box; makes no text if no stream does."""
        box_id = measurement.box_id
        audiences, offered = self._shown.of(box_id), self._offered.of(box_id)
        if not (audiences or offered):
            return
        message = measurement_message(recent.filled(measurement), recent.newest(), self._now_ms())
        dropped = sum(audience.accept(box_id, message.wire) for audience in audiences)
        for subscriber in offered:
            dropped += subscriber.add(message)
            subscriber.wake_once()
        if dropped:
            self._counters.add("live_dropped", dropped, label="measurement")

    def _publish(self, message: LiveMessage, wanting: Iterable[Subscriber]) -> None:
        for subscriber in wanting:
            dropped = subscriber.add(message)
            if dropped:
                self._counters.add("live_dropped", dropped, label=message.event)
            subscriber.wake_once()


def number_after(after: str | None) -> int | None:
    """The number of a Last-Event-ID, after which incidents are sent; None where it states none."""
    text = (after or "").partition("-")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def is_missed(incident_id: int, event_id: str | None, after: str | None) -> bool:
    """Whether a stream that continues after a Last-Event-ID has to get this version of an incident."""
    first = number_after(after)
    if first is None or incident_id < first:
        return False
    return incident_id > first or ("-" in (after or "") and event_id != after)


def newest_of(known: Iterable[tuple[Incident | None, LiveMessage]], limit: int) -> list[LiveMessage]:
    """Messages by the start of the visible part of their incidents (None: no part), newest first."""
    seen = [(each.start_ns, each.incident_id, message) for each, message in known if each is not None]
    return [message for *_, message in nlargest(limit, seen, key=itemgetter(0, 1))]
