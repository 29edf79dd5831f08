"""Dips: a fleet's outlets on one grid, with the dips of a schedule, and the truth about them."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from opq_sim.box.source import RunClock
from opq_sim.faults.schedule import DrawnDip
from opq_sim.fleet.outlets import FleetGrid, FleetOutlet, WaveVoltage, plain_grid
from opq_sim.mains.generator import Generator
from opq_sim.mains.grid import Grid
from opq_sim.mains.grid_events import GridEvent, disturbance, not_before
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.scenario import plain_generator
from opq_sim.power_system.box_voltage import BoxVoltage, SteadyVoltage
from opq_sim.score.records import BoxSpan, TrueDisturbance

NOMINAL_V: Final = 120.0
NOMINAL_HZ: Final = 60.0
GRID: Final = Grid(NOMINAL_HZ)
"""Steady, because these tests are about the cloud."""


def sag_of(residual_percent: float, cycles: float) -> GridEvent:
    """A sag that leaves this much of the voltage, from now on."""
    return disturbance("sag", 1.0 - residual_percent / 100.0, cycles)


@dataclass(frozen=True, slots=True)
class PlacedDip:
    """A dip in the run's own time; it begins and ends with a cycle of the grid."""

    event: GridEvent
    box_ids: tuple[str, ...]

    @property
    def start_s(self) -> float:
        return self.event.start_cycles / NOMINAL_HZ

    @property
    def end_s(self) -> float:
        return self.event.stop_cycles / NOMINAL_HZ


def placed_dips(dips: Sequence[DrawnDip], begin_s: float) -> list[PlacedDip]:
    """The dips of a schedule that begins `begin_s` after the run did."""
    return [
        PlacedDip(
            not_before(disturbance("sag", dip.depth, dip.cycles), GRID.cycles_at(begin_s + dip.at_s)),
            dip.box_ids,
        )
        for dip in dips
    ]


def true_dips(dips: Sequence[PlacedDip], clock: RunClock) -> list[TrueDisturbance]:
    """The disturbances to find, in UTC."""
    found = []
    for number, dip in enumerate(dips):
        start_ns, end_ns = (clock.start_ns + round(t_s * 1e9) for t_s in (dip.start_s, dip.end_s))
        spans = {box_id: BoxSpan("sag", start_ns, end_ns) for box_id in dip.box_ids}
        found.append(TrueDisturbance(str(number), "sag", None, spans, "a drawn dip"))
    return found


@dataclass(frozen=True, slots=True)
class DippingVoltage:
    """A plain socket's voltage with dips; a `BoxVoltage`."""

    plain: BoxVoltage
    dips: tuple[PlacedDip, ...]
    nominal_v: float = NOMINAL_V
    nominal_hz: float = NOMINAL_HZ

    def volts(self, t_s: FloatArray) -> FloatArray:
        """(n,) volts, without noise and converter."""
        volts, cycles = self.plain.volts(t_s), self.plain.cycles(t_s)
        for dip in self.dips:
            volts = volts * dip.event.share(cycles)
        return volts

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) the grid's phase: a dip does not move it."""
        return self.plain.cycles(t_s)

    def steady(self, start_s: float, end_s: float) -> SteadyVoltage | None:
        """The plain voltage; None if a dip overlaps the span."""
        if any(dip.start_s < end_s and start_s < dip.end_s for dip in self.dips):
            return None
        return self.plain.steady(start_s, end_s)

    def changes(self, start_s: float, end_s: float) -> tuple[float, ...]:
        """Times at which dips begin and end."""
        moments = sorted(t_s for dip in self.dips for t_s in (dip.start_s, dip.end_s))
        return tuple(moments[bisect_left(moments, start_s) : bisect_left(moments, end_s)])


def dipping_grid(box_ids: Sequence[str], dips: Sequence[PlacedDip], seed: int) -> FleetGrid:
    """Outlets of Boxes: plain ones, each with the dips that it sees, on a steady grid."""
    plain = plain_grid(box_ids, NOMINAL_V, NOMINAL_HZ, seed).outlets
    return FleetGrid(tuple(_outlet(outlet, dips, seed) for outlet in plain), GRID)


def _outlet(plain: FleetOutlet, dips: Sequence[PlacedDip], seed: int) -> FleetOutlet:
    own = tuple(dip for dip in dips if plain.box_id in dip.box_ids)
    samples = partial(_samples, plain.box_id, own, seed)
    wave = WaveVoltage(samples().signal.wave, GRID, NOMINAL_V, NOMINAL_HZ)
    return FleetOutlet(plain.box_id, DippingVoltage(wave, own), samples, plain.noise_v)


def _samples(box_id: str, dips: Sequence[PlacedDip], seed: int) -> Generator:
    generator = plain_generator(box_id, GRID, NOMINAL_V, NOMINAL_HZ, seed)
    for dip in dips:
        generator.add(dip.event)
    return generator
