"""The runner: one plug-in around all pure analyses; the only part of Mauka that writes findings.

It reads an event, runs every analysis, stores their findings (which joins them into incidents; for a large
event first the findings of one Box), marks the event as analysed and publishes on the bus, in this order.
After a crash anywhere the event is not marked, and repeating it changes nothing (the store is idempotent).

A lost notification does not matter: the store is read at the start and twice a second.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial

from opq_cloud.core.service import HealthReport
from opq_cloud.core.settings.mauka import MoreSamplesSection
from opq_cloud.mauka.analyses.rms_voltage import Config as RmsConfig
from opq_cloud.mauka.bus import Stop
from opq_cloud.mauka.incident_announcer import IncidentAnnouncer
from opq_cloud.mauka.incident_notice import INCIDENT, MAX_BOXES
from opq_cloud.mauka.joining.finding_writer import FindingWriter
from opq_cloud.mauka.measuring.clock_alignment import Alignments, clock_alignments, stamped
from opq_cloud.mauka.measuring.unknown_gain import UnknownGains
from opq_cloud.mauka.messages import LAHA_GC, MAKAI_EVENT, gc_update
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.mauka.running.analysis_tasks import LoadedAnalyses
from opq_cloud.mauka.running.earlier_times import at_first_times
from opq_cloud.mauka.running.event_analysis import (
    AnalysisResult,
    EventOutcome,
    analysis_order,
    by_nominal,
    nominal_of_box,
    with_wiring,
)
from opq_cloud.mauka.running.event_jobs import AnalysisJob, EventJobs
from opq_cloud.mauka.running.executor import CallingThread
from opq_cloud.mauka.running.installed_analyses import InstalledAnalyses, InstalledAnalysis
from opq_cloud.mauka.running.installed_stage import AnalysedEvent, InstalledStage
from opq_cloud.mauka.running.open_disturbances import MAX_FOLLOWED, OpenDisturbances
from opq_cloud.mauka.running.plugin_cost import PluginCosts
from opq_cloud.mauka.running.provenance import VERSION
from opq_cloud.mauka.running.sample_requester import SampleRequester
from opq_cloud.mauka.running.waiting_events import EventTurn, WaitingEvents
from opq_cloud.store.event_record import EventRecord
from opq_cloud.store.incidents.join_plan import CarriedOut
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import DEFAULT_NOMINAL, Analysis
from opq_proto.decision import Nominal
from opq_proto.errors import StoreError
from opq_proto.kit import log as logs
from opq_proto.messages import Event, Finding, WaveformAlignment
from opq_proto.wire.mauka_pb2 import INCIDENTS, MaukaMessage

log = logs.get(service="mauka")

JOBS_WAIT_S = 0.02
"""Longest wait for an event to be analysed, before the bus is read again."""
NO_ROOM_S = 1.0
"""An event for which the installed analyses have no room is tried again after this, at growing intervals."""
UNREAD_EVENTS = 1000
OF_ANALYSIS = "analysis "
"""How the errors of an analysis begin; its name follows."""


class AnalysisRunner(MaukaPlugin):
    """Counters: `events`, `findings`, `incidents_begun` by one Box of a large event, `boxes_aligned`,
    `incident_notices`, `unknown_events`, `forgotten_events`; by analysis `found`, `analysis_ms`,
    `not_asked`, `unjudged`, `processes_ended`, `given_up`; the base's.
    """

    NAME = "AnalysisRunner"
    GIVES = (LAHA_GC, INCIDENT)

    def __init__(
        self,
        config: PluginConfig,
        store: Callable[[], CloudStore],
        analyses: Sequence[Analysis],
        nominal: Nominal = DEFAULT_NOMINAL,
        clock: Callable[[], float] = time.monotonic,
        installed: InstalledAnalyses | None = None,
        asking: MoreSamplesSection | None = None,
        jobs: EventJobs | None = None,
    ) -> None:
        """
        Args:
            installed: analyses that come and go between two events.
            asking: what analyses may request.
            jobs: the same analyses in processes; None: in the thread of this runner.
        """
        super().__init__(config, [MAKAI_EVENT], AnalysisRunner.NAME)
        self._store = store
        self.analyses = tuple(analyses)
        self.left_out: frozenset[str] = frozenset()
        """Analyses that an operator has stopped: no event is given to them, and none waits for them."""
        self.jobs = jobs or EventJobs(CallingThread(), LoadedAnalyses(self.analyses))
        self.jobs.on_ended = self.note_ended
        self._unread: deque[tuple[int, bool, bool]] = deque()
        """Events that wait while there is no room: event id, again, complete."""
        self._installed = installed
        self._stage = None if installed is None else InstalledStage(installed)
        self._writer = FindingWriter(store)
        self._announcer = IncidentAnnouncer(self, store, clock)
        self._requester = SampleRequester(store, asking or MoreSamplesSection(), self.counters, clock)
        self._costs = PluginCosts()
        self._unjudged: dict[str, str] = {}
        """Analysis -> why it could find nothing, in the last event where that was so."""
        self._generation = 0
        self._nominal = nominal
        self._clock = clock
        self._waiting = WaitingEvents(store, self.counters, clock)
        rms = next((one.config for one in analyses if isinstance(one.config, RmsConfig)), RmsConfig())
        self._open = OpenDisturbances(store, rms.limits(), clock)
        self._grown: deque[tuple[int, Finding]] = deque(maxlen=MAX_FOLLOWED)
        """Events and findings that are to be stored."""
        self._gains = UnknownGains()

    def health(self) -> list[HealthReport]:
        """Reports Boxes whose volts are not judged."""
        return self._gains.health()

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Handles a MakaiEvent: a new one, or one that is injected again."""
        if mauka_message.WhichOneof("message") != "makai_event":
            self.counters.add("malformed")
            return
        turn = self._waiting.announced(mauka_message.makai_event.event_id)
        if turn is not None:
            self._analyse_turn(turn)

    def on_idle(self) -> bool:
        """Finds finished events that are not analysed; analyses one of them per call."""
        for turn in self._waiting.overdue():
            self._analyse_turn(turn)
        self.grow_open_disturbances()
        self.guard("answers to requests", self._requester.note_answers)
        self.guard("announcements", self._announcer.announce_others)
        self._waiting.take_originals()
        if self._stage is not None:
            self._finish_seen(self._stage)
        if self._serve_jobs():
            return True
        self._note_changes()
        if self._waiting.is_poll_due and self._store().unfinished_events():
            self.jobs.prepare()
        following = self._waiting.next_turn(self._is_in_hand, announced=self._out is not None)
        if following is not None:
            self._analyse_turn(following)
        return self._waiting.more or any(each is not None and each.busy for each in (self.jobs, self._stage))

    def analyse_now(self, event_id: int, again: bool = False) -> None:
        """Analyses one event to its end; for a prompt, a simulation or a test, where no loop runs."""
        self._attempt(event_id, again)
        self.finish()

    def finish(self) -> None:
        """Analyses the events in hand to their end."""
        while self.jobs.busy or self._unread:
            self._serve_jobs()

    def grow_open_disturbances(self, at_once: bool = False) -> None:
        """Extends dips and swells that lasted beyond their waveform, by the Measurements stored since."""
        self.guard("open disturbances", lambda: self._put_grown(self._open.due(at_once)))

    def _is_in_hand(self, event_id: int) -> bool:
        return any(each is not None and event_id in each for each in (self.jobs, self._stage))

    def _analyse_turn(self, turn: EventTurn) -> None:
        self._attempt(turn.event_id, turn.again, turn.complete)

    def _note_changes(self) -> None:
        """Retries failed events after an analysis changed; analyses recent ones again for a new analysis."""
        if self._installed is None or self._installed.generation == self._generation:
            return
        self._generation = self._installed.generation
        here = {str(row["name"]) for row in self.analysis_rows()}
        for what in [what for what in self._errors if what.startswith(OF_ANALYSIS)]:
            if what.removeprefix(OF_ANALYSIS) not in here:
                self._errors.pop(what, None)  # it was deleted: nothing else would end its error
        self._waiting.retry_all()
        since_ms = self._installed.new_since_ms()
        if since_ms is not None:
            for event_id in self._waiting.marked_since(since_ms):
                self._attempt(event_id, again=True)

    def run(self, stop: Stop, ready: threading.Event | None = None) -> None:
        """Analyses events until `stop`; first those that were not finished when the process crashed."""
        self._waiting.begin()
        self.guard("open disturbances", lambda: self._open.find_again(time.time_ns()))
        try:
            with self._stage or nullcontext():
                super().run(stop, ready)
        finally:
            self.jobs.close()

    def _serve_jobs(self) -> bool:
        """Stores finished jobs, hands on waiting events; False: there is room for events of the store."""
        jobs = self.jobs
        over = jobs.finished(JOBS_WAIT_S if jobs.busy else 0.0)
        for job, findings in jobs.first_found():
            self.guard("event", partial(self._begin_incidents, job, findings), event_id=job.event_id)
        for job in over:
            self._run_guarded(job.event_id, partial(self._finish_job, job))
        while self._unread and jobs.has_room:
            self._hand_over(*self._unread.popleft())
        return jobs.busy and not (jobs.has_room and self._waiting.is_poll_due)

    def _attempt(self, event_id: int, again: bool, complete: bool = True) -> None:
        """Analyses one event; a failed one is retried at growing intervals, and delays no other.

        One that only has to wait for an analysis that rests is retried when the rest is over.
        """
        if self._is_in_hand(event_id):
            return  # where samples came meanwhile it is not marked, and found again
        if self.jobs.has_room:
            self._hand_over(event_id, again, complete)
        elif len(self._unread) < UNREAD_EVENTS:
            self._unread.append((event_id, again, complete))
        else:
            self.counters.add("forgotten_events")

    def _run_guarded(self, event_id: int, call: Callable[[EventOutcome], None]) -> None:
        outcome = EventOutcome()
        done = self.guard("event", lambda: call(outcome), event_id=event_id)
        if not self._is_in_hand(event_id):
            self._waiting.note_outcome(event_id, outcome, done)

    def _begin_incidents(self, job: AnalysisJob, findings: Sequence[Finding]) -> None:
        """Stores and announces incidents before the other Boxes of the event are analysed."""
        found = at_first_times(self._store(), job.event, findings)
        done = self._writer.begin_incidents(job.event_id, found) if found else None
        if done is None:
            return
        job.begun_ns.update(dict.fromkeys(done.new_incidents, time.monotonic_ns()))
        self.counters.add("incidents_begun", len(done.new_incidents))
        self._announcer.announce(done)

    def _read(self, event_id: int) -> tuple[Event, EventRecord] | None:
        """Reads the event and its record."""
        record, event = self._store().event_record(event_id), self._store().event(event_id)
        if event is None or record is None:
            self.counters.add("unknown_events")
            return None
        self._gains.note_event(event)
        return with_wiring(event, self._writer.place_of), record

    def _hand_over(self, event_id: int, again: bool, complete: bool) -> None:
        """Begins to analyse an event; samples that arrive meanwhile prevent it from being marked."""
        if event_id in self.jobs:
            return

        def read() -> None:
            found = self._read(event_id)
            if found is not None:
                event, record = found
                parts = tuple(by_nominal(event, self._nominal_of).items())
                order = analysis_order(event, record.opened_by)
                self.jobs.add(
                    AnalysisJob(event_id, event, parts, record, again, complete, self.left_out, order)
                )

        done = self.guard("event", read, event_id=event_id)
        if not self._is_in_hand(event_id):
            self._waiting.note_outcome(event_id, EventOutcome(), done)

    def _finish_job(self, job: AnalysisJob, outcome: EventOutcome) -> None:
        """Stores the findings of the built-in analyses."""
        self._note_result(job.result, job.event_id, outcome)
        for name in job.given_up:
            self.counters.add("given_up", label=name)
            self._errors[OF_ANALYSIS + name] = f"{OF_ANALYSIS}{name}: event {job.event_id} is done without it"
            log.error("analysis.given_up", analysis=name, event_id=job.event_id)
        self._finish(job, job.result.findings, outcome)

    def _note_result(self, result: AnalysisResult, event_id: int, outcome: EventOutcome) -> None:
        """Counts and logs how analyses fared with an event."""
        for name, spent_s in result.spent_s.items():
            self.counters.add("analysis_ms", 1000 * spent_s, label=name)
            self._costs.add(name, spent_s)
            self._errors.pop(OF_ANALYSIS + name, None)
        for name, why in result.failed.items():
            outcome.failed = True
            what = OF_ANALYSIS + name
            self.counters.add("failures", label=what)
            self._errors[what] = f"{what}: {why}"
            log.error("plugin.failed", plugin=self.name, what=what, why=why, event_id=event_id)
        for name, why in result.unjudged.items():
            self._note_unjudged(name, why, event_id)

    def _note_unjudged(self, name: str, why: str, event_id: int) -> None:
        self.counters.add("unjudged", label=name)
        if self._unjudged.get(name) != why:
            self._unjudged[name] = why
            log.info("analysis.unjudged", analysis=name, why=why, event_id=event_id)

    def note_ended(self, analysis: str, event_id: int, why: str) -> None:
        """Counts and logs a process that ended, or had to be ended, during an analysis."""
        self.counters.add("processes_ended", label=analysis)
        log.warning("analysis.process_ended", analysis=analysis, event_id=event_id, why=why)

    def _finish(self, job: AnalysisJob, findings: Sequence[Finding], outcome: EventOutcome) -> None:
        """Stores the findings of the built-in analyses; then the installed ones see the event."""
        alignments = self._clock_alignments(job.event, findings)
        found, stored = stamped(findings, alignments), list[tuple[CarriedOut, int]]()
        self._store_findings(job.event, found, stored)
        parts = by_nominal(job.event, self._nominal_of)
        now_ms = time.time_ns() // 1_000_000
        event = AnalysedEvent(job, parts, outcome, alignments, list(found), stored, began_ms=now_ms)
        if self._stage is not None:
            if (names := self._stage.names) and self._stage.add(event):
                return
            for name in names:
                self.counters.add("not_asked", label=name)
                outcome.rest_s = max(outcome.rest_s, NO_ROOM_S)
            if not names:
                self._stage.show(event)
        self._complete(event)

    def _finish_seen(self, stage: InstalledStage) -> None:
        """Completes the events that the installed analyses have seen."""
        stage.left_out = self.left_out
        for event in stage.seen(JOBS_WAIT_S if stage.busy and not self.jobs.busy else 0.0):
            event_id = event.job.event_id
            done = self.guard("event", partial(self._complete, event), event_id=event_id)
            self._waiting.note_outcome(event_id, event.outcome, done)

    def _complete(self, event: AnalysedEvent) -> None:
        """Stores what installed analyses found; marks the event if all ran and nothing new came.

        It is not marked where one of them was installed meanwhile: that one sees it then.
        """
        job, event_id, outcome, stored = event.job, event.job.event_id, event.outcome, event.stored
        for name in event.lacking - self.left_out:
            self.counters.add("not_asked", label=name)
            outcome.lacking = True
        for name, rest_s in event.resting.items():
            self.counters.add("not_asked", label=name)
            outcome.rest_s = max(outcome.rest_s, rest_s)
        theirs: list[Finding] = []
        for result in event.results:
            self._note_result(result, event_id, outcome)
            theirs += stamped(result.findings, event.alignments)
        if theirs:
            self._store_findings(job.event, theirs, stored)
        if job.complete and outcome.complete:
            running: list[Analysis | InstalledAnalysis] = [*self.analyses, *event.analyses]
            running = [one for one in running if one.name not in self.left_out]
            found = [*event.found, *theirs]
            self._requester.request_samples(job.record, event.parts, found, running, self.guard)
            now_there = () if self._installed is None else self._installed.of_events
            all_saw = {one.name for one in event.analyses}.issuperset(now_there)
            if all_saw and self._store().mark_analysed(event_id, job.record.revision):
                self._waiting.note_marked(event_id, event.began_ms)
        written = [(one, stored_ns) for done, stored_ns in stored for one in done.stored]
        self.counters.add("findings", len(written))
        for name, count in Counter(item.finding.analysis or "" for item, _ in written).items():
            self.counters.add("found", count, label=name)
        self._put_grown(self._open.note_findings([item for item, _ in written]))
        if "" in job.record.half_cycles.values():
            self._put_grown(self._open.note_half_cycles(event_id))
        for item, _ in written:
            self.produce(LAHA_GC, gc_update(INCIDENTS, item.finding_id, self.name))
        first_ns = {item.incident_id: stored_ns for item, stored_ns in reversed(written)}
        for incident_id, stored_ns in sorted(first_ns.items()):
            at_ns = job.begun_ns.get(incident_id, stored_ns)
            self._log_incident(self._store(), incident_id, at_ns, job.again)
        log.info("event.analysed", event_id=event_id, findings=len(written), again=job.again)
        self.counters.add("events")

    def _clock_alignments(self, event: Event, findings: Sequence[Finding]) -> Alignments:
        """Returns how far each Box's clock is off, where the waveforms show it better than the clock does."""
        found: dict[str, WaveformAlignment] = {}

        def align() -> None:
            phases = {box_id: wiring.phase for box_id, wiring in event.wiring.items()}
            found.update(clock_alignments(event, findings, phases.get, self._nominal_of))

        self.guard("alignment", align, event_id=event.event_id)
        self.counters.add("boxes_aligned", len(found))
        return found

    def _put_grown(self, grown: Iterable[tuple[int, Finding]]) -> None:
        """Stores pieces from Measurements of disturbances that outlasted their waveform; keeps refused ones.

        Raises StoreError.
        """
        self._grown.extend(grown)
        while self._grown:
            event_id = self._grown[0][0]
            pieces = [piece for number, piece in self._grown if number == event_id]
            waiting = [each for each in self._grown if each[0] != event_id]
            self._grown.clear()
            self._grown.extend(waiting)
            try:  # those of one event in one commit: each Box of a long dip has one a minute
                stored = self._put_findings(event_id, pieces).stored
            except StoreError:
                self._grown.extend((event_id, piece) for piece in pieces)
                raise
            self.counters.add("findings_grown", len(pieces))
            for item in stored:
                if item.finding.closed:
                    self._open.note_closed(item.finding_id)
                    self._log_incident(self._store(), item.incident_id, time.monotonic_ns(), again=False)

    def _store_findings(
        self, event: Event, findings: Sequence[Finding], stored: list[tuple[CarriedOut, int]]
    ) -> None:
        found = at_first_times(self._store(), event, findings)
        stored.append((self._put_findings(event.event_id, found), time.monotonic_ns()))

    def _put_findings(self, event_id: int, findings: Sequence[Finding]) -> CarriedOut:
        """Stores findings of several analyses; publishes each incident that is new or has changed."""
        done = self._writer.put_findings(event_id, findings)
        self._announcer.announce(done)
        return done

    def status(self) -> dict[str, object]:
        """Returns the base's status, `analyses`, and `workers`: the processes."""
        workers = {"processes": self.jobs.count, "workers": self.jobs.rows()}
        return {**super().status(), "analyses": self.analysis_rows(), **workers}

    def analysis_rows(self) -> list[dict[str, object]]:
        """A row per analysis: name, version, where it runs, cost, failures, and whether it is stopped."""
        own: list[dict[str, object]] = [
            {
                "name": one.name,
                "version": VERSION,
                "runs": "built in",
                "takes": [one.takes],
                "gives": [one.gives],
            }
            for one in self.analyses
        ]
        rows = own + (self._installed.status(of_items=False) if self._installed is not None else [])
        for row in rows:
            row |= self._costs.row(str(row["name"]), int(str(row.get("pid", 0))))
            row["failures"] = int(self.counters.of("failures", f"analysis {row['name']}"))
            if row["name"] in self._unjudged:
                row["unjudged"] = int(self.counters.of("unjudged", str(row["name"])))
                row["unjudged_because"] = self._unjudged[str(row["name"])]
            if row["name"] in self.left_out:
                row["stopped"] = True
        return rows

    def flow_of(self, analysis: str) -> tuple[int, int]:
        """Returns the events that an analysis was called for since the start, and its stored findings."""
        return self._costs.calls(analysis), int(self.counters.of("found", analysis))

    def _nominal_of(self, box_id: str) -> Nominal:
        return nominal_of_box(self._store(), box_id, self._nominal)

    def _log_incident(self, store: CloudStore, incident_id: int, stored_ns: int, again: bool) -> None:
        if again:
            return
        known = store.incident_facts(incident_id)
        if known is not None and known.boxes > MAX_BOXES:
            log.info("incident.grown", incident_id=incident_id, boxes=known.boxes, monotonic_ns=stored_ns)
            return
        incident = store.incident(incident_id)
        if incident is None:
            return
        facts = {"incident_id": incident_id, "class": incident.kind}
        log.info(
            "incident.stored",
            **facts,
            event_ids=list(incident.event_ids),
            box_ids=list(incident.box_ids),
            monotonic_ns=stored_ns,
        )
