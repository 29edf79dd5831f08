"""What a visitor sees of the live data: the values of Boxes, and the part of an incident at those Boxes."""

from collections.abc import Iterable, Iterator, Mapping

from opq_cloud.store.incidents.seen import incident_at
from opq_cloud.view.live.hub import LiveHub, newest_of
from opq_cloud.view.live.messages import LiveMessage, incident_message
from opq_cloud.view.live.recent import NewestMeasurement
from opq_cloud.view.web.visitors import Visitor
from opq_proto.messages import Incident, Measurement


def seen_incident(incident: Incident, visitor: Visitor) -> Incident | None:
    """Returns the part of an incident that the visitor sees; None if its Boxes are all hidden."""
    return incident_at(incident, visitor.sees, visitor.sees_place)


class SeenHub:
    """The recent live data of the Boxes that a visitor sees."""

    def __init__(self, hub: LiveHub, visitor: Visitor) -> None:
        self._hub = hub
        self._visitor = visitor

    def latest(self) -> Mapping[str, Measurement]:
        return {box_id: each for box_id, each in self._hub.latest().items() if self._visitor.sees(box_id)}

    def box_ids(self) -> list[str]:
        return [box_id for box_id in self._hub.box_ids() if self._visitor.sees(box_id)]

    def live_boxes(self, now_ms: int) -> set[str]:
        return {box_id for box_id in self._hub.live_boxes(now_ms) if self._visitor.sees(box_id)}

    def newest_ms(self, box_ids: Iterable[str] | None = None) -> int | None:
        every = self._hub.box_ids() if box_ids is None else box_ids
        return self._hub.newest_ms(filter(self._visitor.sees, every))

    def newest(self, box_id: str) -> NewestMeasurement | None:
        return self._hub.newest(box_id) if self._visitor.sees(box_id) else None

    def highest_incident(self) -> int:
        kept = self._hub.kept_incidents()
        for number in sorted(kept, reverse=True):  # the first is mostly visible
            incident = kept[number].incident
            if incident is not None and seen_incident(incident, self._visitor) is not None:
                return number
        return 0

    def newest_incidents(self, limit: int) -> list[LiveMessage]:
        """The visible parts of the newest incidents, as the live feed shows them."""
        shown = map(SeenFeed(self._visitor).shown, newest_of(self._kept(), limit))
        return [each for each in shown if each is not None]

    def _kept(self) -> Iterator[tuple[Incident | None, LiveMessage]]:
        for each in self._hub.kept_incidents().values():
            if each.incident is not None:
                yield seen_incident(each.incident, self._visitor), each

    def recent(self, box_id: str) -> list[Measurement]:
        return self._hub.recent(box_id) if self._visitor.sees(box_id) else []


class SeenFeed:
    """The live feed of one visitor. A session that ends changes the visitor a moment later."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor = visitor

    def shown(self, message: LiveMessage) -> LiveMessage | None:
        """The part of a message that may go to the page; None where nothing may."""
        visitor = self.visitor
        if visitor.everything:
            return message
        if message.event == "measurement":
            return message if visitor.sees(message.box_id) else None
        if message.incident is None:  # the incident is gone: its number reveals nothing
            return message
        part = seen_incident(message.incident, visitor)
        if part is None:
            return None
        if part is message.incident:
            return message
        names = {box_id: name for box_id, name in message.names.items() if visitor.sees(box_id)}
        return incident_message(part, names)
