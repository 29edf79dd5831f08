"""Trends: minimum, maximum and mean of each metric over whole minutes, per Box.

Pure. Each measurement counts in its own minute, also when it comes late (the store widens a
minute that it has). A mean is weighted by the time that each covers: in idle mode one is a second,
the next a minute. A flagged one widens no limits (`wire.flagged`); a metric of which all are flagged has
its mean as both. Where a Box's clock was set back, so that seconds come again, the minute is a part: once it
is over, `trend_of` makes it of the stored ones, each second once. The original loses a maximum that comes
with a new minimum (docs/reference/opq-interop.md H.15), and the last minute of a Box that stops (H.16).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np
from numpy.typing import NDArray

from opq_cloud.makai.measurements.minute_columns import NEVER_NS, MinuteColumns, OpenMetrics
from opq_proto.decision import NS_PER_MS, window_ns
from opq_proto.messages import TREND_MS, Measurement, Trend
from opq_proto.wire.continuity import CLOCK_SET, CONTINUITY_METRICS, FLAGGED, FORMER_MISSING, RESTART
from opq_proto.wire.counted_once import counted_once
from opq_proto.wire.flagged import flags_of, widens_limits
from opq_proto.wire.measurement_columns import METRIC_NAMES, MeasuredBoxes, MeasurementColumns

LATE_S = 5.0
"""After the Box's next minute began, its last one stays open this long."""
SILENT_S = 65.0
"""The minute of a Box that stopped is closed after this."""
MAX_OPEN = 10_000
OF_ONE_MOMENT = (CONTINUITY_METRICS | {RESTART, FORMER_MISSING}) - {FLAGGED, CLOCK_SET}
"""Metrics that report what happened before a Measurement; they have no mean over a minute. A clock that was
set stays: the time that it jumped over is no hole (`store/trends/availability.py`)."""
OVERFULL_NS = 62 * 10**9
"""A minute with more has some seconds twice, or a long window of idle mode: it is made again."""
NEIGHBOUR_MS = 2_000
"""Of the Measurements around a minute, those that may have seconds of it."""


@dataclass(slots=True)
class OpenMinute:
    """One minute of one Box, growing."""

    touched_s: float
    partial: bool = False
    """The store may have others of this minute."""
    metrics: OpenMetrics = field(default_factory=dict)
    end_ns: int = NEVER_NS
    """The latest end of a window."""

    def add(self, measurement: Measurement) -> None:
        start_ns, end_ns = window_ns(measurement)
        length_ns = max(1, end_ns - start_ns)
        self.partial |= 2 * (self.end_ns - start_ns) >= length_ns
        self.end_ns = max(self.end_ns, end_ns)
        flags = flags_of(measurement.metrics)
        for key, metric in measurement.metrics.items():
            if key in OF_ONE_MOMENT:
                continue
            low, high, total, time_ns = self.metrics.get(key, (inf, -inf, 0.0, 0))
            if not flags or widens_limits(flags, key):
                first = high == -inf
                low = metric.min if first else min(low, metric.min)
                high = metric.max if first else max(high, metric.max)
            self.metrics[key] = low, high, total + metric.average * length_ns, time_ns + length_ns

    @property
    def time_ns(self) -> int:
        """Time that its Measurements cover, some of it perhaps twice."""
        return max((time_ns for _, _, _, time_ns in self.metrics.values()), default=0)


