"""From a decision to an event: first on disk, then one command per Box.

`EventOpenings` belongs to the triggering service's loop. It knows the newest events, so that one disturbance
seen twice is one event; disturbances that outlasted what was asked for at their onset, so that the whole of
each is asked for once; and what the store refused, which it tries again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from opq_cloud.config import TriggeringServiceSection
from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.event_requests import new_token, request_identity
from opq_cloud.service import ServiceCounters
from opq_cloud.store.store import CloudStore
from opq_proto import log
from opq_proto.decision import NS_PER_MS, Decision, window_ns
from opq_proto.errors import StoreError
from opq_proto.messages import Measurement, Trigger
from opq_proto.rate_limit import RateLimitedLog
from opq_proto.wire import data_command

RETRY_S = 1.0
RETRIES_KEPT = 1000
"""Triggers that the store refused and that are tried again."""
LONGEST_PAD_NS = 2 * 10**9
"""An event waits for its end; Boxes with longer windows may see one disturbance as two events."""
WINDOWS_DIFFER = 1.05
"""Windows of so many cycles follow the frequency: the next one may be longer than the longest one yet."""
SETTLE_S = 0.5
"""For a Measurement on its way, in addition to the window that it was measured over."""


@dataclass(frozen=True, slots=True)
class EventSpan:
    """An event's [start_ns, end_ns) and the Boxes that were asked for it."""

    event_id: int
    start_ns: int
    end_ns: int
    box_ids: frozenset[str]


class RecentEvents:
    """The last `limit` events.

    A trigger whose window lies inside the span of an event that asked the same Box adds nothing: its
    samples are on their way. This holds after a restart too, when a Box sends a measurement again.
    """

    def __init__(self, limit: int, spans: Iterable[EventSpan] = ()) -> None:
        self._spans = deque(spans, maxlen=limit)

    def add_event(self, span: EventSpan) -> None:
        self._spans.append(span)

    def covering(self, box_id: str, start_ns: int, end_ns: int) -> EventSpan | None:
        """The newest event that asked this Box for all of [start_ns, end_ns)."""
        for span in reversed(self._spans):
            if span.start_ns <= start_ns and end_ns <= span.end_ns and box_id in span.box_ids:
                return span
        return None


@dataclass(frozen=True, slots=True)
class _OverSpan:
    """[start_ns, end_ns) of a disturbance that is over, and the Boxes that saw it, the first one first."""

    start_ns: int
    end_ns: int
    box_ids: tuple[str, ...]
    decision: Decision
    due_s: float


class Completions:
    """Disturbances that outlasted their event: what no event covers is asked for whole, once.

    Boxes end their windows at different moments, so each Box that saw a disturbance reports its end within a
    window's length. A span waits that long, and goes out as one Trigger for all of them.
    """

    def __init__(self, recent: RecentEvents, pre_ns: int, post_ns: int) -> None:
        self._recent = recent
        self._pre_ns = pre_ns
        self._post_ns = post_ns
        self._waiting: list[_OverSpan] = []

    def add_span(self, box_id: str, decision: Decision, due_s: float, tolerance_ns: int) -> None:
        """A disturbance is over: nothing to do when one event has all of it, as most have.

        One that begins and ends within `tolerance_ns` of one that waits goes out with it.
        """
        if decision.span_ns is None or self._recent.covering(box_id, *decision.span_ns) is not None:
            return
        start_ns, end_ns = decision.span_ns
        if self.will_ask(box_id, start_ns, end_ns):
            return
        for place, known in enumerate(self._waiting):
            if max(abs(start_ns - known.start_ns), abs(end_ns - known.end_ns)) <= tolerance_ns:
                self._waiting[place] = replace(
                    known,
                    start_ns=min(start_ns, known.start_ns),
                    end_ns=max(end_ns, known.end_ns),
                    box_ids=known.box_ids if box_id in known.box_ids else (*known.box_ids, box_id),
                )
                return
        self._waiting.append(_OverSpan(start_ns, end_ns, (box_id,), decision, due_s))

    def will_ask(self, box_id: str, start_ns: int, end_ns: int) -> bool:
        """Whether one that waits will ask this Box for all of [start_ns, end_ns)."""
        return any(
            box_id in over.box_ids
            and over.start_ns - self._pre_ns <= start_ns
            and end_ns <= over.end_ns + self._post_ns
            for over in self._waiting
        )

    def due(self, now_s: float) -> Iterator[tuple[Trigger, Decision]]:
        """Those whose time has come, without the Boxes that another event has come to cover meanwhile.

        The caller makes an event of each before it takes the next.
        """
        if not self._waiting:
            return
        due = [over for over in self._waiting if now_s >= over.due_s]
        self._waiting = [over for over in self._waiting if now_s < over.due_s]
        for over in due:
            trigger = self._trigger(over)
            if trigger is not None:
                yield trigger, over.decision

    def _trigger(self, over: _OverSpan) -> Trigger | None:
        span = over.start_ns, over.end_ns
        boxes = tuple(box_id for box_id in over.box_ids if self._recent.covering(box_id, *span) is None)
        if not boxes:
            return None
        onset = self._recent.covering(boxes[0], over.start_ns, over.start_ns)
        what = "" if onset is None else f"completes event {onset.event_id}: "
        return Trigger(
            token=new_token(),
            start_ns=max(0, over.start_ns - self._pre_ns),  # no wire has less
            end_ns=over.end_ns + self._post_ns,
            box_ids=boxes,
            opened_by=boxes[0],
            because=f"Box {boxes[0]}, {what}{over.decision.because}",
            completes=None if onset is None else onset.event_id,
        )


