"""Who may ask: tokens, no writing by foreign web pages, no body without bound. A plain ASGI wrapper.

Beyond loopback every request needs a token. On loopback none is needed, but a page in a browser is not
to write there: a request with a foreign Origin (an image has none, but Sec-Fetch-Site), or for a Host that
is no name of this machine's loopback, is refused (DNS rebinding).
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import msgspec

from opq_rules.api.patience import Edge
from opq_rules.errors import CONFIGURATION, UNDEFINED

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/ping", "/health")
"""Answered to anybody: they say that the service lives, and no more."""
_LOOPBACK = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d+)?")


def is_loopback(address: str) -> bool:
    """Of `host` or `host:port`, whether it names this machine's loopback and nothing else."""
    return _LOOPBACK.fullmatch(address) is not None


class Guard:
    """`hashes`: SHA-256 of the allowed tokens, hexadecimal; none: loopback only."""

    def __init__(self, app: App, hashes: Sequence[str], most_bytes: int, edge: Edge | None = None) -> None:
        self._edge = edge or Edge()
        self._app, self._most_bytes = app, most_bytes
        self._hashes = [each.lower() for each in hashes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            self._edge.refused += 1
            await _answer(send, *refusal)
            return
        taken = 0

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most_bytes:
                raise _TooLongError
            return message

        async def unless_too_long(message: MutableMapping[str, Any]) -> None:
            if taken <= self._most_bytes:  # else the application calls it unreadable, and we say why
                await send(message)

        with suppress(_TooLongError):
            await self._app(scope, bounded, unless_too_long)
        if taken > self._most_bytes:
            self._edge.refused += 1
            await _answer(send, 413, CONFIGURATION, f"the body is longer than {self._most_bytes} bytes")

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, int, str] | None:
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > self._most_bytes:
            return 413, CONFIGURATION, f"the body is longer than {self._most_bytes} bytes"
        if self._hashes:
            if scope["path"] in OPEN or self._knows(headers.get(b"authorization", "")):
                return None
            return 401, UNDEFINED, "Authorization: want one of the tokens of token_file"
        if not is_loopback(headers.get(b"host", "localhost")):
            return 403, UNDEFINED, "Host is no name of loopback; use 127.0.0.1, or set up tokens"
        origin = headers.get(b"origin")
        if origin is not None and not is_loopback(_origin_host(origin)):
            return 403, UNDEFINED, f"a page of {origin[:100]} may not ask here"
        if headers.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, UNDEFINED, "a page of another site may not ask here"
        return None

    def _knows(self, header: str) -> bool:
        token = (header[7:] if header[:7].lower() == "bearer " else header).strip()
        told = hashlib.sha256(token.encode()).hexdigest()
        return sum(hmac.compare_digest(told, each) for each in self._hashes) > 0  # all: no time tells which


def _origin_host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:  # `http://[`
        return ""


class _TooLongError(Exception):
    pass


async def _answer(send: Send, status: int, code: int, text: str) -> None:
    body = msgspec.json.encode({"error": code, "message": text})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
