"""Deletes what is due, a slice at a time, so that no write waits for it."""

import threading
import time

from opq_cloud.service import CloudContext, Counters

EVERY_S = 60.0
PAUSE_S = 0.05
"""Between two slices."""


class Retention:
    """`store.expire`, every minute; several processes may do it at once."""

    name = "retention"

    def __init__(self, shared: CloudContext) -> None:
        self.counters = Counters()
        self._shared = shared

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        store = self._shared.store
        if ready is not None:
            ready.set()
        while not stop.wait(EVERY_S):
            while not stop.is_set() and (gone := store.expire(int(time.time()))):
                self.counters.add("rows_expired", gone)
                stop.wait(PAUSE_S)