class EventOpenings:
    """Opens an event for each decision that needs one. What the store refused outlives a restart."""

    def __init__(
        self, config: TriggeringServiceSection, instance: str, boxes: BoxRegister, counters: ServiceCounters
    ) -> None:
        self._config = config
        self._instance = instance
        self._boxes = boxes
        self._counters = counters
        self._log = log.get(service="triggering-service")
        self._limited = RateLimitedLog(self._log)
        self._refused: deque[tuple[Trigger, Measurement | None, Decision]] = deque(maxlen=RETRIES_KEPT)
        self._retry_s = 0.0

    def begin(
        self, store: CloudStore, send: Callable[[bytes], bool], accept: Callable[[Measurement], object]
    ) -> None:
        """At each start of the service.

        Args:
            send: a command on its way to a Box; False when nobody takes it now.
            accept: takes the Measurement whose event is on disk.
        """
        config = self._config
        self._store, self._send, self._accept = store, send, accept
        newest = store.events(limit=config.merge_events)
        self._recent = RecentEvents(
            config.merge_events,
            (
                EventSpan(record.event_id, record.start_ns, record.end_ns, frozenset(record.boxes_triggered))
                for record in reversed(newest)
            ),
        )
        pre_ns, post_ns = config.pre_ms * NS_PER_MS, config.post_ms * NS_PER_MS
        self._completions = Completions(self._recent, pre_ns, post_ns)

    def open_at_onset(self, measurement: Measurement, decision: Decision, *, stored: bool) -> bool:
        """False: an event has its samples already, or will have. `stored`: it is to be accepted with it."""
        trigger = self._trigger(measurement, decision)
        if trigger is None:
            return False
        self._open(trigger, measurement if stored else None, decision)
        return True

    def note_end(self, box_id: str, decision: Decision, now_s: float) -> None:
        """A disturbance is over: the whole of it is asked for where no event has it."""
        pad_ns = self._pad_ns(self._boxes.alive(self._config.alive_s))
        self._completions.add_span(box_id, decision, now_s + pad_ns / 1e9 + SETTLE_S, pad_ns)

    def advance(self, now_s: float) -> None:
        """Open what is due, and what was refused."""
        for trigger, decision in self._completions.due(now_s):
            self._open(trigger, None, decision)
        if self._refused and now_s >= self._retry_s:
            self._retry_s = now_s + RETRY_S
            for _ in range(len(self._refused)):
                self._open(*self._refused.popleft())

    def _trigger(self, measurement: Measurement, decision: Decision) -> Trigger | None:
        """None when an event has these samples already, or will have them."""
        self._counters.add("decisions", label=decision.metric)
        start_ns, end_ns = window_ns(measurement)
        box_id = measurement.box_id
        if self._completions.will_ask(box_id, start_ns, end_ns):  # sent again, or the next dip close after
            self._counters.add("triggers_merged", label=box_id)
            return None
        there = self._recent.covering(box_id, start_ns, end_ns)
        if there is not None and not self._is_missing(there.event_id, box_id):
            self._counters.add("triggers_merged", label=box_id)
            self._log.info("trigger.merged", box_id=box_id, event_id=there.event_id, because=decision.because)
            return None
        alive = self._boxes.alive(self._config.alive_s)
        # another Box's window that holds the same moment lies within one window's length of this one
        longest_ns = self._pad_ns(alive)
        return Trigger(
            token=new_token(),
            start_ns=max(0, start_ns - max(self._config.pre_ms * NS_PER_MS, longest_ns)),  # no wire has less
            end_ns=end_ns + max(self._config.post_ms * NS_PER_MS, longest_ns),
            box_ids=alive if box_id in alive else (box_id, *alive),
            opened_by=box_id,
            because=f"Box {box_id}, {decision.because}",
        )

    def _pad_ns(self, box_ids: Iterable[str]) -> int:
        return min(round(self._boxes.longest_window_ns(box_ids) * WINDOWS_DIFFER), LONGEST_PAD_NS)

    def _open(self, trigger: Trigger, measurement: Measurement | None, decision: Decision) -> None:
        try:
            event_id = self._store.open_event(trigger, f"Makai id {self._instance}")
        except StoreError as error:
            self._counters.add("triggers_delayed")
            self._limited.error("event.not_opened", error=str(error), token=trigger.token)
            if len(self._refused) == RETRIES_KEPT:
                self._counters.add("triggers_lost")
            self._refused.append((trigger, measurement, decision))
            return
        if measurement is not None:
            self._accept(measurement)
        self._recent.add_event(
            EventSpan(event_id, trigger.start_ns, trigger.end_ns, frozenset(trigger.box_ids))
        )
        onset = decision.span_ns is None
        self._log.info(
            "trigger.decided" if onset else "trigger.completes",
            box_id=trigger.opened_by,
            sequence=None if measurement is None else measurement.sequence,
            because=trigger.because,
            token=trigger.token,
            event_id=event_id,
            metric=decision.metric,
            value=decision.value,
            limit=decision.limit,
            boxes=list(trigger.box_ids),
        )
        self._counters.add("triggers" if onset else "completions", label=trigger.opened_by)
        identity = request_identity(trigger.token, self._instance)
        for box_id in trigger.box_ids:
            command = data_command(box_id, trigger.start_ns, trigger.end_ns, identity)
            if not self._send(command):
                # the acquisition broker is away for long; the event service asks again
                self._counters.add("commands_dropped")

    def _is_missing(self, event_id: int, box_id: str) -> bool:
        """The event ended without this Box; its samples may be had now."""
        try:
            record = self._store.event_record(event_id)
        except StoreError:
            return False
        return record is None or box_id in record.missing
