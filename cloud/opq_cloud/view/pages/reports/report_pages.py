"""`/report`: what to report, and the indices of a span; `/report/week`: a report of `opq_cloud/reports`.

The report is a page of its own with inline styles, so it has its own Content-Security-Policy: no script runs.
"""

import math
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import urlencode

from fastapi import HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from opq_cloud.reports.indices import FleetIndices, indices_document
from opq_cloud.reports.limit_table import known_standards, limit_table
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.reports.report_jobs import ReportJobs
from opq_cloud.view.pages.reports.seen_reports import ReportAddress, ReportRefusedError, SeenReports
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web import words
from opq_cloud.view.web.shares import PageRouter, in_thread

BOXES_LISTED = 100
PLACES_OFFERED = 300
STYLED = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self' 'unsafe-inline'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
}
Text = Annotated[str, Query(max_length=80)]


class WeekReportPages:
    """Two pages; only GET."""

    def __init__(
        self, context: VisitorContext, reports: SeenReports, jobs: ReportJobs, render: PageMaker
    ) -> None:
        self._context, self._reports, self._jobs, self._render = context, reports, jobs, render

    def router(self) -> PageRouter:
        router = PageRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/report", self.front)
        router.add_api_route("/report/week", self.week)
        return router

    async def front(self, place: Text = "all", span: Text = "last", zone: Text = "") -> HTMLResponse:
        """The form, and the indices of a week, month or year: the worst Boxes first."""
        zone = zone or self._zone()
        try:
            found = await self._jobs.indices(place, span, zone)
        except ReportRefusedError as error:
            raise HTTPException(404, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
        return await in_thread(self._front, place, span, zone, found)

    def _front(self, place: str, span: str, zone: str, found: FleetIndices) -> HTMLResponse:
        return self._render(
            "week_report.html",
            here="report",
            bar=self._bar(ReportAddress(place, zone=zone)),
            found=indices_document(found),
            broken=found.broken,
            rows=worst_first(found),
            span=span,
            zone=zone,
            place=place,
            places=self._offered(),
            query=urlencode({"place": place, "span": found.span.name, "zone": zone}),
        )

    async def week(
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
            bar = await in_thread(self._bar, address, True)
            page = await self._jobs.page(address, bar, theme)
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
    """(place, label, feeder) and figures in words, the most minutes without supply first.

    A row of a Box counts its own events; a site has a row with those of its phases joined.
    """
    rows = []
    for place in found.places:
        if place.site:
            joined = dict(place.sarfi.beyond)[90.0]
            minutes = max(box.supply.minutes for box in place.boxes)
            figures = "–", "–", "–", "–", str(joined) if place.is_known else "–"
            key = f"site:{place.site}", place.name, place.feeder or "–"
            rows.append(((-minutes, -joined, 0.0), key, figures))
        for box in place.boxes:
            supply, below_90 = box.supply, dict(box.sarfi.beyond)[90.0]
            order = (-supply.minutes, -below_90, box.complete_percent)
            figures = (
                str(supply.sustained) if box.is_known else "–",
                words.number(supply.minutes if box.is_known else None, 1, "min"),
                words.number(_known(supply.supplied_percent), 3, "%"),
                words.number(_known(box.complete_percent), 1, "%"),
                str(below_90) if box.is_known else "–",
            )
            rows.append((order, (f"box:{box.box_id}", box.label, box.feeder or "–"), figures))
    return [(box, figures) for _, box, figures in sorted(rows, key=lambda row: row[0])[:BOXES_LISTED]]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
