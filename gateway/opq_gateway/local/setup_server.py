"""The set-up page's HTTP server: sockets, heads, the guard's word before anything else."""

import socket
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opq_gateway.counters import Counters
from opq_gateway.local.setup_guard import MOST_BODY_BYTES, Asked, Guard
from opq_gateway.local.setup_page import Reply, SetupPage, error
from opq_gateway.local.wifi import Wifi
from opq_proto import log
from opq_proto.errors import PortBusyError

SILENT_S = 10.0
AT_ONCE = 16
"""Requests that are served at one time; more are closed unheard."""


class SetupServer:
    """Serves the page until `close`."""

    def __init__(
        self, endpoint: str, page: SetupPage, guard: Guard, wifi: Wifi | None, counters: Counters
    ) -> None:
        """Bind and serve.

        Raises:
            PortBusyError: the address is taken, or none of this machine.
        """
        host, _, port = endpoint.rpartition(":")
        try:
            self._server = _Server(
                (host.strip("[]"), int(port)), _handler(page, guard, wifi, counters), counters
            )
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PortBusyError(
                f"gateway: set-up address {endpoint} cannot be used: {reason}; change setup.endpoint"
            ) from error
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="set-up page", daemon=True
        )
        self._thread.start()
        log.get(service="gateway").info("setup.serving", endpoint=endpoint)

    def close(self) -> None:
        """Stop serving and free the address."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(
        self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], counters: Counters
    ) -> None:
        self._counters = counters
        self._places = threading.BoundedSemaphore(AT_ONCE)
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self._counters.add("setup_overflow")
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handleerror(self, request: Any, client_address: Any) -> None:
        log.get(service="gateway").warning("setup.broken_off", peer=client_address[0])


def _handler(
    page: SetupPage, guard: Guard, wifi: Wifi | None, counters: Counters
) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = SILENT_S
        server_version = "opq-gateway"
        sys_version = ""

        def do_GET(self) -> None:
            if self._refused():
                return
            url = urlsplit(self.path)
            self._answer(page.get(url.path, parse_qs(url.query, max_num_fields=10)))

        def do_POST(self) -> None:
            if self._refused():
                return
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(page.post(urlsplit(self.path).path, body))

        def _refused(self) -> bool:
            headers = {name.lower(): value for name, value in self.headers.items()}
            here = self.connection.getsockname()[0]
            asked = Asked(self.command, headers, self.client_address[0], here)
            with lock:
                access_point = wifi is not None and wifi.state in ("access point", "joining")
                refusal = guard.refusal(asked, access_point)
            if refusal is None:
                if wifi is not None and access_point:
                    wifi.used()
                return False
            counters.add("setup_refused")
            self._drain()
            more = {"Retry-After": str(refusal.wait_s)} if refusal.wait_s else {}
            if refusal.status == 401:
                more["WWW-Authenticate"] = 'Basic realm="OPQ set-up", charset="UTF-8"'
            self._answer(error(refusal.text, refusal.status), more)
            return True

        def _drain(self) -> None:
            """Else closing would reset the connection, and with it the answer."""
            length = self.headers.get("Content-Length", "")
            if length.isdecimal() and len(length) < 7:
                self.rfile.read(min(int(length), MOST_BODY_BYTES))

        def _answer(self, reply: Reply, more: Mapping[str, str] | None = None) -> None:
            status, kind, body = reply
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Security-Policy", page.policy)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cache-Control", "no-store")
            for name, value in (more or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """No line per request."""

    return Handler
