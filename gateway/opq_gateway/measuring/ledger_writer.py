"""Ledger writer: what was measured goes to the disk in a thread of its own, once a second.

An SD card may stand still for seconds; what is measured meanwhile goes up and out, and waits in memory
for the disk.
"""

import threading
import time
from collections.abc import Callable

from opq_gateway.counters import Counters
from opq_gateway.measuring.ledger import Ledger
from opq_proto import log
from opq_proto.rate_limit import RateLimitedLog

EVERY_S = 1.0


class LedgerWriter:
    """`add` before `run`."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._ledgers: list[tuple[Counters, Ledger, int]] = []
        self._lines = RateLimitedLog(log.get(service="gateway"), monotonic_s=monotonic_s)

    def add(self, counters: Counters, ledger: Ledger) -> None:
        self._ledgers.append((counters, ledger, 0))

    def run(self, stop: threading.Event) -> None:
        """Write once a second until `stop`, and what waits then."""
        while not stop.wait(EVERY_S):
            self.write()
        self.write()

    def write(self) -> None:
        """What waits; what the disk does not take, or had no room to wait, is lost, counted and told."""
        for at, (counters, ledger, dropped) in enumerate(self._ledgers):
            if ledger.dropped > dropped:
                counters.add("ledger_dropped", ledger.dropped - dropped)
                self._ledgers[at] = (counters, ledger, ledger.dropped)
            try:
                ledger.flush()
            except OSError as error:
                counters.add("ledger_failed")
                self._lines.error("ledger.failed", reason=error.strerror or str(error))
