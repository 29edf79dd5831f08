"""EventReader: a stored event with all that analyses need: samples by nominal values, places of its Boxes."""

from collections.abc import Callable

from opq_cloud.core.service import HealthReport, ServiceCounters
from opq_cloud.mauka.measuring.unknown_gain import UnknownGains
from opq_cloud.mauka.running.calls.event_analysis import (
    analysis_order,
    by_nominal,
    nominal_of_wave,
    with_wiring,
)
from opq_cloud.mauka.running.events.event_jobs import AnalysisJob
from opq_cloud.store.box_place import BoxPlace
from opq_cloud.store.store import CloudStore
from opq_proto.decision import Nominal
from opq_proto.messages import Waveform


class EventReader:
    """Belongs to the runner's loop. Counter there: `unknown_events`."""

    def __init__(
        self,
        store: Callable[[], CloudStore],
        counters: ServiceCounters,
        nominal: Nominal,
        place_of: Callable[[str, int], BoxPlace],
    ) -> None:
        """`nominal`: of Boxes for which the store has none."""
        self._store, self._counters = store, counters
        self._nominal, self._place_of = nominal, place_of
        self._gains = UnknownGains()

    def job_of(
        self, event_id: int, again: bool, complete: bool, left_out: frozenset[str]
    ) -> AnalysisJob | None:
        """Reads an event; None: the store does not have it. Raises StoreError."""
        record, event = self._store().event_record(event_id), self._store().event(event_id)
        if event is None or record is None:
            self._counters.add("unknown_events")
            return None
        self._gains.note_event(event)
        event = with_wiring(event, self._place_of)
        parts = tuple(by_nominal(event, self.nominal_of).items())
        order = analysis_order(event, record.opened_by)
        return AnalysisJob(event_id, event, parts, record, again, complete, left_out, order)

    def nominal_of(self, wave: Waveform) -> Nominal:
        return nominal_of_wave(self._store(), wave, self._nominal)

    def health(self) -> list[HealthReport]:
        """Reports Boxes whose volts are not judged."""
        return self._gains.health()
