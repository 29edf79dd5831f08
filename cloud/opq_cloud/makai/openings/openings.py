"""From a decision to an event: first on disk, then one command per Box.

`EventOpenings` belongs to the triggering service's loop. A decision asks some Boxes for some seconds
(`requested_boxes`, `request_span`), as far as the budgets allow; a Box that crosses within a window of it
joins the same event. Disturbances that outlasted the request at their onset are requested once more; events
that the store refused are tried again.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.core.settings.makai import TriggeringServiceSection
from opq_cloud.makai.boxes import BoxRegister
from opq_cloud.makai.events.event_requests import new_token, request_identity
from opq_cloud.makai.openings.brief_onsets import BriefOnsets, HeldOnset
from opq_cloud.makai.openings.completions import BOUND, Completions
from opq_cloud.makai.openings.growing_events import GrowingEvents
from opq_cloud.makai.openings.recent_events import EventSpan, RecentEvents
from opq_cloud.makai.openings.request_budget import RequestBudget, bytes_of_half_cycles, bytes_of_span
from opq_cloud.makai.openings.request_span import SHOWN_BY_TRANSIENTS, located, request_span_ns
from opq_cloud.makai.openings.requested_boxes import SAW, RequestedBoxes
from opq_cloud.store.box_record import box_order
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.store import CloudStore
from opq_proto.decision import NS_PER_MS, Decision, window_ns
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.messages import Measurement, Trigger
from opq_proto.wire.frames import data_command

RETRY_S = 1.0
RETRIES_KEPT = 1000
LATEST_EVENTS = 200
"""Events into which a trigger may be merged."""
MAX_JOINING_OF_FEEDER = 10
"""Most added Boxes of an event on one feeder (else in one region)."""
"""Limit of refused triggers, and of Boxes that join an event, that are tried again."""
LONGEST_PAD_NS = 2 * 10**9
"""An event waits for its end; Boxes with longer windows may see one disturbance as two events."""
WINDOWS_DIFFER = 1.05
"""Windows of a fixed number of cycles follow the frequency: the next may exceed the longest so far."""
OVERLAP_NS = 500 * NS_PER_MS
"""An original Box's samples are joined where both parts have the same."""
SETTLE_S = 0.5
"""Added for a Measurement on its way, to the length of the window that it was measured over."""
NO_STAMPS: Mapping[str, tuple[int, int]] = MappingProxyType({})
NOTE_S = 1.0
"""Interval of storing in an event how many Boxes saw it and are not asked."""


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
        self._limited = RateLimitedLog(self._log)
        self._budget = RequestBudget(config.asking, boxes.now_s)
        self._refused: deque[Callable[[], object]] = deque(maxlen=RETRIES_KEPT)
        """Calls to repeat."""
        self._joining: set[tuple[int, str]] = set()
        """Event and Box of those that join."""
        self._retry_s = 0.0
        self._note_s = 0.0
        self._changed: dict[int, EventSpan] = {}
        self._brief = BriefOnsets()
        self.growing = GrowingEvents(config.asking, config.alive_s, boxes, self._budget, counters)

    def begin(
        self, store: CloudStore, send: Callable[[bytes], bool], accept: Callable[[Measurement], object]
    ) -> None:
        """Begins; called at each start of the service.

        Args:
            send: sends a command to a Box; False when nobody takes it now.
            accept: takes the Measurement whose event is on disk.
        """
        config = self._config
        self._store, self._send, self._accept = store, send, accept
        newest = store.events(limit=LATEST_EVENTS)
        known = map(self._known_event, reversed(newest))
        self._recent = RecentEvents(LATEST_EVENTS, known, self._boxes.starts.began_with)
        pre_ns, post_ns = config.pre_ms * NS_PER_MS, config.post_ms * NS_PER_MS
        self._completions = Completions(self._recent, pre_ns, post_ns, config.asking.most_boxes_of_event)
        self.growing.begin(store, self._send_commands, self._recent, self._completions)

    def health(self) -> HealthReport:
        """Reports always as well, because leaving Boxes out is intended; it states how many."""
        requested, left = (int(self._counters.total(name)) for name in ("boxes_asked", "boxes_not_asked"))
        info = f"asked {requested} times a Box for {self._counters.total('asked_bytes') / 1e6:.1f} MB"
        by = self._counters.snapshot().get("boxes_not_asked", {})
        if left:
            info += f"; did not ask {left} times: " + ", ".join(
                f"{reason} {int(count)}" for reason, count in sorted(by.items())
            )
        return HealthReport("asking", True, info=info)

    def open_at_onset(self, measurement: Measurement, decision: Decision, *, stored: bool) -> bool:
        """Opens an event; False: an event has its samples already, or will have.

        `stored`: the Measurement is to be accepted with it. An onset that may be only a phase jump waits
        for a window's length (`brief_onsets`), and its Measurement too.
        """
        self._counters.add("decisions", label=decision.metric)
        start_ns, end_ns = span_ns = window_ns(measurement)
        box_id = measurement.box_id
        if self._completions.is_requested(box_id, *span_ns):  # sent again, or the next dip soon after
            self._counters.add("triggers_merged", label=box_id)
            return False
        exact = located(measurement, decision)
        of_transient = exact or decision.metric in SHOWN_BY_TRANSIENTS
        there = self._recent.covering(box_id, *span_ns, transients=of_transient, measurement=measurement)
        if there is None and of_transient:
            there = self._recent.locating(box_id, *span_ns, measurement=measurement)
        if there is not None and not self._is_missing(there.event_id, box_id):
            self._counters.add("triggers_merged", label=box_id)
            self._log.info("trigger.merged", box_id=box_id, event_id=there.event_id, because=decision.because)
            return False
        there = there or self._recent.around(start_ns, end_ns, exact, measurement)
        if there is not None:
            return self._join(there, measurement, decision, stored)
        due_s = self._boxes.now_s() + self._pad_ns() / 1e9 + SETTLE_S
        if self._brief.hold(measurement, decision, stored, due_s):
            return stored
        trigger = self._trigger(measurement, decision)
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
            size = _bytes_of(trigger)
            affordable, refused = self._budget.spend(trigger.box_ids, (), size)
            requested = RequestedBoxes(trigger.asked_as).only(affordable)
            trigger = self._with_boxes(trigger, requested, Counter(dict(trigger.not_asked)) + refused)
            if trigger.box_ids:
                self._open(trigger, None, decision)
            else:
                self._note_no_request(trigger.opened_by, decision)
        if self._refused and now_s >= self._retry_s:
            self._retry_s = now_s + RETRY_S
            for _ in range(len(self._refused)):
                self._refused.popleft()()
        if self._changed and now_s >= self._note_s:
            self._note_s = now_s + NOTE_S
            self._note_not_asked()

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
                return self._join(there, measurement, decision, held.stored)
            self._counters.add("triggers_merged", label=box_id)
            self._log.info("trigger.merged", box_id=box_id, event_id=there.event_id, because=decision.because)
            return False
        of_grid = [
            each for each in self._boxes.alive(self._config.alive_s) if places.place(each).grid == grid
        ]
        shared = self._brief.is_shared((start_ns, end_ns), of_grid, tolerance_ns)
        trigger = self._trigger(measurement, decision, local=not shared)
        return trigger is not None and self._open(trigger, measurement if held.stored else None, decision)

    def _trigger(self, measurement: Measurement, decision: Decision, local: bool = False) -> Trigger | None:
        """Makes the trigger; None when no budget is left for the Box itself."""
        box_id = measurement.box_id
        reporting = self._boxes.alive(self._config.alive_s)
        requested = self._boxes.places.requested_boxes(box_id, reporting, self._config.asking)
        # another Box's window that holds the same moment lies within one window's length of this one
        start_ns, end_ns = request_span_ns(measurement, decision, self._config, self._pad_ns(), local=local)
        affordable, refused = self._budget.spend(
            (box_id,), requested.box_ids[1:], bytes_of_span(start_ns, end_ns)
        )
        not_asked = Counter({BOUND: requested.left_out}) + refused
        if not affordable:
            self._count_not_asked(not_asked)
            self._note_no_request(box_id, decision)
            return None
        trigger = Trigger(
            token=new_token(),
            start_ns=start_ns,
            end_ns=end_ns,
            box_ids=(),
            opened_by=box_id,
            because=f"Box {box_id}, {decision.because}",
            onset_ns=window_ns(measurement),
            onset_sample=None if measurement.start_ns is None else measurement.first_sample,
        )
        return self._with_boxes(trigger, requested.only(affordable), not_asked)

    def _with_boxes(self, trigger: Trigger, requested: RequestedBoxes, not_asked: Counter[str]) -> Trigger:
        self._count_not_asked(not_asked)
        return replace(
            trigger,
            decided_ns=time.time_ns(),
            box_ids=tuple(sorted(requested.box_ids, key=box_order)),
            asked_as=requested.by_reason,
            not_asked=tuple(sorted(not_asked.items())),
        )

    def _count_not_asked(self, not_asked: Counter[str]) -> None:
        for reason, count in not_asked.items():
            self._counters.add("boxes_not_asked", count, label=reason)

    def _note_no_request(self, box_id: str, decision: Decision) -> None:
        self._counters.add("decisions_not_asked", label=box_id)
        self._limited.warning("trigger.over_budget", key=box_id, box_id=box_id, because=decision.because)

    def _pad_ns(self) -> int:
        longest_ns = self._boxes.longest_alive_ns(self._config.alive_s)
        return min(round(longest_ns * WINDOWS_DIFFER), LONGEST_PAD_NS)

    def _join(self, there: EventSpan, measurement: Measurement, decision: Decision, stored: bool) -> bool:
        """Adds another Box that saw it: it is asked for the same span, where there is room for it."""
        box_id, limits = measurement.box_id, self._config.asking
        if (there.event_id, box_id) in self._joining:
            self._counters.add("triggers_merged", label=box_id)
            return False
        place = self._boxes.places.place(box_id)
        part = place.feeder or place.region or ""
        full = len(there.box_ids) >= limits.most_boxes_of_event or (
            part != "" and there.joined.get(part, 0) >= MAX_JOINING_OF_FEEDER
        )
        reason = None
        if full and box_id not in there.box_ids:  # one of them: the event ended without it
            reason = BOUND
        elif self._budget.spend((box_id,), (), bytes_of_span(there.start_ns, there.end_ns))[1]:
            reason = "budget"
        if reason is not None:
            if box_id not in there.passed_over:
                there.passed_over.add(box_id)
                there.not_asked["saw"] = there.not_asked.get("saw", 0) + 1
                self._changed[there.event_id] = there
                self._counters.add("boxes_not_asked", label=f"saw_{reason}")
            return False
        return self._widen(there, part, measurement, decision, stored)

    def _span_within(self, trigger: Trigger) -> tuple[int, int]:
        """Returns the span of a disturbance that is over, without what is asked for on both sides."""
        pre_ns, post_ns = self._config.pre_ms * NS_PER_MS, self._config.post_ms * NS_PER_MS
        return trigger.start_ns + pre_ns, trigger.end_ns - post_ns

    def _join_late(self, there: EventSpan, trigger: Trigger, decision: Decision) -> None:
        start_ns, end_ns = self._span_within(trigger)
        for box_id in trigger.box_ids:
            shown = Measurement(box_id, end_ns // NS_PER_MS, {}, start_ns, end_ns)
            self._join(there, shown, decision, stored=False)

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
        try:
            self.growing.ask_more(onset.event_id, dict.fromkeys(trigger.box_ids, span_ns), trigger.because)
        except StoreError as error:
            self._counters.add("triggers_delayed")
            self._limited.error("event.not_grown", error=str(error), event_id=onset.event_id)
            self._try_again(partial(self._grow, onset, trigger))
            return
        self._counters.add("completions_grown", label=trigger.opened_by)

    def _widen(
        self, there: EventSpan, part: str, measurement: Measurement, decision: Decision, stored: bool
    ) -> bool:
        """Stores what `_join` decided; called again where the store refuses."""
        box_id = measurement.box_id
        try:
            self._store.widen_event(there.event_id, {SAW: (box_id,)}, there.not_asked)
        except StoreError as error:
            self._counters.add("triggers_delayed")
            self._limited.error("event.not_widened", error=str(error), event_id=there.event_id)
            again = partial(self._widen, there, part, measurement, decision, stored)
            self._try_again(again)
            self._joining.add((there.event_id, box_id))
            return stored
        self._joining.discard((there.event_id, box_id))
        there.box_ids.add(box_id)
        there.joined[part] = there.joined.get(part, 0) + 1
        there.onsets_ns[box_id] = window_ns(measurement)
        stamp = _stamp(measurement.first_sample, window_ns(measurement))
        if stamp is not None:
            there.stamps[box_id] = stamp
        if measurement.sequence is not None:
            there.numbers[box_id] = measurement.sequence
        if stored:
            self._accept(measurement)
        self._counters.add("triggers_joined", label=box_id)
        self._log.info("trigger.joined", box_id=box_id, event_id=there.event_id, because=decision.because)
        self._send_commands((box_id,), there.token, there.start_ns, there.end_ns, {SAW: 1}, there.stamps)
        return stored

    def _open(
        self, trigger: Trigger, measurement: Measurement | None, decision: Decision, exact: bool = False
    ) -> bool:
        """Opens the event; True if the store has it, or will be tried again: the Measurement goes with it."""
        try:
            event_id = self._store.open_event(trigger, f"Makai id {self._instance}")
        except StoreError as error:
            self._counters.add("triggers_delayed")
            self._limited.error("event.not_opened", error=str(error), token=trigger.token)
            self._try_again(partial(self._open, trigger, measurement, decision, exact))
            return True
        if measurement is not None:
            self._accept(measurement)
        stamp = _stamp(trigger.onset_sample, trigger.onset_ns)
        stamps = {} if stamp is None else {trigger.opened_by: stamp}
        number = None if measurement is None else measurement.sequence
        self._recent.add_event(
            EventSpan(
                event_id,
                trigger.start_ns,
                trigger.end_ns,
                set(trigger.box_ids),
                trigger.token,
                exact,
                {trigger.opened_by: trigger.onset_ns} if trigger.onset_ns else {},
                dict(trigger.not_asked),
                stamps=stamps,
                numbers={} if number is None else {trigger.opened_by: number},
            )
        )
        onset = decision.span_ns is None
        reasons = {reason: len(boxes) for reason, boxes in trigger.asked_as}
        who_saw_first = sorted(trigger.box_ids, key=lambda box_id: box_id != trigger.opened_by)
        self._send_commands(who_saw_first, trigger.token, trigger.start_ns, trigger.end_ns, reasons, stamps)
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
        if trigger.half_cycles_ns is not None:  # the event service requests them
            size = bytes_of_half_cycles(trigger.half_cycles_ns)
            self._counters.add("asked_bytes", len(trigger.box_ids) * size)
        return True

    def _try_again(self, call: Callable[[], object]) -> None:
        if len(self._refused) == RETRIES_KEPT:
            self._counters.add("triggers_lost")
            self._joining.clear()
        self._refused.append(call)

    def _send_commands(
        self,
        box_ids: Sequence[str],
        token: str,
        start_ns: int,
        end_ns: int,
        reasons: Mapping[str, int],
        stamps: Mapping[str, tuple[int, int]] = NO_STAMPS,
    ) -> None:
        """Sends a command to each Box; `stamps` name the clocks of the Boxes that saw it."""
        for reason, count in reasons.items():
            self._counters.add("boxes_asked", count, label=reason)
        self._counters.add("asked_bytes", len(box_ids) * bytes_of_span(start_ns, end_ns))
        identity = request_identity(token, self._instance)
        for box_id in box_ids:
            command = data_command(box_id, start_ns, end_ns, identity, stamp=stamps.get(box_id))
            if not self._send(command):
                # the acquisition broker is away for long; the event service asks again
                self._counters.add("commands_dropped")

    def _note_not_asked(self) -> None:
        for event_id, span in list(self._changed.items()):
            try:
                self._store.widen_event(event_id, {}, span.not_asked)
            except StoreError:
                return  # tried again next time
            del self._changed[event_id]

    def _known_event(self, record: EventRecord) -> EventSpan:
        onset_ns = record.onset_ns
        short = record.end_ns - record.start_ns < NS_PER_MS * self._config.pre_ms
        known = EventSpan(
            record.event_id,
            record.start_ns,
            record.end_ns,
            set(record.boxes_triggered),
            record.token,
            short and onset_ns is not None,
            {record.opened_by: onset_ns} if onset_ns is not None else {},
            dict(record.not_asked),
            stamps={} if record.onset_stamp is None else {record.opened_by: record.onset_stamp},
        )
        for box_id, span_ns in record.owed.items():
            known.extend((box_id,), *span_ns)
        return known

    def _is_missing(self, event_id: int, box_id: str) -> bool:
        """Returns True if the event ended without this Box; its samples may be available now."""
        try:
            record = self._store.event_record(event_id)
        except StoreError:
            return False
        return record is None or box_id in record.missing


def _stamp(sample: int | None, span_ns: tuple[int, int] | None) -> tuple[int, int] | None:
    """The first sample of a Measurement, and its time."""
    return None if sample is None or span_ns is None else (sample, span_ns[0])


def _bytes_of(trigger: Trigger) -> int:
    """Returns the size of a request to one Box: its samples, and the half cycles of a long disturbance."""
    size = bytes_of_span(trigger.start_ns, trigger.end_ns)
    return size if trigger.half_cycles_ns is None else size + bytes_of_half_cycles(trigger.half_cycles_ns)
