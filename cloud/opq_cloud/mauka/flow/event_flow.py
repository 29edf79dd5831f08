"""EventFlow: the way of an event into its analyses; `analysed_events.py` is the way from there to its mark.

announced, or found in the store --> turn --> reader --> jobs: built-in analyses
"""

from collections import deque
from collections.abc import Callable, Sequence

from opq_cloud.core.settings.mauka import MoreSamplesSection
from opq_cloud.mauka.flow.analysed_events import JOBS_WAIT_S, AnalysedEvents
from opq_cloud.mauka.flow.event_findings import EventFindings
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.running.calls.event_analysis import EventOutcome
from opq_cloud.mauka.running.events.event_jobs import EventJobs
from opq_cloud.mauka.running.events.event_reader import EventReader
from opq_cloud.mauka.running.events.sample_requester import SampleRequester
from opq_cloud.mauka.running.events.waiting_events import EventTurn, WaitingEvents
from opq_cloud.mauka.running.installed.analysis_record import AnalysisRecord
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import Analysis

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
        """Analyses that an operator has stopped; events neither reach them nor wait for them."""
        self.jobs, self.waiting = jobs, WaitingEvents(store, plugin.counters, clock)
        self.analysed = AnalysedEvents(
            *(plugin, store, jobs, self.waiting, findings),
            SampleRequester(store, asking, plugin.counters, clock),
            AnalysisRecord(plugin, analyses, installed),
            reader.nominal_of,
        )
        self._plugin, self._store = plugin, store
        self._reader, self._installed = reader, installed
        self._unread: deque[EventTurn] = deque()
        """Events that wait while there is no room."""
        self._generation = 0

    def accept(self, event_id: int) -> None:
        """Begins to analyse an event that was announced; one that is not complete waits."""
        turn = self.waiting.announced(event_id)
        if turn is not None:
            self.take(turn)

    def take(self, turn: EventTurn) -> None:
        """Begins to analyse an event; a failed one is retried at growing intervals, and delays no other.

        One that only has to wait for an analysis that rests is retried when the rest is over.
        """
        if self.is_in_hand(turn.event_id):
            return  # if samples arrived meanwhile, it is not marked and will be found again
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
        for turn in self.waiting.overdue():
            self.take(turn)
        self.waiting.take_originals()
        self.analysed.finish_seen(self.left_out)
        if self.serve_jobs():
            return True
        self._note_changes()
        if self.waiting.is_poll_due and self._store().unfinished_events():
            self.jobs.prepare()
        following = self.waiting.next_turn(self.is_in_hand, announced)
        if following is not None:
            self.take(following)
        return self.waiting.more or self.jobs.busy or self.analysed.busy

    def analyse_now(self, event_id: int, again: bool) -> None:
        """Analyses one event to its end, where no loop runs."""
        self.take(EventTurn(event_id, again))
        self.finish()

    def finish(self) -> None:
        """Analyses the events in hand to their end."""
        while self.jobs.busy or self._unread:
            self.serve_jobs()

    def is_in_hand(self, event_id: int) -> bool:
        return event_id in self.jobs or event_id in self.analysed

    def serve_jobs(self) -> bool:
        """Stores finished jobs, begins waiting events; False: there is room for events of the store."""
        jobs = self.jobs
        self.analysed.collect(JOBS_WAIT_S if jobs.busy else 0.0, self.left_out)
        while self._unread and jobs.has_room:
            self._begin(self._unread.popleft())
        return jobs.busy and not (jobs.has_room and self.waiting.is_poll_due)

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

    def _note_changes(self) -> None:
        """Retries failed events after an analysis changed; analyses recent ones again for a new analysis."""
        if self._installed is None or self._installed.generation == self._generation:
            return
        self._generation = self._installed.generation
        self.analysed.record.forget_deleted()
        self.waiting.retry_all()
        since_ms = self._installed.new_since_ms()
        if since_ms is not None:
            for event_id in self.waiting.marked_since(since_ms):
                self.take(EventTurn(event_id, again=True))
