"""AnalysedEvents: the way of an event from its analyses to its mark.

    built-in analyses --> findings stored --> stage: installed analyses --> findings stored
         --> more samples requested --> marked as analysed --> reported

After a crash anywhere the event is not marked, and repeating it changes nothing (the store is idempotent).
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from opq_cloud.mauka.flow.event_findings import EventFindings
from opq_cloud.mauka.measuring.clock_alignment import stamped
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.running.calls.event_analysis import EventOutcome, NominalOf, alignments_of
from opq_cloud.mauka.running.events.event_jobs import AnalysisJob, EventJobs
from opq_cloud.mauka.running.events.sample_requester import SampleRequester
from opq_cloud.mauka.running.events.waiting_events import WaitingEvents
from opq_cloud.mauka.running.installed.analysis_record import AnalysisRecord
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalysis
from opq_cloud.mauka.running.installed.installed_stage import AnalysedEvent, InstalledStage
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import Analysis
from opq_proto.messages import Finding

JOBS_WAIT_S = 0.02
"""Longest wait for an event to be analysed, before the bus is read again."""
NO_ROOM_S = 1.0
"""An event for which the installed analyses have no room is tried again after this, at growing intervals."""


class AnalysedEvents:
    """Belongs to the runner and its thread."""

    def __init__(
        self,
        plugin: MaukaPlugin,
        store: Callable[[], CloudStore],
        jobs: EventJobs,
        waiting: WaitingEvents,
        findings: EventFindings,
        requester: SampleRequester,
        record: AnalysisRecord,
        nominal_of: NominalOf,
    ) -> None:
        self.findings, self.requester, self.record = findings, requester, record
        jobs.on_ended = record.note_ended
        self._plugin, self._store, self._nominal_of = plugin, store, nominal_of
        self._jobs, self._waiting = jobs, waiting
        self._stage = None if record.installed is None else InstalledStage(record.installed)

    def opened(self) -> Any:
        """Within this, installed analyses see events in threads."""
        return self._stage or nullcontext()

    def __contains__(self, event_id: int) -> bool:
        return self._stage is not None and event_id in self._stage

    @property
    def busy(self) -> bool:
        """Whether installed analyses see any event now."""
        return self._stage is not None and self._stage.busy

    def collect(self, wait_s: float, left_out: frozenset[str]) -> None:
        """Waits up to `wait_s`, then stores what the built-in analyses have found."""
        over = self._jobs.finished(wait_s)
        for job, findings in self._jobs.first_found():
            begin = partial(self.findings.begin_incidents, job, findings)
            self._plugin.guard("event", begin, event_id=job.event_id)
        for job in over:
            self.finish_job(job, left_out)

    def finish_job(self, job: AnalysisJob, left_out: frozenset[str] = frozenset()) -> None:
        """Stores the findings of the built-in analyses; then the installed ones see the event."""
        outcome = EventOutcome(failed=bool(job.result.failed))
        store = partial(self._store_job, job, outcome, left_out)
        done = self._plugin.guard("event", store, event_id=job.event_id)
        if job.event_id not in self:
            self._waiting.note_outcome(job.event_id, outcome, done)

    def finish_seen(self, left_out: frozenset[str]) -> None:
        """Completes the events that the installed analyses have seen."""
        if self._stage is None:
            return
        self._stage.left_out = left_out
        for event in self._stage.seen(JOBS_WAIT_S if self._stage.busy and not self._jobs.busy else 0.0):
            event_id = event.job.event_id
            complete = partial(self._complete, event, left_out)
            done = self._plugin.guard("event", complete, event_id=event_id)
            # what it lacked or waited for may be there or gone: that change has already retried the others
            outcome = EventOutcome() if self._stage.is_outdated(event) else event.outcome
            self._waiting.note_outcome(event_id, outcome, done)

    def _store_job(self, job: AnalysisJob, outcome: EventOutcome, left_out: frozenset[str]) -> None:
        self.record.note_result(job.result, job.event_id)
        for name in job.given_up:
            self.record.note_given_up(name, job.event_id)
        event = AnalysedEvent(job, outcome, began_ms=time.time_ns() // 1_000_000)

        def align() -> None:
            event.alignments = alignments_of(job.event, job.result.findings, self._nominal_of)

        self._plugin.guard("alignment", align, event_id=job.event_id)
        self._plugin.counters.add("boxes_aligned", len(event.alignments))
        self._store_found(event, job.result.findings)
        if self._stage is not None:
            if (names := self._stage.names) and self._stage.add(event):
                return
            for name in names:
                self._note_not_asked(name, outcome, NO_ROOM_S)
            if not names:
                self._stage.show(event)
        self._complete(event, left_out)

    def _store_found(self, event: AnalysedEvent, findings: Sequence[Finding]) -> None:
        found = stamped(findings, event.alignments)
        event.found += found
        event.stored.append(self.findings.store(event.job, found))

    def _complete(self, event: AnalysedEvent, left_out: frozenset[str]) -> None:
        """Stores what installed analyses found; marks the event if all ran and nothing new came.

        It is not marked where one of them was installed meanwhile: that one sees it then.
        """
        job, outcome = event.job, event.outcome
        for name in event.lacking - left_out:
            self._note_not_asked(name, outcome)
            outcome.lacking = True
        for name, rest_s in event.resting.items():
            self._note_not_asked(name, outcome, rest_s)
        for result in event.results:
            self.record.note_result(result, job.event_id)
            outcome.failed |= bool(result.failed)
        if theirs := [one for result in event.results for one in result.findings]:
            self._store_found(event, theirs)
        if job.complete and outcome.complete:
            analyses: list[Analysis | InstalledAnalysis] = [*self.record.analyses, *event.analyses]
            running = [one for one in analyses if one.name not in left_out]
            self.requester.request_samples(
                job.record, dict(job.parts), event.found, running, self._plugin.guard
            )
            now_there = () if self.record.installed is None else self.record.installed.of_events
            all_saw = {one.name for one in event.analyses}.issuperset(now_there)
            if all_saw and self._store().mark_analysed(job.event_id, job.record.revision):
                self._waiting.note_marked(job.event_id, event.began_ms)
        failed = {name for result in (job.result, *event.results) for name in result.failed}
        self.findings.report(job, event.stored, failed)
        self._plugin.counters.add("events")

    def _note_not_asked(self, name: str, outcome: EventOutcome, rest_s: float = 0.0) -> None:
        self._plugin.counters.add("not_asked", label=name)
        outcome.rest_s = max(outcome.rest_s, rest_s)
