"""View as a service: the live reader in one thread, uvicorn in another, both ended by the stop event."""

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import uvicorn

from opq_cloud.core.service import CloudContext, CloudService, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig, CloudKeys
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.view.app import create_app
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.reader import LiveReader
from opq_cloud.view.pages.services.addresses import ServiceAddresses, service_addresses
from opq_cloud.view.pages.shown.context import ViewContext
from opq_cloud.view.web.guard import ViewGuard, allowed_hosts, listen_address
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.visitors import Visitors
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.config.reading import default_data_dir
from opq_proto.decision import Nominal
from opq_proto.errors import PortBusyError
from opq_proto.keys.key_files import KeyFolder

STOP_CHECK_S = 0.1
LAST_ANSWERS_S = 1
"""Requests that are being answered at the stop have this long."""
SEND_BUFFER_BYTES = 131_072
"""The kernel's buffer for an answer that is not read (Linux doubles it); otherwise up to 4 MB."""
CONNECTIONS_BESIDE_STREAMS = 1000
"""Connections in addition to the live feeds; a request on a further one is answered with 503."""


class View:
    """The page at http://127.0.0.1:8888."""

    name = "view"

    def __init__(
        self,
        config: ViewSection,
        context: CloudContext,
        nominal: Nominal = DEFAULT_NOMINAL,
        keys: KeyFolder | None = None,
        addresses: ServiceAddresses | None = None,
    ) -> None:
        self._config = config
        self._context = context
        self._nominal = nominal
        self._keys = keys
        self._addresses = addresses or ServiceAddresses()
        self.counters = ServiceCounters()
        self.connections_beside_streams = CONNECTIONS_BESIDE_STREAMS
        self.url: str | None = None
        """The address of the page, known once the port is bound."""

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Serves until `stop`. Raises PortBusyError, ConfigError or StoreError when it cannot start."""
        host, port = listen_address(self._config.http_endpoint)
        with contextlib.closing(_bind(host, port)) as listener:
            name = f"[{host}]" if ":" in host else host
            self.url = f"http://{name}:{listener.getsockname()[1]}"
            hub = LiveHub(self.counters, streams=self._config.live_streams)
            store = self._context.store
            reader = LiveReader(store, hub, self.counters, self._config)
            reader.seed()
            mailer = Mailer(self._config.mail, self.counters)
            context = ViewContext(
                store,
                hub,
                self.counters,
                self._nominal,
                visitors=Visitors(store.people, self._config),
                mailer=mailer,
                keys=self._keys,
                addresses=self._addresses,
            )
            over_tls = (self._config.public_url or "").startswith("https://")
            guarded = ViewGuard(create_app(context), allowed_hosts(self._config), over_tls, self.counters)
            most_open = self._config.live_streams + self.connections_beside_streams
            ended = threading.Event()
            with ThreadPoolExecutor(1, thread_name_prefix="view.reader") as pool:
                reading = pool.submit(reader.run, _Either(stop, ended))
                reading.add_done_callback(lambda _: ended.set())
                try:
                    asyncio.run(_serve(guarded, listener, hub, most_open, ended, stop, ready))
                finally:
                    ended.set()
                    mailer.close()
                    context.firmware.close()
            reading.result()  # an error of the reader ends the service; its runner starts both again


class _Either(threading.Event):
    """Set when one of two events is set."""

    def __init__(self, first: threading.Event, second: threading.Event) -> None:
        super().__init__()
        self._parts = (first, second)

    def is_set(self) -> bool:
        return any(part.is_set() for part in self._parts)


class _Server(uvicorn.Server):
    """A server that leaves the process's signals to the program that runs the services."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(
    app: ViewGuard,
    listener: socket.socket,
    hub: LiveHub,
    most_open: int,
    ended: threading.Event,
    stop: threading.Event,
    ready: threading.Event | None,
) -> None:
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # failed requests are logged by app.py
            access_log=False,
            server_header=False,
            limit_concurrency=most_open,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=LAST_ANSWERS_S,
        )
    )
    serving = asyncio.create_task(server.serve([listener]))
    while not (stop.is_set() or ended.is_set() or serving.done()):
        if server.started and ready is not None and not ready.is_set():
            ready.set()
        await asyncio.sleep(STOP_CHECK_S if server.started else 0.005)
    hub.close()
    server.should_exit = True
    await serving


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP is named because asyncio sets TCP_NODELAY only then: otherwise an answer's body waited 40 ms
    # for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # for its connections too
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            why = f"port {port} on {host} is in use by another program; stop it, or choose another one"
        else:
            why = f"cannot listen on {host}:{port} ({error.strerror})"
        raise PortBusyError(f"view: {why}: [view] http_endpoint, or --port-offset K") from error
    return listener


def services(config: CloudConfig, context: CloudContext) -> list[CloudService]:
    """The service that `opq-cloud view` and `opq-cloud all` run."""
    keys = CloudKeys(config.keys, config.data_dir or default_data_dir())
    addresses = service_addresses(config)
    return [View(config.view, context, config.nominal, keys, addresses)]
