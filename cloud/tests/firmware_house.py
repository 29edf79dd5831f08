"""A real broker and gateway, and a Box on a pty that judges images."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from updating_box import UpdatingBox

from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_gateway import config
from opq_gateway.gateway import Gateway
from opq_proto.keys.administrator import ensure_administrator


class FirmwareHouse:
    """Broker, gateway and Box 1, over real sockets and a pty; with the administrator's pair."""

    def __init__(self, makai: Any, box: UpdatingBox) -> None:
        self.makai, self.box = makai, box
        self.brokers = makai.brokers()
        ensure_administrator(self.brokers.keys)
        acquisition = self.brokers.acquisition_config
        self.addresses = ServiceAddresses(
            commands=acquisition.request_endpoint, answers=acquisition.answer_endpoint
        )
        lines = [
            f'data_dir = "{makai.folder}"',
            'health_endpoint = "127.0.0.1:0"',
            "[uplink]",
            f'trigger_endpoint = "{self.brokers.triggering_config.box_endpoint}"',
            f'command_endpoint = "{acquisition.command_endpoint}"',
            f'response_endpoint = "{acquisition.response_endpoint}"',
            "[[box]]",
            'id = "1"',
            f'port = "{box.path}"',
        ]
        self.file = makai.folder / "gateway.toml"
        self.file.write_text("\n".join(lines))

    @contextmanager
    def gateway(self) -> Iterator[Callable[[], None]]:
        """Runs one; what it yields ends it before its time."""
        running, stop = Gateway(config.load(self.file)), threading.Event()
        thread = threading.Thread(target=running.run, args=(stop,))
        thread.start()

        def end() -> None:
            stop.set()
            thread.join(240)
            assert not thread.is_alive()

        try:
            yield end
        finally:
            end()

    def wait_for_gateway(self) -> None:
        """Until the gateway hears commands."""
        counters = self.brokers.acquisition.counters
        self.makai.wait_for(lambda: counters.of("boxes_listening", "1"))
