"""AnalysisRecord: time, failures and findings of each analysis since the start; rows of `/status`."""

from collections.abc import Collection, Sequence

from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.running.calls.event_analysis import AnalysisResult
from opq_cloud.mauka.running.calls.plugin_cost import PluginCosts
from opq_cloud.mauka.running.calls.worker_notes import STARTING
from opq_cloud.mauka.running.installed.installed_analyses import InstalledAnalyses
from opq_cloud.mauka.running.known.provenance import VERSION
from opq_plugins.sdk.modules import Analysis
from opq_proto.kit import log as logs

log = logs.get(service="mauka")

ERROR_PREFIX = "analysis "
"""How the errors of an analysis begin; its name follows."""


class AnalysisRecord:
    """Belongs to one plug-in, whose counters and errors it keeps."""

    def __init__(
        self, plugin: MaukaPlugin, analyses: Sequence[Analysis], installed: InstalledAnalyses | None
    ) -> None:
        self._plugin, self.analyses, self.installed = plugin, tuple(analyses), installed
        self._costs = PluginCosts()
        self._unjudged: dict[str, str] = {}
        """Analysis -> why it could find nothing, in the last event where that was so."""

    def note_result(self, result: AnalysisResult, event_id: int) -> None:
        """Counts and logs the results of analyses of an event."""
        counters = self._plugin.counters
        if any(one.name in result.spent_s for one in self.analyses):
            self._plugin.clear_error(ERROR_PREFIX + STARTING)
        for name, spent_s in result.spent_s.items():
            counters.add("analysis_ms", 1000 * spent_s, label=name)
            self._costs.add(name, spent_s)
            self._plugin.clear_error(ERROR_PREFIX + name)
        for name, why in result.failed.items():
            what = ERROR_PREFIX + name
            counters.add("failures", label=what)
            self._plugin.set_error(what, f"{what}: {why}")
            log.error("plugin.failed", plugin=self._plugin.name, what=what, why=why, event_id=event_id)
        for name, why in result.unjudged.items():
            counters.add("unjudged", label=name)
            if self._unjudged.get(name) != why:
                self._unjudged[name] = why
                log.info("analysis.unjudged", analysis=name, why=why, event_id=event_id)

    def note_given_up(self, name: str, event_id: int) -> None:
        """Notes that an event is done without an analysis that ended its process too often."""
        what = ERROR_PREFIX + name
        self._plugin.counters.add("given_up", label=name)
        self._plugin.set_error(what, f"{what}: event {event_id} is done without it")
        log.error("analysis.given_up", analysis=name, event_id=event_id)

    def note_ended(self, analysis: str, event_id: int, why: str) -> None:
        """Counts and logs a process that ended, or had to be ended, during an analysis."""
        self._plugin.counters.add("processes_ended", label=analysis)
        log.warning("analysis.process_ended", analysis=analysis, event_id=event_id, why=why)

    def forget_deleted(self) -> None:
        """Removes the errors of deleted analyses, which would stay otherwise."""
        here = {ERROR_PREFIX + str(row["name"]) for row in self.rows(())}
        for what in self._plugin.errors:
            if what.startswith(ERROR_PREFIX) and what not in here:
                self._plugin.clear_error(what)

    def rows(self, left_out: Collection[str]) -> list[dict[str, object]]:
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
        rows = own + (self.installed.status(of_items=False) if self.installed is not None else [])
        counters = self._plugin.counters
        for row in rows:
            name = str(row["name"])
            row |= self._costs.row(name, int(str(row.get("pid", 0))))
            row["failures"] = int(counters.of("failures", ERROR_PREFIX + name))
            if name in self._unjudged:
                row["unjudged"] = int(counters.of("unjudged", name))
                row["unjudged_because"] = self._unjudged[name]
            if name in left_out:
                row["stopped"] = True
        return rows

    def flow_of(self, analysis: str) -> tuple[int, int]:
        """Returns the events that an analysis was called for since the start, and its stored findings."""
        return self._costs.calls(analysis), int(self._plugin.counters.of("found", analysis))
