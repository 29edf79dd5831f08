"""Intervals and disturbances on their way into the store, bounded; a full queue refuses and counts. They have
their own queue, so that Measurements do not wait for them. A refused one is not acknowledged, and its Box
sends it again.
"""

import threading
from collections import deque
from collections.abc import Iterable
from itertools import islice

from opq_cloud.core.service import ServiceCounters
from opq_proto.messages import Measurement

MOST_ROWS = 20_000
"""Some 40 MB: two weeks of five Boxes, or a minute of a thousand that come back together."""


class IntervalQueue:
    """A queue between two threads; `offer` never blocks. One reader."""

    def __init__(self, counters: ServiceCounters) -> None:
        self._counters = counters
        self._rows: deque[Measurement] = deque()
        self._lock = threading.Lock()

    def offer(self, rows: Iterable[Measurement]) -> None:
        """Adds rows; the newest are refused where there is no room."""
        refused = 0
        with self._lock:
            for row in rows:
                if len(self._rows) >= MOST_ROWS:
                    refused += 1
                else:
                    self._rows.append(row)
        if refused:
            self._counters.add("intervals_dropped", refused)

    def first(self, limit: int) -> list[Measurement]:
        """Returns the oldest rows, which stay until `remove`."""
        with self._lock:
            return list(islice(self._rows, limit))

    def remove(self, count: int) -> None:
        """Removes the oldest rows, which are stored."""
        with self._lock:
            for _ in range(count):
                self._rows.popleft()
