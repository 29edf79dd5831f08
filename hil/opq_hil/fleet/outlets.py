"""Outlets: what each Box of a fleet is plugged into: voltage, samples, and the phase that all share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from opq_hil.box.source import SampleSource
from opq_hil.mains.courses import FloatArray
from opq_hil.mains.grid import Grid
from opq_hil.mains.scenario import plain_generator
from opq_hil.mains.wave import Wave
from opq_hil.power_system.box_voltage import BoxVoltage, SteadyVoltage

PLAIN_WANDER_HZ, PLAIN_WANDER_S = 0.01, 47.0
"""Of the grid of Boxes without a scenario, as `opq-tools sim N` has it."""


class PhaseCourse(Protocol):
    """The fundamental's phase; `mains.grid.Grid` and a network's frequency are such."""

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) cycles at rising moments."""
        ...


@dataclass(frozen=True, slots=True)
class WaveVoltage:
    """A plain socket as a BoxVoltage: one steady wave on a grid, for ever."""

    wave: Wave
    grid: Grid
    nominal_v: float
    nominal_hz: float

    def volts(self, t_s: FloatArray) -> FloatArray:
        """(n,) volts, without noise and converter."""
        return self.wave.alternating_v(t_s, self.grid.cycles(t_s)) + self.wave.dc_v

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) the grid's phase."""
        return self.grid.cycles(t_s)

    def steady(self, start_s: float, end_s: float) -> SteadyVoltage | None:
        """The wave; None where it has tones, which are no harmonics."""
        if self.wave.tones:
            return None
        return SteadyVoltage(self.wave.fundamental_v, self.wave.ratios, self.wave.dc_v)

    def changes(self, start_s: float, end_s: float) -> tuple[float, ...]:
        """There are none."""
        return ()


@dataclass(frozen=True, slots=True)
class FleetOutlet:
    """One Box's place."""

    box_id: str
    voltage: BoxVoltage
    samples: Callable[[], SampleSource]
    """Makes the Box's samples, whenever they are needed; each time the same ones."""
    noise_v: float
    """rms of what converter and noise add to the voltage."""


@dataclass(frozen=True, slots=True)
class FleetGrid:
    """Outlets on one grid."""

    outlets: tuple[FleetOutlet, ...]
    phase: PhaseCourse
    """Calm outlets are a constant number of cycles beside it."""


def plain_grid(
    box_ids: Sequence[str], nominal_v: float = 120.0, nominal_hz: float = 60.0, seed: int = 1
) -> FleetGrid:
    """Boxes on undisturbed sockets: the voltages and samples of `opq-tools sim N`'s plain Boxes."""
    grid = Grid(nominal_hz, wander_hz=PLAIN_WANDER_HZ, wander_s=PLAIN_WANDER_S)
    return FleetGrid(tuple(_plain(box_id, grid, nominal_v, nominal_hz, seed) for box_id in box_ids), grid)


def _plain(box_id: str, grid: Grid, nominal_v: float, nominal_hz: float, seed: int) -> FleetOutlet:
    samples = partial(plain_generator, box_id, grid, nominal_v, nominal_hz, seed)
    signal = samples().signal
    noise_v = (signal.noise_v**2 + signal.v_per_lsb**2 / 12) ** 0.5
    voltage = WaveVoltage(signal.wave, grid, nominal_v, nominal_hz)
    return FleetOutlet(box_id, voltage, samples, noise_v)
