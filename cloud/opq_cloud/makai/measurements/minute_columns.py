"""Open minutes of many Boxes as arrays, where one object per Measurement would cost much bookkeeping.

`trends` has single Measurements and joins both; they add up in the same order, to the last bit.
"""

from collections.abc import Iterator, Mapping
from math import inf

import numpy as np
from numpy.typing import NDArray

from opq_proto.messages import TREND_MS
from opq_proto.wire.measurement_columns import METRIC_NAMES, MeasuredBoxes, MeasurementColumns

OpenMetrics = dict[str, tuple[float, float, float, int]]
"""Wire key -> min, max, sum of averages times nanoseconds, nanoseconds."""
Closed = tuple[str, int, float, bool, OpenMetrics]
"""Box, start of the minute in ms, when it was last touched, whether it is to be made again, its metrics."""
MAX_MINUTES = 8
"""Open at once: clocks of Boxes are seconds apart. Further minutes are handled as single Measurements."""
NEVER_MS = NEVER_NS = -(2**62)


class MinuteColumns:
    """Open minutes of the Boxes of one `MeasuredBoxes`. Its owner closes them before `use`."""

    def __init__(self) -> None:
        self._boxes = MeasuredBoxes((), ())
        self._newest_ms: NDArray[np.int64] = np.zeros(0, np.int64)
        """(boxes,) the newest minute of each."""
        self._open: dict[int, _Minute] = {}

    def newest_ms(self) -> dict[str, int]:
        """Returns the newest minute of each Box, where it has any."""
        pairs = zip(self._boxes.ids, self._newest_ms.tolist(), strict=True)
        return {box_id: start_ms for box_id, start_ms in pairs if start_ms != NEVER_MS}

    def use(self, boxes: MeasuredBoxes, newest_ms: Mapping[str, int]) -> None:
        """Sets the Boxes of later columns; nothing is open then. newest_ms: the newest known minutes."""
        self._boxes, self._open = boxes, {}
        self._newest_ms = np.array([newest_ms.get(box_id, NEVER_MS) for box_id in boxes.ids], np.int64)

    def is_of(self, boxes: MeasuredBoxes) -> bool:
        return boxes is self._boxes

    def add(self, columns: MeasurementColumns, now_s: float) -> list[MeasurementColumns]:
        """Adds at most one row of each Box; returns those that found no open minute."""
        starts_ms = columns.timestamp_ms // TREND_MS * TREND_MS
        left = []
        for start_ms in np.unique(starts_ms).tolist():
            own = starts_ms == start_ms
            part = columns if own.all() else columns.part(own)
            minute = self._open.get(start_ms)
            if minute is None:
                if len(self._open) >= MAX_MINUTES:
                    left.append(part)
                    continue
                minute = self._open[start_ms] = _Minute(len(self._boxes.ids))
            newest = self._newest_ms[part.which]
            minute.add(part, now_s, (newest == NEVER_MS) | columns.backfilled)
            self._newest_ms[part.which] = np.maximum(newest, start_ms)
        return left

    def over(self, now_s: float, late_s: float, silent_s: float, everything: bool) -> Iterator[Closed]:
        """Yields minutes that were not touched for `silent_s`, or `late_s` where the Box has a newer one."""
        for start_ms, minute in list(self._open.items()):
            quiet_s = now_s - minute.touched_s
            over = (quiet_s > silent_s) | ((self._newest_ms > start_ms) & (quiet_s > late_s)) | everything
            yield from self._closed(start_ms, minute, over & minute.there)
            if not minute.there.any():
                del self._open[start_ms]

    def _closed(self, start_ms: int, minute: "_Minute", over: NDArray[np.bool_]) -> Iterator[Closed]:
        places = np.flatnonzero(over)
        touched_s, partial = minute.touched_s[places].tolist(), minute.partial[places].tolist()
        rows = zip(places.tolist(), touched_s, partial, minute.pop(places), strict=True)
        for place, at_s, part, metrics in rows:
            yield self._boxes.ids[place], start_ms, at_s, part, metrics


class _Minute:
    """Arrays (boxes,) or (boxes, metrics) of one minute."""

    def __init__(self, count: int) -> None:
        self.touched_s = np.full(count, -inf)
        """Time of the last row, monotonic; -inf: none has come."""
        self.partial = np.zeros(count, np.bool_)
        self._low = np.full((count, len(METRIC_NAMES)), inf)
        self._high = np.full((count, len(METRIC_NAMES)), -inf)
        self._sums = np.zeros((count, len(METRIC_NAMES)))
        self._time_ns = np.zeros(count, np.int64)
        self._end_ns = np.full(count, NEVER_NS)
        """The latest end of a window: one that begins before it comes again, after its clock was set back."""

    @property
    def there(self) -> NDArray[np.bool_]:
        there: NDArray[np.bool_] = self.touched_s > -inf
        return there

    def add(self, columns: MeasurementColumns, now_s: float, first: NDArray[np.bool_]) -> None:
        which, metrics = columns.which, columns.metrics.astype(np.float64)
        length_ns = np.maximum(1, columns.end_ns - columns.start_ns)
        self._low[which] = np.minimum(self._low[which], metrics[:, :, 0])
        self._high[which] = np.maximum(self._high[which], metrics[:, :, 1])
        self._sums[which] += metrics[:, :, 2] * length_ns[:, np.newaxis]
        self._time_ns[which] += length_ns
        self.touched_s[which] = now_s
        before_ns = self._end_ns[which]
        self.partial[which] |= first | (before_ns - columns.start_ns >= (length_ns + 1) // 2)
        self._end_ns[which] = np.maximum(before_ns, columns.end_ns)

    def pop(self, places: NDArray[np.int64]) -> list[OpenMetrics]:
        """Removes and returns the metrics of these Boxes."""
        low, high = self._low[places].tolist(), self._high[places].tolist()
        rows = zip(low, high, self._sums[places].tolist(), self._time_ns[places].tolist(), strict=True)
        found = [
            {name: (lows[at], highs[at], sums[at], time_ns) for at, name in enumerate(METRIC_NAMES)}
            for lows, highs, sums, time_ns in rows
        ]
        self.touched_s[places], self.partial[places], self._end_ns[places] = -inf, False, NEVER_NS
        self._low[places], self._high[places], self._sums[places], self._time_ns[places] = inf, -inf, 0.0, 0
        return found
