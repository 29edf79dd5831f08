"""Fleets whose transformers and phases are known: ten-minute voltages of Boxes on a network of OPQ Sim.

A supply of 110 kV, two feeders of 20 kV, transformers of 100 to 630 kVA along them, and two cables of 0.4 kV
from each, with houses, generators on roofs, and Boxes at outlets. The network's own solution gives how much
each load moves each Box; the voltages are the sum of that, which leaves out only that a load takes less at a
lower voltage. The wires of its own house are before each Box. Every figure is ours.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opq_proto.config.reading import build
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import NetworkConfig
from opq_sim.power_system.network.shunts import PHASES, Shunt

Series = NDArray[np.float64]
TENTHS = 14 * 144
"""Intervals of ten minutes in two weeks."""
CABLES = ("a", "b")
PROBE_KW = 1.0
NOMINAL_V = 230.0


@dataclass(frozen=True, slots=True)
class KnownFleet:
    """Box -> its volts in percent of nominal, and its transformer and phase."""

    values: dict[str, Series]
    places: dict[str, tuple[str, str]]

    def relation(self, one: str, other: str) -> str:
        """One of same_phase, same_transformer and elsewhere."""
        (transformer, phase), (other_transformer, other_phase) = self.places[one], self.places[other]
        if transformer != other_transformer:
            return "elsewhere"
        return "same_phase" if phase == other_phase else "same_transformer"


@dataclass(slots=True)
class _Plan:
    """Where Boxes and loads are, and the loads' kilowatts over time."""

    document: dict[str, Any]
    places: dict[str, tuple[str, str]] = field(default_factory=dict)
    points: dict[str, str] = field(default_factory=dict)
    loads: list[tuple[Shunt, Series]] = field(default_factory=list)
    own_kw: dict[str, Series] = field(default_factory=dict)


def known_fleet(seed: int, transformers: int = 8) -> KnownFleet:
    """A fleet of 2 to 6 Boxes at each transformer, over two weeks."""
    random = np.random.default_rng(seed)
    plan = _plan(random, transformers)
    network = PowerNetwork(build(NetworkConfig, plan.document)).with_places(
        [*plan.points.values(), *(shunt.at for shunt, _ in plan.loads)]
    )
    supply = 0.3 * _lasting(random, 0.995) + random.uniform(0.02, 0.3) * random.normal(size=TENTHS)
    supply += 1.0 * ((random.random(TENTHS) < 0.01).cumsum() % 2)  # a tap, and back again
    values = {}
    for box, own_kw in plan.own_kw.items():
        wires = -100 * own_kw * 1000 / NOMINAL_V**2 * random.uniform(0.03, 0.25)
        values[box] = 100 + supply + wires + 0.02 * random.normal(size=TENTHS)
    plain = network.voltages()
    for shunt, kw in plan.loads:
        loaded = network.voltages([shunt])
        for box, (_, phase) in plan.places.items():
            node, at = network.node(plan.points[box]), PHASES.index(phase)
            before, after = abs(plain[node][at]), abs(loaded[node][at])
            values[box] = values[box] + 100 * (after - before) / before * kw / PROBE_KW
    return KnownFleet(values, plan.places)


def _plan(random: np.random.Generator, count: int) -> _Plan:
    substation = {
        "id": "s",
        "from_bus": "hv",
        "to_bus": "mv",
        "rating_kva": 16e3,
        "uk_percent": 11.0,
        "x_r": 20.0,
    }
    buses: list[dict[str, Any]] = [{"id": "hv", "nominal_kv": 110.0}, {"id": "mv", "nominal_kv": 20.0}]
    transformers: list[dict[str, Any]] = [substation]
    feeders: list[dict[str, Any]] = [{"id": f"f{each}", "from_bus": "mv", "km": 12.0} for each in (1, 2)]
    plan = _Plan(
        {
            "supply": {"bus": "hv", "short_circuit_mva": float(random.uniform(800, 3000)), "x_r": 8.0},
            "bus": buses,
            "transformer": transformers,
            "feeder": feeders,
        }
    )
    day, sun = _day(), _sun(random)
    for number in range(count):
        rating, km = float(random.choice((100.0, 160.0, 250.0, 400.0, 630.0))), random.uniform(0.1, 0.5)
        place = f"f{1 + number % 2}/{random.uniform(0.5, 12.0):.2f}km"
        buses.append({"id": f"lv{number}", "nominal_kv": 0.4})
        at = {"from_bus": place, "to_bus": f"lv{number}"}
        transformers.append({"id": f"t{number}", "rating_kva": rating, **at})
        houses, roofs_kw = rating * random.uniform(0.15, 0.35), rating * random.choice((0.0, 0.1, 0.3))
        for cable in CABLES:
            name = f"c{number}{cable}"
            feeders.append({"id": name, "from_bus": f"lv{number}", "km": float(km), "kind": "cable"})
            for share in (0.3, 0.9):
                point = f"{name}/{share * km:.2f}km"
                plan.loads.append((Shunt(point, PROBE_KW), -roofs_kw / 4 * sun))
                for phase in PHASES:
                    kw = _houses(random, max(1, round(houses / 12)), day)
                    plan.loads.append((Shunt(point, PROBE_KW, 0.2, phase), kw))
        for _ in range(int(random.integers(2, 7))):
            box, phase = str(len(plan.places) + 1), str(random.choice(PHASES))
            plan.places[box] = (f"t{number}", phase)
            plan.points[box] = f"c{number}{random.choice(CABLES)}/{random.uniform(0.02, km - 0.02):.2f}km"
            plan.own_kw[box] = _houses(random, 1, day)
            plan.loads.append((Shunt(plan.points[box], PROBE_KW, 0.2, phase), plan.own_kw[box]))
    for each in (1, 2):
        plan.loads.append((Shunt(f"f{each}/6.00km", PROBE_KW, 0.4), 400 + 200 * _lasting(random, 0.9)))
    return plan


def _day() -> Series:
    """(TENTHS,) share of the houses' usual power by the time of day, which all of them follow."""
    hour = np.arange(TENTHS) / 6 % 24
    return 0.5 + 0.8 * np.exp(-0.5 * ((hour - 19) / 2.5) ** 2) + 0.4 * np.exp(-0.5 * ((hour - 8) / 1.5) ** 2)


def _sun(random: np.random.Generator) -> Series:
    """(TENTHS,) output of every roof, of its rating, by the time of day and clouds."""
    hour = np.arange(TENTHS) / 6 % 24
    clear = np.clip(np.cos((hour - 12.5) / 12 * np.pi), 0, None)
    found: Series = clear * np.clip(0.6 + 0.3 * _lasting(random, 0.8), 0, 1)
    return found


def _houses(random: np.random.Generator, count: int, day: Series) -> Series:
    """(TENTHS,) kilowatts of so many houses on one phase: appliances of 0.5 to 4 kW for 10 to 60 minutes."""
    found = 0.25 * count * day
    starts = random.poisson(0.08 * count * day)
    for tenths in (1, 2, 3, 6):
        power = random.binomial(starts, 0.25) * random.uniform(0.5, 4.0, TENTHS)
        found = found + np.convolve(power, np.ones(tenths))[:TENTHS]
    return found


def _lasting(random: np.random.Generator, again: float) -> Series:
    """(TENTHS,) noise of order one, of deviation 1."""
    found = np.empty(TENTHS)
    value = random.normal()
    for at, step in enumerate(random.normal(0, (1 - again**2) ** 0.5, TENTHS).tolist()):
        value = again * value + step
        found[at] = value
    return found
