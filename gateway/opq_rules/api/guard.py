"""Who may ask: tokens, no writing by foreign web pages, no body without bound. A plain ASGI wrapper.

Beyond loopback every request needs a token. On loopback none is needed, but a page in a browser is not
to write there ([opq_rules.foreign_pages]), and a plug-in's worker is not to ask at all
([opq_rules.api.peer]): it would leave its walls by a rule that writes where the server may.
"""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from opq_rules.api import marks
from opq_rules.api.patience import Edge
from opq_rules.api.peer import Address
from opq_rules.errors import CONFIGURATION, UNDEFINED
from opq_rules.foreign_pages import page_refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/ping", "/health")
"""Answered to anybody: they say that the service lives, and no more."""


class Guard:
    """`hashes`: SHA-256 of the allowed tokens, hexadecimal; none: loopback only."""

    def __init__(
        self,
        app: App,
        hashes: Sequence[str],
        most_bytes: int,
        edge: Edge | None = None,
        is_worker: Callable[[Address | None, Address | None], bool] = lambda client, server: False,
    ) -> None:
        """`is_worker(client, server)`: whether a plug-in's process has this connection."""
        self._is_worker = is_worker
        self._edge = edge or Edge()
        self._app, self._most_bytes = app, most_bytes
        self._hashes = [each.lower() for each in hashes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            self._edge.refused += 1
            await _answer(send, *refusal)
            return
        is_form = headers.get(b"content-type", "").lower().startswith("multipart/")
        taken, counted, too_long = 0, marks.Marks(), ""

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal taken, too_long
            message = await receive()
            body = message.get("body", b"")
            taken += len(body)
            if not is_form:
                counted.take(body)
            if taken > self._most_bytes:
                too_long = f"the body is longer than {self._most_bytes} bytes"
            elif counted.found > marks.MOST_MARKS:
                too_long = marks.told()
            if too_long:
                raise TooLongError
            return message

        async def unless_too_long(message: MutableMapping[str, Any]) -> None:
            if not too_long:  # else the application calls it unreadable, and we say why
                await send(message)

        with suppress(TooLongError):
            await self._app(scope, bounded, unless_too_long)
        if too_long:
            self._edge.refused += 1
            await _answer(send, 413, CONFIGURATION, too_long)

    def _refusal(self, scope: Scope, headers: dict[bytes, str]) -> tuple[int, int, str] | None:
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > self._most_bytes:
            return 413, CONFIGURATION, f"the body is longer than {self._most_bytes} bytes"
        if self._hashes:
            if scope["path"] in OPEN or self._knows(headers.get(b"authorization", "")):
                return None
            return 401, UNDEFINED, "Authorization: want one of the tokens of token_file"
        if scope["path"] not in OPEN and self._is_worker(scope.get("client"), scope.get("server")):
            return 403, UNDEFINED, "a plug-in's process may not ask here; token_file and a token allow it"
        told = {name.decode("latin-1"): value for name, value in headers.items()}
        foreign = page_refusal(told, on_loopback=True)
        return None if foreign is None else (403, UNDEFINED, foreign)

    def _knows(self, header: str) -> bool:
        token = (header[7:] if header[:7].lower() == "bearer " else header).strip()
        told = hashlib.sha256(token.encode()).hexdigest()
        return sum(hmac.compare_digest(told, each) for each in self._hashes) > 0  # all: no time tells which


class TooLongError(Exception):
    """To whoever reads a body that is refused: the Guard answers."""


async def _answer(send: Send, status: int, code: int, text: str) -> None:
    body = msgspec.json.encode({"error": code, "message": text})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
