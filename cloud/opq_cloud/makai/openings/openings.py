"""From a decision to an event: the event goes to disk, then one command to each Box.

`EventOpenings` belongs to the triggering service's loop. A decision asks some Boxes for some seconds
(`requested_boxes`, `request_span`), as far as the budgets allow; a Box that crosses within a window of it
joins the same event. Disturbances that outlasted the request at their onset are requested once more; events
that the store refused are tried again.
"""

from collections.abc import Callable, Iterable
from functools import partial

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.openings.box_requests import BoxRequests
from opq_cloud.makai.openings.brief_onsets import BriefOnsets, HeldOnset
from opq_cloud.makai.openings.completions import Completions
from opq_cloud.makai.openings.event_joins import EventJoins
from opq_cloud.makai.openings.growing_events import GrowingEvents
from opq_cloud.makai.openings.recent_events import EventSpan, RecentEvents, span_of_record, span_of_trigger
from opq_cloud.makai.openings.request_span import SHOWN_BY_TRANSIENTS, located
from opq_cloud.makai.openings.store_retries import StoreRetries
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store.store import CloudStore
from opq_proto.decision import NS_PER_MS, Decision, window_ns
from opq_proto.kit import log
from opq_proto.messages import Measurement, Trigger

LATEST_EVENTS = 200
"""Events into which a trigger may be merged."""
LONGEST_PAD_NS = 2 * 10**9
"""An event is requested only after its end; Boxes with longer windows may see one disturbance as two events.
"""
WINDOW_LENGTH_MARGIN = 1.05
"""Windows of a fixed number of cycles follow the frequency: the next may exceed the longest so far."""
OVERLAP_NS = 500 * NS_PER_MS
"""An original Box's samples are joined where both parts have the same."""
SETTLE_S = 0.5
"""Added for a Measurement on its way, to the length of the window that it was measured over."""


