"""VirtualBoxes: a fleet's Boxes under a virtual clock: Measurements and samples, no connection."""

from collections import deque
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from opq_proto.decision import Nominal
from opq_proto.measurement.batch import Measurements, joined
from opq_proto.messages import Measurement, TimeSource, Waveform
from opq_sim.box.source import RunClock
from opq_sim.fleet.fleet_meter import FleetMeter, QuietMeasurements
from opq_sim.fleet.network_outages import NetworkOutages
from opq_sim.fleet.outlets import FleetGrid
from opq_sim.fleet.source_store import SourceStore

UNCERTAINTY_NS = 100
"""Uncertainty of a Box with GPS."""
MEASUREMENT_S = 1.0
"""Nominal length of a Measurement."""
FORGET_S = 10.0
CYCLE_SHARE = 0.25
"""The first cycle is searched from this share of a cycle before an edge, against rounding of its time."""
MAX_HELD = 100_000
"""Measurements that a Box holds while its network is out: one day; then the oldest go (`expired`)."""
NOT_BEGUN: Mapping[str, float] = {}


class VirtualBoxes:
    """The Boxes of a virtual run; time only advances. One thread.

    Attributes:
        expired: Measurements of all Boxes that were dropped because too many were held.
    """

    def __init__(
        self,
        grid: FleetGrid,
        start_ns: int,
        seed: int = 1,
        begins_s: Mapping[str, float] = NOT_BEGUN,
        outages: NetworkOutages | None = None,
    ) -> None:
        """
        Args:
            start_ns: UTC of the run's start.
            begins_s: Box -> end of its last Measurement, seconds after the start; a Box without one begins at
                the start.
            outages: outages of each Box's network: Measurements made meanwhile come afterwards, samples do
                not.
        """
        self.expired = 0
        self._outages = outages
        self._held: dict[int, deque[Measurement]] = {}
        self._index = {each.box_id: box for box, each in enumerate(grid.outlets)}
        self._outlets = grid.outlets
        self._clock = RunClock(0, start_ns, UNCERTAINTY_NS, TimeSource.GPS)
        self._now_s = self._forgot_s = 0.0
        self._box_ids = tuple(each.box_id for each in grid.outlets)
        self._nominals = tuple(
            Nominal(each.voltage.nominal_v, each.voltage.nominal_hz) for each in grid.outlets
        )
        cycles = round(MEASUREMENT_S * self._nominals[0].hz)
        self._meter = FleetMeter(grid, self._clock, cycles, seed)
        ends_s = [begins_s.get(each.box_id, 0.0) for each in grid.outlets]
        self._meter.skip_before(min(ends_s, default=0.0))
        for box, (outlet, ended_s) in enumerate(zip(grid.outlets, ends_s, strict=True)):
            self._meter.begin(box, max(0.0, ended_s - CYCLE_SHARE / outlet.voltage.nominal_hz))
        self._stores = {
            each.box_id: SourceStore(
                each.box_id, each.samples, each.samples().rate_millihz, self._clock, self._monotonic_ns
            )
            for each in grid.outlets
        }

    def measured(self, until_s: float) -> tuple[Measurements | None, list[Measurement]]:
        """Measurements completed by then and not returned before: from steady spans, and from samples.

        Both are in time order for each Box.
        """
        self._now_s = until_s
        rounds: list[QuietMeasurements] = []
        while (quiet := self._meter.measure_quiet(until_s)) is not None:
            rounds.append(quiet)
        rows: list[Measurement] = []
        if self._meter.disturbed:
            rows = [measurement for _, measurement in self._meter.measure_disturbed(until_s)]
        if until_s - self._forgot_s >= FORGET_S:
            self._forgot_s = until_s
            self._meter.discard_old()
        columns = [quiet.batch(self._box_ids, self._nominals, self._clock) for quiet in rounds]
        return self._delivered(joined(columns)[0] if columns else None, rows)

    def _delivered(
        self, columns: Measurements | None, rows: list[Measurement]
    ) -> tuple[Measurements | None, list[Measurement]]:
        """Holds back Measurements of Boxes whose network is out; adds those held before, marked as such."""
        late: list[Measurement] = []
        for box, out in self._outages.changes(self._now_s) if self._outages is not None else ():
            if out:
                self._held[box] = deque(maxlen=MAX_HELD)
            else:
                late += [replace(each, backfilled=True) for each in self._held.pop(box)]
        if self._held:
            held = [each for each in rows if self._index[each.box_id] in self._held]
            rows = [each for each in rows if self._index[each.box_id] not in self._held]
            if columns is not None:
                out_now = np.isin(columns.which, list(self._held))
                held += columns.part(out_now).rows()
                columns = None if out_now.all() else columns.part(~out_now)
            for each in held:
                box_held = self._held[self._index[each.box_id]]
                self.expired += len(box_held) == MAX_HELD
                box_held.append(each)
        return columns, [*late, *rows]

    def waveform(self, box_id: str, start_ns: int, end_ns: int) -> Waveform | None:
        """A Box's samples; None: it has none of this span, or its network is out."""
        if self._index.get(box_id) in self._held:
            return None
        store = self._stores.get(box_id)
        return None if store is None else store.read(start_ns, end_ns)

    def _monotonic_ns(self) -> int:
        return round(self._now_s * 1e9)
