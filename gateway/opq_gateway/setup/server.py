"""The set-up page's HTTP server: sockets, heads, the guard's word before anything else."""

import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler

from opq_gateway.counters import Counters
from opq_gateway.local.http_server import HttpServer, Reply, target_of
from opq_gateway.setup.guard import MOST_BODY_BYTES, Asked, Guard
from opq_gateway.setup.page import SetupPage, error
from opq_gateway.setup.wifi import Wifi
from opq_proto import log

SILENT_S = 10.0
NO_TARGET = error("no such address can be", 400)


class SetupServer:
    """Serves the page until `close`."""

    def __init__(
        self, endpoint: str, page: SetupPage, guard: Guard, wifi: Wifi | None, counters: Counters
    ) -> None:
        """Bind and serve.

        Raises:
            PortBusyError: the address is taken, or none of this machine.
        """
        handler = _handler(page, guard, wifi, counters)
        self._server = HttpServer("set-up", endpoint, handler, lambda: counters.add("setup_overflow"))
        self.port = self._server.port
        self._server.start()
        log.get(service="gateway").info("setup.serving", endpoint=endpoint)

    def close(self) -> None:
        """Stop serving and free the address."""
        self._server.end()


def _handler(
    page: SetupPage, guard: Guard, wifi: Wifi | None, counters: Counters
) -> type[BaseHTTPRequestHandler]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        timeout = SILENT_S
        server_version = "opq-gateway"
        sys_version = ""

        def do_GET(self) -> None:
            if not self._refused():
                target = target_of(self.path)
                self._answer(NO_TARGET if target is None else page.get(*target))

        def do_POST(self) -> None:
            if not self._refused():
                length = (self.headers.get_all("Content-Length") or "0")[-1]  # the one that the guard saw
                body = self.rfile.read(int(length))
                target = target_of(self.path)
                self._answer(NO_TARGET if target is None else page.post(target[0], body))

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
