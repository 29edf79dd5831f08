"""Health over HTTP: `/` in the original's contract, `/status` as its Mauka, `/metrics`.

Source: opq-interop F.4; contracts.md, Health.
"""

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opq_cloud.board import Board
from opq_cloud.health.metrics import CONTENT_TYPE, Metrics
from opq_cloud.service import Counters
from opq_proto.errors import ConfigError, PortBusyError

REQUEST_S = 5.0
POLL_S = 0.1
ALL_ADDRESSES = ("", "*")


class HealthService:
    """Answers for everything on `board`."""

    name = "health"

    def __init__(self, endpoint: str, board: Board, answers_as: str, any_path: bool = False) -> None:
        """`answers_as`: the name in the answer. `any_path`: as the original's Mauka, else 404."""
        self.counters = Counters()
        self._endpoint = endpoint
        self._board = board
        self._name = answers_as
        self._any_path = any_path
        self._metrics = Metrics(board)

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        with _server(self._endpoint, self._handler()) as server:
            thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), name="health.http")
            thread.start()
            try:
                if ready is not None:
                    ready.set()
                stop.wait()
            finally:
                server.shutdown()
                thread.join()

    def answer(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, content type and body of a GET."""
        self.counters.add("requests")
        path = path.partition("?")[0]
        if path == "/metrics":
            return HTTPStatus.OK, CONTENT_TYPE, self._metrics.text()
        if path == "/status":
            return HTTPStatus.OK, "application/json", json.dumps(self._board.plugin_status()).encode()
        if path in ("/", "/health") or self._any_path:
            document = self._board.health(self._name).as_json()
            return HTTPStatus.OK, "application/json", json.dumps(document).encode()
        return HTTPStatus.NOT_FOUND, "text/plain", b"Resource not found."

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_S
            server_version = "opq"
            sys_version = ""

            def do_GET(self) -> None:
                status, content_type, body = answer(self.path)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Requests are counted, not logged."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away in mid-answer concerns nobody."""


def _server(endpoint: str, handler: type[BaseHTTPRequestHandler]) -> _Server:
    host, _, port = endpoint.rpartition("://")[2].rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"health endpoint is {endpoint!r}; want host:port, e.g. 127.0.0.1:8911")
    try:
        return _Server(("0.0.0.0" if host in ALL_ADDRESSES else host, int(port)), handler)
    except OSError as error:
        raise PortBusyError(
            f"health cannot bind {endpoint}: {error.strerror}; end what holds it, set the service's "
            "health_endpoint (in `all`: health.whole_endpoint), or use --port-offset"
        ) from error
