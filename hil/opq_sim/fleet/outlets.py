"""Outlets: where each Box of a fleet is plugged in: voltage, samples, and the phase that all share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from opq_proto.errors import ConfigError
from opq_sim.box.source import SampleSource
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.scenario import plain_generator
from opq_sim.mains.wave import Wave
from opq_sim.power_system.box_voltage import BoxVoltage, SteadyVoltage
from opq_sim.power_system.outlet_config import OutletConfig
from opq_sim.power_system.power_scenario import PowerScenario, power_system_of
from opq_sim.power_system.power_source import power_sources, recorded_sources
from opq_sim.power_system.power_system import PowerSystem

PLAIN_WANDER_HZ = 0.01
"""Amplitude of the wander of the grid of Boxes without a scenario, as in `opq-tools sim N`."""
PLAIN_WANDER_S = 47.0
"""Period of that wander."""


class PhaseProfile(Protocol):
    """The fundamental's phase; `mains.grid.Grid` and a network's frequency fulfil it."""

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) cycles at rising moments."""
        ...


@dataclass(frozen=True, slots=True)
class WaveVoltage:
    """The voltage of a plain socket as a BoxVoltage: one steady wave on a grid, without end."""

    wave: Wave
    grid: PhaseProfile
    nominal_v: float
    nominal_hz: float

    def volts(self, t_s: FloatArray) -> FloatArray:
        """(n,) volts, without noise and converter."""
        return self.wave.alternating_v(t_s, self.grid.cycles(t_s)) + self.wave.dc_v

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) the grid's phase."""
        return self.grid.cycles(t_s)

    def steady(self, start_s: float, end_s: float) -> SteadyVoltage | None:
        """The wave; None if it has tones, which are not harmonics."""
        if self.wave.tones:
            return None
        return SteadyVoltage(self.wave.fundamental_v, self.wave.ratios, self.wave.dc_v)

    def changes(self, start_s: float, end_s: float) -> tuple[float, ...]:
        """Always empty: a plain wave never changes."""
        return ()


@dataclass(frozen=True, slots=True)
class FleetOutlet:
    """The outlet of one Box, and how the Box reads it."""

    box_id: str
    voltage: BoxVoltage
    samples: Callable[[], SampleSource]
    """Makes the Box's samples whenever they are needed, each time the same ones."""
    noise_v: float
    """rms of the converter's and the input's noise on the voltage."""
    gain: float = 1.0
    """Volts that the Box reads per true volt."""
    offset_v: float = 0.0
    """Volts that the Box reads at zero."""
    speed: float = 1.0
    """Seconds that its clock counts per true second."""
    closed_form: bool = True
    """False: it can only be measured from samples (it has its own clock, or loses its supply)."""


@dataclass(frozen=True, slots=True)
class FleetGrid:
    """Outlets on one grid."""

    outlets: tuple[FleetOutlet, ...]
    phase: PhaseProfile
    """Calm outlets differ from it by a constant number of cycles."""


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


def network_grid(scenario: PowerScenario, box_ids: Sequence[str], seed: int = 1) -> FleetGrid:
    """Boxes at the outlets of a scenario's network, more than one at each where there are more Boxes.

    A Box of the scenario has its own outlet; any other Box gets the outlet of its number modulo the number of
    outlets. Each has harmonics and noise of its own. All processes of a fleet see the same disturbances.

    Raises:
        ConfigError: the scenario has no Boxes.
    """
    placed = scenario_of(scenario, box_ids)
    system = power_system_of(placed, seed)
    outlets = [_in_network(placed, box, system, seed) for box in placed.box]
    return FleetGrid(tuple(outlets), system)


def scenario_of(scenario: PowerScenario, box_ids: Sequence[str]) -> PowerScenario:
    """The same network with these Boxes; a Box that shares another's place has no clock of its own.

    Raises:
        ConfigError: the scenario has no Boxes whose places they could share.
    """
    own = {box.id: box for box in scenario.box}
    if not own:
        raise ConfigError("the scenario has no Boxes; a fleet is plugged in where they are")
    boxes = list(own.values())
    shared = {box_id: boxes[int(box_id) % len(boxes)] for box_id in box_ids if box_id not in own}
    placed = [own.get(box_id) or replace(shared[box_id], id=box_id, clock=None) for box_id in box_ids]
    return replace(scenario, box=tuple(placed))


def _in_network(scenario: PowerScenario, box: OutletConfig, system: PowerSystem, seed: int) -> FleetOutlet:
    alone = replace(scenario, box=(box,))
    if box.recording is not None:
        return _of_recording(scenario, alone, box, system)

    def samples() -> SampleSource:
        return power_sources(alone, system, seed)[box.id]

    noise_v = float((box.noise_v**2 + samples().v_per_lsb ** 2 / 12) ** 0.5)
    return FleetOutlet(
        box.id,
        system.voltages[box.id],
        samples,
        noise_v,
        1 + box.gain_error,
        box.offset_v,
        1 + box.clock_ppm * 1e-6 if box.clock is None else 1.0,
        not (box.drift_ppm_per_s or box.jitter_ns or box.clock or box.supply),
    )


def _of_recording(
    scenario: PowerScenario, alone: PowerScenario, box: OutletConfig, system: PowerSystem
) -> FleetOutlet:
    """The outlet of a Box that plays a file: always measured from its samples."""

    def samples() -> SampleSource:
        return recorded_sources(alone)[box.id]

    source = samples()
    wave = WaveVoltage(Wave(source.nominal_v), system.phase, source.nominal_v, scenario.nominal_hz)
    return FleetOutlet(box.id, wave, samples, 0.0, closed_form=False)
