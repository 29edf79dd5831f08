"""httppush: takes POST or PUT at a path; the body is one record or an array, in the stream's FORMAT.

All streams with the same `server` share one HTTP server. The answer comes when the records are in
the stream's queue, so that a sender feels back pressure.
"""

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from opq_rules.plugins.settings import configured
from opq_rules.sdk import Source as SourceOfSdk
from opq_rules.sdk import SourceContext

_LARGEST_BYTES = 16 << 20
_READ_TIMEOUT_S = 10.0
MOST_CONNECTIONS = 100
"""Of one address at a time, one thread each; more are closed at once."""


@dataclass(frozen=True, slots=True)
class Config:
    server: str = field(default="127.0.0.1:10081", metadata={"help": "host:port to listen at"})
    method: Literal["POST", "PUT"] = "POST"


class Source(SourceOfSdk):
    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
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

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

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
        self._server = _Server(address, _handler(self.streams))
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

    def leave(self, path: tuple[str, str]) -> None:
        with self._lock:
            self.streams.pop(path, None)
            if self.streams:
                return
            self._open.pop(self.address, None)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)


def _handler(streams: Mapping[tuple[str, str], SourceContext]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
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
            if not (length.isascii() and length.isdigit()):
                return self._answer(411, "Content-Length is missing")
            if int(length) > _LARGEST_BYTES:
                return self._answer(413, f"at most {_LARGEST_BYTES} bytes")
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                return None
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
