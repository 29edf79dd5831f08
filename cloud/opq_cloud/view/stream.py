"""`/live`: the feed of an open page, as server-sent events (WHATWG HTML, 9.2).

Events `measurement`, `incident` (with an id for `Last-Event-ID`) and `incident_gone`; a comment
every 15 s keeps proxies and clients from giving up.
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response, StreamingResponse

from opq_cloud.view.live import LiveHub, loop_wake

HEARTBEAT_S = 15.0
RETRY_MS = 1000
"""A browser tries again after so long."""


class Stream:
    """The route of one hub."""

    def __init__(self, hub: LiveHub, heartbeat_s: float = HEARTBEAT_S) -> None:
        self._hub = hub
        self._heartbeat_s = heartbeat_s

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        router.add_api_route("/live", self.live)
        return router

    async def live(self, request: Request) -> Response:
        if self._hub.full():
            return PlainTextResponse("Too many pages are open; try again.\n", 503, {"Retry-After": "10"})
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(after), media_type="text/event-stream", headers=headers)

    async def _events(self, after: str | None) -> AsyncIterator[bytes]:
        news = asyncio.Event()
        subscriber = self._hub.subscribe(loop_wake(asyncio.get_running_loop(), news), after)
        if subscriber is None:
            return
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not subscriber.closed:
                news.clear()
                messages = self._hub.take(subscriber)
                if messages:
                    yield b"".join(message.encode() for message in messages)
                    continue
                try:
                    await asyncio.wait_for(news.wait(), self._heartbeat_s)
                except TimeoutError:
                    yield b": nothing new\n\n"
        finally:
            self._hub.unsubscribe(subscriber)
