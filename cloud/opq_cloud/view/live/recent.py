"""The recent Measurements of one Box, in time order, in whatever order they came.

A limit crossing is sent at once, so it comes before the window that contains it. Both are stored, and a
crossing's missing values are those of the newest window. The sending rate of the Box follows from the
windows: in idle mode one Measurement covers a minute or more.

The order of arrival decides which is newer, by sequence numbers if a Box sends them: after its clock was set
back, its Measurements have earlier times and replace the rows after these times.
"""

from collections import deque
from dataclasses import dataclass, replace
from math import nan

from opq_cloud.core.lateness import PATIENCE_MS, late_ms
from opq_proto.decision import ORIGINAL_WINDOW_MS
from opq_proto.messages import UNKNOWN_UNCERTAINTY_NS, Measurement
from opq_proto.time_units import NS_PER_MS

RECENT_MEASUREMENTS = 300
"""Per Box, for the line of the last minutes (5 min at one a second)."""
KEPT_TOGETHER = 100_000
"""Measurements of all Boxes in memory, 1 kB each: beyond 333 Boxes the lines are shorter."""
MIN_KEPT = 10
"""Measurements of each Box in memory, at least."""
RECENT_MS = 300_000
CROSSING_MS = 3000
"""A crossing that is older than the newest window by less than this lies in it, and came too late."""
FRESH_MS = 10_000
"""A Box sends about once a second; the age of a value below this is not shown (live.js too)."""


@dataclass(frozen=True, slots=True)
class NewestMeasurement:
    """A Box's newest Measurement with all values, its time of arrival, and when the Box counts as silent."""

    measurement: Measurement
    received_ms: int
    silent_after_ms: int
    late_ms: int = 0
    """Its arrival minus its time; 0 where it is not late (`lateness.LATE_MS`)."""

    @property
    def clock_known(self) -> bool:
        """Whether its clock has a known bound; otherwise a clock that is behind looks late."""
        bound_ns = self.measurement.uncertainty_ns
        return bound_ns is not None and bound_ns < UNKNOWN_UNCERTAINTY_NS


def window_ms(item: Measurement) -> float:
    """The length of its window; an original Box does not state it, so it has a fixed one."""
    if item.start_ns is None or item.end_ns is None or item.end_ns <= item.start_ns:
        return float(ORIGINAL_WINDOW_MS)
    return (item.end_ns - item.start_ns) / 1e6


