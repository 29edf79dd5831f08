"""Requests for more samples of an event: read from the store, granted within the budgets, sent to the Boxes.

Analyses make them, and Makai itself where a disturbance ends less than a window's length after its event.

A request waits in its event's document (`opq_cloud.store.sample_requests`). The answer is written first and
one command per Box is sent after it. From then on the event waits for the granted samples, so that the event
service repeats the requests after a kill of either. Refused requests are written with the reasons. Belongs to
the triggering service's loop."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import AskingSection
from opq_cloud.makai.openings.completions import BOUND, Completions
from opq_cloud.makai.openings.recent_events import RecentEvents
from opq_cloud.makai.openings.request_budget import RequestBudget, bytes_of_span
from opq_cloud.makai.requested_boxes import FEEDER, NEAR, NO_PLACE, REGION
from opq_cloud.makai.triggering_boxes import BoxRegister
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.sample_requests import (
    ANALYSIS_ASKED,
    BY_MAKAI,
    IN_EVENT,
    MANY_ROUNDS,
    WAITING,
    NsSpan,
    SamplesAnswer,
    StoredSampleRequest,
    counter_of,
)
from opq_cloud.store.store import CloudStore
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog

POLL_S = 1.0
"""How often the store is read for requests; each read is one row of an index where there are none."""
PATIENCE_NS = 10 * 10**9
"""Another service may hear the Boxes that this one does not hear, and answers for them."""
LATEST_NS = 3600 * 10**9
"""A request without an answer for an hour is refused."""
NOT_HEARD = "not_heard"
"""Reason of refusal, as those of `request_budget` and BOUND: the Box is not heard."""
NO_NEIGHBOUR = "no_neighbour"
"""Reason of refusal: no neighbour is left to ask."""
TOO_LATE = "too_late"
"""Reason of refusal: the request is an hour old."""
NEIGHBOUR_REASONS = (FEEDER, NEAR, REGION, NO_PLACE)

Send = Callable[[Sequence[str], str, int, int, Mapping[str, int]], None]
"""(Boxes, token, start_ns, end_ns, reasons): sends the commands."""


class GrowingEvents:
    """Counters: `samples_granted`, `samples_refused` by reason, `samples_in_event`, in Boxes."""

    def __init__(
        self,
        limits: AskingSection,
        alive_s: float,
        boxes: BoxRegister,
        budget: RequestBudget,
        counters: ServiceCounters,
    ) -> None:
        self._limits, self._alive_s = limits, alive_s
        self._boxes, self._budget, self._counters = boxes, budget, counters
        self._log = log.get(service="triggering-service")
        self._limited = RateLimitedLog(self._log)
        self._next_s = 0.0

    def begin(self, store: CloudStore, send: Send, recent: RecentEvents, completions: Completions) -> None:
        """Begins; called at each start of the service."""
        self._store, self._send, self._recent, self._completions = store, send, recent, completions

    def ask_more(self, event_id: int, spans: Mapping[str, NsSpan], because: str) -> None:
        """Asks these Boxes for more of an event, as an analysis would. Raises StoreError."""
        wanted = StoredSampleRequest(BY_MAKAI, because, spans=spans, requested_ns=time.time_ns())
        self._store.request_samples(event_id, [wanted], MANY_ROUNDS)
        self.answer_requests()

    def advance(self, now_s: float) -> None:
        """Answers waiting requests of the store, every POLL_S."""
        if now_s >= self._next_s:
            self._next_s = now_s + POLL_S
            self.answer_requests()

    def answer_requests(self) -> None:
        """Answers waiting requests of the store."""
        try:
            for record in self._store.events_with_requests():
                for number, request in record.more.items():
                    if request.state == WAITING:
                        self._answer(record, number, request)
        except StoreError as error:  # the requests wait for the store
            self._counters.add("store_errors")
            self._limited.error("requests.not_read", error=str(error))

    def _answer(self, record: EventRecord, number: int, request: StoredSampleRequest) -> None:
        """Answers one request. Raises StoreError: it waits for the next time."""
        age_ns = max(0, time.time_ns() - (request.requested_ns or 0))
        reporting = frozenset(self._boxes.alive(self._alive_s))
        if age_ns < PATIENCE_NS and not reporting.intersection(request.spans or request.beside):
            return
        refused: Counter[str] = Counter()
        spans: dict[str, NsSpan] = {}
        if age_ns > LATEST_NS:
            refused[TOO_LATE] += max(1, len(request.spans))
        else:
            wanted = self._neighbours(record, request, reporting) if request.beside else request.spans
            if not wanted:
                refused[NO_NEIGHBOUR] += 1
            spans = self._affordable(record, wanted, reporting, refused)
        answer = SamplesAnswer(spans, dict(refused), time.time_ns())
        if not self._store.answer_request(record.event_id, number, answer):
            return
        self._counters.add("samples_granted", len(spans))
        for reason, count in refused.items():
            self._counters.add(counter_of(reason), count, label=reason)
        self._log.info(
            "event.grows" if spans else "event.not_grown",
            event_id=record.event_id,
            analysis=request.analysis,
            because=request.because,
            boxes=list(spans),
            refused=dict(refused),
        )
        for span in dict.fromkeys(spans.values()):
            boxes = tuple(box_id for box_id, each in spans.items() if each == span)
            self._recent.extend(record.event_id, boxes, *span)
            self._send(boxes, record.token, *span, {ANALYSIS_ASKED: len(boxes)})

    def _affordable(
        self,
        record: EventRecord,
        wanted: Mapping[str, NsSpan],
        reporting: frozenset[str],
        refused: Counter[str],
    ) -> dict[str, NsSpan]:
        """Returns the Boxes that are asked; adds the reasons for the others to `refused`."""
        spans: dict[str, NsSpan] = {}
        known = set(record.boxes_triggered)
        for box_id, span in wanted.items():
            if box_id not in reporting:
                refused[NOT_HEARD] += 1
            elif self._shows_it(box_id, _joined(span, record.span_of(box_id) if box_id in known else span)):
                refused[IN_EVENT] += 1
            elif box_id not in known and len(known) >= self._limits.most_boxes_of_event:
                refused[BOUND] += 1
            elif reason := self._budget.spend_for(record.opened_by, box_id, bytes_of_span(*span)):
                refused[reason] += 1
            else:
                spans[box_id] = span
                known.add(box_id)
        return spans

    def _shows_it(self, box_id: str, span: NsSpan) -> bool:
        """Returns True if one event shows all of the span at this Box, or will.

        Where another one has only the missing part, neither shows the disturbance whole.
        """
        covering = self._recent.covering(box_id, *span)
        return covering is not None or self._completions.is_requested(box_id, *span)

    def _neighbours(
        self, record: EventRecord, request: StoredSampleRequest, reporting: frozenset[str]
    ) -> dict[str, NsSpan]:
        """Returns the Boxes nearest to those of the request that are not asked yet; at most `most_boxes`.

        Each Box of the request gives its nearest one before any gives its second.
        """
        span = request.span_ns or (record.start_ns, record.end_ns)
        others = sorted(reporting.difference(record.boxes_triggered))
        if not others:
            return {}
        rows = [self._nearest(box_id, others, request.most_boxes) for box_id in request.beside]
        chosen: dict[str, NsSpan] = {}
        for place in range(request.most_boxes):
            for row in rows:
                if place < len(row) and len(chosen) < request.most_boxes:
                    chosen.setdefault(row[place], span)
        return chosen

    def _nearest(self, box_id: str, others: Iterable[str], most: int) -> list[str]:
        rows = dict(self._boxes.places.requested_boxes(box_id, tuple(others), self._limits).by_reason)
        return [each for reason in NEIGHBOUR_REASONS for each in rows.get(reason, ())][:most]


def _joined(one: NsSpan, other: NsSpan) -> NsSpan:
    return min(one[0], other[0]), max(one[1], other[1])
