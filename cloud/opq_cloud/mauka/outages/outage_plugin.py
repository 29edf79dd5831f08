"""OutagePlugin: checks every few seconds which Boxes are silent, and stores outages as findings.

The original's plug-in of this name calls every silence of a minute an outage (docs/reference/opq-interop.md
E.3); with `compat` so does this one. It publishes what it stores as AnalysisRunner does.
"""

import time
from collections.abc import Callable
from dataclasses import asdict

from opq_cloud.core.settings.mauka import OutageSection
from opq_cloud.mauka.joining.finding_publisher import FindingPublisher
from opq_cloud.mauka.joining.withdrawal import plan_withdrawal
from opq_cloud.mauka.outages.gaps import LOOK_S
from opq_cloud.mauka.outages.heard_boxes import OutageChange
from opq_cloud.mauka.outages.watch import OutageWatch
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.mauka.running.known.provenance import VERSION, Provenance, settings_hash
from opq_cloud.store.event_record import NO_EVENT
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.kit import log as logs

log = logs.get(service="mauka")

OUTAGES = "outages"
"""Name of the analysis in its findings."""


class OutagePlugin(MaukaPlugin):
    """Counters: `outages` by their result, `network_losses`, `box_restarts`, `incident_notices`.

    And the base's.
    """

    NAME = "OutagePlugin"
    GIVES = FindingPublisher.GIVES

    def __init__(
        self,
        config: PluginConfig,
        store: Callable[[], CloudStore],
        section: OutageSection,
        nominal: Nominal = DEFAULT_NOMINAL,
        clock: Callable[[], float] = time.monotonic,
        lossless: bool = False,
    ) -> None:
        super().__init__(config, [], OutagePlugin.NAME)
        self._store, self._clock, self._every_s = store, clock, LOOK_S
        self._provenance = Provenance(OUTAGES, VERSION, settings_hash(asdict(section)))
        self._findings = FindingPublisher(self, store, clock)
        self.watch = OutageWatch(store, section, nominal, self._findings.place_of, clock, lossless)
        self._next_s: float | None = None
        self._waiting: list[OutageChange] = []

    def on_idle(self) -> bool:
        """Checks the Boxes when that is due, and stores again the changes that the store refused before."""
        now_s = self._clock()
        if self._next_s is not None and now_s < self._next_s:
            return False
        if self._next_s is None:
            self.watch.find_again()
        self._next_s = now_s + self._every_s
        before = self.watch.network_losses, self.watch.box_restarts
        self._waiting += self.watch.find_changes(self.is_ended)
        self.counters.add("network_losses", self.watch.network_losses - before[0])
        self.counters.add("box_restarts", self.watch.box_restarts - before[1])
        while self._waiting:
            self._store_change(self._waiting[0])
            del self._waiting[0]
        self.counters.set("open_outages_now", len(self.watch.open_outages))
        return False

    def idle_due_s(self) -> float:
        """Returns the seconds until the next check."""
        return 0.0 if self._next_s is None else self._next_s - self._clock()

    def _store_change(self, change: OutageChange) -> None:
        findings, one = self._findings, change.finding
        if change.withdrawn:
            done = findings.carry_out(
                lambda: plan_withdrawal(self._store(), one, NO_EVENT, findings.place_of)
            )
        else:
            done = findings.put(NO_EVENT, self._provenance.stamped([one]))
        what = "withdrawn" if change.withdrawn else "over" if one.closed else "begun"
        self.counters.add("outages", label=what)
        sure_percent = None if one.confidence is None else round(100 * one.confidence, 1)
        log.info("outage." + what, box_id=one.box_id, probability_percent=sure_percent, because=one.because)
        findings.publish_stored(done.stored)

    def status(self) -> dict[str, object]:
        """Returns the base's status, the Boxes in an outage, and why other silent Boxes are in none."""
        outages = {"open_outages": sorted(self.watch.open_outages), "silences": dict(self.watch.silences)}
        return {**super().status(), **outages}
