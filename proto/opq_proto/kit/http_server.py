"""A small HTTP server: a thread per request, a limited number at once, each with a time limit.

A request has HEAD_S to arrive. Where the places are taken, a new connection gets that of an address that has
more than its own, else that of one whose request has not arrived. It serves what is installed without a web
framework: gateway, health of each service, updates.

class Handler(ReplyHandler):
    def do_GET(self) -> None:
        self.send_reply((200, "text/plain", b"well"))

server = HttpServer("health", "127.0.0.1:8913", Handler)
server.start()
"""

import contextlib
import io
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opq_proto.errors import ConfigError, PortBusyError
from opq_proto.kit import log
from opq_proto.kit.origin_guard import client_network, host_name, ip_address
from opq_proto.kit.rate_limit import RateLimitedLog

MAX_AT_ONCE = 16
LONGEST_S = 60.0
HEAD_S = 20.0
"""Time from a connection to its whole request, body included."""
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
    return (every_address() if host in ALL_ADDRESSES else host.strip("[]")), int(port)


@cache
def every_address() -> str:
    """The address with which a server listens at all of this machine's: those of both families, if it has."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


def set_families(opened: socket.socket, host: str) -> None:
    """Lets a socket that is to be bound to `::` take IPv4 too, whatever the machine's default is."""
    if host == "::":
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


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
        set_families(made, host)
        made.bind((host, port))
        made.listen(128)
    except BaseException:
        made.close()
        raise
    return made


@dataclass(slots=True)
class _OpenRequest:
    """A connection that has a place; times are monotonic."""

    address: str
    since_s: float
    until_s: float
    arrived: bool = False


class HttpServer(ThreadingHTTPServer):
    """A server that is bound at once; it serves in its own thread from `start` to `end`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        name: str,
        endpoint: str,
        handler: "type[ReplyHandler]",
        *,
        on_refused: Report = lambda reason: None,
        on_late: Report = lambda reason: None,
        most_at_once: int = MAX_AT_ONCE,
        longest_s: float = LONGEST_S,
        head_s: float = HEAD_S,
    ) -> None:
        """Binds the address.

        Args:
            name: the name in logs and errors.
            endpoint: an address that `address_of` reads.
            on_refused: called when a connection is closed because `most_at_once` are served.
            on_late: called when a connection is closed because its request took too long.
            longest_s: limit of a request with its answer, or until `end_time_limit`.
            head_s: limit until the request has arrived, so that a peer that sends byte by byte does not
                occupy a thread for longer.
        Raises:
            ConfigError: the endpoint is not an address.
            PortBusyError: the address is in use, or not an address of this machine.
        """
        self._name = name
        self._on_refused, self._on_late = on_refused, on_late
        self._most_at_once = most_at_once
        self._longest_s = longest_s
        self._head_s = min(head_s, longest_s)
        self._open: dict[socket.socket, _OpenRequest] = {}
        self._lock = threading.Lock()
        self._broken_off = RateLimitedLog(log.get(page=name))
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
        set_families(self.socket, str(self.server_address[0]))
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
        with self._lock:
            if request in self._open:
                self._open[request].arrived, self._open[request].until_s = True, float("inf")

    def note_arrived(self, request: socket.socket) -> None:
        """The whole request is read: from now on the limit of its answer holds."""
        with self._lock:
            found = self._open.get(request)
            if found is not None and not found.arrived:
                found.arrived, found.until_s = True, found.since_s + self._longest_s

    def process_request(self, request: Any, client_address: Any) -> None:
        now_s = time.monotonic()
        newcomer = _OpenRequest(client_network(str(client_address[0])), now_s, now_s + self._head_s)
        with self._lock:
            ended = self._place_for(newcomer) if len(self._open) >= self._most_at_once else None
            there_is_one = len(self._open) < self._most_at_once
            if there_is_one:
                self._open[request] = newcomer
        if ended is not None or not there_is_one:
            self._on_refused(f"more than {self._most_at_once} connections; a connection was refused")
        if ended is not None:
            _cut_off(ended)
        if there_is_one:
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def _place_for(self, newcomer: _OpenRequest) -> socket.socket | None:
        """The connection that has to go for a new one, already without its place; None: the new one has to.

        An address that has more than the new one's gives way first, then whose request has not arrived; the
        oldest goes. Addresses behind a proxy are one, so that the proxy has to limit them.
        """
        counts = Counter(each.address for each in self._open.values())
        address, count = counts.most_common(1)[0]
        found = list(self._open.items())
        if count > counts[newcomer.address] + 1:
            found = [each for each in found if each[1].address == address]
            found = [each for each in found if not each[1].arrived] or found
        else:
            found = [each for each in found if not each[1].arrived]
        if not found:
            return None
        oldest = min(found, key=lambda each: each[1].since_s)[0]
        del self._open[oldest]
        return oldest

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)

    def _late_in_s(self) -> float | None:
        """Returns the seconds until the first open request is late; None: no request is open."""
        with self._lock:
            first_s = min((each.until_s for each in self._open.values()), default=float("inf"))
        return None if first_s == float("inf") else max(0.0, first_s - time.monotonic())

    def _cut_off_late(self) -> None:
        """Cuts off requests beyond their time limit; their threads then end."""
        now_s = time.monotonic()
        with self._lock:
            late = {request: each for request, each in self._open.items() if now_s >= each.until_s}
            for request in late:
                del self._open[request]
        for request, each in late.items():
            limit_s = self._longest_s if each.arrived else self._head_s
            self._on_late(f"a request took longer than {limit_s:g} s; its connection was closed")
            _cut_off(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Logs broken connections as a warning once per period, any other error as a bug with its
        traceback."""
        if isinstance(sys.exc_info()[1], OSError):
            with self._lock:
                self._broken_off.warning("page.broken_off", peer=client_address[0])
        else:
            log.get(page=self._name, peer=client_address[0]).exception("page.failed")


