"""StreamResults: passes the results of analyses of single items to the store and to the bus.

analysis threads --> results that wait --Finding--> joining, as of events
                                       --Message--> bus, topic analysis.NAME
                                   --Phenomenon--> store; new ones onto the bus, as Messages
"""

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from queue import Empty, Queue

from opq_cloud.mauka.bus.bus_messages import new_message
from opq_cloud.mauka.joining.finding_publisher import FindingPublisher
from opq_cloud.mauka.joining.phenomenon_writer import replace_phenomena
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.running.calls.plugin_cost import PluginCosts
from opq_cloud.mauka.running.streams.stream_analysis import StreamAnalysis, StreamResult
from opq_cloud.store.event_record import NO_EVENT
from opq_cloud.store.records.incidents.phenomenon_words import phenomenon_json
from opq_cloud.store.store import CloudStore
from opq_proto.kit import log as logs
from opq_proto.kit.rate_limit import RateLimitedLog
from opq_proto.messages import Finding, Message

ANALYSIS = "analysis."
"""The topic of an analysis' messages is this and its name."""
RESULTS_WAITING = 100
"""Results that wait to be stored; the analyses wait where there are more."""


class StreamResults:
    """Belongs to one plug-in. Counters there: `findings`, `messages`, `phenomena`; by analysis
    `items`, `found`, `analysis_ms`, `dropped_items`, `given_up`, `failures`; IncidentAnnouncer's.
    """

    GIVES = FindingPublisher.GIVES

    def __init__(self, plugin: MaukaPlugin, store: Callable[[], CloudStore]) -> None:
        self._plugin, self._store = plugin, store
        self._findings = FindingPublisher(plugin, store, time.monotonic)
        self.waiting: Queue[StreamResult] = Queue(RESULTS_WAITING)
        self.costs = PluginCosts()
        self._unstored: list[Finding] = []
        self._unstored_histories: deque[StreamResult] = deque()
        self._limited = RateLimitedLog(logs.get(service="mauka"))

    def clear(self) -> None:
        """Drops the results that are not stored, because their items are read again at the next start."""
        self.waiting, self._unstored = Queue(RESULTS_WAITING), []
        self._unstored_histories.clear()

    def handle(self, running: Mapping[str, StreamAnalysis]) -> None:
        """Stores and publishes results; while the store fails, further ones wait. Raises StoreError."""
        self._store_findings()
        self._store_phenomena()
        while True:
            try:
                given = self.waiting.get_nowait()
            except Empty:
                break
            self._handle_result(given, given.name in running)
        self._store_findings()
        self._store_phenomena()
        for name, each in running.items():
            if dropped := each.newly_dropped():
                self._plugin.counters.add("dropped_items", dropped, label=name)
                self._limited.warning("items.dropped", key=name, analysis=name, items=dropped)

    def _handle_result(self, given: StreamResult, runs: bool) -> None:
        """`runs`: whether the analysis still runs, because a result may come after its end."""
        name, result, what = given.name, given.result, f"analysis {given.name}"
        counters = self._plugin.counters
        counters.add("items", given.items, label=name)
        counters.add("analysis_ms", 1000 * given.spent_s, label=name)
        self.costs.add(name, given.spent_s)
        if result.failed:
            counters.add("failures", result.failed, label=what)
            if runs:
                self._plugin.set_error(what, f"{what}: {result.error}")
            self._limited.error(
                "plugin.failed", key=what, plugin=self._plugin.name, what=what, why=result.error
            )
        else:
            self._plugin.clear_error(what)
        if given.given_up:
            counters.add("given_up", given.given_up, label=name)
        self._unstored += given.provenance.stamped(result.findings)
        counters.add("found", len(result.findings) + len(result.messages) + len(result.phenomena), label=name)
        if given.history is not None and not result.failed:
            self._unstored_histories.append(given)
        for message in result.messages:
            self._publish(given, message)

    def _publish(self, given: StreamResult, message: Message) -> None:
        bus_message = new_message(self._plugin.name)
        bus_message.analysis_json = json.dumps(
            {
                "analysis": given.name,
                "version": given.provenance.version,
                "box_id": message.box_id,
                "values": dict(message.values),
            }
        )
        self._plugin.produce(ANALYSIS + given.name, bus_message)
        self._plugin.counters.add("messages")

    def _store_phenomena(self) -> None:
        """Stores what analyses found in Histories, and publishes what is new. Raises StoreError."""
        while self._unstored_histories:
            given = self._unstored_histories[0]
            assert given.history is not None
            new = replace_phenomena(self._store(), given.provenance, given.history, given.result.phenomena)
            self._unstored_histories.popleft()
            self._plugin.counters.add("phenomena", len(new))
            for each in new:
                self._publish(given, Message(phenomenon_json(each), each.box_ids[0]))

    def _store_findings(self) -> None:
        if self._unstored:
            done = self._findings.put(NO_EVENT, self._unstored)
            self._unstored = []
            self._plugin.counters.add("findings", len(done.stored))
            self._findings.publish_stored(done.stored)
