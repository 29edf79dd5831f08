"""QuietSchedule: which cycles make a Measurement of which Box, and when, for many Boxes at once. Pure.

It cuts like the gateway: whole cycles of the Box's own fundamental, each Measurement beginning where the last
one ended, over 10/12-cycle windows that count from the first cycle; both begin again at the first cycle after
a UTC tick of ten minutes (IEC 61000-4-30:2015, 4.4 and 4.5).
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.frequency.per_window import cycles_per_window
from opq_measure.timebase.time_axis import TICK_NS
from opq_sim.fleet.phase_table import PhaseTable
from opq_sim.mains.profiles import FloatArray, IndexArray

CONTEXT_S = 0.15
"""Samples after a window's end that its filters need: the gateway's Measurement is not ready earlier."""
EDGE_CYCLES = 1e-6
"""An edge this little before a tick counts as on the tick."""

KEPT_S = 4.0
"""Phases are held this long before the oldest open Measurement, for the first windows of disturbed Boxes."""
SLOWEST_SHARE = 0.8
"""Share of nominal: a slower grid counts as off."""


@dataclass(frozen=True, slots=True)
class QuietSpans:
    """Measurements that are complete: (n,) arrays."""

    which: IndexArray
    start_s: FloatArray
    end_s: FloatArray
    """True seconds after the run's start."""
    end_cycle: IndexArray
    cycles: IndexArray
    f_hz: FloatArray
    """(n, 3) minimum, maximum and mean of the windows in which the cycles lie, by the Box's clock."""


class QuietSchedule:
    """The Measurements of quiet Boxes, by the Box's index. Start a Box with `begin`; then call `due`, `spans`
    and `advance` in turn.

    Attributes:
        begin_s: (n,) begin of the open Measurement.
        cycles: (n,) cycles per Measurement, from the next one on.
        speed: (n,) of each Box's clock: seconds that it counts per true second.
        reach_s: (n,) the last moment that the open Measurement needs.
    """

    def __init__(self, table: PhaseTable, nominal_hz: float, boxes: int, start_ns: int) -> None:
        self._table, self._nominal_hz, self._start_ns = table, nominal_hz, start_ns
        self._window = cycles_per_window(nominal_hz)
        self.offset = np.zeros(boxes)
        self._begin, self._end, self._origin = (np.zeros(boxes, np.int64) for _ in range(3))
        self.begin_s = np.full(boxes, np.inf)
        self.reach_s = np.full(boxes, np.inf)
        self.cycles = np.full(boxes, 60, np.int64)
        self.speed = np.ones(boxes)
        self._ticked = np.zeros(boxes, np.bool_)

    def begin(self, box: int, offset: float, from_s: float, origin: int | None = None) -> None:
        """Starts a Box: its first Measurement begins at the first cycle at or after `from_s`.

        `offset`: its phase less the common one; `origin`: a cycle at which a window begins; None: the first
        cycle.
        """
        self._table.cover(from_s + 1.0)
        self.offset[box] = offset
        cycle = int(np.ceil(float(self._table.cycles(np.array([from_s]))[0]) + offset - EDGE_CYCLES))
        self._begin[box] = cycle
        self._origin[box] = cycle if origin is None else origin
        self._plan(np.array([box]))

    def origin(self, box: int) -> int:
        """A cycle at which one of the Box's windows begins."""
        return int(self._origin[box])

    def time_s(self, box: int, cycle: int) -> float:
        """The time at which a quiet Box reaches a cycle."""
        return float(self._table.time_s(np.array([cycle - self.offset[box]]))[0])

    def begin_cycle(self, box: int) -> int:
        """The first cycle of the open Measurement, on the Box's axis of phase."""
        return int(self._begin[box])

    def stop(self, box: int) -> None:
        """Stops the Measurements of a Box until it begins again."""
        self.begin_s[box] = self.reach_s[box] = np.inf

    def due(self, now_s: float) -> IndexArray:
        """Boxes whose Measurement is complete."""
        return np.flatnonzero(self.reach_s <= now_s)

    def spans(self, which: IndexArray) -> QuietSpans:
        """The complete Measurements of Boxes that are due."""
        begin, end, offset = self._begin[which], self._end[which], self.offset[which]
        first = (begin - self._origin[which]) // self._window
        last = -(-(end - self._origin[which]) // self._window)
        most = int((last - first).max())
        at = self._origin[which][:, np.newaxis] + self._window * (first[:, np.newaxis] + np.arange(most + 1))
        edges_s = self._table.time_s(at - offset[:, np.newaxis])
        f_hz = self._window / (np.diff(edges_s, axis=1) * self.speed[which][:, np.newaxis])
        weight = np.minimum(at[:, 1:], end[:, np.newaxis]) - np.maximum(at[:, :-1], begin[:, np.newaxis])
        inside = weight > 0
        mean = np.sum(np.where(inside, f_hz * weight, 0.0), axis=1) / (end - begin)
        least = np.min(np.where(inside, f_hz, np.inf), axis=1)
        largest = np.max(np.where(inside, f_hz, -np.inf), axis=1)
        return QuietSpans(
            which,
            self.begin_s[which],
            self._table.time_s(end - offset),
            end,
            end - begin,
            np.stack((least, largest, np.clip(mean, least, largest)), axis=1),
        )

    def advance(self, which: IndexArray) -> None:
        """Ends the complete Measurements and plans the next ones."""
        self._origin[which] = np.where(self._ticked[which], self._end[which], self._origin[which])
        self._begin[which] = self._end[which]
        self._plan(which)

    def discard_old(self) -> None:
        """Drops phases that no Box needs any more."""
        begun = self.begin_s[np.isfinite(self.begin_s)]
        if len(begun):
            self._table.discard_before(float(begun.min()) - KEPT_S)

    def _plan(self, which: IndexArray) -> None:
        begin, offset = self._begin[which], self.offset[which]
        end = begin + self.cycles[which]
        longest_s = float(self.cycles[which].max() + 2 * self._window) / (SLOWEST_SHARE * self._nominal_hz)
        self.begin_s[which] = begin_s = self._table.time_s(begin - offset)
        self._table.cover(float(begin_s.max()) + longest_s)
        # the first tick after the begin, and the first cycle at or after it
        since_ns = self._start_ns + np.rint(begin_s * self.speed[which] * 1e9).astype(np.int64)
        tick_s = ((since_ns // TICK_NS + 1) * TICK_NS - self._start_ns) / (1e9 * self.speed[which])
        ticks = tick_s <= self._table.end_s
        tick_cycle = np.ceil(self._table.cycles(tick_s) + offset - EDGE_CYCLES).astype(np.int64)
        self._ticked[which] = ticked = ticks & (tick_cycle <= end) & (tick_cycle > begin)
        self._end[which] = end = np.where(ticked, tick_cycle, end)
        last = self._origin[which] + self._window * -(-(end - self._origin[which]) // self._window)
        self.reach_s[which] = self._table.time_s(last - offset) + CONTEXT_S
