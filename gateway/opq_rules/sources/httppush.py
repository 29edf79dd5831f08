"""httppush: takes POST or PUT at a path; the body is one record or an array, in the stream's FORMAT.

All streams with the same `server` share one HTTP server. The answer comes when the records are in
the stream's queue, so that a sender feels back pressure. A web page may not push: `opq_proto.origin_guard`.
"""

import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from opq_plugins.sdk import Source as SourceOfSdk
from opq_plugins.sdk import SourceContext
from opq_proto.origin_guard import is_loopback, page_refusal
from opq_proto.settings import configured

_LARGEST_BYTES = 16 << 20
_READ_TIMEOUT_S = 10.0
READ_S = 30.0
"""A request has to be whole by then."""
MOST_CONNECTIONS = 100
"""Of one address at a time, one thread each; more are closed at once."""


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
        self._at = (host.strip("[]"), int(port))
        self._path = "/" + datasource.lstrip("/")

    def open(self, context: SourceContext) -> None:
        try:
            door = _Door.at(self._at, (self._config.method, self._path), context)
        except OSError as error:
            context.connected(False, f"{self._config.server}: {error}")
            raise
        context.connected(True)
        while not context.wait(1.0):
            pass
        door.leave((self._config.method, self._path))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], trouble: Callable[[str], None]
    ) -> None:
        """`trouble`: counted and told with the streams that listen here."""
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._trouble = trouble
        self.until_s: dict[Any, float] = {}
        """Connections whose request is not whole yet, on the monotonic clock."""
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self._trouble(f"more than {MOST_CONNECTIONS} connections: one was refused")
            self.shutdown_request(request)
            return
        self.until_s[request] = time.monotonic() + READ_S
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.until_s.pop(request, None)
            self._free.release()

    def service_actions(self) -> None:
        """Twice a second."""
        now_s = time.monotonic()
        for request, until_s in list(self.until_s.items()):
            if until_s < now_s and self.until_s.pop(request, None) is not None:
                self._trouble(f"a request was not whole after {READ_S:g} s: it was cut")
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no fault to tell of."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Door:
    """One listening address and the streams behind its paths."""

    _open: ClassVar[dict[tuple[str, int], "_Door"]] = {}
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, address: tuple[str, int]) -> None:
        self.streams: dict[tuple[str, str], SourceContext] = {}
        self.address = address
        self._server = _Server(
            address, _handler(self.streams, is_loopback(_shown(address[0]))), self._trouble
        )
        self._thread = threading.Thread(target=self._server.serve_forever, name="httppush", daemon=True)
        self._thread.start()

    @classmethod
    def at(cls, address: tuple[str, int], path: tuple[str, str], context: SourceContext) -> "_Door":
        with cls._lock:
            door = cls._open.get(address)
            if door is None:
                door = cls._open[address] = cls(address)
            if path in door.streams:
                raise OSError(f"{path[0]} {path[1]} belongs to another stream; make it SHARED")
            door.streams[path] = context
        return door

    def _trouble(self, text: str) -> None:
        for context in list(self.streams.values()):
            context.emit_error(text)

    def leave(self, path: tuple[str, str]) -> None:
        with self._lock:
            self.streams.pop(path, None)
            if self.streams:
                return
            self._open.pop(self.address, None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _handler(
    streams: Mapping[tuple[str, str], SourceContext], on_loopback: bool
) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server: _Server
        timeout = _READ_TIMEOUT_S
        server_version, sys_version = "opq", ""

        def do_POST(self) -> None:
            self._take("POST")

        def do_PUT(self) -> None:
            self._take("PUT")

        def _take(self, method: str) -> None:
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
            self.server.until_s.pop(self.request, None)  # what follows may wait for room in the queue
            taken = context.emit_bytes([body], [{"path": self.path, "method": method}])
            return self._answer(200, "ok") if taken else self._answer(503, "the stream is ending")

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Counters tell of requests, not lines."""

    return Handler
