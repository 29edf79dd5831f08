"""The runner: one plug-in around all pure analyses of events, which are the only ones that write findings.

It learns of events on the bus and from the store; `event_flow.py` is their way from there. A lost
notification does not matter: the store is read at the start and twice a second.
"""

import threading
import time
from collections.abc import Callable, Sequence

from opq_cloud.core.backend.waits import Stop
from opq_cloud.core.service import HealthReport
from opq_cloud.core.settings.mauka import MoreSamplesSection
from opq_cloud.mauka.bus.bus_messages import MAKAI_EVENT
from opq_cloud.mauka.flow.event_findings import EventFindings
from opq_cloud.mauka.flow.event_flow import EventFlow
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.mauka.running.events.event_jobs import EventJobs
from opq_cloud.mauka.running.events.event_reader import EventReader
from opq_cloud.mauka.running.events.open_disturbances import OpenDisturbances
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import DEFAULT_NOMINAL, Analysis
from opq_proto.decision import Nominal
from opq_proto.wire.mauka_pb2 import MaukaMessage


class AnalysisRunner(MaukaPlugin):
    """Counters: `events`, `findings`, `incidents_begun` by one Box of a large event, `boxes_aligned`,
    `incident_notices`, `unknown_events`, `forgotten_events`; by analysis `found`, `analysis_ms`,
    `not_asked`, `unjudged`, `processes_ended`, `given_up`; the base's.
    """

    NAME = "AnalysisRunner"
    GIVES = EventFindings.GIVES

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
        self.jobs = jobs or EventJobs.here(analyses)
        self._open = OpenDisturbances.of(analyses, store, clock)
        findings = EventFindings(self, store, self._open, clock)
        self._reader = EventReader(store, self.counters, nominal, findings.place_of)
        asking = asking or MoreSamplesSection()
        self.flow = EventFlow(
            *(self, store, analyses, self.jobs, self._reader, findings, asking, installed, clock)
        )

    @property
    def left_out(self) -> frozenset[str]:
        """Analyses that an operator has stopped; events neither reach them nor wait for them."""
        return self.flow.left_out

    @left_out.setter
    def left_out(self, names: frozenset[str]) -> None:
        self.flow.left_out = names

    def health(self) -> list[HealthReport]:
        """Reports Boxes whose volts are not judged."""
        return self._reader.health()

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Handles a MakaiEvent: a new one, or one that is injected again."""
        if mauka_message.WhichOneof("message") != "makai_event":
            self.counters.add("malformed")
            return
        self.flow.accept(mauka_message.makai_event.event_id)

    def on_idle(self) -> bool:
        """Finds finished events that are not analysed, and takes all in hand a step further."""
        self.grow_open_disturbances()
        self.guard("answers to requests", self.flow.analysed.requester.note_answers)
        self.guard("announcements", self.flow.analysed.findings.announce_others)
        return self.flow.go_on(announced=self._out is not None)

    def idle_due_s(self) -> float:
        """Returns the seconds until the store is to be searched, or an event is due."""
        return self.flow.waiting.due_s

    def run(self, stop: Stop, ready: threading.Event | None = None) -> None:
        """Analyses events until `stop`; first those that were not finished when the process crashed."""
        self.flow.waiting.begin()
        self.guard("open disturbances", lambda: self._open.find_again(time.time_ns()))
        try:
            with self.flow.analysed.opened():
                super().run(stop, ready)
        finally:
            self.jobs.close()

    def analyse_now(self, event_id: int, again: bool = False) -> None:
        """Analyses one event to its end; for a prompt, a simulation or a test, where no loop runs."""
        self.flow.analyse_now(event_id, again)

    def grow_open_disturbances(self, at_once: bool = False) -> None:
        """Extends dips and swells that lasted beyond their waveform, by the Measurements stored since."""
        self.guard("open disturbances", lambda: self.flow.analysed.findings.grow(at_once))

    def status(self) -> dict[str, object]:
        """Returns the base's status, `analyses`, and `workers`: the processes."""
        workers = {"processes": self.jobs.count, "workers": self.jobs.rows()}
        return {**super().status(), "analyses": self.analysis_rows(), **workers}

    def analysis_rows(self) -> list[dict[str, object]]:
        """A row per analysis: name, version, where it runs, cost, failures, and whether it is stopped."""
        return self.flow.analysed.record.rows(self.left_out)

    def flow_of(self, analysis: str) -> tuple[int, int]:
        """Returns the events that an analysis was called for since the start, and its stored findings."""
        return self.flow.analysed.record.flow_of(analysis)
