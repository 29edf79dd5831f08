"""OutagePlugin: checks every few seconds which Boxes are silent, and stores outages as findings.

The original's plug-in of this name calls every silence of a minute an outage (docs/reference/opq-interop.md
E.3); with `compat` so does this one. It publishes what it stores as AnalysisRunner does.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, replace

from opq_cloud.core.settings.mauka import OutageSection
from opq_cloud.mauka.incident_announcer import IncidentAnnouncer
from opq_cloud.mauka.incident_notice import INCIDENT
from opq_cloud.mauka.joining.finding_writer import FindingWriter, carry_out_plan
from opq_cloud.mauka.joining.incident_facts import PlaceOf, facts_of
from opq_cloud.mauka.joining.onset_rule import onset_key
from opq_cloud.mauka.measuring.sightings import is_steady
from opq_cloud.mauka.messages import LAHA_GC, gc_update
from opq_cloud.mauka.outages.watch import LOOK_S, OutageChange, OutageWatch
from opq_cloud.mauka.plugin import MaukaPlugin, PluginConfig
from opq_cloud.mauka.running.provenance import VERSION, Provenance, settings_hash
from opq_cloud.store.event_record import NO_EVENT
from opq_cloud.store.incidents.join_plan import CarriedOut, FindingMove, JoinPlan, KnownFinding, onset
from opq_cloud.store.store import CloudStore, JoinStore
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.kit import log as logs
from opq_proto.messages import Finding
from opq_proto.wire.mauka_pb2 import INCIDENTS

log = logs.get(service="mauka")

OUTAGES = "outages"
"""Name of the analysis in its findings."""


class OutagePlugin(MaukaPlugin):
    """Counters: `outages` by what became of them, `network_losses`, `box_restarts`, `incident_notices`.

    And the base's.
    """

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
    ) -> None:
        super().__init__(config, [], OutagePlugin.NAME)
        self._store, self._clock, self._every_s = store, clock, LOOK_S
        self._provenance = Provenance(OUTAGES, VERSION, settings_hash(asdict(section)))
        self._writer = FindingWriter(store)
        self._announcer = IncidentAnnouncer(self, store, clock)
        self.watch = OutageWatch(store, section, nominal, self._writer.place_of, clock, lossless)
        self._next_s: float | None = None
        self._waiting: list[OutageChange] = []

    def on_idle(self) -> bool:
        """Checks the Boxes when it is time, and stores again the changes that the store refused before."""
        now_s = self._clock()
        if self._next_s is not None and now_s < self._next_s:
            return False
        if self._next_s is None:
            self.watch.find_again()
        self._next_s = now_s + self._every_s
        before = self.watch.network_losses, self.watch.box_restarts
        self._waiting += self.watch.find_changes()
        self.counters.add("network_losses", self.watch.network_losses - before[0])
        self.counters.add("box_restarts", self.watch.box_restarts - before[1])
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
        """Returns the base's status, the Boxes in an outage, and why other silent Boxes are in none."""
        outages = {"open_outages": sorted(self.watch.open_outages), "silences": dict(self.watch.silences)}
        return {**super().status(), **outages}


def plan_withdrawal(reader: JoinStore, finding: Finding, event_id: int, place_of: PlaceOf) -> JoinPlan:
    """Plans the removal of a wrong finding: an outage that turned out to be a lost network. Pure.

    The finding has this class, Box and beginning; one that people placed by hand stays. `joining/planning.py`
    only adds. The rest of its incident stays one incident, led by the finding that now begins first.
    """
    revision = reader.join_revision()
    known = [
        one
        for one in reader.findings_of_box(finding.box_id, finding.start_ns, finding.start_ns)
        if (one.finding.kind, one.finding.start_ns) == (finding.kind, finding.start_ns) and not one.by_hand
    ]
    if not known:
        return JoinPlan(revision, event_id)
    gone, number = known[0], known[0].incident_id
    rest = [one for one in reader.findings_of_incident(number) if one.finding_id != gone.finding_id]
    if not rest:
        return JoinPlan(revision, event_id, removed=(gone.finding_id,), gone=(number,))
    before = reader.incident_facts(number)
    facts = replace(facts_of(number, rest, place_of), follows=None if before is None else before.follows)
    return JoinPlan(revision, event_id, moved=_led_again(rest), removed=(gone.finding_id,), facts=(facts,))


def _led_again(rest: list[KnownFinding]) -> tuple[FindingMove, ...]:
    """Makes the earliest of the remaining findings the leading one, if none of them leads the incident."""
    sharp = [one for one in rest if not is_steady(one.finding.kind)]
    if not sharp or any(one.leads for one in sharp):
        return ()
    first = min(sharp, key=lambda one: onset_key(onset(one)))
    return (FindingMove(first.finding_id, first.incident_id, leads=True),)
