"""The part of the live feed that a visitor may see: the values of Boxes, and incidents at those Boxes."""

from opq_cloud.store.records.accounts.seen_incidents import seen_incident
from opq_cloud.view.live.feed_messages import LiveMessage, incident_message
from opq_cloud.view.web.visitors import Visitor


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
        part = None if message.incident is None else seen_incident(message.incident, visitor)
        if part is None:
            return None
        if message.event == "incident_gone":  # which has only the number
            return message
        names = {box_id: name for box_id, name in message.names.items() if visitor.sees(box_id)}
        if part is message.incident and names == message.names:
            return message
        return incident_message(part, names)
