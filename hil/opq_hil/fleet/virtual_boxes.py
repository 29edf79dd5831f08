"""VirtualBoxes: a fleet's Boxes under a clock that is handed in: Measurements and samples, no connection."""

from collections.abc import Mapping

import numpy as np

from opq_hil.box.source import RunClock
from opq_hil.fleet.fleet_meter import CalmMeasurements, FleetMeter
from opq_hil.fleet.outlets import FleetGrid
from opq_hil.fleet.source_store import SourceStore
from opq_proto.decision import Nominal
from opq_proto.measurement_columns import MeasuredBoxes, MeasurementColumns, joined_columns
from opq_proto.messages import Measurement, TimeSource, Waveform

UNCERTAINTY_NS = 100
"""Uncertainty of a Box with GPS."""
MEASUREMENT_S = 1.0
"""Nominal length."""
FORGET_S = 10.0
CYCLE_SHARE = 0.25
"""So little before an edge the next cycle begins at it, whatever rounding did to its time."""
NOT_BEGUN: Mapping[str, float] = {}


class VirtualBoxes:
    """Time only moves on. One thread."""

    def __init__(
        self, grid: FleetGrid, start_ns: int, seed: int = 1, begins_s: Mapping[str, float] = NOT_BEGUN
    ) -> None:
        """
        Args:
            start_ns: UTC of the run's start.
            begins_s: Box -> where its last Measurement ended, seconds after the start; without: at the start.
        """
        self._outlets = grid.outlets
        self._clock = RunClock(0, start_ns, UNCERTAINTY_NS, TimeSource.GPS)
        self._now_s = self._forgot_s = 0.0
        self._boxes = MeasuredBoxes(
            tuple(each.box_id for each in grid.outlets),
            tuple(Nominal(each.voltage.nominal_v, each.voltage.nominal_hz) for each in grid.outlets),
        )
        cycles = round(MEASUREMENT_S * self._boxes.nominals[0].hz)
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

    def measured(self, until_s: float) -> tuple[MeasurementColumns | None, list[Measurement]]:
        """What is complete by then and was not given before: of steady spans, and measured from samples.

        Each of both in the order of time, for each Box.
        """
        self._now_s = until_s
        rounds: list[CalmMeasurements] = []
        while (calm := self._meter.measure_calm(until_s)) is not None:
            rounds.append(calm)
        rows: list[Measurement] = []
        if self._meter.disturbed:
            rows = [measurement for _, measurement in self._meter.measure_disturbed(until_s)]
        if until_s - self._forgot_s >= FORGET_S:
            self._forgot_s = until_s
            self._meter.forget()
        columns = [self._columns(calm) for calm in rounds]
        return joined_columns(columns) if columns else None, rows

    def waveform(self, box_id: str, start_ns: int, end_ns: int) -> Waveform | None:
        """A Box's samples; None: it has none of this span."""
        store = self._stores.get(box_id)
        return None if store is None else store.read(start_ns, end_ns)

    def _monotonic_ns(self) -> int:
        return round(self._now_s * 1e9)

    def _columns(self, calm: CalmMeasurements) -> MeasurementColumns:
        """As the wire carries them: numbers of 32 bits."""
        return MeasurementColumns(
            self._boxes,
            calm.which,
            calm.start_ns,
            calm.end_ns,
            calm.metrics.astype(np.float32),
            UNCERTAINTY_NS,
            TimeSource.GPS,
        )
