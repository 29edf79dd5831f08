"""`/map/state`: what maps request each second, made and packed once for all who see the same."""

import gzip
import json
import zlib
from dataclasses import dataclass

from fastapi import Request, Response

from opq_cloud.view.live.compression import accepts_gzip
from opq_cloud.view.pages.map.grid_reader import SEEN_S, GridReader
from opq_cloud.view.pages.map.map_drawing import live_state
from opq_cloud.view.pages.map.map_frame import MapFrame
from opq_cloud.view.web.answer_cache import AnswerCache
from opq_cloud.view.web.guard import App, Receive, Scope, Send
from opq_proto.errors import StoreError

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
