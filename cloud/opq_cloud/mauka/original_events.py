"""Events of an original event service: when their waveforms are there to be read.

It announces an event before it stores the first waveform, adds Boxes that answer later without another
word, and nowhere says that it is done (opq-interop A.7, D.3, H.11). The original's Mauka waits 10 s and takes
what is there. Ours takes an event as soon as every Box that it names can be read and none came for a
second, after 10 s in any case, and takes it again when more Boxes come: the original groups answers for
20 s. No thread and no timer: the owner asks.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from opq_cloud.service import ServiceCounters
from opq_cloud.store.store import CloudStore, EventRecord
from opq_proto import log as logs

log = logs.get(service="mauka")

CHECK_S = 0.5
SETTLED_S = 1.0
"""Boxes answer one after the other: as long as they come no event is read."""
LATEST_S = 10.0
"""getDataAfterS of the original (opq-interop A.11)."""
WATCH_S = 30.0
"""The original joins answers for 20 s (opq-interop A.11), and stores each after it came."""
UNHEARD_NS = 60 * 10**9
LIMIT = 1000


@dataclass(slots=True)
class _Watched:
    announced_s: float
    named: frozenset[str] = frozenset()
    """Boxes that the event named when it was last read."""
    changed_s: float = 0.0
    taken: frozenset[str] = field(default_factory=frozenset)
    """Boxes whose waveforms could be read when it was handed out."""


class OriginalEvents:
    """Announced events that may not be whole yet.

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
        self._over: deque[int] = deque(maxlen=LIMIT)

    def __len__(self) -> int:
        return len(self._watched)

    def add_event(self, event_id: int) -> None:
        """It was announced; once more while it is watched changes nothing."""
        now_s = self._clock()
        self._watched.setdefault(event_id, _Watched(now_s, changed_s=now_s))
        while len(self._watched) > LIMIT:
            self._watched.popitem(last=False)
            self._counters.add("forgotten_events")

    def add_unheard(self, newest: Iterable[EventRecord], utc_ns: int) -> None:
        """Those whose announcement was lost, or came while nobody listened.

        Args:
            newest: events of the store, of any kind.
        """
        since_ns = utc_ns - UNHEARD_NS
        for record in newest:
            new = record.original and not record.analysed and record.end_ns > since_ns
            if new and record.event_id not in self._over:
                self.add_event(record.event_id)

    def ready(self) -> list[tuple[int, frozenset[str]]]:
        """Events that can be read now, each with the Boxes that are new; one comes again with later Boxes."""
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
        """The Boxes whose waveforms can be read; none while more are expected."""
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
