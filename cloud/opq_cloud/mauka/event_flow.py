"""EventFlow: the way of an event through Mauka, from its turn to its mark.

    turn --> reader --> jobs: built-in analyses --> findings stored --> stage: installed analyses
         --> findings stored --> more samples requested --> marked as analysed --> reported

After a crash anywhere the event is not marked, and repeating it changes nothing (the store is idempotent).
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from opq_cloud.core.settings.mauka import MoreSamplesSection
from opq_cloud.mauka.event_findings import EventFindings
from opq_cloud.mauka.measuring.clock_alignment import stamped
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.running.analysis_record import AnalysisRecord
from opq_cloud.mauka.running.event_analysis import EventOutcome, alignments_of
from opq_cloud.mauka.running.event_jobs import AnalysisJob, EventJobs
from opq_cloud.mauka.running.event_reader import EventReader
from opq_cloud.mauka.running.installed_analyses import InstalledAnalyses, InstalledAnalysis
from opq_cloud.mauka.running.installed_stage import AnalysedEvent, InstalledStage
from opq_cloud.mauka.running.sample_requester import SampleRequester
from opq_cloud.mauka.running.waiting_events import EventTurn, WaitingEvents
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import Analysis
from opq_proto.messages import Finding

JOBS_WAIT_S = 0.02
"""Longest wait for an event to be analysed, before the bus is read again."""
NO_ROOM_S = 1.0
"""An event for which the installed analyses have no room is tried again after this, at growing intervals."""
UNREAD_EVENTS = 1000


class EventFlow:
    """Belongs to the runner and its thread; `left_out` and `jobs.rows` are for any."""

    def __init__(
        self,
        plugin: MaukaPlugin,
        store: Callable[[], CloudStore],
        analyses: Sequence[Analysis],
        jobs: EventJobs,
        reader: EventReader,
        findings: EventFindings,
        asking: MoreSamplesSection,
        installed: InstalledAnalyses | None,
        clock: Callable[[], float],
    ) -> None:
        self.left_out: frozenset[str] = frozenset()
        """Analyses that an operator has stopped: no event is given to them, and none waits for them."""
        self.jobs, self.findings = jobs, findings
        self.waiting = WaitingEvents(store, plugin.counters, clock)
        self.record = AnalysisRecord(plugin, analyses, installed)
        jobs.on_ended = self.record.note_ended
        self._plugin, self._store, self._analyses = plugin, store, tuple(analyses)
        self.requester = SampleRequester(store, asking, plugin.counters, clock)
        self._reader, self._installed = reader, installed
        self._stage = None if installed is None else InstalledStage(installed)
        self._unread: deque[EventTurn] = deque()
        """Events that wait while there is no room."""
        self._generation = 0

    def opened(self) -> Any:
        """Within this, installed analyses see events in threads."""
        return self._stage or nullcontext()

    def take(self, turn: EventTurn) -> None:
        """Begins to analyse an event; a failed one is retried at growing intervals, and delays no other.

        One that only has to wait for an analysis that rests is retried when the rest is over.
        """
        if self.is_in_hand(turn.event_id):
            return  # where samples came meanwhile it is not marked, and found again
        if self.jobs.has_room:
            self._begin(turn)
        elif len(self._unread) < UNREAD_EVENTS:
            self._unread.append(turn)
        else:
            self._plugin.counters.add("forgotten_events")

    def go_on(self, announced: bool) -> bool:
        """Takes every event in hand a step further; returns whether there is more to do at once.

        `announced`: there is a bus, on which events that have just finished are announced.
        """
        if self._stage is not None:
            self.finish_seen(self._stage)
        if self.serve_jobs():
            return True
        self._note_changes()
        if self.waiting.is_poll_due and self._store().unfinished_events():
            self.jobs.prepare()
        following = self.waiting.next_turn(self.is_in_hand, announced)
        if following is not None:
            self.take(following)
        return self.waiting.more or any(each is not None and each.busy for each in (self.jobs, self._stage))

    def analyse_now(self, event_id: int, again: bool) -> None:
        """Analyses one event to its end, where no loop runs."""
        self.take(EventTurn(event_id, again))
        self.finish()

    def finish(self) -> None:
        """Analyses the events in hand to their end."""
        while self.jobs.busy or self._unread:
            self.serve_jobs()

    def is_in_hand(self, event_id: int) -> bool:
        return any(each is not None and event_id in each for each in (self.jobs, self._stage))

    def serve_jobs(self) -> bool:
        """Stores finished jobs, begins waiting events; False: there is room for events of the store."""
        jobs = self.jobs
        over = jobs.finished(JOBS_WAIT_S if jobs.busy else 0.0)
        for job, findings in jobs.first_found():
            begin = partial(self.findings.begin_incidents, job, findings)
            self._plugin.guard("event", begin, event_id=job.event_id)
        for job in over:
            self.finish_job(job)
        while self._unread and jobs.has_room:
            self._begin(self._unread.popleft())
        return jobs.busy and not (jobs.has_room and self.waiting.is_poll_due)

    def finish_job(self, job: AnalysisJob) -> None:
        """Stores the findings of the built-in analyses; then the installed ones see the event."""
        outcome = EventOutcome(failed=bool(job.result.failed))
        done = self._plugin.guard("event", partial(self._store_job, job, outcome), event_id=job.event_id)
        if not self.is_in_hand(job.event_id):
            self.waiting.note_outcome(job.event_id, outcome, done)

    def finish_seen(self, stage: InstalledStage) -> None:
        """Completes the events that the installed analyses have seen."""
        stage.left_out = self.left_out
        for event in stage.seen(JOBS_WAIT_S if stage.busy and not self.jobs.busy else 0.0):
            event_id = event.job.event_id
            done = self._plugin.guard("event", partial(self._complete, event), event_id=event_id)
            self.waiting.note_outcome(event_id, event.outcome, done)

    def _begin(self, turn: EventTurn) -> None:
        """Reads an event and begins its analyses; samples that arrive meanwhile keep it from being marked."""

        def read() -> None:
            job = self._reader.job_of(turn.event_id, turn.again, turn.complete, self.left_out)
            if job is not None:
                self.jobs.add(job)

        if turn.event_id in self.jobs:
            return
        done = self._plugin.guard("event", read, event_id=turn.event_id)
        if not self.is_in_hand(turn.event_id):
            self.waiting.note_outcome(turn.event_id, EventOutcome(), done)

    def _store_job(self, job: AnalysisJob, outcome: EventOutcome) -> None:
        self.record.note_result(job.result, job.event_id)
        for name in job.given_up:
            self.record.note_given_up(name, job.event_id)
        event = AnalysedEvent(job, outcome, began_ms=time.time_ns() // 1_000_000)

        def align() -> None:
            event.alignments = alignments_of(job.event, job.result.findings, self._reader.nominal_of)

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
        self._complete(event)

    def _store_found(self, event: AnalysedEvent, findings: Sequence[Finding]) -> None:
        found = stamped(findings, event.alignments)
        event.found += found
        event.stored.append(self.findings.store(event.job, found))

    def _complete(self, event: AnalysedEvent) -> None:
        """Stores what installed analyses found; marks the event if all ran and nothing new came.

        It is not marked where one of them was installed meanwhile: that one sees it then.
        """
        job, outcome = event.job, event.outcome
        for name in event.lacking - self.left_out:
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
            analyses: list[Analysis | InstalledAnalysis] = [*self._analyses, *event.analyses]
            running = [one for one in analyses if one.name not in self.left_out]
            self.requester.request_samples(
                job.record, dict(job.parts), event.found, running, self._plugin.guard
            )
            now_there = () if self._installed is None else self._installed.of_events
            all_saw = {one.name for one in event.analyses}.issuperset(now_there)
            if all_saw and self._store().mark_analysed(job.event_id, job.record.revision):
                self.waiting.note_marked(job.event_id, event.began_ms)
        self.findings.report(job, event.stored)
        self._plugin.counters.add("events")

    def _note_not_asked(self, name: str, outcome: EventOutcome, rest_s: float = 0.0) -> None:
        self._plugin.counters.add("not_asked", label=name)
        outcome.rest_s = max(outcome.rest_s, rest_s)

    def _note_changes(self) -> None:
        """Retries failed events after an analysis changed; analyses recent ones again for a new analysis."""
        if self._installed is None or self._installed.generation == self._generation:
            return
        self._generation = self._installed.generation
        self.record.forget_deleted()
        self.waiting.retry_all()
        since_ms = self._installed.new_since_ms()
        if since_ms is not None:
            for event_id in self.waiting.marked_since(since_ms):
                self.take(EventTurn(event_id, again=True))
