"""A line of the log for each request, at level debug. A plain ASGI wrapper."""

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from opq_proto import log

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class RequestLines:
    def __init__(self, app: App) -> None:
        self._app, self._log = app, log.get(service="rules-api")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began_s = 0, time.monotonic()

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._log.debug(
                "request.done",
                method=scope["method"],
                path=scope["path"][:200],
                status=status,
                took_ms=round((time.monotonic() - began_s) * 1000, 1),
            )
