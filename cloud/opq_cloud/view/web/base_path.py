"""View below a path of another site, such as https://example.org/opq: the path of `[view] public_url`.

Pages, scripts and redirects name paths from `/`; here they get the path in front, in one place. A request may
come with it or without it, as the proxy passes it on. Streams and the API name no pages.
"""

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_ATTRIBUTES = re.compile(
    rb"((?:href|src|action|formaction|data-[a-z-]+|content|poster)\s*=\s*[\"'])(/(?![/\"'])[^\"'\s]*|/)(?=[\"'])"
)
_LITERALS = re.compile(rb"([\"'`])(/(?:[a-z][\w./-]*)?)(?=[\"'`?$])")
"""Paths in our scripts, such as `/incidents/${id}` and "/"; a sum such as "/" + name has none."""
_VALUES = re.compile(rb"(:\s*\")(/(?!/)[^\"]*)(?=\")")
"""Paths that are values in JSON."""
_REWRITTEN = {b"text/html": _ATTRIBUTES, b"text/javascript": _LITERALS, b"application/javascript": _LITERALS}


def stripped(scope: Scope, base: str) -> Scope:
    """The request without the path in front, where it has it."""
    path = scope["path"]
    if path != base and not path.startswith(f"{base}/"):
        return scope
    raw = scope.get("raw_path") or path.encode()
    return {**scope, "path": path[len(base) :] or "/", "raw_path": raw[len(base) :] or b"/"}


def with_base(headers: Headers, base: str, host: bytes) -> Headers:
    """The headers of an answer: where it leads, and where a cookie is valid, is below the path.

    An address of the host that was asked becomes a path, because a proxy in front may be asked by https.
    """
    found = []
    for name, value in headers:
        if name == b"location":
            own = re.match(rb"(?i)https?://" + re.escape(host) + rb"(?=/)", value) if host else None
            value = _below(value if own is None else value[own.end() :], base.encode())
        elif name == b"set-cookie" and base:
            value = re.sub(rb"(?i)(;\s*path=)/(?=;|$)", rb"\1" + base.encode(), value)
        found.append((name, value))
    return found


def _below(path: bytes, base: bytes) -> bytes:
    own = path.startswith(b"/") and not path.startswith(b"//")
    known = path == base or path.startswith((base + b"/", base + b"?", base + b"#"))
    return base + path if own and not known else path


class BasePathBodies:
    """ASGI middleware inside compression: puts the path in front of the paths in pages and scripts."""

    def __init__(self, app: App, base: str) -> None:
        self._app, self._base = app, base.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/static/vendor/"):
            await self._app(scope, receive, send)
            return
        start: Scope | None = None
        pattern: re.Pattern[bytes] | None = None
        pieces: list[bytes] = []

        async def send_below(message: Scope) -> None:
            nonlocal start, pattern
            if message["type"] == "http.response.start":
                headers = dict(message["headers"])
                kind = headers.get(b"content-type", b"").partition(b";")[0].strip()
                pattern = _REWRITTEN.get(kind)
                if kind == b"application/json" and not scope["path"].startswith("/api/"):
                    pattern = _VALUES
                if pattern is not None:
                    start = message
                    return
            elif pattern is not None and start is not None:
                pieces.append(message.get("body", b""))
                if message.get("more_body"):
                    return
                await self._send_whole(pattern, start, b"".join(pieces), send)
                return
            await send(message)

        await self._app(scope, receive, send_below)

    async def _send_whole(self, pattern: re.Pattern[bytes], start: Scope, body: bytes, send: Send) -> None:
        base = self._base
        changed = pattern.sub(lambda found: found[1] + _below(found[2], base), body)
        known = (b"content-length", b"etag", b"last-modified")
        headers = [each for each in start["headers"] if each[0] not in known]
        if start["status"] != 304:
            headers.append((b"content-length", str(len(changed)).encode()))
        await send({**start, "headers": headers})
        await send({"type": "http.response.body", "body": changed})
