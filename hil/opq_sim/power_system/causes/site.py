"""The network as a cause finds it: the state before, and the results of a change.

The `PowerSystem` makes a `Site` for one cause; its results are per outlet, in the order of the Boxes.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from opq_sim.mains.profiles import FloatArray
from opq_sim.power_system.disturbance_terms import ComplexArray, DisturbanceTerms
from opq_sim.power_system.network.network import PowerNetwork, SequenceImpedances
from opq_sim.power_system.network.network_faults import ShortCircuit
from opq_sim.power_system.network.shunts import Shunt
from opq_sim.power_system.network.switching import AS_CONFIGURED, Switching
from opq_sim.power_system.outlet_voltage import Outlet, SystemPhase
from opq_sim.power_system.swing_model import SwingModel

WAVE_KM_PER_S = 290_000.0
"""Speed of a wave along overhead lines, 0.97 c; in cables it is half of it. Source: Greenwood, "Electrical
Transients in Power Systems", chapter 9."""
Value = TypeVar("Value", np.float64, np.bool_)
DEAD_PU = 1e-3
"""Below this share of nominal an outlet is dead: disturbances do not reach it."""


@dataclass(frozen=True, slots=True)
class NetworkState:
    """Differences of the network from its file, which hold until something changes them."""

    switching: Switching = AS_CONFIGURED
    shunts: tuple[Shunt, ...] = ()


@dataclass(frozen=True, slots=True)
class SolvedCause:
    """The result of a solved cause."""

    terms: DisturbanceTerms
    end_s: float
    """End of the disturbance at its place."""
    words: str
    """One line for people."""
    place: str
    """The place in the network."""
    state_after: NetworkState | None = None
    """The network's state afterwards; None: as before."""


