"""FleetMeter: the Measurements of many Boxes: from closed forms while quiet, from samples while disturbed.

    QuietSchedule -> due Boxes -> QuietFigures ---> QuietMeasurements (arrays)
         |  ^
         v  | quiet again
    QuietOutlets: not steady -> DisturbedBoxes ---> Measurements

The caller gives the time, in seconds after the run's start: a fleet runs it live, a history under a virtual
clock.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

from opq_measure.frequency.per_window import cycles_per_window
from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements
from opq_proto.messages import Measurement
from opq_sim.box.source import RunClock
from opq_sim.fleet.disturbed_boxes import DisturbedBoxes, first_window_s
from opq_sim.fleet.outlets import FleetGrid
from opq_sim.fleet.phase_table import PhaseTable
from opq_sim.fleet.quiet_figures import QuietFigures
from opq_sim.fleet.quiet_outlets import BESIDE_S, QuietOutlets
from opq_sim.fleet.quiet_schedule import QuietSchedule
from opq_sim.mains.profiles import FloatArray, IndexArray

ASKED_AT_ONCE = 50
STEADY_S = 1.0
"""A detector needs a steady voltage this long for a rapid voltage change (IEC 61000-4-30, 5.11)."""


@dataclass(frozen=True, slots=True)
class QuietMeasurements:
    """Measurements of quiet Boxes, at most one of each."""

    which: IndexArray
    """(n,) Boxes by index."""
    start_ns: IndexArray
    end_ns: IndexArray
    """(n,) UTC, by the Boxes' own clocks."""
    metrics: FloatArray
    """(n, 4, 3) of METRIC_NAMES: minimum, maximum, mean."""

    def batch(self, box_ids: tuple[str, ...], nominals: tuple[Nominal, ...], clock: RunClock) -> Measurements:
        """Returns them with the wire's precision: numbers of 32 bits."""
        windows = self.which, self.start_ns, self.end_ns, self.metrics.astype(np.float32)
        return Measurements.of_windows(box_ids, nominals, *windows, clock.uncertainty_ns, clock.source)


