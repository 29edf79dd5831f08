"""Syncing: the disk itself gets what was appended, of all rings, in one thread.

Samples are had by the disk itself every `every_s`: so much a power cut costs, and a little more where the
disk is slow. Not in the thread that reads the ports, for a card may take a second over it.
"""

import threading
import time
from collections.abc import Mapping

from opq_gateway.counters import Counters
from opq_gateway.ring.ring import Ring
from opq_proto import log

TELL_S = 10.0


class Syncing:
    """One thread: `run`."""

    def __init__(self, rings: Mapping[str, Ring], counters: Mapping[str, Counters], every_s: float) -> None:
        self._rings = rings
        self._counters = counters
        self._every_s = every_s
        self._told_s = -TELL_S
        self._log = log.get(service="gateway")

    def run(self, stop: threading.Event) -> None:
        """Sync every `every_s` until `stop`, and once more then."""
        while not stop.wait(self._every_s):
            self.sync()
        self.sync()

    def sync(self) -> None:
        """One round; a disk that cannot is counted and told, the others go on."""
        for box_id, ring in self._rings.items():
            counters = self._counters[box_id]
            try:
                ring.sync()
            except OSError as error:
                counters.add("ring_sync_failed")
                now_s = time.monotonic()
                if now_s - self._told_s >= TELL_S:
                    self._told_s = now_s
                    self._log.error("ring.not_synced", box_id=box_id, reason=error.strerror or str(error))
            counters.set("ring_bad_records", ring.bad_records)
            counters.set("ring_deleted_segments", ring.deleted_segments)
            counters.set("ring_lost_records", ring.lost_records)
