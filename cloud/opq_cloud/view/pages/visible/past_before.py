"""The zone in which a visitor counts days, and what came before an incident: for pages and the API."""

from zoneinfo import ZoneInfo

from fastapi import HTTPException

from opq_cloud.operations.incident_past import INCIDENTS_COMPARED, IncidentPast, past_of
from opq_cloud.view.pages.drawing.local_weeks import read_zone
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_proto.kit.time_zone import zone_of
from opq_proto.messages import Incident

COMPARED_IN_PART = 50
"""Earlier incidents at its Boxes, and as many of its class, compared where the visitor sees only a part."""


def past_before(context: VisitorContext, incident: Incident) -> IncidentPast:
    """The earlier incidents that the visitor sees, in the visitor's time zone."""
    zone = query_zone(context, "")
    # where the visitor does not see every Box, each entry is made again from the whole incident
    compared = INCIDENTS_COMPARED if context.visitor.everything else COMPARED_IN_PART
    return past_of(context.store, incident, zone, zone.key, compared)


def query_zone(context: VisitorContext, name: str) -> ZoneInfo:
    """The zone of the address, or else of the account, or else UTC. Raises HTTPException 400 if unknown.

    The zone of an account that this machine does not know is UTC, as everywhere: no visitor typed it here.
    """
    account = context.visitor.account
    if not name:
        return zone_of(account.time_zone if account else "UTC")
    try:
        return read_zone(name)
    except ValueError as error:
        raise HTTPException(400, f"The address has a value that cannot be used: {error}.") from None
