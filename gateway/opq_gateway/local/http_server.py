"""HTTP server: what health and set-up page share: a thread per request, no more than a few at once, no
spelling of an address and no peer that breaks off is a traceback.
"""

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opq_proto import log
from opq_proto.errors import PortBusyError

AT_ONCE = 16
"""Requests that are served at one time; more are closed unheard."""
LONGEST_S = 60.0
"""Of a request with its answer (a scan takes 20 s): who trickles bytes holds a place no longer."""
MOST_FIELDS = 10

Reply = tuple[int, str, bytes]
"""HTTP status, content type, body."""
Target = tuple[str, dict[str, list[str]]]


def target_of(text: str) -> Target | None:
    """Path and query that a request asks for; None: it is none, or has too many fields."""
    try:
        url = urlsplit(text)
        return url.path, parse_qs(url.query, keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return None


class HttpServer(ThreadingHTTPServer):
    """Bound; serves in a thread of its own from `start` to `end`."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        name: str,
        endpoint: str,
        handler: type[BaseHTTPRequestHandler],
        overflow: Callable[[], None],
        longest_s: float = LONGEST_S,
    ) -> None:
        """`name` is the page's in logs; `overflow` is told of each request closed unheard.

        Raises:
            PortBusyError: the address is taken, or none of this machine.
        """
        self._name = name
        self._overflow = overflow
        self._longest_s = longest_s
        self._since_s: dict[socket.socket, float] = {}
        self._places = threading.BoundedSemaphore(AT_ONCE)
        host, _, port = endpoint.rpartition(":")
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host.strip("[]"), int(port)), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise PortBusyError(f"gateway: {name} address {endpoint} cannot be used: {reason}") from error
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.1}, name=name, daemon=True
        )

    def server_bind(self) -> None:
        """Without HTTPServer's question to the name service who this is, which may take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.port

    @property
    def port(self) -> int:
        """As bound."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve."""
        self._thread.start()

    def end(self) -> None:
        """Stop serving and free the address."""
        self.shutdown()
        self.server_close()
        self._thread.join()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            self._since_s[request] = time.monotonic()
            super().process_request(request, client_address)
        else:
            self._overflow()
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._since_s.pop(request, None)
            self._places.release()

    def service_actions(self) -> None:
        """With every turn of the loop: cut off who takes too long; its thread then ends by itself."""
        late_s = time.monotonic() - self._longest_s
        for request, since_s in list(self._since_s.items()):
            if since_s < late_s:
                self._since_s.pop(request, None)
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger = log.get(service="gateway", page=self._name, peer=client_address[0])
        if isinstance(sys.exc_info()[1], OSError):
            logger.warning("page.broken_off")
        else:
            logger.exception("page.failed")
