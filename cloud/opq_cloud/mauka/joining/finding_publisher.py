"""FindingPublisher: a plug-in's findings into the store, joined into incidents, and onto the bus."""

from collections.abc import Callable, Iterable, Sequence

from opq_cloud.mauka.bus.bus_messages import LAHA_GC, gc_update
from opq_cloud.mauka.bus.incident_notice import INCIDENT
from opq_cloud.mauka.joining.finding_writer import FindingWriter, carry_out_plan
from opq_cloud.mauka.joining.incident_announcer import IncidentAnnouncer
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.store.incidents.join_plan import CarriedOut, JoinPlan
from opq_cloud.store.store import CloudStore
from opq_proto.messages import Finding, StoredFinding
from opq_proto.wire.mauka_pb2 import INCIDENTS


class FindingPublisher:
    """Belongs to one plug-in. Counters there: IncidentAnnouncer's. All methods raise StoreError."""

    GIVES = (LAHA_GC, INCIDENT)
    """Topics on which it publishes."""

    def __init__(
        self, plugin: MaukaPlugin, store: Callable[[], CloudStore], clock: Callable[[], float]
    ) -> None:
        self._plugin, self._store = plugin, store
        self._writer = FindingWriter(store)
        self._announcer = IncidentAnnouncer(plugin, store, clock)
        self.place_of = self._writer.place_of
        self.announce_others = self._announcer.announce_others

    def begin_incidents(self, event_id: int, findings: Sequence[Finding]) -> CarriedOut | None:
        """Stores and announces incidents that one Box's findings of an event begin; None: there are none."""
        done = self._writer.begin_incidents(event_id, findings) if findings else None
        if done is not None:
            self._announcer.announce(done)
        return done

    def put(self, event_id: int, findings: Sequence[Finding]) -> CarriedOut:
        """Stores findings; announces each incident that is new or has changed."""
        done = self._writer.put_findings(event_id, findings)
        self._announcer.announce(done)
        return done

    def carry_out(self, plan: Callable[[], JoinPlan]) -> CarriedOut:
        """Carries out a plan, likewise; does nothing where others write without a pause."""
        done = carry_out_plan(self._store(), plan) or CarriedOut(())
        self._announcer.announce(done)
        return done

    def publish_stored(self, stored: Iterable[StoredFinding]) -> None:
        """Publishes the number of each finding, for the original's garbage collection."""
        for item in stored:
            self._plugin.produce(LAHA_GC, gc_update(INCIDENTS, item.finding_id, self._plugin.name))
