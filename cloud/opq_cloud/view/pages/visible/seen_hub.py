"""The part of the live hub that a visitor may see."""

from collections.abc import Iterable, Mapping

from opq_cloud.store.records.accounts.seen_incidents import seen_incident
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.recent import NewestMeasurement
from opq_cloud.view.web.visitors import Visitor
from opq_proto.messages import Measurement


class SeenHub:
    """The recent live data of the Boxes that a visitor sees."""

    def __init__(self, hub: LiveHub, visitor: Visitor) -> None:
        self._hub = hub
        self._visitor = visitor

    @property
    def seeding(self) -> bool:
        return self._hub.seeding

    def latest(self) -> Mapping[str, Measurement]:
        return {box_id: each for box_id, each in self._hub.latest().items() if self._sees(each)}

    def box_ids(self) -> list[str]:
        return [box_id for box_id in self._hub.box_ids() if self._visitor.sees(box_id)]

    def live_boxes(self, now_ms: int) -> set[str]:
        return {box_id for box_id in self._hub.live_boxes(now_ms) if self._visitor.sees(box_id)}

    def newest_ms(self, box_ids: Iterable[str] | None = None) -> int | None:
        every = self._hub.box_ids() if box_ids is None else box_ids
        return self._hub.newest_ms(filter(self._visitor.sees, every))

    def newest(self, box_id: str) -> NewestMeasurement | None:
        found = self._hub.newest(box_id) if self._visitor.sees(box_id) else None
        return found if found is not None and self._sees(found.measurement) else None

    def highest_incident(self) -> int:
        kept = self._hub.kept_incidents()
        for number in sorted(kept, reverse=True):  # the first is mostly visible
            incident = kept[number].incident
            if incident is not None and seen_incident(incident, self._visitor) is not None:
                return number
        return 0

    def recent(self, box_id: str) -> list[Measurement]:
        return [each for each in self._hub.recent(box_id) if self._sees(each)]

    def _sees(self, measurement: Measurement) -> bool:
        """Whether the Box is visible now, and was measured for its present owner."""
        visitor, box_id = self._visitor, measurement.box_id
        return visitor.sees(box_id) and (
            not visitor.has_spans or visitor.sees(box_id, measurement.timestamp_ms * 1_000_000)
        )


ShownHub = LiveHub | SeenHub
