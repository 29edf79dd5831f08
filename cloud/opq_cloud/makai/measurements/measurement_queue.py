"""Measurements on their way into the store, in batches: bounded in rows, drops are counted.

Similar to `opq_proto.kit.channel.Channel`, which counts its items.
"""

import threading
import time
from collections import deque

from opq_proto.measurement.batch import Measurements


class MeasurementQueue:
    """A queue between two threads; `offer` never blocks.

    Attributes:
        dropped: rows that found no room.
    """

    def __init__(self, limit_rows: int) -> None:
        self.dropped = 0
        self._limit = limit_rows
        self._rows = 0
        self._items: deque[Measurements] = deque()
        self._wanted = 1
        """Rows that the waiting reader wants."""
        self._changed = threading.Condition()

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    def offer(self, item: Measurements) -> None:
        """Adds an item; the oldest are dropped where there is no room."""
        with self._changed:
            self._items.append(item)
            self._rows += len(item)
            while self._rows > self._limit and len(self._items) > 1:
                gone = len(self._items.popleft())
                self._rows -= gone
                self.dropped += gone
            if self._rows >= self._wanted:
                self._changed.notify()

    def receive(
        self, limit_rows: int | None = None, least_rows: int = 1, timeout_s: float = 0.0
    ) -> list[Measurements]:
        """Returns the oldest items, about `limit_rows` at most; waits up to `timeout_s` for `least_rows`."""
        until_s = time.monotonic() + timeout_s
        taken: list[Measurements] = []
        with self._changed:
            self._wanted = least_rows
            while self._rows < least_rows and (left_s := until_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            count = 0
            while self._items and (limit_rows is None or count < limit_rows):
                item = self._items.popleft()
                count += len(item)
                taken.append(item)
            self._rows -= count
        return taken
