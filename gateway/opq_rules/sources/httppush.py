"""httppush: receives POST or PUT at a path; the body is one record or an array, in the stream's FORMAT.

All streams with the same `server` share one HTTP server. It answers when the records are in the stream's
queue, so that a sender feels back pressure. A web page may not push: `opq_proto.kit.origin_guard`.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import ClassVar, Literal
from urllib.parse import urlsplit

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.config.settings import configured
from opq_proto.errors import PortBusyError
from opq_proto.kit.http_server import HttpServer, ReplyHandler
from opq_proto.kit.origin_guard import is_loopback, page_refusal

_LARGEST_BYTES = 16 << 20
READ_S = 30.0
"""Longest time until a request has arrived completely."""
MAX_CONNECTIONS = 100
"""Connections at a time to one address, one thread each; more are closed at once."""


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
        self._server = HttpServer(
            "httppush",
            address,
            _handler(self.streams, is_loopback(f"[{host}]" if ":" in host else host)),
            on_refused=self._report,
            on_late=self._report,
            most_at_once=MAX_CONNECTIONS,
            longest_s=READ_S,
        )
        self._server.start()

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

    def _report(self, text: str) -> None:
        for context in list(self.streams.values()):
            context.emit_error(text)


def _handler(
    streams: Mapping[tuple[str, str], SourceContext], on_loopback: bool
) -> type[BaseHTTPRequestHandler]:
    class PushHandler(ReplyHandler):
        server: HttpServer

        def do_POST(self) -> None:
            self._read_body("POST")

        def do_PUT(self) -> None:
            self._read_body("PUT")

        def _read_body(self, method: str) -> None:
            context = streams.get((method, urlsplit(self.path).path))
            length = self.headers.get("Content-Length", "")
            if context is None:
                return self._answer(404, "no stream listens here")
            headers = {name.lower(): value for name, value in self.headers.items()}
            if (foreign := page_refusal(headers, on_loopback)) is not None:
                context.emit_error(f"refused: {foreign}")
                return self._answer(403, foreign)
            if not (length.isascii() and length.isdigit()):
                return self._answer(411, "Content-Length is missing")
            if int(length) > _LARGEST_BYTES:
                return self._answer(413, f"at most {_LARGEST_BYTES} bytes")
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                return None
            self.server.end_time_limit(self.request)  # the next call may wait for room in the queue
            taken = context.emit_bytes([body], [{"path": self.path, "method": method}])
            return self._answer(200, "ok") if taken else self._answer(503, "the stream is ending")

        def _answer(self, status: int, text: str) -> None:
            self.send_reply((status, "text/plain", text.encode()))

    return PushHandler
