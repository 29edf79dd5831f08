"""DisturbedBoxes: Boxes that a disturbance affects, measured from their samples by the gateway's code.

    quiet Box --a change--> samples from LEAD_S before its Measurement begins --> BoxMeter --> Measurements
             <--quiet again after a Measurement's end-------------------------------------+

The meter begins where the closed forms ended, as after a restart of the gateway: its Measurements continue
from there, and its detectors' findings leave as a gateway's do (`edge_<class>`). Times are seconds after the
run's start by the Box's own clock.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from opq_gateway.blocks import SampleBlock
from opq_gateway.measuring.box_meter import BoxMeter, cut_all
from opq_gateway.measuring.continuity import Continuity
from opq_gateway.measuring.edge_detectors import EVERY_S
from opq_gateway.measuring.measurements import Measured
from opq_gateway.measuring.measuring_plan import MeasuringPlan, Sinks
from opq_gateway.measuring.window_figures import figures_of
from opq_measure.timebase.hops import HOPS_PER_CYCLE
from opq_measure.timebase.window import Window
from opq_proto.measurement.continuity import GapReason
from opq_proto.measurement.supply_word import SupplyTeller
from opq_proto.messages import Measurement
from opq_sim.box.box_stamps import BoxStamps
from opq_sim.box.source import RunClock, SampleSource
from opq_sim.fleet.sample_crossings import SampleCrossings

LEAD_S = 1.0
"""Samples before the first cycle that counts; the gateway has as many after a restart (RingBacklog)."""


@dataclass(slots=True)
class DisturbedBox:
    """One disturbed Box."""

    box_id: str
    meter: BoxMeter
    crossings: SampleCrossings
    source: SampleSource
    clock: BoxStamps
    next_sample: int
    begin_ns: int
    """Earlier crossings and findings were already reported."""
    made: list[Measurement] = field(default_factory=list)


class DisturbedBoxes:
    """The disturbed Boxes, by index; call `measure` as time advances."""

    def __init__(self, clock: RunClock) -> None:
        self._clock = clock
        self._boxes: dict[int, DisturbedBox] = {}
        self._edge_ns: dict[tuple[int, str], int] = {}
        """Time of the last finding by Box and detector, kept from one meter to the next, as in a gateway."""
        self.sampled = 0
        """Number of samples made and measured."""

    def __contains__(self, box: int) -> bool:
        return box in self._boxes

    def __len__(self) -> int:
        return len(self._boxes)

    def add(
        self, box: int, box_id: str, source: SampleSource, cycles: int, window_s: float, begin_s: float
    ) -> None:
        """Starts to measure a Box from its samples: Measurements from `begin_s` on, the first window from
        `window_s`.

        `window_s`: a window's first edge, some windows before `begin_s`.
        """
        made: list[Measurement] = []
        stamps, teller = BoxStamps(self._clock, source), SupplyTeller()
        continuity = Continuity(lambda _: GapReason.DARK)
        begin_ns = self._clock.start_ns + round(begin_s * 1e9)

        def measured(each: Measured) -> None:
            row, found = each.measurement, continuity.metrics(0, each.end_sample)
            if found:
                row = replace(row, metrics={**row.metrics, **found})
            if stamps.supply is not None:
                end_ns = row.end_ns or 0
                volts = stamps.supply.volts((end_ns - self._clock.start_ns) / 1e9)
                row = replace(row, metrics={**row.metrics, **teller.metrics(end_ns, *volts)})
            made.append(row)

        def broken(before: SampleBlock, block: SampleBlock) -> None:
            continuity.accept_break(
                0, before, block, supplied=False
            )  # samples are missing for no other reason

        def found(edge: Measurement, limited: int) -> None:
            start_ns, key = edge.start_ns or 0, (box, next(iter(edge.metrics)))
            if start_ns >= begin_ns and start_ns - self._edge_ns.get(key, 0) >= EVERY_S * 1e9:
                self._edge_ns[key] = start_ns
                made.append(edge)

        numbers = source.nominal_v, source.nominal_hz, cycles
        plan = MeasuringPlan(box_id, *numbers, flicker=False, detectors=True, local=False)
        meter = BoxMeter(plan, _sinks(measured, found, broken))
        meter.measurements.not_before_ns = begin_ns
        meter.measurements.start_id = self._clock.start_id
        hop = round(source.rate_millihz / 1000 / source.nominal_hz / HOPS_PER_CYCLE)
        hops = round(window_s * source.rate_millihz / 1000 / hop) - HOPS_PER_CYCLE // 2
        first = max(0, hops * hop)  # half a cycle before, on the lattice of a run that began with sample 0
        crossings = SampleCrossings(source.nominal_v, source.nominal_hz)
        self._boxes[box] = DisturbedBox(box_id, meter, crossings, source, stamps, first, begin_ns, made)

    def set_cycles(self, box: int, cycles: int) -> None:
        """Sets the cycles per Measurement, from the next one on."""
        self._boxes[box].meter.measurements.cycles = cycles

    def remove(self, box: int) -> list[Measurement]:
        """Removes a Box that is quiet again and drops its open Measurement; returns what its detectors
        still find.
        """
        gone = self._boxes.pop(box)
        gone.meter.report_edges()
        return gone.made

    def measure(self, now_s: float) -> list[tuple[int, Measurement]]:
        """Measures the samples of all Boxes up to now; returns crossings and complete Measurements."""
        busy: list[DisturbedBox] = []
        for each in self._boxes.values():
            block = self._block(each, now_s)
            if block is not None:
                each.meter.push_blocks([block])
                each.made += each.crossings.measurements(block, each.box_id, each.begin_ns)
                busy.append(each)
        cut_all([each.meter for each in busy])
        steps = [each.meter.steps() for each in busy]
        windows = [[step for step in own if isinstance(step, Window)] for own in steps]
        nominals_v = [each.source.nominal_v for each, own in zip(busy, windows, strict=True) for _ in own]
        figures = iter(figures_of([window for own in windows for window in own], nominals_v))
        for each, own_steps, own in zip(busy, steps, windows, strict=True):
            each.meter.finish(own_steps, iter([next(figures) for _ in own]))
        found: list[tuple[int, Measurement]] = []
        for box, each in self._boxes.items():
            found += [(box, measurement) for measurement in each.made]
            each.made.clear()
        return found

    def _block(self, each: DisturbedBox, now_s: float) -> SampleBlock | None:
        taken = each.clock.taken(self._clock.monotonic_ns + round(now_s * 1e9))
        first, end = each.clock.next_run(each.next_sample, taken)
        each.next_sample = end
        if end <= first:
            return None
        self.sampled += end - first
        return each.clock.block(each.source, first, end - first)


def _sinks(
    measured: Callable[[Measured], None],
    edge: Callable[[Measurement, int], None],
    broken: Callable[[SampleBlock, SampleBlock], None],
) -> Sinks:
    """Sinks for Measurements, the detectors' findings and losses of supply only."""

    def nothing(*_: object) -> None:
        return

    return Sinks(
        measured=measured,
        values=nothing,
        notice=nothing,
        window=nothing,
        phasor=nothing,
        phasors_wanted=lambda: False,
        edge=edge,
        broken=broken,
    )


def first_window_s(
    times_s: Callable[[int], float], origin: int, begin_cycle: int, window: int, begin_s: float
) -> float:
    """The edge of the last window that begins LEAD_S or more before a Measurement, or the run's start.

    `times_s`: gives the time at which a cycle is reached.
    """
    number = (begin_cycle - origin) // window
    while (
        times_s(origin + number * window) > begin_s - LEAD_S and times_s(origin + (number - 1) * window) > 0
    ):
        number -= 1
    return max(0.0, times_s(origin + number * window))


def ordered(measured: Sequence[tuple[int, Measurement]]) -> list[list[tuple[int, Measurement]]]:
    """Splits Measurements into rounds with at most one of each Box, in order."""
    rounds: list[list[tuple[int, Measurement]]] = []
    count: dict[int, int] = {}
    for box, measurement in measured:
        at = count.get(box, 0)
        count[box] = at + 1
        if at == len(rounds):
            rounds.append([])
        rounds[at].append((box, measurement))
    return rounds
