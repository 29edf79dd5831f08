"""httppush: receives POST or PUT at a path; the body is one record or an array, in the stream's FORMAT.

All streams with the same `server` share one HTTP server (ASGI, one thread); a client may keep its connection.
It answers when the records are in the stream's queue, so that a sender feels back pressure. A web page may
not push: `opq_proto.kit.origin_guard`.
"""

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_proto.errors import PortBusyError
from opq_proto.kit.asgi_server import AsgiServer
from opq_proto.kit.http_server import address_of, bound_socket
from opq_proto.kit.origin_guard import is_loopback, is_own_host, page_refusal

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as _HttpProtocol
except ImportError:  # without this library in C a request costs 100 us more
    from uvicorn.protocols.http.h11_impl import H11Protocol as _HttpProtocol  # type: ignore[assignment]

_LARGEST_BYTES = 16 << 20
READ_S = 30.0
"""Longest time until a request has arrived completely."""
MAX_HEAD_BYTES = 64 << 10
"""Longest request without its body, as far as it has arrived."""
MAX_CONNECTIONS = 100
"""Connections at a time to one address; more are closed at once."""
_CLOSED_S = 5.0


@dataclass(frozen=True, slots=True)
class Config:
    server: str = field(default="127.0.0.1:10081", metadata={"help": "host:port to listen at"})
    method: Literal["POST", "PUT"] = "POST"


class Source(SourceOfSdk):
    def configure(self, datasource: str, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        host, _, port = self._config.server.rpartition(":")
        if not host or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"server  is {self._config.server!r}; want host:port")
        self._path = "/" + datasource.lstrip("/")

    def open(self, context: SourceContext) -> None:
        try:
            server = _PushServer.at(self._config.server, (self._config.method, self._path), context)
        except (OSError, PortBusyError) as error:
            context.connected(False, f"{self._config.server}: {error}")
            raise
        context.connected(True)
        while not context.wait(1.0):
            pass
        server.leave((self._config.method, self._path))


class _PushServer:
    """One listening address and the streams that are fed by its paths."""

    _open: ClassVar[dict[str, "_PushServer"]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, address: str) -> None:
        self.streams: dict[tuple[str, str], SourceContext] = {}
        self._address = address
        host = address.rpartition(":")[0].strip("[]")
        self._socket = bound_socket(*address_of(address))
        app = _PushApp(self.streams, is_loopback(f"[{host}]" if ":" in host else host))
        self._server = AsgiServer(app, http=_limited(self._report))
        self._thread = threading.Thread(target=self._serve, name="httppush", daemon=True)
        self._thread.start()

    @classmethod
    def at(cls, address: str, path: tuple[str, str], context: SourceContext) -> "_PushServer":
        with cls._lock:
            server = cls._open.get(address)
            if server is None:
                server = cls._open[address] = cls(address)
            if path in server.streams:
                raise OSError(f"{path[0]} {path[1]} belongs to another stream; make it SHARED")
            server.streams[path] = context
        return server

    def leave(self, path: tuple[str, str]) -> None:
        with self._lock:
            self.streams.pop(path, None)
            if self.streams:
                return
            self._open.pop(self._address, None)
        self._server.end()
        self._thread.join(_CLOSED_S)

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def _report(self, text: str) -> None:
        for context in list(self.streams.values()):
            context.emit_error(text)


class _PushApp:
    """The ASGI application."""

    def __init__(self, streams: Mapping[tuple[str, str], SourceContext], on_loopback: bool) -> None:
        self._streams, self._on_loopback = streams, on_loopback

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        status, text = await self._answer(scope, receive)
        body = text.encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
        if status in (411, 413):
            headers.append((b"connection", b"close"))  # its body is not read
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Any, receive: Any) -> tuple[int, str]:
        method, path = scope["method"], scope["path"]
        context = self._streams.get((method, path))
        if context is None:
            return 404, "no stream receives at this path"
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        foreign = page_refusal(headers, self._on_loopback)
        if "origin" in headers and not is_own_host(headers.get("host", "")):
            foreign = (
                "requests of a page whose name may be anybody's are refused; use the address"  # rebinding
            )
        if foreign is not None:
            context.emit_error(f"refused: {foreign}")
            return 403, foreign
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            return 411, "Content-Length is missing"
        if int(length) > _LARGEST_BYTES:
            return 413, f"want at most {_LARGEST_BYTES} bytes"
        parts: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return 400, "the connection has ended"
            parts.append(message["body"])
            if not message["more_body"]:
                break
        body, meta = b"".join(parts), {"path": path, "method": method}
        has_room = getattr(context, "has_room", None)
        if has_room is not None and has_room(1, len(body)):
            taken = context.emit_bytes([body], [meta])
        else:  # the request may wait until the queue has room
            taken = await asyncio.to_thread(context.emit_bytes, [body], [meta])
        return (200, "ok") if taken else (503, "the stream is ending")


def _limited(report: Any) -> type[_HttpProtocol]:
    """uvicorn's protocol with limits of connections, of a request's head, and of the time that it takes."""

    class Limited(_HttpProtocol):
        _late: asyncio.TimerHandle | None = None
        _head_bytes = 0

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > MAX_CONNECTIONS:
                report(f"more than {MAX_CONNECTIONS} connections; a connection was refused")
                transport.abort()
                return
            self._late = self.loop.call_later(READ_S, self._cut)

        def data_received(self, data: bytes) -> None:
            if self._late is None:  # the first byte of a further request
                self._late = self.loop.call_later(READ_S, self._cut)
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._head_bytes = 0
                return
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                report(
                    f"the head of a request has more than {MAX_HEAD_BYTES} bytes; its connection was closed"
                )
                self.transport.abort()

        def on_response_complete(self) -> None:
            self._head_bytes = 0
            self._forget()
            super().on_response_complete()

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _forget(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _cut(self) -> None:
            self._late = None
            if self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body:
                return  # it is complete, and waits for room in the queue
            report(f"a request was not complete after {READ_S:g} s; its connection was closed")
            self.transport.abort()

    return Limited
