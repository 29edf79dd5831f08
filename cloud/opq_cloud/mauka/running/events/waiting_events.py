"""Chooses the event that the runner analyses next: announced, found in the store, incomplete, or failed
before.

An event is announced on the bus when it is finished. Events without an announcement (a lost message, an event
that has grown, one from before a crash) are found in the store, which is searched twice a second.
"""

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from opq_cloud.core.service import ServiceCounters
from opq_cloud.mauka.running.calls.event_analysis import EventOutcome
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.store import CloudStore
from opq_proto.kit import log as logs

log = logs.get(service="mauka")

POLL_S = 0.5
"""Interval of the searches for finished events; 10 us in the embedded store."""
ANNOUNCED_NS = 250_000_000
"""An event finished less than this ago is about to be announced, and is not taken from the store."""
UNANNOUNCED_S = 2.0
"""Interval of the searches for an original service's events, whose records have to be read."""
UNFINISHED_S = 10.0
"""After this time an open event is analysed as it is: getDataAfterS, docs/reference/opq-interop.md A.11."""
SOON_S = 0.5
WAITING_EVENTS = 1000
RECENT_EVENTS = 100
FIRST_RETRY_S = 2.0
"""Time until the first retry; each further wait is twice as long."""
LONGEST_RETRY_S = 300.0
"""Longest time between two retries."""
LONGEST_FAILED_S = 3600.0
"""Longest wait where an analysis fails or rests: each try runs all others again, and thousands of events may
wait for one that always fails. A new version of it is tried at once.
"""


@dataclass(frozen=True, slots=True)
class EventTurn:
    """An event that is to be analysed now.

    Attributes:
        again: it was analysed before; its incidents are not announced once more.
        complete: it may be marked as analysed.
    """

    event_id: int
    again: bool
    complete: bool = True


@dataclass(slots=True)
class _Retry:
    next_s: float
    wait_s: float
    failures: int = 0
    """How often an analysis failed on this event itself; others only wait for one that rests."""


