"""Requests of analyses for more samples: from the request to its entry in the event's record in the store.

An analysis may have `wants(event, findings, config)`. Its requests are limited to what may be requested and
is not here yet, and stored in the event's record before the event is marked as analysed: a kill loses
no request, and the store keeps none twice. Makai reads them there, answers within its budgets, and the event
grows; it is then analysed once more (`docs/mauka-cases.md`, "Asking for more").
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.mauka import MoreSamplesSection
from opq_cloud.mauka.measuring.unknown_gain import at_nominal
from opq_cloud.store.event_record import PERSON_ASKED, EventRecord
from opq_cloud.store.sample_requests import ASKED, WAITING, NsSpan, StoredSampleRequest, counter_of
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.kit import log as logs
from opq_proto.messages import Event, Finding, SampleRequest, Waveform

log = logs.get(service="mauka")

OVERLAP_NS = 500_000_000
"""A longer span begins this much before the end of the samples here: an original Box numbers no samples, and
its parts are joined where both have the same ones.
"""
CHECK_S = 1.0
MAX_PENDING = 1000
MIN_NS = 100_000_000
"""Shorter pieces are not requested."""


class RequestingAnalysis(Protocol):
    """The interface that this file needs of an analysis, built in or installed."""

    @property
    def name(self) -> str: ...
    @property
    def asks(self) -> bool: ...
    def requests_in(
        self, event: Event, findings: Sequence[Finding], nominal: Nominal
    ) -> tuple[SampleRequest, ...]: ...


class SampleRequester:
    """Counters: `samples_requested` and `samples_granted` by analysis, `samples_refused` by Makai's reason,
    `samples_in_event`.

    Belongs to the runner's loop.
    """

    def __init__(
        self,
        store: Callable[[], CloudStore],
        section: MoreSamplesSection,
        counters: ServiceCounters,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._section, self._counters, self._clock = store, section, counters, clock
        self._pending: dict[int, set[int]] = {}
        """Event -> the requests that had been answered when it made its last request."""
        self._next_s = 0.0

    def request_samples(
        self,
        record: EventRecord,
        parts: Mapping[Nominal, Event],
        findings: Sequence[Finding],
        analyses: Sequence[RequestingAnalysis],
        guard: Callable[[str, Callable[[], object]], bool],
    ) -> int:
        """Stores the requests of these analyses for an event they have analysed; returns how many are new.

        Args:
            record: as it was before the event's waveforms were read.
            parts: the event by nominal values.
            findings: of all analyses, each with its analysis' name.
            guard: calls a function that may raise, counts and logs the error, and returns whether it
                succeeded.
        """
        if not self._section.enabled:
            return 0
        wanted: list[StoredSampleRequest] = []
        for analysis in analyses:
            if not analysis.asks:
                continue
            own = [each for each in findings if each.analysis == analysis.name]
            for nominal, part in parts.items():
                boxes = {wave.box_id for wave in part.waveforms}
                seen = [each for each in own if each.box_id in boxes]
                requests_of = partial(analysis.requests_in, at_nominal(part, nominal.volts), seen, nominal)
                more = partial(_add_requests, wanted, analysis.name, requests_of, part, record, self._section)
                guard(f"requests of {analysis.name}", more)
        if not wanted:
            return 0
        new = self._store().request_samples(record.event_id, wanted, self._section.rounds)
        if new:
            answered = {number for number, each in record.more.items() if each.state != WAITING}
            self._pending.setdefault(record.event_id, answered)
            while len(self._pending) > MAX_PENDING:
                self._pending.pop(next(iter(self._pending)))
            names = ", ".join(sorted({each.analysis for each in wanted}))
            self._counters.add("samples_requested", new, label=names)
            log.info("event.more_wanted", event_id=record.event_id, requests=new, analyses=names)
        return new

    def note_answers(self) -> None:
        """Counts and logs the answers of Makai since the last call, with the reasons; every CHECK_S."""
        now_s = self._clock()
        if not self._pending or now_s < self._next_s:
            return
        self._next_s = now_s + CHECK_S
        for event_id in list(self._pending):
            record = self._store().event_record(event_id)
            more = {} if record is None else record.more
            if any(each.state == WAITING for each in more.values()):
                continue
            known = self._pending.pop(event_id)
            for number in more.keys() - known:
                self._note_answer(event_id, more[number])

    def _note_answer(self, event_id: int, request: StoredSampleRequest) -> None:
        for reason, count in request.refused.items():
            self._counters.add(counter_of(reason), count, label=reason)
        if request.state == ASKED:
            self._counters.add("samples_granted", label=request.analysis)
        log.info(
            "event.more_answered",
            event_id=event_id,
            analysis=request.analysis,
            state=request.state,
            boxes=list(request.boxes),
            refused=dict(request.refused),
        )


def _add_requests(
    wanted: list[StoredSampleRequest],
    analysis: str,
    requests_of: Callable[[], tuple[SampleRequest, ...]],
    part: Event,
    record: EventRecord,
    section: MoreSamplesSection,
) -> None:
    wanted += sample_requests(analysis, requests_of(), part, record, section, time.time_ns())


def sample_requests(
    analysis: str,
    requests: Sequence[SampleRequest],
    event: Event,
    record: EventRecord,
    section: MoreSamplesSection,
    requested_ns: int,
) -> list[StoredSampleRequest]:
    """Returns what to request: without samples that are here already or lie beyond the longest span.

    Neighbours are requested only where Makai left some out, or where a person requested one Box alone. Pure.
    """
    waves = {wave.box_id: wave for wave in event.waveforms}
    found: list[StoredSampleRequest] = []
    for request in requests:
        span = _within(request, record, section)
        if span is None:
            continue
        plain = StoredSampleRequest(analysis, request.because or "it needs more", requested_ns=requested_ns)
        if request.beside:
            if left_out(record):
                beside = tuple(sorted(set(request.beside)))
                found.append(replace(plain, beside=beside, most_boxes=request.most_boxes, span_ns=span))
            continue
        pieces = {box_id: _lacking(waves.get(box_id), span) for box_id in request.box_ids}
        spans = {box_id: piece for box_id, piece in pieces.items() if piece is not None}
        if spans:
            found.append(replace(plain, spans=spans))
    return found


def left_out(record: EventRecord) -> bool:
    """Returns True if the record shows Boxes that got no request for this event."""
    not_asked = sum(count for reason, count in record.not_asked.items() if reason != "saw")
    return not_asked > 0 or PERSON_ASKED in record.asked_as


def _within(request: SampleRequest, record: EventRecord, section: MoreSamplesSection) -> NsSpan | None:
    longest_ns = round(section.longest_s * 1e9)
    start_ns = record.start_ns if request.start_ns is None else request.start_ns
    end_ns = record.end_ns if request.end_ns is None else request.end_ns
    start_ns = max(start_ns, record.start_ns - longest_ns, 0)
    end_ns = min(end_ns, record.end_ns + longest_ns)
    return (start_ns, end_ns) if end_ns - start_ns >= MIN_NS else None


def _lacking(wave: Waveform | None, span: NsSpan) -> NsSpan | None:
    """The missing part of a span, in one piece that meets the samples here; None where almost nothing is
    missing.
    """
    if wave is None:
        return span
    start_ns, end_ns = span
    before, after = wave.start_ns - start_ns >= MIN_NS, end_ns - wave.end_ns >= MIN_NS
    if before and after:
        return span
    if before:
        return start_ns, min(end_ns, wave.start_ns + OVERLAP_NS)
    if after:
        return max(start_ns, wave.end_ns - OVERLAP_NS), end_ns
    return None