class Trends:
    """Open minutes of all Boxes."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], OpenMinute] = {}
        self._newest: dict[str, int] = {}
        self._minutes = MinuteColumns()

    def add(self, measurement: Measurement, now_s: float) -> None:
        """Adds a Measurement. A crossing one is left out: its window will repeat it. `now_s`: monotonic."""
        if measurement.crossing:
            return
        start_ms = measurement.timestamp_ms // TREND_MS * TREND_MS
        window = self._window(measurement.box_id, start_ms, now_s)
        window.partial |= measurement.backfilled
        window.add(measurement)

    def add_columns(self, columns: MeasurementColumns, now_s: NDArray[np.float64]) -> None:
        """Adds each of these with the same result, to the last bit; `now_s`: (n,) when each came."""
        starts_ms = columns.timestamp_ms // TREND_MS * TREND_MS
        keys = (starts_ms - starts_ms.min()) // TREND_MS * len(columns.boxes.ids) + columns.which
        groups, first, group = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(group, kind="stable")
        begins = np.searchsorted(group[order], np.arange(len(groups)))
        values = columns.metrics.astype(np.float64)[order]
        low = np.minimum.reduceat(values[:, :, 0], begins).tolist()
        high = np.maximum.reduceat(values[:, :, 1], begins).tolist()
        came_s = np.maximum.reduceat(now_s[order], begins).tolist()
        length_ns = np.maximum(1, columns.end_ns - columns.start_ns)
        time_ns = np.add.reduceat(length_ns[order], begins).tolist()
        weighted = columns.metrics[:, :, 2].astype(np.float64) * length_ns[:, np.newaxis]
        whose, minutes_ms = columns.which[first].tolist(), starts_ms[first].tolist()
        opened = {  # in the order in which the minutes come
            at: self._window(columns.boxes.ids[whose[at]], minutes_ms[at], came_s[at])
            for at in np.argsort(first).tolist()
        }
        windows = [opened[at] for at in range(len(groups))]
        ends_ns, starts_ns = columns.end_ns[order], columns.start_ns[order]
        before_ns = np.roll(ends_ns, 1)
        before_ns[begins] = [window.end_ns for window in windows]
        again = np.logical_or.reduceat(before_ns - starts_ns >= (length_ns[order] + 1) // 2, begins).tolist()
        latest_ns = np.maximum.reduceat(ends_ns, begins).tolist()
        for window, comes_again, end_ns in zip(windows, again, latest_ns, strict=True):
            window.partial |= comes_again or columns.backfilled
            window.end_ns = max(window.end_ns, end_ns)
        for place, name in enumerate(METRIC_NAMES):  # sums in the order of `add`, after the existing ones
            before = [window.metrics.get(name, (inf, -inf, 0.0, 0)) for window in windows]
            sums = np.bincount(
                np.concatenate((np.arange(len(groups)), group)),
                weights=np.concatenate(([each[2] for each in before], weighted[:, place])),
            ).tolist()
            for at, (window, known) in enumerate(zip(windows, before, strict=True)):
                window.metrics[name] = (
                    min(known[0], low[at][place]),
                    max(known[1], high[at][place]),
                    sums[at],
                    known[3] + time_ns[at],
                )

    def add_round(self, columns: MeasurementColumns, now_s: float) -> None:
        """Adds these, which came now."""
        if not self._minutes.is_of(columns.boxes):
            self._use_boxes(columns.boxes)
        for once in columns.rounds():
            for left in self._minutes.add(once, now_s):
                self.add_columns(left, np.full(len(left), now_s))

    def _use_boxes(self, boxes: MeasuredBoxes) -> None:
        for closed in self._minutes.over(0.0, 0.0, 0.0, True):
            self._open[closed[:2]] = self._joined(*closed)
        self._newest.update(self._minutes.newest_ms())
        self._minutes.use(boxes, self._newest)

    def _joined(
        self, box_id: str, start_ms: int, touched_s: float, partial: bool, metrics: OpenMetrics
    ) -> OpenMinute:
        """Joins the part from columns with the part from single Measurements of the same minute."""
        other = self._open.pop((box_id, start_ms), None)
        if other is None:
            return OpenMinute(touched_s, partial, metrics)
        for key, (low, high, total, time_ns) in metrics.items():
            known = other.metrics.get(key, (inf, -inf, 0.0, 0))
            other.metrics[key] = (
                min(low, known[0]), max(high, known[1]), total + known[2], time_ns + known[3]
            )  # fmt: skip
        other.touched_s, other.partial = max(touched_s, other.touched_s), other.partial or partial
        return other

    def _window(self, box_id: str, start_ms: int, now_s: float) -> OpenMinute:
        """Returns the minute in which a Measurement counts that comes now."""
        key = (box_id, start_ms)
        window = self._open.get(key)
        if window is None:
            # after a start, and where an outage cut a minute, its other half is stored already
            window = self._open[key] = OpenMinute(now_s, partial=box_id not in self._newest)
        window.touched_s = now_s
        self._newest[box_id] = max(start_ms, self._newest.get(box_id, start_ms))
        return window

    def due(self, now_s: float, everything: bool = False) -> list[Trend]:
        """Returns minutes that are over; with `everything` also those that are not."""
        return [trend for trend, _ in self.over(now_s, everything)]

    def over(self, now_s: float, everything: bool = False) -> list[tuple[Trend, bool]]:
        """Returns the same, and whether the store may have more of the minute than was added here."""
        closed = self._minutes.over(now_s, LATE_S, SILENT_S, everything)
        of_columns = [(each[:2], self._joined(*each)) for each in closed]
        over = [key for key, window in self._open.items() if everything or self._over(key, window, now_s)]
        excess = len(self._open) - len(over) - MAX_OPEN
        if excess > 0:
            rest = (item for item in self._open.items() if item[0] not in set(over))
            over += [key for key, _ in sorted(rest, key=lambda item: item[1].touched_s)[:excess]]
        windows = of_columns + [(key, self._open.pop(key)) for key in over]
        return [
            (_trend(key, window), window.partial or window.time_ns > OVERFULL_NS) for key, window in windows
        ]

    def _over(self, key: tuple[str, int], window: OpenMinute, now_s: float) -> bool:
        quiet_s = now_s - window.touched_s
        return quiet_s > SILENT_S or (self._newest[key[0]] > key[1] and quiet_s > LATE_S)


def trend_of(box_id: str, start_ms: int, rows: Sequence[Measurement]) -> tuple[Trend, bool]:
    """Returns the trend of one minute from all Measurements of it and of NEIGHBOUR_MS around it.

    Also returns whether some are left out, because others have their time: then a stored trend has them.
    """
    window = OpenMinute(0.0)
    counted = counted_once(rows)
    for row in counted:
        if row.timestamp_ms // TREND_MS * TREND_MS == start_ms:
            window.add(row)
    return _trend((box_id, start_ms), window), len(counted) < sum(not row.crossing for row in rows)


def _trend(key: tuple[str, int], window: OpenMinute) -> Trend:
    metrics = {
        name: (mean, mean, mean) if low == inf and high == -inf else (low, high, mean)
        for name, (low, high, total, time_ns) in window.metrics.items()
        for mean in [total / time_ns]
    }
    covered_ms = min(TREND_MS, window.time_ns // NS_PER_MS)
    return Trend(key[0], key[1], metrics, covered_ms=covered_ms)
