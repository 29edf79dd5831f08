"""A network solved by symmetrical components: every bus's phasors in any state that its causes make.

The unknowns are the zero, positive and negative sequence voltages of every node. Branches couple the nodes
within each sequence; unsymmetrical shunts and faults couple the sequences within a node. Loads are constant
impedances, so that one linear system is the whole state.

Source: J. J. Grainger, W. D. Stevenson, "Power System Analysis", chapters 11 and 12.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from opq_sim.power_system.network.branches import (
    TO_PHASES,
    TO_SEQUENCES,
    ComplexArray,
    SequenceBranch,
    feeder_branch,
    supply_impedances,
    transformer_branch,
)
from opq_sim.power_system.network.network_config import GenerationConfig, NetworkConfig, load_network_config
from opq_sim.power_system.network.network_faults import ShortCircuit
from opq_sim.power_system.network.shunts import Shunt
from opq_sim.power_system.network.switching import AS_CONFIGURED, Switching
from opq_sim.power_system.network.topology import SAME_KM, Topology
from opq_sim.power_system.places import PlaceError

LEAKAGE_S = 1e-9
"""Admittance from every node to earth, so that a node without supply is at 0 V and not undefined."""
SOURCE_ROUNDS = 50
POSITIVE = 1
"""Place of the positive sequence in arrays of zero, positive and negative sequence."""


@dataclass(frozen=True, slots=True)
class SequenceImpedances:
    """Thevenin impedances of a place, ohm per phase at the voltage of the place."""

    z1: complex
    z2: complex
    z0: complex


class PowerNetwork:
    """A network and its solutions. It never changes: `with_places` returns another one."""

    def __init__(self, config: NetworkConfig, places: Iterable[str] = ()) -> None:
        self.config = config
        self.topology = Topology(config, places)
        self.nodes = tuple(sorted(self.topology.nominal_v))
        self._index = {node: index for index, node in enumerate(self.nodes)}
        self._loads = tuple(
            Shunt(self.node(load.bus), load.kw, load.kvar, load.phases, load.connection)
            for load in config.load
        )
        self._capacitors = tuple(
            Shunt(self.node(each.bus), 0.0, -each.kvar, "abc", each.connection) for each in config.capacitor
        )
        self._matrices = lru_cache(maxsize=64)(self._sequence_matrices)
        self._generation_v: dict[str, complex] | None = None
        self._with_more = lru_cache(maxsize=256)(self._grown)

    @classmethod
    def from_file(cls, path: Path | str) -> "PowerNetwork":
        """Reads a network from a TOML file.

        Raises:
            ConfigError: every problem in the file, with its key.
        """
        return cls(load_network_config(path))

    def node(self, place: str) -> str:
        """The name of a place as this network's results use it."""
        return self.topology.node(place)

    def nominal_v(self, place: str) -> float:
        """Nominal volts of a place, phase to neutral."""
        return self.with_places([place]).topology.nominal_v[self.node(place)]

    def with_places(self, places: Iterable[str]) -> "PowerNetwork":
        """This network with more places of its feeders among the nodes.

        Raises:
            PlaceError: a place that the network does not have.
        """
        more = frozenset(self.node(place) for place in places) - set(self.nodes)
        return self._with_more(more) if more else self

    def distance_km(self, a: str, b: str) -> float:
        """Kilometres of line between two places, the shortest way; transformers are 0 km."""
        return self.with_places([a, b]).topology.distance_km(a, b)

    def upstream(self, a: str, b: str) -> bool:
        """True if `a` lies on the way from the supply to `b`, and is not `b`."""
        return self.with_places([a, b]).topology.upstream(a, b)

    def voltages(
        self,
        shunts: Iterable[Shunt] = (),
        faults: Iterable[ShortCircuit] = (),
        switching: Switching = AS_CONFIGURED,
    ) -> dict[str, ComplexArray]:
        """Every node's phasors with all sources as they were before: the state after a sudden change.

        Args:
            shunts, faults: in addition to the loads and capacitors of the file, at any place.
        Returns:
            by node (the places of shunts and faults among them): (3,) volts rms of phases a, b, c to neutral;
            downstream of an open neutral to the floating one.
        Raises:
            PlaceError: a place or branch that the network does not have.
        """
        shunts, faults = tuple(shunts), tuple(faults)
        at = [*(shunt.at for shunt in shunts), *(fault.at for fault in faults), *switching.places]
        network = self.with_places(at)
        return network._solved((*self._loads, *self._capacitors, *shunts), faults, switching, 1, {})

    def harmonic_voltages(
        self,
        order: int,
        currents_a: Mapping[str, ComplexArray],
        shunts: Iterable[Shunt] = (),
        switching: Switching = AS_CONFIGURED,
    ) -> dict[str, ComplexArray]:
        """Every node's phasors of one harmonic that loads inject, as `voltages`.

        Args:
            order: of the harmonic, 1 or more; reactances follow it, resistances do not.
            currents_a: place -> (3,) amperes rms of phases a, b, c, into the network.
        """
        if order < 1:
            raise ValueError(f"harmonic order is {order}; want 1 or more")
        shunts = tuple(shunts)
        network = self.with_places([*currents_a, *(shunt.at for shunt in shunts), *switching.places])
        injected = {network.node(place): np.asarray(value) for place, value in currents_a.items()}
        return network._solved((*self._loads, *self._capacitors, *shunts), (), switching, order, injected)

    def thevenin(
        self, place: str, order: int = 1, with_loads: bool = False, switching: Switching = AS_CONFIGURED
    ) -> SequenceImpedances:
        """The network's impedances as seen from a place, by default without loads and capacitors.

        Symmetrical loads count by their share per phase if `with_loads`; at an `order` above 1 that is the
        harmonic impedance. Where nothing is earthed, `z0` is the leakage: a very large number.
        """
        network = self.with_places([place, *switching.places])
        matrices = [matrix.copy() for matrix in network._matrices(switching, order)]
        if with_loads:
            for shunt in (*network._loads, *network._capacitors):
                node = network._index[shunt.at]
                nominal_v = network.topology.nominal_v[shunt.at]
                wye = shunt.wye_s(nominal_v, order).mean()
                delta = np.trace(shunt.delta_s(nominal_v, order)) / 2
                for sequence, admittance in enumerate((wye, wye + delta, wye + delta)):
                    matrices[sequence][node, node] += admittance
        index = network._index[network.node(place)]
        unit = np.zeros(len(network.nodes), dtype=np.complex128)
        unit[index] = 1.0
        z0, z1, z2 = (complex(np.linalg.solve(matrix, unit)[index]) for matrix in matrices)
        return SequenceImpedances(z1, z2, z0)

    def _grown(self, places: frozenset[str]) -> "PowerNetwork":
        more = PowerNetwork(self.config, [*self.nodes, *places])
        more._generation_v = self._voltages_behind()  # no result depends on the order of the calls
        return more

    def _solved(
        self,
        shunts: tuple[Shunt, ...],
        faults: tuple[ShortCircuit, ...],
        switching: Switching,
        order: int,
        injected_a: Mapping[str, ComplexArray],
    ) -> dict[str, ComplexArray]:
        count = len(self.nodes)
        floating = self._floating(switching)
        size = 3 * count + len(switching.open_neutrals)
        matrix = np.zeros((size, size), dtype=np.complex128)
        for sequence, of_one in enumerate(self._matrices(switching, order)):
            matrix[sequence : 3 * count : 3, sequence : 3 * count : 3] = of_one
        for shunt in shunts:
            node = self.node(shunt.at)
            nominal_v = self.topology.nominal_v[node]
            phase_s = np.diag(shunt.wye_s(nominal_v, order))
            rows = self._rows(node)
            matrix[rows, rows] += _in_sequences(phase_s + shunt.delta_s(nominal_v, order))
            if node in floating:
                star, each = 3 * count + floating[node], np.diag(phase_s)
                matrix[rows, star] -= TO_SEQUENCES @ each
                matrix[star, rows] -= each @ TO_PHASES
                matrix[star, star] += each.sum()
        for number, neutral in enumerate(switching.open_neutrals):
            star = 3 * count + number
            matrix[star, star] += 1 / neutral.earth_ohm if neutral.earth_ohm else LEAKAGE_S
        for fault in faults:
            rows = self._rows(self.node(fault.at))
            matrix[rows, rows] += _in_sequences(fault.phase_s())
        currents = np.zeros(size, dtype=np.complex128)
        for node, amperes in injected_a.items():
            currents[self._rows(node)] += TO_SEQUENCES @ amperes
        if order == 1 and not injected_a:
            for row, ampere in self._source_currents(switching):
                currents[row] += ampere
        solved = np.linalg.solve(matrix, currents)
        phases = (TO_PHASES @ solved[: 3 * count].reshape(count, 3).T).T
        answer = {node: phases[index].copy() for node, index in self._index.items()}
        for node, number in floating.items():
            answer[node] -= solved[3 * count + number]
        return answer

    def _rows(self, node: str) -> slice:
        return slice(3 * self._index[node], 3 * self._index[node] + 3)

    def _floating(self, switching: Switching) -> dict[str, int]:
        """Nodes downstream of an open neutral, and which neutral."""
        return {
            node: number
            for number, neutral in enumerate(switching.open_neutrals)
            for node in self.topology.behind(neutral.at)
        }

    def _sequence_matrices(
        self, switching: Switching, order: int
    ) -> tuple[ComplexArray, ComplexArray, ComplexArray]:
        """(n, n) node admittances of zero, positive and negative sequence, without loads and faults."""
        count = len(self.nodes)
        zero, positive, negative = (LEAKAGE_S * np.eye(count, dtype=np.complex128) for _ in range(3))
        for branch in self._branches(switching, order):
            ends = np.ix_(*2 * ([self._index[branch.from_bus], self._index[branch.to_bus]],))
            zero[ends] += branch.zero
            positive[ends] += branch.positive
            negative[ends] += branch.negative
        for _, node, impedances in self._sources(switching, order):
            index = self._index[node]
            for matrix, impedance in zip((zero, positive, negative), impedances, strict=True):
                if math.isfinite(abs(impedance)):
                    matrix[index, index] += 1 / impedance
        return zero, positive, negative

    def _branches(self, switching: Switching, order: int) -> Iterable[SequenceBranch]:
        topology, hz = self.topology, self.config.nominal_hz
        opened, points = switching.opened(self.config)
        for segment in topology.segments:
            feeder = segment.feeder
            is_open = feeder.id in opened and segment.start_km == 0
            is_open |= any(name == feeder.id and abs(km - segment.start_km) < SAME_KM for name, km in points)
            if not is_open:
                yield feeder_branch(feeder, (segment.from_node, segment.to_node), segment.km, hz, order)
        for transformer, a, b in topology.transformers:
            if transformer.id not in opened:
                nominal_v = (topology.nominal_v[a], topology.nominal_v[b])
                tap_pu = switching.taps().get(transformer.id, transformer.tap_pu)
                yield transformer_branch(transformer, (a, b), nominal_v, tap_pu, order)

    def _sources(
        self, switching: Switching, order: int
    ) -> Iterable[tuple[str, str, tuple[complex, complex, complex]]]:
        """(name, node, zero, positive, negative impedance) of every voltage source that is not off."""
        supply = self.config.supply
        node = self.node(supply.bus)
        if "supply" not in switching.open_at:
            yield "supply", node, supply_impedances(supply, self.topology.nominal_v[node], order)
        for each in self.config.generation:
            if each.id not in switching.open_at:
                node = self.node(each.bus)
                impedance = _machine_ohm(each, self.topology.nominal_v[node], order)
                zero = impedance if each.earthed else complex(math.inf)
                yield each.id, node, (zero, impedance, impedance)

    def _source_currents(self, switching: Switching) -> list[tuple[int, complex]]:
        """(row of the positive sequence, amperes) of the sources' Norton equivalents."""
        behind_v = self._voltages_behind()
        return [
            (3 * self._index[node] + POSITIVE, behind_v[name] / impedances[POSITIVE])
            for name, node, impedances in self._sources(switching, 1)
        ]

    def _voltages_behind(self) -> dict[str, complex]:
        """Volts inside each source's impedance, such that generation gives its configured power."""
        if self._generation_v is not None:
            return self._generation_v
        supply = self.config.supply
        behind_v = {"supply": complex(supply.voltage_pu * self.topology.nominal_v[self.node(supply.bus)])}
        terminal_v = {
            each.id: complex(self.topology.nominal_v[self.node(each.bus)]) for each in self.config.generation
        }
        if not self.config.generation:
            self._generation_v = behind_v
            return behind_v
        for _ in range(SOURCE_ROUNDS):
            for each in self.config.generation:
                impedance = _machine_ohm(each, self.topology.nominal_v[self.node(each.bus)], 1)
                power_va = 1e3 * complex(each.kw, each.kvar) / 3
                volts = terminal_v[each.id]
                behind_v[each.id] = volts + impedance * (power_va / volts).conjugate()
            self._generation_v = behind_v
            solved = self._solved((*self._loads, *self._capacitors), (), AS_CONFIGURED, 1, {})
            before_v = terminal_v
            terminal_v = {
                each.id: complex(TO_SEQUENCES[POSITIVE] @ solved[self.node(each.bus)])
                for each in self.config.generation
            }
            if all(
                abs(terminal_v[name] - before_v[name]) < 1e-9 * abs(before_v[name]) for name in terminal_v
            ):
                return behind_v
        self._generation_v = None
        names = ", ".join(each.id for each in self.config.generation)
        raise PlaceError(f"generation {names}: the network cannot take this power; lower kw or kvar")


def _machine_ohm(generation: GenerationConfig, nominal_v: float, order: int) -> complex:
    """Reactance of a machine with a hundredth of it as resistance."""
    size = generation.x_pu * 3 * nominal_v**2 / (generation.rating_kva * 1e3)
    return complex(size / 100, size * order)


def _in_sequences(phase_s: ComplexArray) -> ComplexArray:
    return TO_SEQUENCES @ phase_s @ TO_PHASES
