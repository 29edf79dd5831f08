"""Buckets of a Box's Measurements, computed once for all visitors: an hour at 6 a second is 21,600 rows.

Data older than SETTLED_MS is read again only every REREAD_S, for Measurements that come late.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from opq_cloud.store.store import CloudStore
from opq_cloud.view.pages.shown.charts import Bucket, buckets

SETTLED_MS = 60_000
"""By then the Measurements of a stretch are stored, except backfilled ones."""
REREAD_S = 300.0
KEPT = 128
"""Charts in the cache; an hour in stretches of 10 s takes some 200 kB."""


@dataclass(slots=True)
class _Chart:
    """All buckets from `start_ms` to `end_ms`, read whole at `read_s` (monotonic)."""

    start_ms: int
    end_ms: int
    read_s: float
    by_start: dict[int, Bucket]


class BucketCache:
    """A cache of charts; `read` may be called from any thread."""

    def __init__(self, store: CloudStore, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._charts: OrderedDict[tuple[str, int], _Chart] = OrderedDict()

    def read(self, box_id: str, width_ms: int, start_ms: int, end_ms: int) -> tuple[Bucket, ...]:
        """The buckets with a Measurement in [start_ms, end_ms), in time order.

        Raises:
            StoreError: the store cannot be read.
        """
        start_ms = start_ms // width_ms * width_ms
        with self._lock:  # another reader of the same chart waits and then finds it complete
            chart = self._charts.get((box_id, width_ms))
            if chart is None or not self._is_usable(chart, start_ms):
                chart = self._whole(box_id, width_ms, start_ms, end_ms)
            elif end_ms > chart.end_ms:
                self._grow(chart, box_id, width_ms, end_ms)
            for old in [each for each in chart.by_start if each < start_ms]:
                del chart.by_start[old]
            chart.start_ms = start_ms
            self._charts[box_id, width_ms] = chart
            self._charts.move_to_end((box_id, width_ms))
            while len(self._charts) > KEPT:
                self._charts.popitem(last=False)
            return tuple(chart.by_start[each] for each in sorted(chart.by_start) if each < end_ms)

    def _is_usable(self, chart: _Chart, start_ms: int) -> bool:
        return chart.start_ms <= start_ms < chart.end_ms and self._monotonic_s() - chart.read_s < REREAD_S

    def _whole(self, box_id: str, width_ms: int, start_ms: int, end_ms: int) -> _Chart:
        found = buckets(self._store.measurements(box_id, start_ms, end_ms), width_ms)
        return _Chart(start_ms, end_ms, self._monotonic_s(), {each.start_ms: each for each in found})

    def _grow(self, chart: _Chart, box_id: str, width_ms: int, end_ms: int) -> None:
        """Reads new Measurements; a window longer than a stretch (idle mode) fills those before it."""
        since_ms = max(chart.start_ms, (chart.end_ms - SETTLED_MS) // width_ms * width_ms)
        for each in buckets(self._store.measurements(box_id, since_ms, end_ms), width_ms):
            if each.start_ms >= since_ms:
                chart.by_start[each.start_ms] = each
            elif each.start_ms >= chart.start_ms:
                chart.by_start.setdefault(each.start_ms, each)
        chart.end_ms = end_ms