class WaitingEvents:
    """Events that wait for one runner, in its loop. Counters there: `unknown_events`, `forgotten_events`."""

    def __init__(
        self,
        store: Callable[[], CloudStore],
        counters: ServiceCounters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._counters, self._clock = store, counters, clock
        self._next_poll_s = self._next_unannounced_s = clock()
        self._first_poll = True
        """Announcements from before the first search were not received."""
        self._next_unfinished_s = 0.0
        self._backlog: deque[int] = deque()
        self._unfinished: OrderedDict[int, float] = OrderedDict()
        """Announced, but not complete in the store: event id -> when to analyse what is there."""
        self._originals = OriginalEvents(store, counters, clock)
        self._retries: OrderedDict[int, _Retry] = OrderedDict()
        self._done: deque[tuple[int, int]] = deque(maxlen=RECENT_EVENTS)
        """When (UTC, ms) which event was marked."""

    def begin(self) -> None:
        """Makes the next call search the store at once, at a start."""
        self._next_poll_s = self._next_unannounced_s = self._clock()
        self._first_poll = True
        self._backlog.clear()

    def announced(self, event_id: int) -> EventTurn | None:
        """Handles an announcement; None: the event waits until it is complete."""
        record = self._store().event_record(event_id)
        if record is not None and record.original:
            self._originals.add_event(event_id)
        elif record is not None and record.finished:
            return EventTurn(event_id, again=record.analysed or self._was_done(event_id))
        else:
            self._unfinished.setdefault(event_id, self._clock() + UNFINISHED_S)
            while len(self._unfinished) > WAITING_EVENTS:
                self._unfinished.popitem(last=False)
                self._counters.add("forgotten_events")
        return None

    def overdue(self) -> Iterator[EventTurn]:
        """Yields announced events that are not complete and have waited long enough."""
        now_s = self._clock()
        if now_s < self._next_unfinished_s:
            return
        self._next_unfinished_s = now_s + SOON_S
        for event_id, deadline_s in list(self._unfinished.items()):
            record = self._store().event_record(event_id)
            if record is not None and record.original:
                del self._unfinished[event_id]
                self._originals.add_event(event_id)
            elif record is not None and record.finished:
                del self._unfinished[event_id]  # it is found among the unanalysed ones
            elif now_s >= deadline_s:
                del self._unfinished[event_id]
                if record is None:
                    self._counters.add("unknown_events")
                    log.warning("event.unknown", event_id=event_id)
                else:
                    yield EventTurn(event_id, again=False, complete=False)

    def take_originals(self) -> None:
        """Queues events of an original service that can be read now, or of which more can be read."""
        for event_id, _ in self._originals.ready():
            if not self._store().finish_event(event_id):
                self._store().unmark_analysed(event_id)
            self._backlog.append(event_id)

    @property
    def is_poll_due(self) -> bool:
        """Whether something waits, or the store is to be searched."""
        return bool(self._backlog) or self._clock() >= self._next_poll_s

    @property
    def due_s(self) -> float:
        """Seconds until an event is due, or the store is to be searched."""
        unfinished_s = self._next_unfinished_s - self._clock() if self._unfinished else math.inf
        return min(self._next_poll_s - self._clock(), unfinished_s, self._originals.due_s)

    @property
    def more(self) -> bool:
        """Whether another event waits."""
        return bool(self._backlog)

    def next_turn(self, in_hand: Callable[[int], bool], announced: bool) -> EventTurn | None:
        """Returns the next event that is to be analysed.

        Args:
            in_hand: returns whether an event is being analysed.
            announced: there is a bus, on which events that have just finished are announced.
        """
        now_s = self._clock()
        if not self._backlog and now_s >= self._next_poll_s:
            self._next_poll_s = now_s + POLL_S
            if now_s >= self._next_unannounced_s:
                self._next_unannounced_s = now_s + UNANNOUNCED_S
                self._originals.add_unannounced(self._store().events(limit=RECENT_EVENTS), time.time_ns())
            self._backlog.extend(self._due(now_s, in_hand, announced and not self._first_poll))
            self._first_poll = False
        if not self._backlog:
            return None
        event_id = self._backlog.popleft()
        record = self._store().event_record(event_id)
        if record is None or record.analysed:  # it may have been announced in the meantime
            return None
        return EventTurn(event_id, again=self._was_done(event_id))

    def note_outcome(self, event_id: int, outcome: EventOutcome, done: bool) -> None:
        """Retries a failed event at growing intervals; one that waits for an analysis, after its rest."""
        before = self._retries.pop(event_id, None)
        failures = outcome.failed + (before.failures if before is not None else 0)
        longest_s = LONGEST_FAILED_S if done else LONGEST_RETRY_S
        if outcome.failed or not done:
            wait_s = FIRST_RETRY_S if before is None else min(2 * before.wait_s, longest_s)
            self._retries[event_id] = _Retry(self._clock() + wait_s, wait_s, failures)
        elif outcome.rest_s:
            wait_s = FIRST_RETRY_S / 2 if before is None else min(2 * before.wait_s, longest_s)
            self._retries[event_id] = _Retry(self._clock() + max(outcome.rest_s, wait_s), wait_s, failures)
        elif outcome.lacking:
            self._retries[event_id] = _Retry(math.inf, FIRST_RETRY_S)  # until something changes

    def note_marked(self, event_id: int, at_ms: int) -> None:
        """Notes that it was marked as analysed; `at_ms`: UTC, when its analysis began."""
        self._done.append((at_ms, event_id))

    def retry_all(self) -> None:
        """Retries all failed events: a new version of an analysis may succeed."""
        self._retries.clear()

    def marked_since(self, since_ms: int) -> list[int]:
        """Returns those of the newest `RECENT_EVENTS` that a new analysis may have missed."""
        return [event_id for at_ms, event_id in self._done if at_ms >= since_ms]

    def _was_done(self, event_id: int) -> bool:
        """Returns True if it was marked before; a waveform has come since."""
        return any(event_id == done for _, done in self._done)

    def _due(self, now_s: float, in_hand: Callable[[int], bool], announced: bool) -> list[int]:
        """Returns due events, those on which an analysis failed most often last.

        One that ends an analysis' process makes the analysis rest, for which the others would wait again.
        Before each turn of such a one, another that failed less often has a turn, due or not: their waits may
        keep step, so that it would always come during the rest.
        """
        found = [record for record in self._store().unanalysed_events() if not in_hand(record.event_id)]
        still = {record.event_id for record in found}
        for event_id in [known for known in self._retries if known not in still and not in_hand(known)]:
            del self._retries[event_id]
        now_ns = time.time_ns()
        waits = {each.event_id: self._retries.get(each.event_id, _Retry(now_s, 0.0)) for each in found}
        due = [
            each.event_id
            for each in found
            if waits[each.event_id].next_s <= now_s and not (announced and _is_fresh(each, now_ns))
        ]
        due.sort(key=lambda event_id: (waits[event_id].failures, waits[event_id].wait_s))
        if due and (suspected := waits[due[0]].failures):
            others = [
                (retry.next_s, event_id)
                for event_id, retry in self._retries.items()
                if event_id in waits and retry.failures < suspected and retry.next_s < math.inf
            ]
            if others:
                due.insert(0, min(others)[1])
        return due


def _is_fresh(record: EventRecord, now_ns: int) -> bool:
    return record.finished_ns is not None and 0 <= now_ns - record.finished_ns < ANNOUNCED_NS


CHECK_S = 0.5
SETTLED_S = 1.0
"""Boxes answer one after the other: while answers arrive, no event is read."""
LATEST_S = 10.0
"""getDataAfterS of the original (docs/reference/opq-interop.md A.11)."""
WATCH_S = 30.0
"""The original joins answers for 20 s (docs/reference/opq-interop.md A.11), and stores each after its
arrival."""
UNANNOUNCED_NS = 60 * 10**9
EVENTS_WAITING = 1000


@dataclass(slots=True)
class _Watched:
    announced_s: float
    named: frozenset[str] = frozenset()
    """Boxes that the event named when it was last read."""
    changed_s: float = 0.0
    taken: frozenset[str] = field(default_factory=frozenset)
    """Boxes whose waveforms could be read when it was handed out."""


class OriginalEvents:
    """Announced events of an original event service that may not be complete yet.

    The service announces an event before it stores the first waveform, adds Boxes that answer later
    without another message, and never reports that it is done (docs/reference/opq-interop.md A.7, D.3, H.11).
    The original's Mauka waits 10 s and takes what is there. Ours takes an event as soon as every Box that it
    names can be read and none arrived for a second, after 10 s in any case, and takes it again when more
    Boxes arrive: the original groups answers for 20 s. It has no thread and no timer: the owner calls it.

    Counters: `forgotten_events` beyond the limit, `events_without_waveform` in all the time.
    """

    def __init__(
        self,
        store: Callable[[], CloudStore],
        counters: ServiceCounters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._counters = counters
        self._clock = clock
        self._next_s = 0.0
        self._watched: OrderedDict[int, _Watched] = OrderedDict()
        self._over: deque[int] = deque(maxlen=EVENTS_WAITING)

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def due_s(self) -> float:
        """Seconds until `ready` may return an event."""
        return self._next_s - self._clock() if self._watched else math.inf

    def add_event(self, event_id: int) -> None:
        """Adds an announced event; nothing changes if it is watched already."""
        now_s = self._clock()
        self._watched.setdefault(event_id, _Watched(now_s, changed_s=now_s))
        while len(self._watched) > EVENTS_WAITING:
            self._watched.popitem(last=False)
            self._counters.add("forgotten_events")

    def add_unannounced(self, newest: Iterable[EventRecord], utc_ns: int) -> None:
        """Adds events whose announcement was lost.

        Args:
            newest: events of the store, of any kind.
        """
        since_ns = utc_ns - UNANNOUNCED_NS
        for record in newest:
            new = record.original and not record.analysed and record.end_ns > since_ns
            if new and record.event_id not in self._over:
                self.add_event(record.event_id)

    def ready(self) -> list[tuple[int, frozenset[str]]]:
        """Returns events that can be read now, each with its new Boxes; one comes again with later Boxes."""
        now_s = self._clock()
        if not self._watched or now_s < self._next_s:
            return []
        self._next_s = now_s + CHECK_S
        found = []
        for event_id, watched in self._watched.items():
            there = self._readable(event_id, watched, now_s)
            if not there <= watched.taken:
                found.append((event_id, there - watched.taken))
                watched.taken |= there
        for event_id, watched in list(self._watched.items()):
            if now_s >= watched.announced_s + WATCH_S:
                del self._watched[event_id]
                self._over.append(event_id)
                if not watched.taken:
                    self._counters.add("events_without_waveform")
                    log.warning("event.without_waveform", event_id=event_id)
        return found

    def _readable(self, event_id: int, watched: _Watched, now_s: float) -> frozenset[str]:
        """Returns the Boxes whose waveforms can be read; none while more are expected."""
        record = self._store().event_record(event_id)
        named = frozenset(record.boxes_received) if record is not None else frozenset()
        if named != watched.named:
            watched.named, watched.changed_s = named, now_s
        late = now_s >= watched.announced_s + LATEST_S
        settled = late or now_s >= watched.changed_s + SETTLED_S
        if named <= watched.taken or not settled:
            return frozenset()
        event = self._store().event(event_id)
        there = frozenset(wave.box_id for wave in event.waveforms) if event is not None else frozenset()
        return there if named <= there or late else frozenset()
