"""StreamRunner: runs the analyses of Measurements, Trends, findings, incidents and Histories.

    brokers --Measurement-->            [ each analysis in a thread of its own ] --> results
    store --Trend, Finding, Incident, History-->

It reads a noun only while an analysis takes it: without such analyses it does nothing.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from opq_cloud.core.backend.waits import Stop
from opq_cloud.core.service import HealthReport
from opq_cloud.mauka.bus.incident_notice import INCIDENT, read_notice
from opq_cloud.mauka.flow.stream_results import ANALYSIS, StreamResults
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.mauka.running.calls.event_analysis import nominal_of_box
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.mauka.running.streams.history_feed import FIRST_S, HistoryFeed
from opq_cloud.mauka.running.streams.item_feeds import IncidentFeed, MeasurementFeed, TrendFeed
from opq_cloud.mauka.running.streams.stream_analysis import StreamAnalysis
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.nouns import DERIVING, Item
from opq_proto.decision import Nominal
from opq_proto.messages import Finding, History, Incident, Message, Phenomenon
from opq_proto.wire.mauka_pb2 import MaukaMessage

NOMINAL_S = 10.0
"""Nominal values of Boxes are read again after this time."""
READ_S = 0.2
"""Interval at which sources and results are read."""


class StreamRunner(MaukaPlugin):
    """Counters: `measurements`, `measurements_unseen`; StreamResults' and the base's."""

    NAME = "StreamRunner"
    GIVES = StreamResults.GIVES

    def __init__(
        self,
        config: PluginConfig,
        store: Callable[[], CloudStore],
        installed: InstalledAnalyses | None,
        measurement_endpoint: str,
        nominal: Nominal,
    ) -> None:
        """`measurement_endpoint`: address of the triggering broker."""
        super().__init__(config, [INCIDENT], StreamRunner.NAME)
        self.left_out: frozenset[str] = frozenset()
        """Analyses that an operator has stopped; they get no items."""
        self._store, self._nominal = store, nominal
        self._installed = installed
        self._results = StreamResults(self, store)
        self._measurements = MeasurementFeed(measurement_endpoint, self.counters)
        self._trends = TrendFeed(store, time.monotonic)
        self._incidents = IncidentFeed(store, time.monotonic)
        self._histories: dict[str, tuple[str, HistoryFeed]] = {}
        """Analysis of History -> its version and what that version reads."""
        self._made_ns = time.time_ns()
        self._running: dict[str, StreamAnalysis] = {}
        self._nominals: dict[str, Nominal] = {}
        self._nominals_until_s = 0.0
        if installed is not None:
            installed.on_change = self.wake

    def health(self) -> list[HealthReport]:
        """Reports a missing triggering broker."""
        problem = self._measurements.problem
        return [HealthReport(self.name, problem is None, info=problem)]

    def on_message(self, topic: str, mauka_message: MaukaMessage) -> None:
        """Handles a notice: the incident is read. Raises FrameError: it is not a notice."""
        if self._taken() & set(DERIVING):
            self._incidents.note_named(read_notice(mauka_message).incident["id"])

    def on_idle(self) -> bool:
        """Gives new items to the analyses, and stores their results."""
        self._use_analyses()
        self.guard("results", lambda: self._results.handle(self._running))
        taken = self._taken()
        more = False
        if "Measurement" in taken:
            self._measurements.open()
            rows = self._measurements.read()
            self._offer("Measurement", rows)
            more = bool(rows)
        else:
            self._measurements.close()
        if "Trend" in taken:
            self.guard("Trends", lambda: self._offer("Trend", self._trends.read()))
        if taken & set(DERIVING):
            self.guard("incidents", lambda: self._offer_incidents(self._incidents.read()))
        for each in self._running.values():
            if each.takes == History.__name__:
                self.guard(f"history of {each.analysis.name}", partial(self._offer_history, each))
        return more or not self._results.waiting.empty()

    def idle_due_s(self) -> float:
        """Returns the seconds until sources and results are read again, while any analysis runs."""
        return READ_S if self._running else math.inf

    def run(self, stop: Stop, ready: threading.Event | None = None) -> None:
        """Runs until `stop`; what the analyses have not finished is read again at the next start."""
        try:
            super().run(stop, ready)
        finally:
            self._end_all()

    def analysis_rows(self) -> list[dict[str, object]]:
        """A row per analysis: as AnalysisRunner's, and what waits for it."""
        running = self._running
        rows = self._installed.status(of_items=True) if self._installed is not None else []
        for row in rows:
            name = str(row["name"])
            row |= self._results.costs.row(name, int(str(row.get("pid", 0))))
            row["failures"] = int(self.counters.of("failures", f"analysis {name}"))
            if name in running:
                row["waiting"], row["busy_s"] = len(running[name].waiting), round(running[name].busy_s, 3)
                row["dropped_items"] = running[name].waiting.dropped
            if row["gives"] in ([Message.__name__], [Phenomenon.__name__]):
                row["gives"] = [ANALYSIS + name]
            if name in self.left_out:
                row["stopped"] = True
        return rows

    def status(self) -> dict[str, object]:
        """Returns the base's status, and `analyses`."""
        return {**super().status(), "analyses": self.analysis_rows()}

    def flow_of(self, analysis: str) -> tuple[int, int]:
        """Returns the items that an analysis was given since the start, and its results."""
        return int(self.counters.of("items", analysis)), int(self.counters.of("found", analysis))

    # -- analyses

    def _taken(self) -> set[str]:
        return {each.takes for each in self._running.values()}

    def _derived(self, nouns: Iterable[str]) -> set[str]:
        """Returns the classes of the findings that analyses of these nouns make."""
        return {each.analysis.name for each in self._running.values() if each.takes in nouns}

    def _use_analyses(self) -> None:
        """Begins analyses that are new, and ends those that are gone or take something else now."""
        present = () if self._installed is None else self._installed.of_items()
        wanted = {one.name: one for one in present if one.name not in self.left_out}
        for name, running in list(self._running.items()):
            if wanted.get(name) is not running.analysis or running.nouns != wanted[name].nouns:
                running.close()
                del self._running[name]
                self._histories.pop(name, None)
                self.clear_error(f"analysis {name}")
        new = [one for name, one in wanted.items() if name not in self._running]
        for one in new:
            begun = StreamAnalysis(one, self._nominal_of, self._results.waiting)
            begun.start()
            self._running = {**self._running, one.name: begun}
        for one in new:
            self.guard("earlier items", partial(self._offer_earlier, self._running[one.name]))

    def _end_all(self) -> None:
        if not self._running:
            return
        for running in self._running.values():
            running.close()
        self._running, self._histories = {}, {}
        self._results.clear()
        self._measurements.close()
        self._trends = TrendFeed(self._store, time.monotonic)
        self._incidents = IncidentFeed(self._store, time.monotonic)

    def _nominal_of(self, box_id: str) -> Nominal:
        now_s = time.monotonic()
        if now_s >= self._nominals_until_s:
            self._nominals, self._nominals_until_s = {}, now_s + NOMINAL_S
        if box_id not in self._nominals:
            self._nominals[box_id] = nominal_of_box(self._store(), box_id, self._nominal)
        return self._nominals[box_id]

    # -- items

    def _offer(self, noun: str, items: Sequence[Item]) -> None:
        for each in self._running.values():
            if each.takes == noun:
                each.offer(items)

    def _offer_history(self, running: StreamAnalysis) -> None:
        """Gives an analysis the next History that is due; each version of it begins with a pass.

        The first pass is at once where the version was installed since our start.
        """
        name, version = running.analysis.name, running.analysis.provenance.version
        if not version or len(running.waiting) or running.analysis.rest_s:  # without one it was deleted
            return
        if name not in self._histories or self._histories[name][0] != version:
            first_s = 0.0 if running.analysis.installed_ms * 10**6 >= self._made_ns else FIRST_S
            request = running.analysis.reads()
            feed = HistoryFeed(self._store, request, self._nominal, first_s, time.monotonic, time.time_ns)
            self._histories[name] = version, feed
        if (history := self._histories[name][1].read()) is not None:
            running.offer([history])

    def _offer_incidents(self, incidents: Iterable[Incident]) -> None:
        derived, own = self._derived(DERIVING), self._derived([Incident.__name__])
        for incident in incidents:
            self._offer(Finding.__name__, self._incidents.new_findings(incident, derived))
            if (changed := self._incidents.changed_incident(incident, own)) is not None:
                self._offer(Incident.__name__, [changed])

    def _offer_earlier(self, begun: StreamAnalysis) -> None:
        """Gives an analysis that begins what is stored of the last hour: it may have been ended meanwhile."""
        if begun.takes == "Trend":
            begun.offer(self._trends.recent())
        if begun.takes not in DERIVING:
            return
        derived, own = self._derived(DERIVING), self._derived([Incident.__name__])
        for incident in self._incidents.recent(derived, own):
            if begun.takes == Incident.__name__:
                begun.offer([incident])
            else:
                begun.offer([one.finding for one in incident.findings if one.finding.kind not in derived])
