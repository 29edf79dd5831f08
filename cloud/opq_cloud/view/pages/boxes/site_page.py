"""The pages of sites, `/sites` and `/sites/{name}`: the phases of one supply side by side."""

from fastapi.responses import HTMLResponse

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
        return self._render("site.html", "boxes", 200, sites=seen_sites(self._context), site=None)

    def site(self, name: str) -> HTMLResponse:
        site = seen_site(self._context, name)
        labels = {each.box_id: each.label for each in self._context.boxes(one.box_id for one in site.phases)}
        return self._render("site.html", "boxes", 200, site=site, labels=labels, most=EVENTS_SHOWN)
