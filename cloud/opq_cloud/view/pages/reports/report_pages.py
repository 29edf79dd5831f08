"""`/report`: what to report, and the indices of a span; `/report/week`: a report of `opq_cloud/reports`.

The report is a page of its own with inline styles, so it has its own Content-Security-Policy: no script runs.
"""

from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from opq_cloud.reports.indices import FleetIndices, indices_document
from opq_cloud.reports.limit_table import known_standards, limit_table
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.reports.seen_reports import ReportAddress, ReportRefusedError, SeenReports
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words

BOXES_LISTED = 100
PLACES_OFFERED = 300
STYLED = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}
Text = Annotated[str, Query(max_length=80)]


class WeekReportPages:
    """Two pages; only GET."""

    def __init__(self, context: VisitorContext, reports: SeenReports, render: PageMaker) -> None:
        self._context, self._reports, self._render = context, reports, render

    def router(self) -> APIRouter:
        router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/report", self.front)
        router.add_api_route("/report/week", self.week)
        return router

    def front(self, place: Text = "all", span: Text = "last", zone: Text = "") -> HTMLResponse:
        """The form, and the indices of a week, month or year: the worst Boxes first."""
        zone = zone or self._zone()
        try:
            found = self._reports.indices(place, span, zone)
        except ReportRefusedError as error:
            raise HTTPException(404, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        return self._render(
            "week_report.html",
            here="report",
            bar=self._bar(ReportAddress(place, zone=zone)),
            found=indices_document(found),
            rows=worst_first(found),
            span=span,
            zone=zone,
            place=place,
            places=self._offered(),
            query=urlencode({"place": place, "span": found.span.name, "zone": zone}),
        )

    def week(
        self,
        request: Request,
        place: Text = "all",
        week: Text = "last",
        zone: Text = "",
        standard: Text = "en50160",
    ) -> HTMLResponse:
        """The report, with the form and the downloads above it."""
        address = ReportAddress(place, week, zone or self._zone(), standard)
        account = self._context.visitor.account
        theme = "" if account is None or account.theme == "system" else account.theme
        try:
            page = self._reports.page(address, self._bar(address, downloads=True), theme)
        except ReportRefusedError as error:
            raise HTTPException(404, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        return HTMLResponse(page, headers=STYLED)

    def _zone(self) -> str:
        account = self._context.visitor.account
        return account.time_zone if account is not None else "UTC"

    def _offered(self) -> Mapping[str, str]:
        places = self._reports.places()
        return places if len(places) <= PLACES_OFFERED else {}

    def _bar(self, address: ReportAddress, downloads: bool = False) -> Markup:
        query = urlencode(
            {"place": address.place, "week": address.week, "zone": address.zone, "standard": address.standard}
        )
        made = self._render(
            "week_report_bar.html",
            address=address,
            places=self._offered(),
            standards={name: limit_table(name).title for name in known_standards()},
            query=query if downloads else "",
        )
        return Markup(bytes(made.body).decode())


def worst_first(found: FleetIndices) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Box -> its figures in words, those with the most minutes without supply, and the least data, first."""
    rows = []
    for place in found.places:
        below_90 = dict(place.sarfi.beyond)[90.0]
        for box in place.boxes:
            supply = box.supply
            order = (-supply.minutes, -below_90, box.complete_percent)
            figures = (
                str(supply.sustained),
                words.number(supply.minutes, 1, "min"),
                words.number(supply.supplied_percent if box.complete_percent else None, 3, "%"),
                words.number(box.complete_percent, 1, "%"),
                str(below_90),
            )
            rows.append((order, (box.box_id, box.label, box.feeder or "–"), figures))
    return [(box, figures) for _, box, figures in sorted(rows, key=lambda row: row[0])[:BOXES_LISTED]]
