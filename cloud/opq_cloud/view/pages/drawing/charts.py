"""The data of charts as plain arrays: lines that keep their peaks, Measurements by minute.

Positions are in milliseconds from a given origin. Numbers come only from `opq_measure`. All is pure but for
the cache of buckets: an hour at 6 a second is 21,600 rows, computed once for all visitors.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_cloud.store.store import CloudStore
from opq_cloud.view.live.recent import window_ms
from opq_cloud.view.web.single_maker import SingleMaker
from opq_proto.measurement.fields import DRAWN_KEYS
from opq_proto.measurement.flagged import flags_of, widens_limits
from opq_proto.measurement.invariants import MAX_WINDOW_NS
from opq_proto.messages import Measurement, Metric
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.counted_once import counted_once

FloatArray = NDArray[np.float64]
Spread = tuple[float, float, float]

MAX_ENVELOPE_POINTS = 4000
MIN_SAMPLES_PER_CYCLE = 20
"""The least that `opq_measure` accepts."""
LONGEST_MS = MAX_WINDOW_NS / NS_PER_MS
"""No Measurement on the wire is longer; a stored one that claims more must not fill the chart."""
SETTLED_MS = 60_000
"""By then the Measurements of a stretch are stored, except backfilled ones."""
REREAD_S = 300.0
CHARTS_KEPT = 128
"""Charts in the cache; an hour in stretches of 10 s takes some 200 kB."""


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line to draw: (n,) milliseconds from the origin, rising, and (n,) values; NaN is a gap."""

    t_ms: FloatArray
    values: FloatArray
    reduced: bool = False
    """True where each pair of points is the lowest and highest of many samples."""


def reduce_min_max(t_ms: FloatArray, values: FloatArray, points: int) -> ChartLine:
    """About `points` points at most that keep every peak: lowest and highest of each stretch, in order."""
    index = peaks(values, points)
    return ChartLine(t_ms[index], values[index], reduced=len(index) < len(values))


def peaks(values: FloatArray, points: int) -> NDArray[np.intp]:
    """Rising positions of about `points` of `values`: lowest and highest of each stretch of equal length."""
    stretch = -(-2 * len(values) // max(2, points))
    if stretch <= 2:
        return np.arange(len(values))
    whole = len(values) // stretch * stretch
    parts = values[:whole].reshape(-1, stretch)
    starts = np.arange(len(parts)) * stretch
    picked = np.sort(np.stack((starts + parts.argmin(axis=1), starts + parts.argmax(axis=1)), axis=1), axis=1)
    rest = values[whole:]
    tail = np.unique([whole + int(rest.argmin()), whole + int(rest.argmax())]) if len(rest) else starts[:0]
    return np.unique(np.concatenate((picked.ravel(), tail)))


@dataclass(frozen=True, slots=True)
class HalfCycle:
    """One value of Urms(1/2) and the lowest and highest sample of its cycle; volts."""

    t_ms: float
    rms_v: float
    low_v: float
    high_v: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Measurements of one stretch of time."""

    start_ms: int
    windows: int
    values: dict[str, Spread | None]
    """(min, mean, max) by the names of DRAWN_KEYS; None where no Measurement has the metric."""
    coverage: float = 1.0
    """The share of the stretch that its Measurements cover."""
    flagged: int = 0
    """The highest `continuity.FLAGGED` among them; such ones widen no minimum or maximum."""


def buckets(measurements: Sequence[Measurement], width_ms: int) -> tuple[Bucket, ...]:
    """One bucket per `width_ms` (by UTC) that has a Measurement, in time order.

    Each second counts once (`counted_once`); a crossing repeats its window and is left out. A Measurement
    counts where it ends. One that is longer than a bucket (idle mode) counts in each bucket that it covers;
    in the mean, it has the weight of the covered time. `coverage` is of the time that each really covers.
    """
    groups: dict[int, list[tuple[Measurement, float]]] = {}
    covered_ms: dict[int, float] = {}
    for item in counted_once(measurements):
        for start_ms, share_ms in _parts(item, width_ms):
            covered_ms[start_ms] = covered_ms.get(start_ms, 0.0) + share_ms
        for start_ms, weight in _shares(item, width_ms):
            groups.setdefault(start_ms, []).append((item, weight))
    return tuple(
        Bucket(
            start_ms,
            len(rows),
            {name: _spread(rows, key, factor) for name, (key, factor) in DRAWN_KEYS.items()},
            round(min(1.0, covered_ms.get(start_ms, 0.0) / width_ms), 4),
            max(flags_of(item.metrics) for item, _ in rows),
        )
        for start_ms, rows in sorted(groups.items())
    )


def _shares(item: Measurement, width_ms: int) -> list[tuple[int, float]]:
    """(bucket, weight) of a Measurement."""
    length_ms = window_ms(item)
    if length_ms <= width_ms:
        return [(item.timestamp_ms // width_ms * width_ms, length_ms)]
    return _parts(item, width_ms)


def _parts(item: Measurement, width_ms: int) -> list[tuple[int, float]]:
    """(bucket, milliseconds in it) of a Measurement."""
    end_ms = item.timestamp_ms
    begin_ms = end_ms - min(window_ms(item), LONGEST_MS)
    last = end_ms // width_ms * width_ms
    starts = range(int(begin_ms // width_ms) * width_ms, last + 1, width_ms)
    shares = [(start, min(end_ms, start + width_ms) - max(begin_ms, start)) for start in starts]
    return [(start, share) for start, share in shares if share > 0]


def known_metric(measurement: Measurement, key: str) -> Metric | None:
    """The metric, if present with finite numbers; an original database may hold others."""
    metric = measurement.metrics.get(key)
    if metric is None or not all(map(math.isfinite, (metric.min, metric.max, metric.average))):
        return None
    return metric


def _spread(rows: Sequence[tuple[Measurement, float]], key: str, scale: float) -> Spread | None:
    known = [(row, metric, weight) for row, weight in rows if (metric := known_metric(row, key))]
    if not known:
        return None
    mean = sum(item.average * weight for _, item, weight in known) / sum(weight for *_, weight in known)
    wide = [item for row, item, _ in known if widens_limits(flags_of(row.metrics), key)]
    low = min((item.min for item in wide), default=mean)  # all are flagged: their mean
    high = max((item.max for item in wide), default=mean)
    return (low * scale, mean * scale, high * scale)


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
        self._maker = SingleMaker()
        self._charts: OrderedDict[tuple[str, int], _Chart] = OrderedDict()

    def read(self, box_id: str, width_ms: int, start_ms: int, end_ms: int) -> tuple[Bucket, ...]:
        """The buckets with a Measurement in [start_ms, end_ms), in time order.

        Raises:
            StoreError: the store cannot be read.
        """
        start_ms = start_ms // width_ms * width_ms
        with self._maker.made_here((box_id, width_ms)):  # another reader of the same chart finds it complete
            with self._lock:
                chart = self._charts.get((box_id, width_ms))
            if chart is None or not self._is_usable(chart, start_ms):
                chart = self._whole(box_id, width_ms, start_ms, end_ms)
            elif end_ms > chart.end_ms:
                self._grow(chart, box_id, width_ms, end_ms)
            for old in [each for each in chart.by_start if each < start_ms]:
                del chart.by_start[old]
            chart.start_ms = start_ms
            with self._lock:
                self._charts[box_id, width_ms] = chart
                self._charts.move_to_end((box_id, width_ms))
                while len(self._charts) > CHARTS_KEPT:
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
