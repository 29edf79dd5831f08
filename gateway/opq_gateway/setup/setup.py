"""Set-up: builds the page, its guard and Wi-Fi where they are configured."""

import threading
from collections.abc import Callable, Mapping
from functools import partial

from opq_gateway.commands.local_orders import LocalOrders
from opq_gateway.config import Config
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measuring.feed import MeasuredFeed
from opq_gateway.setup import saved
from opq_gateway.setup.networks import Secret
from opq_gateway.setup.nmcli import Nmcli
from opq_gateway.setup.server import SetupServer
from opq_gateway.setup.setup_guard import SetupGuard
from opq_gateway.setup.setup_page import SetupPage
from opq_gateway.setup.setup_surroundings import read_password
from opq_gateway.setup.state import SetupState
from opq_gateway.setup.wifi import Wifi
from opq_proto.errors import ConfigError


class SetupService:
    """Serves until `close`.

    Attributes:
        runs: for each thread's name, the function that it runs until its stop event.
    """

    def __init__(
        self,
        config: Config,
        statuses: Mapping[str, BoxStatus],
        counters: Mapping[str, BoxCounters],
        public_keys: Mapping[str, str],
        feed: MeasuredFeed,
        stop: threading.Event,
        orders: LocalOrders,
    ) -> None:
        """Binds; does nothing without setup.endpoint.

        Raises:
            PortBusyError: the address cannot be used.
            ConfigError: the password file cannot be read.
        """
        self.runs: dict[str, Callable[[threading.Event], None]] = {}
        self._close: Callable[[], None] | None = None
        self._config = config
        self._counters = counters[config.box[0].id]
        if config.setup.endpoint is None:
            return
        password = self._password()
        wifi = None
        if config.setup.wifi:
            wifi = Wifi(Nmcli(stop), config.setup.ssid, password, True, self._counters)
            self.runs["wifi"] = wifi.run
        shown = SetupState(config, statuses, counters, public_keys, feed, wifi)
        save = partial(saved.save_and_restart, config, stop, self._counters)
        page = SetupPage(shown, wifi, save, orders.links, claims=orders.claims)
        guard = SetupGuard(password, orders.links)
        server = SetupServer(config.setup.endpoint, page, guard, wifi, self._counters)
        orders.links.serve_at(config.setup.endpoint, server.port)
        self._close = server.close

    def close(self) -> None:
        """Frees the address."""
        if self._close is not None:
            self._close()

    def _password(self) -> Secret | None:
        path = self._config.setup.password_file
        if path is None:
            return None
        try:
            return Secret(read_password(path)) if read_password(path) else None
        except OSError as error:
            raise ConfigError(
                f"setup.password_file: {path}: {error.strerror}, nothing was started"
            ) from error
