"""Incidents and findings of `/api/v1`.

It reads the store as the visitor sees it, so that it can show no more than the pages do.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from fastapi import HTTPException, Query, Request, Response

from opq_cloud.export.selection import EVERY_INCIDENT, finding_row
from opq_cloud.store.incidents.as_json import incident_json
from opq_cloud.store.incidents.index import IncidentFilter, IndexPlace, IndexProgress, SeenMarks
from opq_cloud.store.sample_requests import request_json
from opq_cloud.store.store import ShownStore
from opq_cloud.view.api import shapes
from opq_cloud.view.api.answers import cursor_place, cursor_text, json_answer
from opq_cloud.view.api.box_routes import Cursor, Number, OneBox, no_box
from opq_cloud.view.pages.incidents.incident_work import work_filter, work_json
from opq_cloud.view.pages.visible.past_before import past_before
from opq_cloud.view.pages.visible.seen_sites import sites_then
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.words import CLASS_PHRASES, headline, worst
from opq_proto.messages import Incident

EVENTS_SHOWN = 20
"""Events whose requests for more samples are in one incident."""

MOVED: dict[int | str, dict[str, Any]] = {
    301: {"description": "It is part of the incident at `Location` now."}
}


class IncidentRoutes:
    """Only GET; every answer is JSON with an ETag."""

    def __init__(self, context: VisitorContext) -> None:
        self._context = context

    def router(self) -> PageRouter:
        router = PageRouter()
        for path, route, shape in (
            ("/incidents", self.incidents, shapes.IncidentList),
            ("/incidents/{incident_id}", self.incident, shapes.IncidentShape),
            ("/incidents/{incident_id}/findings", self.findings_of, shapes.FindingList),
            ("/findings", self.findings, shapes.FindingList),
        ):
            moves = MOVED if path.startswith("/incidents/") else None
            router.add_api_route(path, route, response_model=shape, responses=moves)
        return router

    def incidents(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        cursor: Cursor = None,
        box: OneBox = None,
        kind: Annotated[str | None, Query(alias="class", max_length=64, examples=["sag"])] = None,
        work: Annotated[Literal["new", "open", "acknowledged"] | None, Query()] = None,
        assigned: Annotated[str, Query(max_length=64, description="`me`, or an account")] = "",
        cause: Annotated[Literal["known"] | None, Query(description="only with a known cause")] = None,
    ) -> Response:
        """Incidents, the newest first by their start; a page may be short and still have a next.

        With `box`, each is what it was at that Box: class, residual voltage, times and findings.
        """
        given = {"work": work or "", "assigned": assigned, "cause": cause or ""}
        wanted = work_filter(given, self._context)
        progress = self._context.index_progress()  # first: it may end while the list is read
        page, following = self._incident_page(limit, cursor, box, kind, wanted)
        names, known = self._context.names(page), self._work([each.incident_id for each in page])
        marks = self._context.seen_marks()
        items = [
            _incident_json(each, headline(each, names), known.get(each.incident_id), marks) | {"sites": sites}
            for each, sites in zip(page, sites_then(self._context, page), strict=True)
        ]
        return json_answer(request, _list_json(items, following, progress))

    def incident(self, request: Request, incident_id: Number) -> Response:
        """One incident, with what came before it and what analyses asked for beyond its events.

        Before it: those most like it, hours and intervals of its kind.
        """
        found = self._context.incident_of_address(str(incident_id), "/api/v1/incidents/{}")
        summary, number = headline(found, self._context.names([found])), found.incident_id
        marks = self._context.seen_marks()
        document = _incident_json(found, summary, self._work([number]).get(number), marks)
        (document["sites"],) = sites_then(self._context, [found])
        records = [self._context.store.event_record(event_id) for event_id in found.event_ids[:EVENTS_SHOWN]]
        document["requests"] = [
            {"event_id": record.event_id, **request_json(each)}
            for record in records
            if record is not None
            for each in record.more.values()
        ]
        return json_answer(request, document | past_before(self._context, found).as_json())

    def findings_of(self, request: Request, incident_id: Number) -> Response:
        """The findings of an incident, Box by Box, with their reasons."""
        found = self._context.incident_of_address(str(incident_id), "/api/v1/incidents/{}/findings")
        return json_answer(request, _list_json([finding_row(each) for each in found.findings], None, None))

    def findings(
        self,
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200, description="incidents whose findings a page has")] = 50,
        cursor: Cursor = None,
        box: OneBox = None,
        kind: Annotated[str | None, Query(alias="class", max_length=64)] = None,
    ) -> Response:
        """Findings, those of the newest incidents first."""
        check_class(self._context.store, kind)
        progress = self._context.index_progress()
        page, following = self._incident_page(limit, cursor, box, None)
        items = [
            finding_row(each)
            for incident in page
            for each in incident.findings
            if box in (None, each.finding.box_id) and (kind is None or kind in each.finding.kind.split("+"))
        ]
        return json_answer(request, _list_json(items, following, progress))

    def _work(self, numbers: Sequence[int]) -> dict[int, dict[str, str | None]]:
        found = self._context.incident_work(numbers)
        return {number: work_json(self._context, each) for number, each in found.items()}

    def _incident_page(
        self,
        limit: int,
        cursor: str | None,
        box: str | None,
        kind: str | None,
        wanted: IncidentFilter = EVERY_INCIDENT,
    ) -> tuple[Sequence[Incident], str | None]:
        place = cursor_place("incidents", cursor)
        beyond = None if place is None else IndexPlace(*place)
        page = incidents_of_page(self._context.store, beyond, limit, box, kind, wanted)
        if box and not page.incidents and not self._context.knows_incidents_of(box):
            raise no_box(box)
        last = page.last
        return page.incidents, None if last is None else cursor_text(
            "incidents", int(last.value), last.number
        )


@dataclass(frozen=True, slots=True)
class IncidentsOfPage:
    """Some incidents, and where the next page begins: after `last`; None at the end."""

    incidents: tuple[Incident, ...]
    last: IndexPlace | None


def check_class(store: ShownStore, kind: str | None) -> None:
    """Raises HTTPException 400 for a class that is neither ours nor that of any incident."""
    if kind and kind not in CLASS_PHRASES and not store.find_incidents(IncidentFilter(kind), 1):
        raise HTTPException(
            400,
            f"There is no class {kind!r}; there are {', '.join(CLASS_PHRASES)}.",
        )


def incidents_of_page(
    store: ShownStore,
    beyond: IndexPlace | None,
    limit: int,
    box_id: str | None = None,
    kind: str | None = None,
    wanted: IncidentFilter = EVERY_INCIDENT,
) -> IncidentsOfPage:
    """Up to `limit` incidents of a Box and a class from the index, the newest first.

    Raises HTTPException 400 where there is no such class.
    """
    check_class(store, kind)
    wanted = replace(wanted, kind=kind or "", box_id=box_id or "")
    entries = store.find_incidents(wanted, limit + 1, beyond)
    last = entries[limit - 1].place("newest") if len(entries) > limit else None
    found = store.incidents_of([each.incident_id for each in entries[:limit]])
    return IncidentsOfPage(tuple(wanted.shown(each) for each in found), last)


def _list_json(
    items: Sequence[object], following: str | None, progress: IndexProgress | None
) -> dict[str, object]:
    indexed = None if progress is None else progress.percent
    return {"items": items, "next": following, "indexed_percent": indexed}


def _incident_json(
    incident: Incident, summary: str, work: dict[str, str | None] | None, marks: SeenMarks | None
) -> dict[str, object]:
    found = worst(incident)
    return {
        **incident_json(incident),
        "summary": summary,
        "work": work,
        "seen": None if marks is None else not marks.is_new(incident.incident_id, incident.start_ns),
        "worst_event_id": None if found is None else found.event_id,
        "worst_box_id": None if found is None else found.finding.box_id,
    }
