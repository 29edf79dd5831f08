"""`/search?q=`, the page, and `/search/found?q=`, what the command palette asks for: one answer to both."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, JSONResponse

from opq_cloud.view.accounts.account_context import PageMaker
from opq_cloud.view.context import ViewContext
from opq_cloud.view.search import MOST_CHARACTERS, SearchHit, find

Words = Annotated[str, Query(max_length=MOST_CHARACTERS)]
KINDS = {"Incident": "Incidents", "Box": "Boxes", "Page": "Pages", "Incidents": "Lists", "Action": "Actions"}
"""Kind -> its heading."""


class SearchPages:
    """For whoever asks, of what they may see; `render` is `Pages.render`."""

    def __init__(self, context: ViewContext, render: PageMaker) -> None:
        self._context = context
        self._render = render

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/search", self.page, response_class=HTMLResponse)
        router.add_api_route("/search/found", self.found)
        return router

    def page(self, q: Words = "") -> HTMLResponse:
        hits = find(self._context, q)
        return self._render("search.html", "search", 200, q=q, count=len(hits), groups=_by_kind(hits))

    def found(self, q: Words = "") -> JSONResponse:
        rows = [
            {name: value for name, value in asdict(hit).items() if name != "fit"}
            for hit in find(self._context, q)
        ]
        return JSONResponse({"items": rows}, headers={"Cache-Control": "no-store"})


def _by_kind(hits: list[SearchHit]) -> list[tuple[str, list[SearchHit]]]:
    """By kind, in the order in which the best of each was found."""
    kinds = dict.fromkeys(hit.kind for hit in hits)
    return [(KINDS[kind], [hit for hit in hits if hit.kind == kind]) for kind in kinds]
