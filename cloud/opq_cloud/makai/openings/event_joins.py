"""Boxes that saw a disturbance of an open event join it, up to a limit."""

from collections.abc import Callable, Sequence
from functools import partial

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import AskingSection
from opq_cloud.makai.openings.box_requests import BoxRequests
from opq_cloud.makai.openings.completions import BOUND
from opq_cloud.makai.openings.recent_events import EventSpan, stamp_of
from opq_cloud.makai.openings.store_retries import StoreRetries
from opq_cloud.makai.requested_boxes import SAW
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Decision, window_ns
from opq_proto.errors import StoreError
from opq_proto.kit.log import BoundLogger
from opq_proto.messages import Measurement

MAX_JOINING_OF_FEEDER = 10
"""Most added Boxes of an event on one feeder; without a feeder, in each region of the Box."""
NOTE_S = 1.0
"""Interval of storing in an event how many Boxes saw it and are not asked."""


class EventJoins:
    """Belongs to the triggering service's loop."""

    def __init__(
        self,
        limits: AskingSection,
        boxes: BoxRegister,
        counters: ServiceCounters,
        requests: BoxRequests,
        retries: StoreRetries,
        logger: BoundLogger,
    ) -> None:
        self._limits, self._boxes, self._counters = limits, boxes, counters
        self._requests, self._retries, self._log = requests, retries, logger
        self._joining: set[tuple[int, str]] = set()
        """Event and Box of those that join once the store takes it."""
        self._lost = 0
        self._note_s = 0.0
        self._changed: dict[int, EventSpan] = {}

    def begin(self, store: CloudStore, accept: Callable[[Measurement], object]) -> None:
        """Begins; `accept` takes the Measurement whose event is on disk."""
        self._store, self._accept = store, accept

    def join(self, there: EventSpan, measurement: Measurement, decision: Decision, stored: bool) -> bool:
        """Adds another Box that saw it: it is asked for the same span, where there is room for it."""
        box_id, limits = measurement.box_id, self._limits
        if self._retries.lost != self._lost:  # it may be one of the Boxes that were not asked
            self._lost = self._retries.lost
            self._joining.clear()
        if (there.event_id, box_id) in self._joining:
            self._counters.add("triggers_merged", label=box_id)
            return False
        place = self._boxes.places.place(box_id)
        parts = (place.feeder,) if place.feeder else place.regions
        full = len(there.box_ids) >= limits.most_boxes_of_event or (
            bool(parts) and all(there.joined.get(part, 0) >= MAX_JOINING_OF_FEEDER for part in parts)
        )
        reason = None
        if full and box_id not in there.box_ids:  # the event ended without this Box
            reason = BOUND
        elif not self._requests.affords(box_id, there.start_ns, there.end_ns):
            reason = "budget"
        if reason is not None:
            if box_id not in there.passed_over:
                there.passed_over.add(box_id)
                there.not_asked["saw"] = there.not_asked.get("saw", 0) + 1
                self._changed[there.event_id] = there
                self._counters.add("boxes_not_asked", label=f"saw_{reason}")
            return False
        return self._widen(there, parts, measurement, decision, stored)

    def _widen(
        self,
        there: EventSpan,
        parts: Sequence[str],
        measurement: Measurement,
        decision: Decision,
        stored: bool,
    ) -> bool:
        """Stores what `join` decided; called again where the store refuses."""
        box_id = measurement.box_id
        start_id = self._boxes.starts.present(box_id)
        starts = {} if start_id is None else {box_id: start_id}
        again = partial(self._widen, there, parts, measurement, decision, stored)
        stored_now, _ = self._retries.attempt(
            lambda: self._store.widen_event(there.event_id, {SAW: (box_id,)}, there.not_asked, starts),
            again,
            "event.not_widened",
            event_id=there.event_id,
        )
        if not stored_now:
            self._joining.add((there.event_id, box_id))
            return stored
        self._joining.discard((there.event_id, box_id))
        there.box_ids.add(box_id)
        for part in parts:
            there.joined[part] = there.joined.get(part, 0) + 1
        there.onsets_ns[box_id] = window_ns(measurement)
        stamp = stamp_of(measurement.first_sample, window_ns(measurement))
        if stamp is not None:
            there.stamps[box_id] = stamp
        if measurement.sequence is not None:
            there.numbers[box_id] = measurement.sequence
        if start_id is not None:
            there.starts[box_id] = start_id
        if stored:
            self._accept(measurement)
        self._counters.add("triggers_joined", label=box_id)
        self._log.info("trigger.joined", box_id=box_id, event_id=there.event_id, because=decision.because)
        self._requests.send(
            (box_id,), there.token, there.start_ns, there.end_ns, {SAW: 1}, there.stamps, there.starts
        )
        return stored

    def advance(self, now_s: float) -> None:
        """Stores in events how many Boxes saw them and are not asked. `now_s`: monotonic."""
        if not self._changed or now_s < self._note_s:
            return
        self._note_s = now_s + NOTE_S
        for event_id, span in list(self._changed.items()):
            try:
                self._store.widen_event(event_id, {}, span.not_asked)
            except StoreError:
                return  # tried again next time
            del self._changed[event_id]

    def is_missing(self, event_id: int, box_id: str) -> bool:
        """Returns True if the event ended without this Box; its samples may be available now."""
        try:
            record = self._store.event_record(event_id)
        except StoreError:
            return False
        return record is None or box_id in record.missing
