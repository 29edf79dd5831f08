"""`/map`, `/grid` and `/wall`, and `/map/state`, which their script requests each second."""

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from opq_cloud.core.settings.view import ViewSection
from opq_cloud.view.live.compression import accepts_gzip
from opq_cloud.view.pages.map.day_page import day_values, region_incidents
from opq_cloud.view.pages.map.day_trends import DayTrends
from opq_cloud.view.pages.map.grid_now import TONES, grids_now
from opq_cloud.view.pages.map.grid_reader import SEEN_S, GridReader
from opq_cloud.view.pages.map.map_drawing import (
    MapDrawing,
    draw_map,
    group_figures,
    incident_lines,
    live_state,
    mark_figures,
    page_version,
    silent_words,
    tile_origin,
)
from opq_cloud.view.pages.map.map_frame import WORLD, MapFrame, parse_frame
from opq_cloud.view.pages.map.map_marks import SHAPES
from opq_cloud.view.pages.services.view_services import ViewServices
from opq_cloud.view.pages.shown.rendering import PageMaker
from opq_cloud.view.pages.shown.visitor_context import VisitorContext
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_cloud.view.web.guard import CONTENT_SECURITY_POLICY, App, Receive, Scope, Send
from opq_proto.errors import StoreError

At = Annotated[str, Query(max_length=24)]
Km = Annotated[str, Query(max_length=12)]
STEPS = (("Left", -0.4, 0.0), ("Right", 0.4, 0.0), ("Up", 0.0, -0.4), ("Down", 0.0, 0.4))
ZOOM = 2.0
DAY_KEPT_S = 10.0
"""The page `/grid` is made again after this time; its script updates the present figures."""
THEMES = ("", "light", "dark")
LATE_S = 1.0
"""While the next state is made, many maps get the one before if it is younger than this."""
PACKED = 5
STATE = "/map/state"


@dataclass(frozen=True, slots=True)
class MapState:
    """One state as JSON, plain and compressed with gzip."""

    body: bytes
    packed: bytes
    etag: str

    def answer(self, held: str, encodings: str) -> Response:
        """The answer to a client; `held` are its ETags, and an unchanged state is not sent again."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if self.etag in held:
            return Response(status_code=304, headers=headers)
        packed = accepts_gzip(encodings)
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(self.packed if packed else self.body, media_type="application/json", headers=headers)


class MapStates:
    """The states of a reader's maps, each limited to what the visitor may see."""

    def __init__(self, reader: GridReader) -> None:
        self._reader = reader
        self._answers: AnswerCache[MapState] = AnswerCache(SEEN_S)

    async def now(self, frame: MapFrame | None) -> MapState:
        """The present state. Raises StoreError."""
        key = (self._reader.audience, frame)
        return await self._answers.of_all(key, lambda: self._made(frame), LATE_S)

    async def answer(self, request: Request, frame: MapFrame | None) -> Response:
        state = await self.now(frame)
        return state.answer(
            request.headers.get("if-none-match", ""), request.headers.get("accept-encoding", "")
        )

    def _made(self, frame: MapFrame | None) -> MapState:
        body = json.dumps(live_state(self._reader, frame), separators=(",", ":")).encode()
        return MapState(body, gzip.compress(body, PACKED), f'W/"{zlib.crc32(body):08x}-{len(body)}"')


class StatesAtOnce:
    """ASGI middleware inside the gate, which answers requests for whole states."""

    def __init__(self, app: App, states: MapStates) -> None:
        self._app = app
        self._states = states

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = scope["type"] == "http" and scope["path"] == STATE and not scope["query_string"]
        if not (whole and scope["method"] == "GET"):
            await self._app(scope, receive, send)
            return
        try:
            state = await self._states.now(None)
        except StoreError:  # the route answers with its own words
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        answer = state.answer(headers.get(b"if-none-match", ""), headers.get(b"accept-encoding", ""))
        await answer(scope, receive, send)


class MapPages:
    """Pages of the present, for all visitors."""

    def __init__(
        self,
        context: VisitorContext,
        reader: GridReader,
        states: MapStates,
        services: ViewServices,
        render: PageMaker,
    ) -> None:
        self._context = context
        self._reader = reader
        self._states = states
        self._config = services.config
        self._render = render
        self._trends = DayTrends(services.store)
        self._days: AnswerCache[dict[str, object]] = AnswerCache(DAY_KEPT_S)

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        for path, page in (("/map", self.map_page), ("/grid", self.grid_page), ("/wall", self.wall_page)):
            router.add_api_route(path, page, response_class=HTMLResponse)
        router.add_api_route(STATE, self.state)
        return router

    def map_page(self, at: At = "", km: Km = "") -> Response:
        frame = query_frame(at, km)
        drawing = draw_map(self._reader, self._config, frame)
        page = self._render(
            "map.html",
            "map",
            200,
            **map_values(drawing, state_path(frame)),
            moves=[(name, drawing.frame.moved(right, down).query) for name, right, down in STEPS],
            zooms=[
                ("Zoom in", drawing.frame.zoomed(1 / ZOOM).query),
                ("Zoom out", drawing.frame.zoomed(ZOOM).query),
                ("The world", WORLD.query),
            ],
            chosen=frame is not None,
            stale_words=silent_words(self._reader.boxes()),
            incidents=incident_lines(self._reader),
            after=self._after(),
        )
        return with_tiles(page, self._config)

    def grid_page(self) -> Response:
        reader, trends, context, now_ns = self._reader, self._trends, self._context, self._context.now_ns()
        values = self._days.of(
            reader.audience,
            lambda: day_values(
                reader.boxes(),
                trends,
                now_ns // 1_000_000,
                lambda region: region_incidents(context, region, now_ns),
            ),
        )
        return self._render(
            "grid.html",
            "grid",
            200,
            state_path=STATE,
            version=page_version(),
            after=self._after(),
            stale_words=silent_words(reader.boxes()),
            **values,
        )

    def wall_page(
        self, at: At = "", km: Km = "", theme: Annotated[str, Query(max_length=8)] = ""
    ) -> Response:
        if theme not in THEMES:
            raise HTTPException(400, f"There is no theme {theme}; there are light and dark.")
        frame = query_frame(at, km)
        boxes = self._reader.boxes()
        page = self._render(
            "wall.html",
            "wall",
            200,
            **map_values(draw_map(self._reader, self._config, frame), state_path(frame)),
            theme=theme,
            stale_words=silent_words(boxes),
            grids=[(each, group_figures(each)) for each in grids_now(boxes)[:2]],
            incidents=incident_lines(self._reader),
        )
        return with_tiles(page, self._config)

    def _after(self) -> int | None:
        """The newest incident, after which the live feed continues; None without a live feed."""
        if not self._context.visitor.sees_something:
            return None
        return self._context.hub.highest_incident()

    async def state(self, request: Request, at: At = "", km: Km = "") -> Response:
        return await self._states.answer(request, query_frame(at, km))


def map_values(drawing: MapDrawing, state: str) -> dict[str, object]:
    """Values for `map_parts.html`."""
    counts: dict[str, int] = {}
    for mark in drawing.marks:
        counts[mark.tone] = counts.get(mark.tone, 0) + 1
    return {
        "map": drawing,
        "shapes": SHAPES,
        "row_figures": {mark.mark_id: mark_figures(mark) for mark in drawing.rows},
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