def _cut_off(request: socket.socket) -> None:
    with contextlib.suppress(OSError):
        request.shutdown(socket.SHUT_RDWR)


class _Discarded(io.BufferedIOBase):
    """Takes a body that is not sent."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return len(data)


class ReplyHandler(BaseHTTPRequestHandler):
    """A handler that answers with a Reply and writes no line per request."""

    timeout = SILENT_S
    server_version = "opq"
    sys_version = ""

    @property
    def from_this_machine(self) -> bool:
        """Whether the request comes from this machine, and no proxy passes on somebody else's.

        It does where it comes from loopback, or from the very address that it came to.
        """
        peer = ip_address(str(self.client_address[0]))
        own = ip_address(str(self.connection.getsockname()[0]))
        here = peer is not None and (peer.is_loopback or peer == own)
        return here and not any(name in self.headers for name in FORWARDED)

    @property
    def asked_by_own_address(self) -> bool:
        """Whether Host is the very address that the request came to, which no other page can be named."""
        host = ip_address(host_name(self.headers.get("Host", "")))
        return host is not None and host == ip_address(str(self.connection.getsockname()[0]))

    def do_HEAD(self) -> None:
        """Answers as GET does, without the body."""
        get = getattr(self, "do_GET", None)
        if get is None:
            self.send_error(501)
        else:
            get()

    def end_headers(self) -> None:
        """Ends the head of the answer; what a handler writes after that of a HEAD request is not sent."""
        super().end_headers()
        if self.command == "HEAD":
            self.wfile = _Discarded()

    def parse_request(self) -> bool:
        """Reads the head of the request."""
        found = super().parse_request()
        if found and self.headers.get("Content-Length", "0") == "0":
            self._note_arrived()
        return found

    def read_body(self, length: int) -> bytes:
        """Reads the body, which ends the time for the request to arrive."""
        body = self.rfile.read(length)
        self._note_arrived()
        return body

    def _note_arrived(self) -> None:
        if isinstance(self.server, HttpServer):
            self.server.note_arrived(self.connection)

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
