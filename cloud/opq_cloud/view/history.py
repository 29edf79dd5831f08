"""Incidents, a page at a time, newest first."""

from dataclasses import dataclass

from opq_cloud.store.store import CloudStore
from opq_proto.messages import Incident

LOOKED_AT = 500
"""Incidents one request looks at when a filter hides most of them."""


@dataclass(frozen=True, slots=True)
class IncidentPage:
    """Some incidents, and where the next page begins: ids below `older`; None at the end."""

    incidents: tuple[Incident, ...]
    older: int | None


def incident_page(
    store: CloudStore, before: int | None, limit: int, box_id: str | None = None, kind: str | None = None
) -> IncidentPage:
    """Up to `limit` incidents below the id `before` that a Box saw and that have a class.

    Ids are looked up one by one: they are whole numbers that only rise, with holes where incidents
    were joined, so a page costs the same however old it is.
    """
    if before is None:
        newest = store.incidents(limit=1)
        if not newest:
            return IncidentPage((), None)
        before = newest[0].incident_id + 1
    found: list[Incident] = []
    incident_id = before - 1
    last = max(0, before - 1 - LOOKED_AT)
    while incident_id > last and len(found) < limit:
        incident = store.incident(incident_id)
        if incident is not None and _fits(incident, box_id, kind):
            found.append(incident)
        incident_id -= 1
    return IncidentPage(tuple(found), incident_id + 1 if incident_id > 0 else None)


def _fits(incident: Incident, box_id: str | None, kind: str | None) -> bool:
    return (box_id is None or box_id in incident.box_ids) and (
        kind is None or kind in incident.kind.split("+")
    )
