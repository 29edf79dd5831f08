"""VirtualIntervals: class A of a fleet's Boxes under a virtual clock: intervals, dips, swells, interruptions.

    outlet steady  -> QuietWindows, in closed form ----+-> IntervalSums -> ten minutes, two hours
    it changes     -> SampledStretch, from samples ----+
                                                       +-> disturbances

Months take seconds where little happens: only some seconds around each change are sampled.
`VirtualBoxes` makes the Boxes' Measurements; neither needs the other.
"""

from opq_gateway.measuring.feed import Values
from opq_gateway.measuring.ledger_rows import measurement_of
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement, TimeSource
from opq_sim.box.source import RunClock
from opq_sim.fleet.interval_box import UNCERTAINTY_NS, IntervalBox, WindowHertz
from opq_sim.fleet.outlets import FleetGrid


class VirtualIntervals:
    """All Boxes of a grid; call `advance` as time passes. One thread."""

    def __init__(self, grid: FleetGrid, start_ns: int, from_s: float = 0.0) -> None:
        """
        Args:
            start_ns: UTC of the run's start.
            from_s: seconds after it before which nothing is measured.
        """
        self._clock = RunClock(0, start_ns, UNCERTAINTY_NS, TimeSource.GPS)
        self._hertz = WindowHertz(grid)
        self._found: list[Values] = []
        self._boxes = [
            IntervalBox(outlet, self._clock, self._hertz, from_s, self._found.append)
            for outlet in grid.outlets
        ]

    def advance(self, until_s: float) -> list[Measurement]:
        """What was measured by then and not returned before, as it arrives over the wire."""
        for box in self._boxes:
            box.advance(until_s)
        return self._taken()

    def end(self) -> list[Measurement]:
        """What is under way, with the coverage that it has."""
        for box in self._boxes:
            box.end()
        return self._taken()

    def _taken(self) -> list[Measurement]:
        found = [measurement_from_wire(measurement_to_wire(measurement_of(each))) for each in self._found]
        self._found.clear()
        return found
