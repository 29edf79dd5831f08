"""VirtualBoxes: a fleet's Boxes under a clock that is handed in: Measurements and samples, no connection."""

from collections.abc import Mapping, Sequence

import numpy as np

from opq_hil.box.source import RunClock
from opq_hil.fleet.fleet_meter import CalmMeasurements, FleetMeter
from opq_hil.fleet.measurement_rows import METRIC_NAMES
from opq_hil.fleet.outlets import FleetGrid
from opq_hil.fleet.source_store import SourceStore
from opq_proto.messages import Measurement, Metric, TimeSource, Waveform

UNCERTAINTY_NS = 100
"""Of a Box with GPS."""
MEASUREMENT_S = 1.0
"""Nominal length."""
FORGET_S = 10.0
CYCLE_SHARE = 0.25
"""So little before an edge the next cycle begins at it, whatever rounding did to its time."""
NOT_BEGUN: Mapping[str, float] = {}


class VirtualBoxes:
    """Time only moves on. One thread."""

    def __init__(
        self,
        grid: FleetGrid,
        start_ns: int,
        seed: int = 1,
        begins_s: Mapping[str, float] = NOT_BEGUN,
    ) -> None:
        """
        Args:
            start_ns: UTC of the run's start.
            begins_s: Box -> where its last Measurement ended, seconds after the start; without: at the start.
        """
        self._outlets = grid.outlets
        self._clock = RunClock(0, start_ns, UNCERTAINTY_NS, TimeSource.GPS)
        self._now_s = self._forgot_s = 0.0
        self._nominals = [(each.voltage.nominal_v, each.voltage.nominal_hz) for each in grid.outlets]
        cycles = round(MEASUREMENT_S * self._nominals[0][1])
        self._meter = FleetMeter(grid, self._clock, cycles, seed)
        for box, outlet in enumerate(grid.outlets):
            ended_s = begins_s.get(outlet.box_id, 0.0)
            self._meter.begin(box, max(0.0, ended_s - CYCLE_SHARE / outlet.voltage.nominal_hz))
        self._stores = {
            each.box_id: SourceStore(
                each.box_id, each.samples, each.samples().rate_millihz, self._clock, self._monotonic_ns
            )
            for each in grid.outlets
        }

    def measurements(self, until_s: float) -> Sequence[Measurement]:
        """Those that are complete by then and were not given before, in the order of their ends."""
        self._now_s = until_s
        found: list[Measurement] = []
        while (calm := self._meter.measure_calm(until_s)) is not None:
            found += self._measurements(calm)
        if self._meter.disturbed:
            found += [measurement for _, measurement in self._meter.measure_disturbed(until_s)]
        if until_s - self._forgot_s >= FORGET_S:
            self._forgot_s = until_s
            self._meter.forget()
        found.sort(key=lambda each: (each.end_ns, each.box_id))
        return found

    def waveform(self, box_id: str, start_ns: int, end_ns: int) -> Waveform | None:
        """A Box's samples; None: it has none of this span."""
        store = self._stores.get(box_id)
        return None if store is None else store.read(start_ns, end_ns)

    def _monotonic_ns(self) -> int:
        return round(self._now_s * 1e9)

    def _measurements(self, calm: CalmMeasurements) -> list[Measurement]:
        """As the wire carries them: numbers of 32 bits."""
        metrics = calm.metrics.astype(np.float32).tolist()
        rows = zip(calm.which.tolist(), calm.start_ns.tolist(), calm.end_ns.tolist(), metrics, strict=True)
        return [
            Measurement(
                self._outlets[box].box_id,
                (end_ns + 500_000) // 1_000_000,
                {name: Metric(*row) for name, row in zip(METRIC_NAMES, values, strict=True)},
                start_ns,
                end_ns,
                UNCERTAINTY_NS,
                TimeSource.GPS,
                nominal_v=self._nominals[box][0],
                nominal_hz=self._nominals[box][1],
            )
            for box, start_ns, end_ns, values in rows
        ]
