"""States of maps that ask for them: made and packed once a second for all who see the same.

`StatesAtOnce` answers what most of them ask, the whole map, before routes and forms are looked at.
"""

import gzip
import json
import zlib
from dataclasses import dataclass

from fastapi import Request, Response

from opq_cloud.view.guard import App, Receive, Scope, Send
from opq_cloud.view.live_compression import accepts_gzip
from opq_cloud.view.public.grid_reader import SEEN_S, GridReader
from opq_cloud.view.public.kept import KeptAnswers
from opq_cloud.view.public.map_drawing import live_state
from opq_cloud.view.public.map_frame import MapFrame
from opq_proto.errors import StoreError

PACKED = 5
PATHS = ("/map/state", "/embed/state")


@dataclass(frozen=True, slots=True)
class MapState:
    """One state as JSON, as it is and packed by gzip."""

    body: bytes
    packed: bytes
    etag: str

    def answer(self, held: str, encodings: str) -> Response:
        """`held`: the ETags that the asker has; what has not changed is not sent again."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if self.etag in held:
            return Response(status_code=304, headers=headers)
        packed = accepts_gzip(encodings)
        if packed:
            headers["Content-Encoding"] = "gzip"
        return Response(self.packed if packed else self.body, media_type="application/json", headers=headers)


class MapStates:
    """Of one reader; to each visitor what they see."""

    def __init__(self, reader: GridReader) -> None:
        self._reader = reader
        self._kept: KeptAnswers[MapState] = KeptAnswers(SEEN_S)

    async def now(self, frame: MapFrame | None) -> MapState:
        """Raises StoreError."""
        return await self._kept.of_all((self._reader.audience, frame), lambda: self._made(frame))

    async def answer(self, request: Request, frame: MapFrame | None) -> Response:
        state = await self.now(frame)
        return state.answer(
            request.headers.get("if-none-match", ""), request.headers.get("accept-encoding", "")
        )

    def _made(self, frame: MapFrame | None) -> MapState:
        body = json.dumps(live_state(self._reader, frame), separators=(",", ":")).encode()
        return MapState(body, gzip.compress(body, PACKED), f'W/"{zlib.crc32(body):08x}-{len(body)}"')


class StatesAtOnce:
    """ASGI middleware inside the gate."""

    def __init__(self, app: App, states: MapStates) -> None:
        self._app = app
        self._states = states

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        whole = scope["type"] == "http" and scope["path"] in PATHS and not scope["query_string"]
        if not (whole and scope["method"] == "GET"):
            await self._app(scope, receive, send)
            return
        try:
            state = await self._states.now(None)
        except StoreError:  # the route says so in its words
            await self._app(scope, receive, send)
            return
        asked = {name: value.decode("latin-1") for name, value in scope["headers"]}
        answer = state.answer(asked.get(b"if-none-match", ""), asked.get(b"accept-encoding", ""))
        await answer(scope, receive, send)
