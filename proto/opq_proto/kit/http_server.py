"""A small HTTP server: a thread per request, a limited number at once, each with a time limit.

class Handler(ReplyHandler):
    def do_GET(self) -> None:
        self.send_reply((200, "text/plain", b"well"))

server = HttpServer("health", "127.0.0.1:8913", Handler)
server.start()
"""

import contextlib
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.kit import log
from opq_proto.kit.origin_guard import ip_address

MAX_AT_ONCE = 16
LONGEST_S = 60.0
SILENT_S = 10.0
MAX_FIELDS = 10
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Content-Type of Prometheus' text format."""
ALL_ADDRESSES = ("", "*")
FORWARDED = ("forwarded", "x-forwarded-for")
"""Headers with which a proxy passes on the request of another machine."""

Reply = tuple[int, str, bytes]
"""HTTP status, content type, body."""
Target = tuple[str, dict[str, list[str]]]
"""Path and query."""
Report = Callable[[str], None]
"""Called with a reason, for a counter or a log line."""


def address_of(endpoint: str, key: str = "the address") -> tuple[str, int]:
    """Returns host and port of `host:port`, `[::1]:port` or `*:port`, with or without a scheme.

    Raises:
        ConfigError: it has another form; the text names it by `key`.
    """
    host, _, port = endpoint.rpartition("://")[2].rpartition(":")
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ConfigError(f"{key} is {endpoint!r}; want host:port, e.g. 127.0.0.1:8911")
    return ("0.0.0.0" if host in ALL_ADDRESSES else host.strip("[]")), int(port)


def url_of(endpoint: str, path: str = "/", port: int | None = None) -> str:
    """Where a service that binds `host:port` answers; one that binds all addresses does on loopback.

    Args:
        port: as it was bound, where `endpoint` leaves it open.
    Raises:
        ConfigError: as `address_of`.
    """
    host, named = address_of(endpoint)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{named if port is None else port}{path}"


def target_of(text: str) -> Target | None:
    """Returns path and query of a request's target; None where malformed or with over MAX_FIELDS fields."""
    try:
        url = urlsplit(text)
        return url.path, parse_qs(url.query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        return None


def has_two_lengths(names: Collection[bytes]) -> bool:
    """Whether a request's header names, in lower case, give its body two lengths (request smuggling).

    A proxy may believe the other one, so the server has to close the connection. Source: RFC 9112, 6.1.
    """
    return b"content-length" in names and b"transfer-encoding" in names


def bound_socket(host: str, port: int) -> socket.socket:
    """A listening socket for a server that takes one, such as uvicorn. Raises OSError.

    Early clients wait for the server's thread, and are not refused.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # asyncio: TCP_NODELAY
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


class HttpServer(ThreadingHTTPServer):
    """A server that is bound at once; it serves in its own thread from `start` to `end`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        name: str,
        endpoint: str,
        handler: type[BaseHTTPRequestHandler],
        *,
        on_refused: Report = lambda reason: None,
        on_late: Report = lambda reason: None,
        most_at_once: int = MAX_AT_ONCE,
        longest_s: float = LONGEST_S,
    ) -> None:
        """Binds the address.

        Args:
            name: the name in logs and errors.
            endpoint: an address that `address_of` reads.
            on_refused: called when a connection is closed unread because `most_at_once` are served.
            on_late: called when a connection is closed because its request took longer than `longest_s`.
            longest_s: limit of a request with its answer, or until `end_time_limit`, so that a peer that
                sends byte by byte does not occupy a thread for longer.
        Raises:
            ConfigError: the endpoint is not an address.
            PortBusyError: the address is in use, or not an address of this machine.
        """
        self._name = name
        self._on_refused, self._on_late = on_refused, on_late
        self._most_at_once = most_at_once
        self._longest_s = longest_s
        self._since_s: dict[socket.socket, float] = {}
        self._places = threading.BoundedSemaphore(most_at_once)
        address = address_of(endpoint, f"the address of {name}")
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        try:
            super().__init__(address, handler)
        except OSError as error:
            raise PortBusyError(
                f"{name}: address {endpoint} cannot be used: {error.strerror or error}"
            ) from error
        self._ending, self._end = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    def server_bind(self) -> None:
        """Binds without HTTPServer's query for this machine's name, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    @property
    def port(self) -> int:
        """The bound port; `endpoint` may have had 0."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serves until `end`."""
        self._thread.start()

    def end(self) -> None:
        """Stops serving and frees the address."""
        self._end.close()
        if self._thread.is_alive():
            self._thread.join()
        self.server_close()
        self._ending.close()

    def _serve(self) -> None:
        """Serves until `end`; while no request is open it does not wake up, as `serve_forever` does."""
        with selectors.DefaultSelector() as waiting:
            waiting.register(self, selectors.EVENT_READ)
            waiting.register(self._ending, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in waiting.select(self._late_in_s())}
                if self._ending in ready:
                    return
                if self in ready:
                    self.handle_request()
                self._cut_off_late()

    def end_time_limit(self, request: socket.socket) -> None:
        """Ends the time limit of a request that was read, so that its answer may take longer."""
        self._since_s.pop(request, None)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            self._since_s[request] = time.monotonic()
            super().process_request(request, client_address)
        else:
            self._on_refused(f"more than {self._most_at_once} connections; a connection was refused")
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._since_s.pop(request, None)
            self._places.release()

    def _late_in_s(self) -> float | None:
        """Returns the seconds until the oldest open request is late; None: no request is open."""
        oldest_s = min(list(self._since_s.values()), default=None)
        return None if oldest_s is None else max(0.0, oldest_s + self._longest_s - time.monotonic())

    def _cut_off_late(self) -> None:
        """Cuts off requests beyond their time limit; their threads then end."""
        now_s = time.monotonic()
        for request, since_s in list(self._since_s.items()):
            if now_s >= since_s + self._longest_s and self._since_s.pop(request, None) is not None:
                self._on_late(f"a request took longer than {self._longest_s:g} s; its connection was closed")
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs a broken connection as a warning, any other error as a bug with its traceback."""
        logger = log.get(page=self._name, peer=client_address[0])
        if isinstance(sys.exc_info()[1], OSError):
            logger.warning("page.broken_off")
        else:
            logger.exception("page.failed")


class ReplyHandler(BaseHTTPRequestHandler):
    """A handler that answers with a Reply and writes no line per request."""

    timeout = SILENT_S
    server_version = "opq"
    sys_version = ""

    @property
    def from_this_machine(self) -> bool:
        """Whether the request comes from loopback, and no proxy passes on somebody else's."""
        peer = ip_address(str(self.client_address[0]))
        return peer is not None and peer.is_loopback and not any(name in self.headers for name in FORWARDED)

    def send_reply(self, reply: Reply, headers: Mapping[str, str] | None = None) -> None:
        """Sends status, type, length, `headers` and body."""
        status, kind, body = reply
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: requests are counted, not logged."""
