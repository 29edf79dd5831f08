"""View as a service: the live reader in one thread, uvicorn in another, both ended by the stop event."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from opq_cloud.core.service import CloudContext, CloudService, ServiceCounters
from opq_cloud.core.settings.config import CloudConfig, CloudKeys
from opq_cloud.core.settings.view import ViewSection
from opq_cloud.operations.service_addresses import ServiceAddresses, service_addresses
from opq_cloud.view.app import create_app
from opq_cloud.view.live.hub import LiveHub
from opq_cloud.view.live.reader import LiveReader
from opq_cloud.view.pages.visible.view_services import ViewServices
from opq_cloud.view.web.mail import Mailer
from opq_cloud.view.web.server import bound_listener, guarded, serve
from opq_cloud.view.web.visitors import Visitors
from opq_plugins.sdk.modules import DEFAULT_NOMINAL
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.system_place import default_data_dir

CONNECTIONS_BESIDE_STREAMS = 1000
"""Connections in addition to the live feeds; a request on a further one is answered with 503."""
SEEDED_S = 1.0
"""Longest wait for the newest values and incidents before pages are served; a slow store's come later."""


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
        self.seeded_s = SEEDED_S
        self.url: str | None = None
        """The address of the page, known once the port is bound."""

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        """Serves until `stop`. Raises PortBusyError, ConfigError or StoreError when it cannot start."""
        listener, self.url = bound_listener(self._config.http_endpoint)
        with listener:
            hub = LiveHub(self.counters, streams=self._config.live_streams)
            store = self._context.store
            reader = LiveReader(store, hub, self.counters, self._config)
            mailer = Mailer(self._config.mail, self.counters)
            services = ViewServices(
                store,
                hub,
                self.counters,
                Visitors(store.people, self._config),
                mailer,
                nominal=self._nominal,
                keys=self._keys,
                addresses=self._addresses,
            )
            app = guarded(create_app(services), self._config, self.counters)
            most_open = self._config.live_streams + self.connections_beside_streams
            ended, seeded = threading.Event(), threading.Event()
            with ThreadPoolExecutor(1, thread_name_prefix="view.reader") as pool:
                reading = pool.submit(reader.run, seeded)  # without `stop`, whose turns are the server's
                reading.add_done_callback(lambda _: ended.set())
                reading.add_done_callback(lambda _: seeded.set())
                try:
                    seeded.wait(self.seeded_s)
                    asyncio.run(serve(app, listener, hub.close, most_open, ended, stop, ready))
                finally:
                    reader.end()
                    mailer.close()
                    services.firmware.close()
                    services.examiner.close()
            reading.result()  # an error of the reader ends the service; its runner starts both again


def services(config: CloudConfig, context: CloudContext) -> list[CloudService]:
    """The service that `opq-cloud view` and `opq-cloud all` run."""
    keys = CloudKeys(config.keys, config.data_dir or default_data_dir())
    addresses = service_addresses(config)
    return [View(config.view, context, config.nominal, keys, addresses)]
