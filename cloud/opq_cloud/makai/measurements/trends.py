"""Trends: minimum, maximum and mean of each metric over whole minutes, per Box.

Pure, as arrays with a row for each open minute of a Box. Each measurement counts in its own minute, also
when it comes late (the store widens a minute that it has). A mean is weighted by the time that each covers:
in idle mode one is a second, the next a minute. A flagged one widens no limits (`measurement.flagged`); a
metric of which all are flagged has its mean as both, and the least number of `flagged` is 0 only where a
Measurement is not flagged. Where a Box's clock was set back, so that seconds come
again, the minute is a part: once it is over, `trend_of` makes it of the stored ones, each second once. The
original loses a maximum that comes with a new minimum (docs/reference/opq-interop.md H.15), and the last
minute of a Box that stops (H.16).
"""

from collections.abc import Collection, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from opq_proto.decision import window_ns
from opq_proto.measurement.batch import Measurements
from opq_proto.measurement.continuity import CLOCK_SET, CONTINUITY_METRICS, FLAGGED, FORMER_MISSING, RESTART
from opq_proto.measurement.fields import METRIC_NAMES
from opq_proto.measurement.flagged import flags_of, widens_limits
from opq_proto.messages import TREND_MS, Measurement, Trend
from opq_proto.time_units import NS_PER_MS
from opq_proto.wire.counted_once import counted_once

LATE_S = 5.0
"""After the Box's next minute began, its last one stays open this long."""
SILENT_S = 65.0
"""The minute of a Box that stopped is closed after this."""
MAX_OPEN = 10_000
"""Open minutes beyond two of each Box."""
METRICS_WITHOUT_MEAN = (CONTINUITY_METRICS | {RESTART, FORMER_MISSING}) - {FLAGGED, CLOCK_SET}
"""Metrics that report what happened before a Measurement; they have no mean over a minute. A clock that was
set stays: the time that it jumped over is not a hole (`store/trends/availability.py`)."""
OVERFULL_NS = 62 * 10**9
"""A minute with more has some seconds twice, or a long window of idle mode: it is made again."""
NEIGHBOUR_MS = 2_000
"""Of the Measurements around a minute, those that may have seconds of it."""


OpenMetrics = dict[str, tuple[float, float, float, int]]
"""Wire key -> min, max, sum of averages times nanoseconds, nanoseconds."""
_USUAL = len(METRIC_NAMES)
_NEVER_NS = -(2**62)
_GROWS_BY = 1024


