"""From a decision to an event: first on disk, then one command per Box.

Of the triggering service's loop. What the store refuses is tried again; what an event has already, or will
have, opens none.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import zmq

from opq_cloud.config import TriggeringService as Config
from opq_cloud.makai.boxes import Boxes
from opq_cloud.makai.completions import Completions
from opq_cloud.makai.identity import identity, new_token
from opq_cloud.makai.recent import RecentEvents, Span
from opq_cloud.once_per import OncePer
from opq_cloud.service import Counters
from opq_cloud.sockets import Socket
from opq_cloud.store.store import CloudStore
from opq_proto.decision import NS_PER_MS, Decision, window_ns
from opq_proto.errors import StoreError
from opq_proto.log import Log
from opq_proto.messages import Measurement, Trigger
from opq_proto.wire import data_command

RETRY_S = 1.0
RETRIES_KEPT = 1000
"""Triggers that the store refused and that are tried again."""
LONGEST_PAD_NS = 2 * 10**9
"""An event waits for its end; Boxes with longer windows may see one disturbance as two events."""
WINDOWS_DIFFER = 1.05
"""Windows of so many cycles follow the frequency: the next one may be longer than the longest so far."""
SETTLE_S = 0.5
"""For a Measurement on its way, beside the window that it was measured over."""

Refused = deque[tuple[Trigger, Measurement | None, Decision]]


@dataclass
class Openings:
    """`accept` takes the Measurement whose event is on disk; `refused` outlives a restart of the service."""

    config: Config
    instance: str
    store: CloudStore
    boxes: Boxes
    requests: Socket
    accept: Callable[[Measurement], object]
    refused: Refused
    counters: Counters
    log: Log

    def __post_init__(self) -> None:
        config = self.config
        self._recent = RecentEvents(config.merge_events, _stored_spans(self.store, config.merge_events))
        pre_ns, post_ns = config.pre_ms * NS_PER_MS, config.post_ms * NS_PER_MS
        self._completions = Completions(self._recent, pre_ns, post_ns)
        self._lines = OncePer(10.0)
        self._retry_s = 0.0

    def onset(self, measurement: Measurement, decision: Decision, *, stored: bool) -> bool:
        """False: an event has its samples already, or will have. `stored`: it is to be accepted with it."""
        trigger = self._trigger(measurement, decision)
        if trigger is None:
            return False
        self._open(trigger, measurement if stored else None, decision)
        return True

    def over(self, box_id: str, decision: Decision, now_s: float) -> None:
        """A disturbance is over: the whole of it is asked for where no event has it."""
        pad_ns = self._pad_ns(self.boxes.alive(self.config.alive_s))
        self._completions.put(box_id, decision, now_s + pad_ns / 1e9 + SETTLE_S, pad_ns)

    def advance(self, now_s: float) -> None:
        """Open what is due, and what was refused."""
        for trigger, decision in self._completions.due(now_s):
            self._open(trigger, None, decision)
        if self.refused and now_s >= self._retry_s:
            self._retry_s = now_s + RETRY_S
            for _ in range(len(self.refused)):
                self._open(*self.refused.popleft())

    def _trigger(self, measurement: Measurement, decision: Decision) -> Trigger | None:
        """None when an event has these samples already, or will have them."""
        self.counters.add("decisions", label=decision.metric)
        start_ns, end_ns = window_ns(measurement)
        box_id = measurement.box_id
        if self._completions.covers(box_id, start_ns, end_ns):  # sent again, or the next dip close behind
            self.counters.add("triggers_merged", label=box_id)
            return None
        there = self._recent.covering(box_id, start_ns, end_ns)
        if there is not None and not self._is_missing(there.event_id, box_id):
            self.counters.add("triggers_merged", label=box_id)
            self.log.info("trigger.merged", box_id=box_id, event_id=there.event_id, because=decision.because)
            return None
        alive = self.boxes.alive(self.config.alive_s)
        # another Box's window that holds the same moment lies within one window's length of this one
        longest_ns = self._pad_ns(alive)
        return Trigger(
            token=new_token(),
            start_ns=max(0, start_ns - max(self.config.pre_ms * NS_PER_MS, longest_ns)),  # no wire has less
            end_ns=end_ns + max(self.config.post_ms * NS_PER_MS, longest_ns),
            box_ids=alive if box_id in alive else (box_id, *alive),
            opened_by=box_id,
            because=f"Box {box_id}, {decision.because}",
        )

    def _pad_ns(self, box_ids: Iterable[str]) -> int:
        return min(round(self.boxes.longest_window_ns(box_ids) * WINDOWS_DIFFER), LONGEST_PAD_NS)

    def _open(self, trigger: Trigger, measurement: Measurement | None, decision: Decision) -> None:
        try:
            event_id = self.store.open_event(trigger, f"Makai id {self.instance}")
        except StoreError as error:
            self.counters.add("triggers_delayed")
            if count := self._lines.take("open_event"):
                self.log.error("event.not_opened", error=str(error), token=trigger.token, count=count)
            if len(self.refused) == RETRIES_KEPT:
                self.counters.add("triggers_lost")
            self.refused.append((trigger, measurement, decision))
            return
        if measurement is not None:
            self.accept(measurement)
        self._recent.add(Span(event_id, trigger.start_ns, trigger.end_ns, frozenset(trigger.box_ids)))
        onset = decision.span_ns is None
        self.log.info(
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
        self.counters.add("triggers" if onset else "completions", label=trigger.opened_by)
        who = identity(trigger.token, self.instance)
        for box_id in trigger.box_ids:
            send(self.requests, data_command(box_id, trigger.start_ns, trigger.end_ns, who), self.counters)

    def _is_missing(self, event_id: int, box_id: str) -> bool:
        """The event ended without this Box; its samples may be had now."""
        try:
            record = self.store.event_record(event_id)
        except StoreError:
            return False
        return record is None or box_id in record.missing


def send(socket: Socket, command: bytes, counters: Counters) -> None:
    """Never blocks; what finds no room is counted."""
    try:
        socket.send(command, zmq.NOBLOCK)
    except zmq.Again:  # the acquisition broker is away for long; the event service asks again
        counters.add("commands_dropped")


def _stored_spans(store: CloudStore, limit: int) -> list[Span]:
    """Of the newest events, oldest first."""
    return [
        Span(record.event_id, record.start_ns, record.end_ns, frozenset(record.boxes_triggered))
        for record in reversed(store.events(limit=limit))
    ]