class Site:
    """The network around a cause at `start_s`.

    Args:
        state: lasting changes by earlier causes.
        model: of the whole system's frequency; None: it is not modelled.
        chance: random numbers of this cause alone, the same in every run of one seed.
    """

    def __init__(
        self,
        network: PowerNetwork,
        outlets: Sequence[Outlet],
        phase: SystemPhase,
        state: NetworkState,
        start_s: float,
        chance: np.random.Generator,
        model: SwingModel | None = None,
    ) -> None:
        self.network = network
        self.outlets = tuple(outlets)
        self.phase = phase
        self.state = state
        self.start_s = start_s
        self.chance = chance
        self.model = model
        self.nominal_hz = network.config.nominal_hz

    @cached_property
    def before_v(self) -> ComplexArray:
        """(outlets,) phasors before, V rms."""
        return self.volts_of(self.state)

    @cached_property
    def nominal_v(self) -> FloatArray:
        """(outlets,) declared volts."""
        return np.array([outlet.nominal_v for outlet in self.outlets])

    @property
    def alive(self) -> NDArray[np.bool_]:
        """(outlets,) True for outlets that have a voltage before."""
        return np.abs(self.before_v) > DEAD_PU * self.nominal_v

    def volts_of(
        self, state: NetworkState, faults: Iterable[ShortCircuit] = (), shunts: Iterable[Shunt] = ()
    ) -> ComplexArray:
        """(outlets,) phasors of a state of the network, with additional faults and shunts, V rms."""
        solved = self.network.voltages((*state.shunts, *shunts), faults, state.switching)
        return self._at_outlets(solved)

    def changes(self, after_v: ComplexArray) -> ComplexArray:
        """(outlets,) change relative to the voltage before: after / before - 1; 0 at dead outlets."""
        return self.changes_from(self.before_v, after_v)

    def changes_from(self, before_v: ComplexArray, after_v: ComplexArray) -> ComplexArray:
        """(outlets,) as `changes`, relative to another state."""
        safe = np.where(self.alive, before_v, 1.0)
        return np.where(self.alive, after_v / safe - 1, 0.0)

    def place_v(self, place: str) -> ComplexArray:
        """(3,) phasors of phases a, b, c at a place before, V rms to neutral."""
        network = self.network.with_places([place])
        solved = network.voltages(self.state.shunts, (), self.state.switching)
        return solved[network.node(place)]

    def place_nominal_v(self, place: str) -> float:
        """Nominal volts of a place, phase to neutral."""
        return self.network.nominal_v(place)

    def thevenin(self, place: str, order: int = 1, with_loads: bool = False) -> SequenceImpedances:
        """Impedances of the network from a place, ohm, in the state before."""
        return self.network.thevenin(place, order, with_loads, self.state.switching)

    def injected_v(self, order: int, place: str, currents_a: ComplexArray) -> ComplexArray:
        """(outlets,) volts rms of one order from (3,) amperes into phases a, b, c of a place."""
        solved = self.network.harmonic_voltages(
            order, {place: currents_a}, self.state.shunts, self.state.switching
        )
        return self._at_outlets(solved)

    def injected_at(self, order: int, place: str, currents_a: ComplexArray) -> ComplexArray:
        """(3,) volts rms at the place itself, as `injected_v`."""
        solved = self.network.harmonic_voltages(
            order, {place: currents_a}, self.state.shunts, self.state.switching
        )
        return solved[self.network.with_places([place]).node(place)]

    def delays_s(self, place: str) -> FloatArray:
        """(outlets,) seconds that a wave from a place needs."""
        return self.distances_km(place) / WAVE_KM_PER_S

    def distances_km(self, place: str) -> FloatArray:
        """(outlets,) kilometres of line from a place."""
        return self._per_outlet(np.array([self.network.distance_km(place, bus) for bus in self._buses]))

    def downstream(self, place: str) -> NDArray[np.bool_]:
        """(outlets,) True for outlets that are fed through a place, or are at it."""
        network = self.network.with_places([place, *self._buses])
        own = network.node(place)
        behind = [network.upstream(place, bus) or network.node(bus) == own for bus in self._buses]
        return self._per_outlet(np.array(behind, dtype=np.bool_))

    def on_feeder_of(self, place: str) -> NDArray[np.bool_]:
        """(outlets,) True for outlets on the same first feeder as a place."""
        topology = self.network.with_places([place]).topology
        own = topology.first_feeder(place)
        same = [topology.first_feeder(bus) == own for bus in self._buses]
        return self._per_outlet(np.array(same, dtype=np.bool_))

    @property
    def busbar_share(self) -> float:
        """Share of a surge that a busbar with all first feeders lets through: 2 / n, 1 at most."""
        topology = self.network.topology
        feeders = {topology.first_feeder(node) for node in self.network.nodes} - {None}
        return min(1.0, 2 / max(1, len(feeders)))

    def moment_on_wave(self, place: str, phase: int, angle_deg: float) -> float:
        """The first moment from `start_s` on at which a phase of a place is at this angle; 0: zero, rising.

        The grid's speed is taken as constant over one cycle, which is true to a microsecond.
        """
        value = complex(self.place_v(place)[phase])
        here = float(self.phase.cycles(np.array([self.start_s]))[0]) + float(np.angle(value)) / (2 * math.pi)
        span = np.array([self.start_s, self.start_s + 1 / self.nominal_hz])
        speed = float(np.diff(self.phase.cycles(span))[0]) * self.nominal_hz
        return self.start_s + ((angle_deg / 360 - here) % 1.0) / speed

    def turn(self, at_s: float) -> float:
        """Phase of the grid at a moment, rad."""
        return 2 * math.pi * (float(self.phase.cycles(np.array([at_s]))[0]) % 1.0)

    def _at_outlets(self, solved: dict[str, ComplexArray]) -> ComplexArray:
        at_buses = np.array([solved[self.network.node(bus)] for bus in self._buses], dtype=np.complex128)
        phases = np.array([outlet.phase for outlet in self.outlets])
        return np.asarray(at_buses[self._bus_of, phases], dtype=np.complex128)

    @cached_property
    def _buses(self) -> list[str]:
        """Buses of the outlets, each once: thousands of Boxes may share some hundred buses."""
        return sorted({outlet.bus for outlet in self.outlets})

    @cached_property
    def _bus_of(self) -> NDArray[np.int64]:
        """(outlets,) number of each outlet's bus."""
        number = {bus: index for index, bus in enumerate(self._buses)}
        return np.array([number[outlet.bus] for outlet in self.outlets], dtype=np.int64)

    def _per_outlet(self, of_buses: NDArray[Value]) -> NDArray[Value]:
        return of_buses[self._bus_of]