class Trends:
    """Open minutes of all Boxes."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], int] = {}
        """Box and start of a minute -> its row."""
        self._free: list[int] = []
        self._newest: dict[str, int] = {}
        self._touched_s: list[float] = []
        self._partial: NDArray[np.bool_] = np.zeros(0, np.bool_)
        """(rows,) whether the store may have others of this minute."""
        self._end_ns: NDArray[np.int64] = np.zeros(0, np.int64)
        """(rows,) the latest end of a window: one that begins before it comes again, after its clock was set
        back.
        """
        self._low = self._high = self._sums = np.zeros((0, _USUAL))
        self._time_ns: NDArray[np.int64] = np.zeros((0, _USUAL), np.int64)
        """(rows, metrics) as in OpenMetrics."""
        self._others: dict[int, OpenMetrics] = {}
        """Row -> metrics that not every Measurement has."""

    def add(self, columns: Measurements, now_s: float) -> None:
        """Adds these, which come at `now_s` (monotonic), but for crossings: their windows repeat them."""
        windows = columns.part(~columns.crossing) if columns.crossing.any() else columns
        for each in windows.rounds():
            if len(each):
                self._add(each, now_s)

    def _add(self, columns: Measurements, now_s: float) -> None:
        starts_ms = (columns.timestamp_ms // TREND_MS * TREND_MS).tolist()
        keys = zip(columns.ids, starts_ms, strict=True)
        rows = [self._touched_row(key, now_s) for key in keys]
        at = np.array(rows)
        low, high, mean = columns.values.transpose(1, 2, 0).copy()
        for place, row in columns.extra.items():
            _add_metrics(self._others.setdefault(rows[place], {}), row, METRIC_NAMES)
            if flags := flags_of(row.metrics):
                spoilt = [not widens_limits(flags, name) for name in METRIC_NAMES]
                low[place, spoilt] = high[place, spoilt] = np.nan
        length_ns = np.maximum(1, columns.end_ns - columns.start_ns)
        there = ~np.isnan(mean)
        self._low[at] = np.fmin(self._low[at], low)
        self._high[at] = np.fmax(self._high[at], high)
        self._sums[at] += np.where(there, mean * length_ns[:, np.newaxis], 0.0)
        self._time_ns[at] += np.where(there, length_ns[:, np.newaxis], 0)
        before_ns = self._end_ns[at]
        self._partial[at] |= (before_ns - columns.start_ns >= (length_ns + 1) // 2) | columns.backfilled
        self._end_ns[at] = np.maximum(before_ns, columns.end_ns)

    def _touched_row(self, key: tuple[str, int], now_s: float) -> int:
        """Returns the row of a minute in which a Measurement counts that comes now."""
        at = self._open.get(key)
        box_id, start_ms = key
        if at is None:
            at = self._open[key] = self._free_row()
            newest_ms = self._newest.get(box_id)
            # after a start, and where an outage cut a minute, its other half is stored already
            self._partial[at] = newest_ms is None
            self._newest[box_id] = start_ms if newest_ms is None else max(start_ms, newest_ms)
        self._touched_s[at] = now_s
        return at

    def _free_row(self) -> int:
        if not self._free:
            count = len(self._touched_s)
            self._free = list(range(count, count + _GROWS_BY))
            self._touched_s += [0.0] * _GROWS_BY
            for name, new in (
                ("_partial", False),
                ("_end_ns", _NEVER_NS),
                ("_low", inf),
                ("_high", -inf),
                ("_sums", 0.0),
                ("_time_ns", 0),
            ):
                old = getattr(self, name)
                setattr(
                    self, name, np.concatenate((old, np.full((_GROWS_BY, *old.shape[1:]), new, old.dtype)))
                )
        return self._free.pop()

    def due(self, now_s: float, everything: bool = False) -> list[Trend]:
        """Returns minutes that are over; with `everything` also those that are not."""
        return [trend for trend, _ in self.over(now_s, everything)]

    def over(self, now_s: float, everything: bool = False) -> list[tuple[Trend, bool]]:
        """Returns the same, and whether the store may have more of the minute than was added here."""
        over = [key for key, at in self._open.items() if everything or self._is_over(key, at, now_s)]
        excess = len(self._open) - len(over) - MAX_OPEN - 2 * len(self._newest)
        if excess > 0:
            rest = self._open.keys() - set(over)
            over += sorted(rest, key=lambda key: self._touched_s[self._open[key]])[:excess]
        return [self._closed(key) for key in over]

    def _is_over(self, key: tuple[str, int], at: int, now_s: float) -> bool:
        quiet_s = now_s - self._touched_s[at]
        return quiet_s > SILENT_S or (quiet_s > LATE_S and self._newest[key[0]] > key[1])

    def _closed(self, key: tuple[str, int]) -> tuple[Trend, bool]:
        at = self._open.pop(key)
        columns = (each[at].tolist() for each in (self._low, self._high, self._sums, self._time_ns))
        usual = {
            name: figures
            for name, figures in zip(METRIC_NAMES, zip(*columns, strict=True), strict=True)
            if figures[3]
        }
        trend, longest_ns = _trend(*key, usual | self._others.pop(at, {}))
        partial = bool(self._partial[at]) or longest_ns > OVERFULL_NS
        self._end_ns[at], self._low[at], self._high[at] = _NEVER_NS, inf, -inf
        self._sums[at], self._time_ns[at] = 0.0, 0
        self._free.append(at)
        return trend, partial


def trend_of(box_id: str, start_ms: int, rows: Sequence[Measurement]) -> tuple[Trend, bool]:
    """Returns the trend of one minute from all Measurements of it and of NEIGHBOUR_MS around it.

    Also returns whether some are left out, because others have their time: then a stored trend has them.
    """
    metrics: OpenMetrics = {}
    counted = counted_once(rows)
    for row in counted:
        if row.timestamp_ms // TREND_MS * TREND_MS == start_ms:
            _add_metrics(metrics, row, ())
    left_out = len(counted) < sum(not row.crossing for row in rows)
    return _trend(box_id, start_ms, metrics)[0], left_out


def _add_metrics(known: OpenMetrics, row: Measurement, but: Collection[str]) -> None:
    """Adds the metrics of one Measurement, but for those."""
    start_ns, end_ns = window_ns(row)
    length_ns = max(1, end_ns - start_ns)
    flags = flags_of(row.metrics)
    for key, metric in row.metrics.items():
        if key in METRICS_WITHOUT_MEAN or key in but:
            continue
        low, high, total, time_ns = known.get(key, (inf, -inf, 0.0, 0))
        if not flags or widens_limits(flags, key):
            low, high = min(low, metric.min), max(high, metric.max)
        known[key] = low, high, total + metric.average * length_ns, time_ns + length_ns


def _trend(box_id: str, start_ms: int, metrics: OpenMetrics) -> tuple[Trend, int]:
    """Returns the trend, and the time that its Measurements cover, some of it perhaps twice."""
    found = {
        name: (mean, mean, mean) if low == inf and high == -inf else (low, high, mean)
        for name, (low, high, total, time_ns) in metrics.items()
        for mean in [total / time_ns]
    }
    longest_ns = max((time_ns for _, _, _, time_ns in metrics.values()), default=0)
    if FLAGGED in metrics and metrics[FLAGGED][3] < longest_ns:
        found[FLAGGED] = (0.0, *found[FLAGGED][1:])
    return Trend(box_id, start_ms, found, covered_ms=min(TREND_MS, longest_ns // NS_PER_MS)), longest_ns
