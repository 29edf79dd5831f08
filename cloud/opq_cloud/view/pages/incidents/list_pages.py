"""`/incidents`, the list, and `/incidents/{id}`, the page of one."""

from functools import partial
from typing import Annotated

from fastapi import HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from opq_cloud.core.page_parts import ShownParts
from opq_cloud.store.incidents.index import PLANE_COLUMNS, entry_of_incident
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.examine.event_page import ExaminePages
from opq_cloud.view.pages.incidents import incident_page
from opq_cloud.view.pages.incidents.edit_pages import remark_values
from opq_cloud.view.pages.incidents.incident_list import (
    ORDER_WORDS,
    PER_PAGE,
    SCOPES,
    beside_at_place,
    count_words,
    duration_words,
    neighbours,
    plane,
    read_index_place,
    read_list_address,
    typed_span,
)
from opq_cloud.view.pages.incidents.incident_panels import DrawnIncident
from opq_cloud.view.pages.incidents.incident_scatter import DOT_SHAPES, MAX_DOTS, dot_links, scatter_of
from opq_cloud.view.pages.incidents.incident_work import (
    people_offered,
    work_choices,
    work_counts,
    work_words,
    works_on_several,
)
from opq_cloud.view.pages.visible.seen_sites import seen_sites
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext, feed_number, highest_number
from opq_cloud.view.web import words
from opq_cloud.view.web.shares import PageRouter

BOXES_OFFERED = 200
"""Boxes in a list to choose from; where there are more, the number is typed."""


class IncidentPages:
    """Incidents: the list of them, and one, with drawings as those of Examine."""

    def __init__(
        self, context: VisitorContext, services: ViewServices, examine: ExaminePages, render: PageMaker
    ) -> None:
        self._context = context
        self._services = services
        self._examine = examine
        self._render = render

    def router(self) -> PageRouter:
        router = PageRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/incidents", self.list_page)
        router.add_api_route("/incidents/{incident_id}", self.incident_page)
        return router

    def list_page(self, request: Request, before: Annotated[str, Query(max_length=60)] = "") -> HTMLResponse:
        context = self._context
        address = read_list_address(context, request.query_params)
        order, box = address.wanted.order, address.get("box")
        if box and not any(map(context.knows_incidents_of, box.split(","))):
            raise HTTPException(404, context.no_box)
        parts = ShownParts()
        # first: of part of the Boxes all is read for it, and then kept
        cells = parts.made("Magnitudes and durations", lambda: plane(context, address), [])
        place = read_index_place(before)
        found, more = context.find_incidents(address.wanted, PER_PAGE, place)
        last = entry_of_incident(found[-1]).place(order) if found and more else None
        ids = context.box_ids()
        choices = None  # too many to list: a number is typed
        if len(ids) <= BOXES_OFFERED:
            choices = [{"box_id": item.box_id, "label": item.label} for item in context.boxes(ids)]
            if box and box not in ids:
                choices.append({"box_id": box, "label": words.boxes(box.split(","))})
        scatter = parts.made(
            "The scatter chart",
            lambda: scatter_of(
                context.store.find_incidents(address.wanted, MAX_DOTS),
                address.wanted.cell,
                address.cell_query(),
            ),
            None,
        )
        visitor, marks = context.visitor, context.seen_marks()
        up_to = highest_number(context, found)
        people = self._services.visitors.people
        return self._render(
            "incidents.html",
            here="incidents",
            work=parts.made(
                "Their work", lambda: work_words(context, [each.incident_id for each in found]), {}
            ),
            new={
                each.incident_id for each in found if marks and marks.is_new(each.incident_id, each.start_ns)
            },
            work_choices=work_choices(visitor),
            work_counts=parts.made("Counts of work", lambda: work_counts(context), []),
            people_choices=list(people_offered(visitor, people).items())[1:] if visitor.account else None,
            may_work=works_on_several(visitor),
            incidents=found,
            names=context.names(found),
            address=address,
            **typed_span(context, address),
            before=before,
            older=address.page_query(last) if last else "",
            count_words=parts.made("Their number", lambda: count_words(context, address.wanted), "")
            if found
            else "",
            plane=cells,
            scatter=scatter,
            dots=dot_links(scatter.dots, address.query) if scatter else "",
            dot_shapes=DOT_SHAPES,
            plane_columns=[duration_words(column) for column in range(PLANE_COLUMNS)],
            box_choices=choices,
            class_choices=words.class_choices(),
            region_choices=list(context.regions()),
            site_choices=list(seen_sites(context)),
            feeder_choices=context.place_names("feeder"),
            scope_choices=SCOPES,
            severity_choices=words.SEVERITIES,
            order_words=ORDER_WORDS,
            after=feed_number(context, up_to),
            up_to=up_to,
            failed=parts.failed,
        )

    def incident_page(self, request: Request, incident_id: str) -> HTMLResponse:
        found = self._context.incident_of_address(incident_id)
        draw = partial(DrawnIncident.of, found, self._examine)
        values = incident_page.page(self._context, found, draw)
        values.update(remark_values(self._context, self._services, found))
        address = read_list_address(self._context, request.query_params)
        values.update(neighbours(self._context, address, found))
        values.update(beside_at_place(self._context, found))
        marks = self._context.seen_marks() if self._context.visitor.session_hash else None
        values["is_new"] = marks is not None and marks.is_new(found.incident_id, found.start_ns)
        return self._render("incident.html", "incidents", 200, after=max(0, found.incident_id - 1), **values)