class FleetMeter:
    """Measures all Boxes, by index: `begin` each Box, then call both `measure_…` in turn as time advances.
    One thread.
    """

    def __init__(self, grid: FleetGrid, clock: RunClock, cycles: int, seed: int) -> None:
        """`cycles`: cycles per Measurement, until `set_cycles` changes it."""
        outlets = grid.outlets
        self._outlets, self._clock = outlets, clock
        self._nominal_hz = outlets[0].voltage.nominal_hz
        self._table = PhaseTable(grid.phase)
        self._schedule = QuietSchedule(self._table, self._nominal_hz, len(outlets), clock.start_ns)
        self._schedule.cycles[:] = cycles
        self._schedule.speed[:] = [outlet.speed for outlet in outlets]
        self._figures = QuietFigures([outlet.box_id for outlet in outlets], seed)
        self._quiet = QuietOutlets(outlets, self._figures)
        self._disturbed = DisturbedBoxes(clock)

    @property
    def disturbed(self) -> int:
        """Number of Boxes that are measured from their samples now."""
        return len(self._disturbed)

    @property
    def sampled(self) -> int:
        """Number of samples made and measured so far."""
        return self._disturbed.sampled

    def skip_before(self, before_s: float) -> None:
        """States that every Box begins at this time or later, before the first begins: a run that continues
        after days computes no phases of these."""
        self._table.discard_before(before_s - 1.0)

    def begin(self, box: int, from_s: float, origin: int | None = None) -> None:
        """Starts the closed-form Measurements of a Box at the first cycle after `from_s`.

        `origin`: a cycle at which one of its windows begins; None: its first cycle.
        """
        self._table.cover(from_s + 1.0)
        common = float(self._table.cycles(np.array([from_s]))[0])
        self._schedule.begin(box, self._quiet.cycles_beside(box, from_s, common), from_s, origin)

    def set_cycles(self, box: int, cycles: int) -> None:
        """Sets the cycles per Measurement, from the next one on."""
        self._schedule.cycles[box] = cycles
        if box in self._disturbed:
            self._disturbed.set_cycles(box, cycles)

    def measure_quiet(self, t_s: float) -> QuietMeasurements | None:
        """The next Measurement of each quiet Box that is complete by then; None: there is none."""
        changing = np.isfinite(self._schedule.begin_s) & (self._quiet.until_s + BESIDE_S <= t_s)
        for box in np.flatnonzero(changing)[:ASKED_AT_ONCE].tolist():  # at once: a crossing cannot wait
            begin_s = float(self._schedule.begin_s[box])  # a whole dip may be over before this turn
            if not self._quiet.is_steady(box, min(begin_s, t_s), t_s) and t_s > begin_s:
                self._disturb(box)
        which = self._schedule.due(t_s)
        if not len(which):
            return None
        unknown = which[self._schedule.reach_s[which] > self._quiet.until_s[which]]
        for box in unknown.tolist():
            begin_s, reach_s = float(self._schedule.begin_s[box]), float(self._schedule.reach_s[box])
            if not self._quiet.is_steady(box, begin_s, reach_s):
                self._disturb(box)
        if len(unknown):
            which = which[np.isfinite(self._schedule.reach_s[which])]
            if not len(which):
                return None
        spans = self._schedule.spans(which)
        metrics = self._figures.metrics(which, spans.end_cycle, spans.cycles, spans.f_hz)
        speed = self._schedule.speed[which]
        start_ns, end_ns = self._utc_ns(spans.start_s * speed), self._utc_ns(spans.end_s * speed)
        found = QuietMeasurements(which, start_ns, end_ns, metrics)
        self._schedule.advance(which)
        return found

    def measure_disturbed(self, t_s: float) -> list[tuple[int, Measurement]]:
        """(Box, Measurement) of the disturbed Boxes, with crossings; Boxes that are quiet again leave."""
        measured = self._disturbed.measure(t_s)
        whole = {box: each for box, each in measured if not each.crossing}
        for box, last in whole.items():
            measured += [(box, edge) for edge in self._calm_again(box, last)]
        return measured

    def discard_old(self) -> None:
        """Drops what no Box needs any more."""
        self._schedule.discard_old()

    def _utc_ns(self, t_s: FloatArray) -> IndexArray:
        return self._clock.start_ns + np.rint(t_s * 1e9).astype(np.int64)

    def _disturb(self, box: int) -> None:
        """Measures a Box from its samples from now on, beginning where its last Measurement ended."""
        schedule, outlet = self._schedule, self._outlets[box]
        begin_s = float(schedule.begin_s[box])
        window_s = first_window_s(
            partial(schedule.time_s, box),
            schedule.origin(box),
            schedule.begin_cycle(box),
            cycles_per_window(outlet.voltage.nominal_hz),
            begin_s,
        )
        cycles = int(schedule.cycles[box])
        speed = outlet.speed
        self._disturbed.add(box, outlet.box_id, outlet.samples(), cycles, window_s * speed, begin_s * speed)
        schedule.stop(box)

    def _calm_again(self, box: int, last: Measurement) -> list[Measurement]:
        """Measures a Box by closed forms again from the end of its last Measurement, if it was quiet for as
        long as detectors need and its next Measurement is undisturbed. Returns what its detectors still find.
        """
        end_s = ((last.end_ns or 0) - self._clock.start_ns) / (1e9 * self._outlets[box].speed)
        length_s = float(self._schedule.cycles[box]) / self._nominal_hz
        if not self._quiet.is_steady(box, end_s - STEADY_S, end_s + length_s + 0.5):
            return []
        self.begin(box, end_s - 0.25 / self._nominal_hz, self._schedule.origin(box))
        return self._disturbed.remove(box)
