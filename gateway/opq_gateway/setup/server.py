"""The set-up page's HTTP server: sockets and headers; the guard decides before anything else is done."""

import threading
from collections.abc import Mapping

from opq_gateway.counters import BoxCounters
from opq_gateway.setup.setup_guard import MAX_BODY_BYTES, SetupGuard, SetupRequest
from opq_gateway.setup.setup_page import SetupPage, error
from opq_gateway.setup.wifi import Wifi
from opq_proto.kit import log
from opq_proto.kit.http_server import HttpServer, Reply, ReplyHandler, target_of

NO_TARGET = error("the address of the request is malformed", 400)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class SetupServer:
    """Serves the page until `close`."""

    def __init__(
        self, endpoint: str, page: SetupPage, guard: SetupGuard, wifi: Wifi | None, counters: BoxCounters
    ) -> None:
        """Binds and serves.

        Raises:
            PortBusyError: the address is in use, or not one of this machine's.
        """
        handler = _handler(page, guard, wifi, counters)
        self._server = HttpServer(
            "set-up", endpoint, handler, on_refused=lambda reason: counters.add("setup_overflow")
        )
        self.port = self._server.port
        self._server.start()
        log.get(service="gateway").info("setup.serving", endpoint=endpoint, link="opq-gateway setup-link")

    def close(self) -> None:
        """Stops serving and frees the address."""
        self._server.end()


def _handler(
    page: SetupPage, guard: SetupGuard, wifi: Wifi | None, counters: BoxCounters
) -> type[ReplyHandler]:
    lock = threading.Lock()

    class SetupHandler(ReplyHandler):
        server_version = "opq-gateway"

        def do_GET(self) -> None:
            if not self._refused():
                target = target_of(self.path)
                self._answer(NO_TARGET if target is None else page.get(*target))

        def do_POST(self) -> None:
            if not self._refused():
                length = (self.headers.get_all("Content-Length") or "0")[-1]  # the request that the guard saw
                body = self.read_body(int(length))
                target = target_of(self.path)
                self._answer(NO_TARGET if target is None else page.post(target[0], body))

        def _refused(self) -> bool:
            headers = {name.lower(): value for name, value in self.headers.items()}
            here = self.connection.getsockname()[0]
            request = SetupRequest(self.command, self.path, headers, self.client_address[0], here)
            with lock:
                access_point = wifi is not None and wifi.state in ("access point", "joining")
                refusal = guard.refusal(request, access_point)
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
            """Reads the rest of the request, because closing would otherwise reset the connection and lose
            the answer."""
            length = self.headers.get("Content-Length", "")
            if length.isdecimal() and len(length) < 7:
                self.read_body(min(int(length), MAX_BODY_BYTES))

        def _answer(self, reply: Reply, more: Mapping[str, str] | None = None) -> None:
            self.send_reply(reply, {"Content-Security-Policy": page.policy, **HEADERS, **(more or {})})

    return SetupHandler