def kept_of_each(boxes: int) -> int:
    """How many Measurements are stored for each Box."""
    return max(MIN_KEPT, min(RECENT_MEASUREMENTS, KEPT_TOGETHER // max(1, boxes)))


class RecentMeasurements:
    """The last minutes of one Box; every method is called under the hub's lock."""

    def __init__(self) -> None:
        self._rows: deque[Measurement] = deque()
        self._window: Measurement | None = None  # the newest that is not a crossing
        self._sequence: int | None = None  # the highest
        self._longest_ms, self._longest_at_ms = 0, 0
        self._received_ms = self._late_ms = self._silent_after_ms = 0
        self.newest_ms = 0
        """Time of the newest Measurement."""
        self.silent_ms = 0
        """The time from which the Box counts as silent, by its own rhythm."""

    def accept(self, measurement: Measurement, received_ms: int, kept: int = RECENT_MEASUREMENTS) -> bool:
        """Adds a Measurement and keeps the newest `kept`. Returns False for a late or repeated one."""
        rows, at_ms, sequence = self._rows, measurement.timestamp_ms, measurement.sequence
        if not rows or at_ms > rows[-1].timestamp_ms:  # mostly
            rows.append(measurement)
        elif self._is_newer(measurement):
            came_first = self._rows_after(measurement)
            rows.append(measurement)
            rows.extend(came_first)
        else:
            return False
        while len(rows) > kept:
            rows.popleft()
        if sequence is not None and (self._sequence is None or sequence > self._sequence):
            self._sequence = sequence
        self._received_ms = received_ms
        if not measurement.crossing:
            self._window = measurement
            self._note_rhythm(measurement)
        late = self._late_ms = late_ms(received_ms, at_ms)
        self._silent_after_ms = FRESH_MS + self._longest_ms + min(late, PATIENCE_MS)
        self.newest_ms = rows[-1].timestamp_ms
        self.silent_ms = received_ms + self._silent_after_ms
        return True

    def _is_newer(self, measurement: Measurement) -> bool:
        at_ms, sequence = measurement.timestamp_ms, measurement.sequence
        before = self._rows[-1] if measurement.crossing else self._window
        if before is None or at_ms > before.timestamp_ms:
            return True
        if measurement.crossing and before.timestamp_ms - at_ms <= CROSSING_MS:
            return False
        if sequence is not None and self._sequence is not None:
            return sequence > self._sequence or before.timestamp_ms - at_ms > RECENT_MS
        return all(row.timestamp_ms != at_ms for row in self._rows)

    def _rows_after(self, measurement: Measurement) -> list[Measurement]:
        """Removes the rows that are not before a newer Measurement; returns those that stay after it.

        These are crossings that came before their window. If a window is among them, the Box's clock was
        set back, and no row stays.
        """
        at_ms, after = measurement.timestamp_ms, list[Measurement]()
        while self._rows and self._rows[-1].timestamp_ms >= at_ms:
            after.append(self._rows.pop())
        if not after:
            return after
        if all(row.crossing for row in after) and not measurement.crossing:
            return [row for row in reversed(after) if row.timestamp_ms - at_ms <= RECENT_MS]
        if after[0].timestamp_ms - at_ms > RECENT_MS:
            self._longest_ms = 0
        self._longest_at_ms = min(self._longest_at_ms, at_ms)
        return []

    def newest(self) -> NewestMeasurement:
        """The newest Measurement. Raises IndexError when nothing was accepted yet."""
        newest = self.filled(self._rows[-1])
        return NewestMeasurement(newest, self._received_ms, self._silent_after_ms, self._late_ms)

    def values_now(self) -> tuple[float, float, int, int, int, int]:
        """Newest volts and hertz (NaN where unknown), arrival, time until it is silent, lateness, and the
        time of the values, in ms."""
        metrics = self.filled(self._rows[-1]).metrics
        rms, f = metrics.get("rms"), metrics.get("f")
        volts, hertz = rms.average if rms else nan, f.average if f else nan
        return volts, hertz, self._received_ms, self._silent_after_ms, self._late_ms, self.newest_ms

    def filled(self, measurement: Measurement) -> Measurement:
        """A crossing has only `rms`: its other values are those of the newest window."""
        if not measurement.crossing or self._window is None:
            return measurement
        return replace(measurement, metrics={**self._window.metrics, **measurement.metrics})

    def rows(self) -> list[Measurement]:
        """The Measurements of the last minutes, oldest first, as they were sent."""
        if not self._rows:
            return []
        since_ms = self._rows[-1].timestamp_ms - RECENT_MS
        return [item for item in self._rows if item.timestamp_ms > since_ms]

    def _note_rhythm(self, window: Measurement) -> None:
        """Takes the longest window of the last minutes as the rhythm: idle mode adds shorter ones."""
        length_ms = _length_ms(window)
        if length_ms >= self._longest_ms:
            self._longest_ms, self._longest_at_ms = length_ms, window.timestamp_ms
        elif window.timestamp_ms - self._longest_at_ms >= RECENT_MS:
            longest = max((row for row in self.rows() if not row.crossing), key=_length_ms, default=window)
            self._longest_ms, self._longest_at_ms = _length_ms(longest), longest.timestamp_ms


def _length_ms(measurement: Measurement) -> int:
    """The length of a window; 0 for an original Box, which does not state it."""
    if measurement.start_ns is None or measurement.end_ns is None:
        return 0
    return max(0, measurement.end_ns - measurement.start_ns) // NS_PER_MS
