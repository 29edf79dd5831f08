"""Bodies are JSON whatever the request calls them: `curl -d` says form data, eKuiper's users write just that.

A plain ASGI wrapper. What a page in a browser could send so is refused before, by the Guard.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]


class JsonBodies:
    """Multipart stays what it is: a file of POST /config/uploads."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(name, value) for name, value in scope["headers"] if name.lower() != b"content-type"]
            kind = next((v for name, v in scope["headers"] if name.lower() == b"content-type"), b"")
            if not kind.lower().startswith(b"multipart/"):
                kind = b"application/json"
            scope = {**scope, "headers": [*headers, (b"content-type", kind)]}
        await self._app(scope, receive, send)
