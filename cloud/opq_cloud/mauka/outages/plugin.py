"""OutagePlugin: looks every few seconds which Boxes are silent, and stores outages as findings.

The original's plug-in of this name calls every silence of a minute an outage (opq-interop E.3); with
`compat` so does this one. It publishes what it stores as AnalysisRunner does.
"""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial

from opq_cloud.mauka.finding_writer import FindingWriter, carry_out_plan
from opq_cloud.mauka.incident_announcer import IncidentAnnouncer
from opq_cloud.mauka.incident_notice import INCIDENT
from opq_cloud.mauka.messages import LAHA_GC, gc_update
from opq_cloud.mauka.outages.watch import OutageChange, OutageWatch
from opq_cloud.mauka.outages.withdrawal import plan_withdrawal
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.mauka.provenance import VERSION, Provenance, settings_hash
from opq_cloud.mauka_settings import OutageSection
from opq_cloud.store.join_plan import CarriedOut
from opq_cloud.store.lease import StoreLease
from opq_cloud.store.store import CloudStore
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto import log as logs
from opq_proto.decision import Nominal
from opq_proto.mauka_pb2 import INCIDENTS

log = logs.get(service="mauka")

OUTAGES = "outages"
"""The analysis' name in its findings."""
NO_EVENT = -1
"""An outage has no waveform; the original's event id of its outages."""


class OutagePlugin(MaukaPlugin):
    """Counters: `outages` by what became of them, `network_losses`, `incident_notices`, and the base's."""

    NAME = "OutagePlugin"
    GIVES = (LAHA_GC, INCIDENT)

    def __init__(
        self,
        config: PluginConfig,
        store: Callable[[], CloudStore],
        section: OutageSection,
        nominal: Nominal = DEFAULT_NOMINAL,
        clock: Callable[[], float] = time.monotonic,
        lossless: bool = False,
        lease: StoreLease | None = None,
    ) -> None:
        """`lease`: where other processes could look for outages in this store, too."""
        super().__init__(config, [], OutagePlugin.NAME)
        self._store, self._clock, self._every_s = store, clock, section.look_s
        self._provenance = Provenance(OUTAGES, VERSION, settings_hash(asdict(section)))
        self._writer = FindingWriter(store)
        self._announcer = IncidentAnnouncer(self, store, clock)
        self._new_watch = partial(
            OutageWatch, store, section, nominal, self._writer.place_of, clock, lossless
        )
        self.watch = self._new_watch()
        self._next_s: float | None = None
        self._lease = lease
        self._waiting: list[OutageChange] = []

    def on_idle(self) -> bool:
        """Look again when it is time; what the store did not take is put again then."""
        now_s = self._clock()
        if self._lease is not None and not self._lease.held():
            if self._next_s is not None:  # another one sees what begins and ends from now on
                self._next_s, self.watch = None, self._new_watch()
                self._waiting.clear()
                self.counters.set("open_outages_now", 0)
            return False
        if self._next_s is not None and now_s < self._next_s:
            return False
        if self._next_s is None:
            self.watch.find_again()
        self._next_s = now_s + self._every_s
        before = self.watch.network_losses
        self._waiting += self.watch.look()
        if self.watch.network_losses > before:
            self.counters.add("network_losses", self.watch.network_losses - before)
        while self._waiting:
            self._store_change(self._waiting[0])
            del self._waiting[0]
        self.counters.set("open_outages_now", len(self.watch.open_outages))
        return False

    def _store_change(self, change: OutageChange) -> None:
        store, one = self._store(), change.finding
        if change.withdrawn:
            done = carry_out_plan(
                store, lambda: plan_withdrawal(store, one, NO_EVENT, self._writer.place_of)
            ) or CarriedOut(())
        else:
            done = self._writer.put_findings(NO_EVENT, self._provenance.stamped([one]))
        what = "withdrawn" if change.withdrawn else "over" if one.closed else "begun"
        self.counters.add("outages", label=what)
        sure_percent = None if one.confidence is None else round(100 * one.confidence, 1)
        log.info("outage." + what, box_id=one.box_id, probability_percent=sure_percent, because=one.because)
        self._announcer.announce(done)
        for item in done.stored:
            self.produce(LAHA_GC, gc_update(INCIDENTS, item.finding_id, self.name))

    def status(self) -> dict[str, object]:
        """As every plug-in's, the Boxes whose outage lasts, and why the other silent ones have none."""
        told = {"open_outages": sorted(self.watch.open_outages), "silences": dict(self.watch.silences)}
        return {**super().status(), **told}
