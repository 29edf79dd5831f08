"""A Box beside an attack, which loses nothing."""

import threading
import time
from types import SimpleNamespace
from typing import Any

from hostile_clients import LimitedCloud
from waiting import wait_for


class HonestBox:
    """Box 1, which sends ten Measurements a second beside an attack until each one is acknowledged."""

    def __init__(self, makai: Any, cloud: LimitedCloud) -> None:
        configured = SimpleNamespace(box_endpoint=cloud.endpoint(9880))
        commands = SimpleNamespace(
            command_endpoint=cloud.endpoint(8194), response_endpoint=cloud.endpoint(8196)
        )
        brokers = SimpleNamespace(
            server=cloud.server, pair=cloud.pair, triggering_config=configured, acquisition_config=commands
        )
        self._box = makai.holding_box(brokers, "1")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "HonestBox":
        self._thread.start()
        wait_for(lambda: self._box.upto > 0)
        return self

    def __exit__(self, *_: object) -> None:
        """Fails where one is not acknowledged."""
        self._stop.set()
        self._thread.join()
        until_s = time.monotonic() + 240
        while self._box.upto < self._box.sequence:
            assert time.monotonic() < until_s, f"{self._box.upto} of {self._box.sequence} acknowledged"
            self._box.serve()
            time.sleep(0.05)

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self._box.send()
            self._box.serve()
