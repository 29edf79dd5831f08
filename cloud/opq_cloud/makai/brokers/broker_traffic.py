"""Writes a broker's traffic into `makai_metrics` at a steady pace (the original's `metric_update_sec`).

A separate service in the broker's process, so that a slow or absent store does not delay or end a broker.
Traffic that could not be written counts in the next row. Unlike the original's, rows have their time and an
end, and the counts are summed up, not reset by the next message (docs/reference/opq-interop.md H.20)."""

import threading
import time
from collections.abc import Mapping

from opq_cloud.core.service import CloudContext, ServiceCounters
from opq_cloud.store.documents.makai_documents import BrokerTraffic
from opq_proto.errors import StoreError
from opq_proto.kit import log
from opq_proto.kit.rate_limit import RateLimitedLog


class TrafficRecorder:
    """Writes the increase of a broker's counters."""

    def __init__(
        self,
        broker: str,
        row_name: str,
        counted: ServiceCounters,
        names: Mapping[str, str],
        interval_s: float,
        shared: CloudContext,
    ) -> None:
        """`names`: field of the row -> counter of the broker. `row_name`: the original's `tb` or `ab`."""
        self.name = f"{broker}.traffic"
        self.counters = ServiceCounters()
        self._row_name, self._names = row_name, dict(names)
        self._counted = counted
        self._interval_s = interval_s
        self._shared = shared
        self._limited = RateLimitedLog(log.get(service=self.name))

    def run(self, stop: threading.Event, ready: threading.Event | None = None) -> None:
        before, since_s = self._counts(), time.monotonic()
        if ready is not None:
            ready.set()
        while not stop.wait(self._interval_s):
            now, now_s = self._counts(), time.monotonic()
            row = BrokerTraffic(
                self._row_name,
                time.time_ns() // 1_000_000,
                round(1000 * (now_s - since_s)),
                {field: now[field] - before[field] for field in self._names},
            )
            try:
                self._shared.store.put_traffic(row)
            except StoreError as error:
                self.counters.add("store_errors")
                self._limited.warning("traffic.not_written", error=str(error))
            else:
                self.counters.add("rows_written")
                before, since_s = now, now_s

    def _counts(self) -> dict[str, int]:
        return {field: int(self._counted.total(counter)) for field, counter in self._names.items()}