class EventOpenings:
    """Opens an event for each decision that needs one. Refused events outlive a restart."""

    def __init__(
        self, config: TriggeringServiceSection, instance: str, boxes: BoxRegister, counters: ServiceCounters
    ) -> None:
        self._config = config
        self._instance = instance
        self._boxes = boxes
        self._counters = counters
        self._log = log.get(service="triggering-service")
        self._requests = BoxRequests(config, instance, boxes, counters)
        self._retries = StoreRetries(counters, self._log)
        self._joins = EventJoins(config.asking, boxes, counters, self._requests, self._retries, self._log)
        self._brief = BriefOnsets()
        self.growing = GrowingEvents(config.asking, config.alive_s, boxes, self._requests.budget, counters)

    def begin(
        self, store: CloudStore, send: Callable[[bytes], bool], accept: Callable[[Measurement], object]
    ) -> None:
        """Begins; called at each start of the service.

        Args:
            send: sends a command to a Box; False where no broker takes it now.
            accept: takes the Measurement whose event is on disk.
        """
        config = self._config
        self._store, self._accept = store, accept
        self._requests.begin(send)
        self._joins.begin(store, accept)
        pre_ns, post_ns = config.pre_ms * NS_PER_MS, config.post_ms * NS_PER_MS
        known = [span_of_record(each, pre_ns) for each in reversed(store.events(limit=LATEST_EVENTS))]
        self._recent = RecentEvents(LATEST_EVENTS, known, self._boxes.starts)
        self._completions = Completions(self._recent, pre_ns, post_ns, config.asking.most_boxes_of_event)
        self.growing.begin(store, self._requests.send, self._recent, self._completions)

    def health(self) -> HealthReport:
        return self._requests.health()

    def open_at_onset(self, measurement: Measurement, decision: Decision, *, stored: bool) -> bool:
        """Opens an event; False: an event has its samples already, or will have.

        `stored`: the Measurement is to be accepted with it. An onset that may be only a phase jump waits
        for a window's length (`brief_onsets`), and its Measurement too.
        """
        self._counters.add("decisions", label=decision.metric)
        start_ns, end_ns = span_ns = window_ns(measurement)
        box_id = measurement.box_id
        if self._completions.is_requested(box_id, *span_ns):  # sent again, or the next dip followed soon
            self._counters.add("triggers_merged", label=box_id)
            return False
        exact = located(measurement, decision)
        of_transient = exact or decision.metric in SHOWN_BY_TRANSIENTS
        there = self._recent.covering(box_id, *span_ns, transients=of_transient, measurement=measurement)
        if there is None and of_transient:
            there = self._recent.locating(box_id, *span_ns, measurement=measurement)
        if there is not None and not self._joins.is_missing(there.event_id, box_id):
            self._counters.add("triggers_merged", label=box_id)
            self._log.info("trigger.merged", box_id=box_id, event_id=there.event_id, because=decision.because)
            return False
        there = there or self._recent.around(start_ns, end_ns, exact, measurement)
        if there is not None:
            return self._joins.join(there, measurement, decision, stored)
        due_s = self._boxes.now_s() + self._pad_ns() / 1e9 + SETTLE_S
        if self._brief.hold(measurement, decision, stored, due_s):
            return stored
        trigger = self._requests.at_onset(measurement, decision, self._pad_ns())
        if trigger is None:
            return False
        return self._open(trigger, measurement if stored else None, decision, exact)

    def note_end(self, box_id: str, decision: Decision, now_s: float) -> None:
        """Notes that a disturbance is over: the part in no event will be requested."""
        pad_ns = self._pad_ns()
        self._completions.add_span(box_id, decision, now_s + pad_ns / 1e9 + SETTLE_S, pad_ns)

    def advance(self, now_s: float) -> None:
        """Opens events that are due or were refused; stores in events how many Boxes were not asked."""
        for held in self._brief.due(now_s, partial(self._may_wait, {})):
            if not self._open_brief(held) and held.stored:
                self._accept(held.measurement)
        for trigger, decision in self._completions.due(now_s, self._slowest_ns):
            if (there := self._recent.around(*self._span_within(trigger), False)) is not None:
                self._join_late(there, trigger, decision)  # these Boxes report the same end after the others
                continue
            if (onset := self._just_before(trigger)) is not None:
                self._grow(onset, trigger)
                continue
            affordable = self._requests.at_end(trigger, decision)
            if affordable is not None:
                self._open(affordable, None, decision)
        self._retries.advance(now_s)
        self._joins.advance(now_s)

    def _slowest_ns(self, box_ids: Iterable[str]) -> int:
        return self._boxes.slowest_ns(box_ids, self._config.alive_s)

    def _may_wait(self, slowest_ns: dict[str, int], held: HeldOnset) -> bool:
        """Returns True if a Box of its grid has not sent yet what it measured at that moment.

        `slowest_ns`: grid -> up to when all of its Boxes have sent; found once for all that wait.
        """
        places = self._boxes.places
        grid = places.place(held.measurement.box_id).grid
        if grid not in slowest_ns:
            alive = self._boxes.alive(self._config.alive_s)
            slowest_ns[grid] = self._slowest_ns(each for each in alive if places.place(each).grid == grid)
        return slowest_ns[grid] < window_ns(held.measurement)[1]

    def _open_brief(self, held: HeldOnset) -> bool:
        """Works as `open_at_onset` for one that has waited: an event near it may have it, too."""
        measurement, decision = held.measurement, held.decision
        box_id, (start_ns, end_ns) = measurement.box_id, window_ns(measurement)
        tolerance_ns = self._pad_ns()
        there = self._recent.near(start_ns, end_ns, tolerance_ns, measurement)
        places = self._boxes.places
        grid = places.place(box_id).grid
        if there is not None and grid in {places.place(each).grid for each in there.box_ids}:
            if box_id not in there.box_ids:
                return self._joins.join(there, measurement, decision, held.stored)
            self._counters.add("triggers_merged", label=box_id)
            self._log.info("trigger.merged", box_id=box_id, event_id=there.event_id, because=decision.because)
            return False
        of_grid = [
            each for each in self._boxes.alive(self._config.alive_s) if places.place(each).grid == grid
        ]
        shared = self._brief.is_shared((start_ns, end_ns), of_grid, tolerance_ns)
        trigger = self._requests.at_onset(measurement, decision, tolerance_ns, local=not shared)
        return trigger is not None and self._open(trigger, measurement if held.stored else None, decision)

    def _pad_ns(self) -> int:
        longest_ns = self._boxes.longest_alive_ns(self._config.alive_s)
        return min(round(longest_ns * WINDOW_LENGTH_MARGIN), LONGEST_PAD_NS)

    def _span_within(self, trigger: Trigger) -> tuple[int, int]:
        """Returns the span of a disturbance that is over, without what is asked for on both sides."""
        pre_ns, post_ns = self._config.pre_ms * NS_PER_MS, self._config.post_ms * NS_PER_MS
        return trigger.start_ns + pre_ns, trigger.end_ns - post_ns

    def _join_late(self, there: EventSpan, trigger: Trigger, decision: Decision) -> None:
        start_ns, end_ns = self._span_within(trigger)
        for box_id in trigger.box_ids:
            shown = Measurement(box_id, end_ns // NS_PER_MS, {}, start_ns, end_ns)
            self._joins.join(there, shown, decision, stored=False)

    def _just_before(self, trigger: Trigger) -> EventSpan | None:
        """Returns the event of its onset if that lacks less than a window's length of the disturbance.

        Another Box, whose windows begin earlier, opened it: this one's two windows with a short dip reach
        further. With whichever Box was first, one dip is one event.
        """
        if trigger.completes is None or trigger.half_cycles_ns is not None:
            return None
        start_ns, end_ns = self._span_within(trigger)
        onset = self._recent.event(trigger.completes)
        if onset is None or start_ns < onset.start_ns or end_ns - onset.end_ns > self._pad_ns():
            return None
        return onset if set(trigger.box_ids) <= onset.box_ids else None

    def _grow(self, onset: EventSpan, trigger: Trigger) -> None:
        """Asks for the end of a disturbance as a part of its event; called again where the store refuses."""
        span_ns = onset.end_ns - OVERLAP_NS, trigger.end_ns
        grown, _ = self._retries.attempt(
            lambda: self.growing.ask_more(
                onset.event_id, dict.fromkeys(trigger.box_ids, span_ns), trigger.because
            ),
            partial(self._grow, onset, trigger),
            "event.not_grown",
            event_id=onset.event_id,
        )
        if not grown:
            return
        self._counters.add("completions_grown", label=trigger.opened_by)

    def _open(
        self, trigger: Trigger, measurement: Measurement | None, decision: Decision, exact: bool = False
    ) -> bool:
        """Opens the event; True if the store has it, or will be tried again: the Measurement goes with it."""
        _, event_id = self._retries.attempt(
            lambda: self._store.open_event(trigger, f"Makai id {self._instance}"),
            partial(self._open, trigger, measurement, decision, exact),
            "event.not_opened",
            token=trigger.token,
        )
        if event_id is None:
            return True
        if measurement is not None:
            self._accept(measurement)
        number = None if measurement is None else measurement.sequence
        span = span_of_trigger(event_id, trigger, number, exact)
        self._recent.add_event(span)
        onset = decision.span_ns is None
        reasons = {reason: len(boxes) for reason, boxes in trigger.asked_as}
        who_saw_first = sorted(trigger.box_ids, key=lambda box_id: box_id != trigger.opened_by)
        self._requests.send(
            who_saw_first, trigger.token, trigger.start_ns, trigger.end_ns, reasons, span.stamps, span.starts
        )
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
            asked_as={reason: list(boxes) for reason, boxes in trigger.asked_as},
            not_asked=dict(trigger.not_asked),
        )
        self._counters.add("triggers" if onset else "completions", label=trigger.opened_by)
        self._requests.count_half_cycles(trigger)
        return True
