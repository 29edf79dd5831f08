"""The pages of sites, `/sites` and `/sites/{name}`: the phases of one supply side by side."""

from fastapi.responses import HTMLResponse

from opq_cloud.core.page_parts import ShownParts
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.visible.seen_sites import seen_site, seen_sites
from opq_cloud.view.pages.visible.visitor_context import VisitorContext
from opq_cloud.view.web.shares import PageRouter

EVENTS_SHOWN = 20


class SitePages:
    """The pages of sites from the store; `/api/v1/sites` has the same values."""

    def __init__(self, context: VisitorContext, render: PageMaker) -> None:
        self._context, self._render = context, render

    def router(self) -> PageRouter:
        router = PageRouter(default_response_class=HTMLResponse, include_in_schema=False)
        router.add_api_route("/sites", self.sites)
        router.add_api_route("/sites/{name:path}", self.site)
        return router

    def sites(self) -> HTMLResponse:
        return self._render("site.html", "boxes", 200, sites=seen_sites(self._context), name="")

    def site(self, name: str) -> HTMLResponse:
        seen = seen_site(self._context, name)
        labels = {each.box_id: each.label for each in self._context.boxes(one.box_id for one in seen.records)}
        parts, now_ns = ShownParts(), self._context.now_ns()
        return self._render(
            "site.html",
            "boxes",
            200,
            name=name,
            site=parts.made("Phases", seen.now, None),
            events=parts.made("Events", lambda: seen.events(now_ns), None),
            labels=labels,
            most=EVENTS_SHOWN,
            failed=parts.failed,
        )
