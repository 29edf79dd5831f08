"""The HTTP server: uvicorn on a socket that is bound before it starts, ended by an event."""

import asyncio
import errno
import socket
import threading
from collections.abc import Callable

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.view.web.web_guard import App, ViewGuard, allowed_hosts, listen_address
from opq_proto.errors import PortBusyError
from opq_proto.kit.asgi_server import AsgiServer
from opq_proto.kit.http_server import set_families, url_of

STOP_CHECK_S = 0.4
SEND_BUFFER_BYTES = 131_072
"""The kernel's buffer for an answer that is not read (Linux doubles it); otherwise up to 4 MB."""


async def serve(
    app: ViewGuard,
    listener: socket.socket,
    end_streams: Callable[[], None],
    most_open: int,
    ended: threading.Event,
    stop: threading.Event,
    ready: threading.Event | None,
) -> None:
    server = AsgiServer(
        app,
        http="h11",
        ws="none",
        log_level="critical",  # failed requests are logged by app.py
        server_header=False,
        limit_concurrency=most_open,
        timeout_keep_alive=5,
    )
    serving = asyncio.create_task(server.serve([listener]))
    while not (stop.is_set() or ended.is_set() or serving.done()):
        if server.started and ready is not None and not ready.is_set():
            ready.set()
        await asyncio.sleep(STOP_CHECK_S if server.started else 0.005)
    end_streams()
    server.end()
    await serving


def guarded(app: App, config: ViewSection, counters: ServiceCounters) -> ViewGuard:
    """The application inside its guard."""
    over_tls = (config.public_url or "").startswith("https://")
    return ViewGuard(app, allowed_hosts(config), over_tls, counters, config.base_path)


def bound_listener(endpoint: str) -> tuple[socket.socket, str]:
    """The bound socket of an endpoint, and its URL. Raises PortBusyError or ConfigError."""
    host, port = listen_address(endpoint)
    listener = _bind(host, port)
    return listener, url_of(endpoint.rstrip("/"), "", listener.getsockname()[1])


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP is named because asyncio sets TCP_NODELAY only then: otherwise an answer's body waited 40 ms
    # for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # for its connections too
        set_families(listener, host)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} on {host} is in use by another program; stop it, or choose another one"
        else:
            why = f"cannot listen on {host}:{port} ({error.strerror})"
        raise PortBusyError(f"view: {why}: [view] http_endpoint, or --port-offset K") from error
    return listener
