"""EventFindings: the findings of events into the store, joined into incidents, and published on the bus.

An incident of a large event begins with the findings of one Box. Disturbances that last beyond their waveform
grow by the Measurements stored since.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from opq_cloud.mauka.bus.incident_notice import MAX_BOXES
from opq_cloud.mauka.joining.finding_publisher import FindingPublisher
from opq_cloud.mauka.plugin import MaukaPlugin
from opq_cloud.mauka.running.calls.earlier_times import at_first_times
from opq_cloud.mauka.running.events.event_jobs import AnalysisJob
from opq_cloud.mauka.running.events.open_disturbances import OpenDisturbances
from opq_cloud.store.incidents.join_plan import CarriedOut
from opq_cloud.store.store import CloudStore
from opq_proto.kit import log as logs
from opq_proto.messages import Finding

log = logs.get(service="mauka")

Stored = tuple[CarriedOut, int]
"""What was stored, and when (monotonic, ns)."""


class EventFindings:
    """Belongs to one plug-in. Counters there: `findings`, `found` by analysis, `incidents_begun`,
    `findings_grown`, and IncidentAnnouncer's.
    """

    GIVES = FindingPublisher.GIVES

    def __init__(
        self,
        plugin: MaukaPlugin,
        store: Callable[[], CloudStore],
        open_disturbances: OpenDisturbances,
        clock: Callable[[], float],
    ) -> None:
        self._plugin, self._store, self._open = plugin, store, open_disturbances
        self._findings = FindingPublisher(plugin, store, clock)
        self.place_of, self.announce_others = self._findings.place_of, self._findings.announce_others

    def begin_incidents(self, job: AnalysisJob, findings: Sequence[Finding]) -> None:
        """Stores and announces incidents before the other Boxes of the event are analysed."""
        found = at_first_times(self._store(), job.event, findings)
        done = self._findings.begin_incidents(job.event_id, found)
        if done is None:
            return
        job.begun_ns.update(dict.fromkeys(done.new_incidents, time.monotonic_ns()))
        self._plugin.counters.add("incidents_begun", len(done.new_incidents))

    def store(self, job: AnalysisJob, findings: Sequence[Finding]) -> Stored:
        """Stores findings of several analyses; publishes each incident that is new or has changed."""
        found = at_first_times(self._store(), job.event, findings)
        return self._findings.put(job.event_id, found), time.monotonic_ns()

    def report(self, job: AnalysisJob, stored: Iterable[Stored], failed: Collection[str]) -> None:
        """Counts, follows, publishes and logs all that was stored of an event. Raises StoreError.

        `failed`: the analyses that failed on it, so that it is not wholly analysed.
        """
        written = [(one, stored_ns) for done, stored_ns in stored for one in done.stored]
        self._plugin.counters.add("findings", len(written))
        for name, count in Counter(item.finding.analysis or "" for item, _ in written).items():
            self._plugin.counters.add("found", count, label=name)
        self._put_grown(self._open.note_findings([item for item, _ in written]))
        if "" in job.record.half_cycles.values():
            self._put_grown(self._open.note_half_cycles(job.event_id))
        self._findings.publish_stored(item for item, _ in written)
        first_ns = {item.incident_id: stored_ns for item, stored_ns in reversed(written)}
        for incident_id, stored_ns in sorted(first_ns.items()):
            if not job.again:
                self._log_incident(incident_id, job.begun_ns.get(incident_id, stored_ns))
        lacks = {"failed": sorted(failed)} if failed else {}
        log.info("event.analysed", event_id=job.event_id, findings=len(written), again=job.again, **lacks)

    def grow(self, at_once: bool = False) -> None:
        """Extends open disturbances by the Measurements stored since. Raises StoreError."""
        self._put_grown(self._open.due(at_once))

    def _put_grown(self, grown: Iterable[tuple[int, Finding]]) -> None:
        for item in self._open.store_grown(
            grown, lambda event_id, pieces: self._findings.put(event_id, pieces).stored
        ):
            self._plugin.counters.add("findings_grown")
            if item.finding.closed:
                self._log_incident(item.incident_id, time.monotonic_ns())

    def _log_incident(self, incident_id: int, stored_ns: int) -> None:
        store = self._store()
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
