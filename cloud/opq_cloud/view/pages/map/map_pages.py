"""`/map` and `/wall`, `/map/state`, which a map without the live feed requests, and outlines."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.core.page_parts import ShownParts
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.view.pages.drawing.rendering import PageMaker
from opq_cloud.view.pages.map.grid_now import TONES
from opq_cloud.view.pages.map.grid_reader import GridReader
from opq_cloud.view.pages.map.map_drawing import (
    REGIONS_SHOWN,
    GroupRow,
    MapDrawing,
    draw_map,
    empty_map,
    groups_with_figures,
    incident_lines,
    page_version,
    silent_words,
    tile_origin,
)
from opq_cloud.view.pages.map.map_feed import MapFeeds
from opq_cloud.view.pages.map.map_frame import WORLD, MapFrame, parse_frame
from opq_cloud.view.pages.map.map_marks import SHAPES
from opq_cloud.view.pages.map.outline import outlines_json
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.pages.visible.visitor_context import VisitorContext, feed_number
from opq_cloud.view.web.shares import PageRouter
from opq_cloud.view.web.web_guard import CONTENT_SECURITY_POLICY

STATE = "/map/state"
At = Annotated[str, Query(max_length=24)]
Km = Annotated[str, Query(max_length=12)]
GRIDS_SHOWN = 4
THEMES = ("", "light", "dark")
OUTLINES_KEPT = "public, max-age=86400"
"""They change with a new version of View at most."""


class MapPages:
    """Pages of the present, for all visitors."""

    def __init__(
        self,
        context: VisitorContext,
        reader: GridReader,
        feeds: MapFeeds,
        services: ViewServices,
        render: PageMaker,
    ) -> None:
        self._context = context
        self._reader = reader
        self._feeds = feeds
        self._config = services.config
        self._render = render

    def router(self) -> PageRouter:
        router = PageRouter(include_in_schema=False)
        for path, page in (("/map", self.map_page), ("/wall", self.wall_page)):
            router.add_api_route(path, page, response_class=HTMLResponse)
        router.add_route(STATE, self.state)  # not by FastAPI: 500 maps request it each second
        router.add_api_route("/map/outlines.json", self.outlines)
        return router

    def map_page(self, at: At = "", km: Km = "") -> Response:
        frame = query_frame(at, km)
        parts = ShownParts()
        drawing = self._drawing(parts, frame)
        page = self._render(
            "map.html",
            "map",
            200,
            **map_values(drawing, state_path(frame)),
            chosen=frame is not None,
            stale_words=self._silent(parts),
            groups=self._groups(parts, GRIDS_SHOWN, REGIONS_SHOWN),
            seen_regions=self._context.regions(),
            incidents=self._incidents(parts),
            reads_incidents=self._reader.reads_incidents,
            after=self._after(),
            failed=(*drawing.failed, *parts.failed),
        )
        return with_tiles(page, self._config)

    def wall_page(
        self, at: At = "", km: Km = "", theme: Annotated[str, Query(max_length=8)] = ""
    ) -> Response:
        if theme not in THEMES:
            raise HTTPException(400, f"There is no theme {theme}; there are light and dark.")
        frame = query_frame(at, km)
        parts = ShownParts()
        drawing = self._drawing(parts, frame)
        page = self._render(
            "wall.html",
            "wall",
            200,
            **map_values(drawing, state_path(frame)),
            theme=theme,
            stale_words=self._silent(parts),
            grids=[(group, figures) for _, group, figures in self._groups(parts, 2, 0)],
            incidents=self._incidents(parts),
            reads_incidents=self._reader.reads_incidents,
            failed=(*drawing.failed, *parts.failed),
        )
        return with_tiles(page, self._config)

    def _drawing(self, parts: ShownParts, frame: MapFrame | None) -> MapDrawing:
        made = parts.made("The map", lambda: draw_map(self._reader, self._config, frame), None)
        return made or empty_map(self._config, frame)

    def _silent(self, parts: ShownParts) -> tuple[str, str] | None:
        return parts.made("Whether Boxes report", lambda: silent_words(self._reader.boxes()), None)

    def _groups(self, parts: ShownParts, grids: int, regions: int) -> Sequence[GroupRow]:
        name = "Grids and regions"
        made = parts.made(name, lambda: groups_with_figures(self._reader.boxes(), grids, regions), None)
        rows, failed = made or ((), ())
        parts.failed.extend(failed)
        return rows

    def _incidents(self, parts: ShownParts) -> list[dict[str, object]]:
        return parts.made("Newest incidents", lambda: incident_lines(self._reader), [])

    def _after(self) -> str | None:
        """The newest incident, after which the live feed continues; None without a live feed."""
        if not self._context.visitor.sees_something:
            return None
        return feed_number(self._context, self._context.hub.highest_incident())

    async def state(self, request: Request) -> Response:
        frame = query_frame(request.query_params.get("at", ""), request.query_params.get("km", ""))
        text = await self._feeds.state_text(self._context.visitor, frame)
        return text.answer(request)

    def outlines(self, at: At = "", km: Km = "") -> Response:
        """Land and borders of a window, and of as much again around it, as GeoJSON."""
        body = outlines_json(query_frame(at, km) or WORLD)
        return Response(body, headers={"Cache-Control": OUTLINES_KEPT}, media_type="application/geo+json")


def map_values(drawing: MapDrawing, state: str) -> dict[str, object]:
    """Values for `map_parts.html`."""
    counts: dict[str, int] = {}
    for mark in drawing.marks:
        counts[mark.tone] = counts.get(mark.tone, 0) + 1
    return {
        "map": drawing,
        "shapes": SHAPES,
        "row_figures": drawing.figures,
        "legend": [(tone, TONES[tone], counts.get(tone, 0)) for tone in TONES],
        "state_path": state,
        "version": page_version(),
    }


def query_frame(at: str, km: str) -> MapFrame | None:
    """The window of an address. Raises HTTPException 400 with what was wrong."""
    try:
        return parse_frame(at, km)
    except ValueError as error:
        raise HTTPException(400, f"The address has a window that cannot be used: {error}.") from None


def state_path(frame: MapFrame | None) -> str:
    return STATE if frame is None else f"{STATE}?{frame.query}"


def with_tiles(page: HTMLResponse, config: ViewSection) -> HTMLResponse:
    """Allows this page to load images from the tile server, where one is set."""
    origin = tile_origin(config.tile_url)
    if origin:
        policy = CONTENT_SECURITY_POLICY.replace("img-src 'self'", f"img-src 'self' {origin}")
        page.headers["Content-Security-Policy"] = policy
    return page
