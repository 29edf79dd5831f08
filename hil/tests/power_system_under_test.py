"""A small European network for tests: 110 kV, 20 kV with two feeders, low voltage at their ends."""

from collections.abc import Iterable

import numpy as np

from opq_proto.config.reading import build
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.wave import Harmonic
from opq_sim.power_system.causes.cause import Cause
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import NetworkConfig
from opq_sim.power_system.outlet_voltage import Outlet
from opq_sim.power_system.power_system import PowerSystem

RATE_HZ = 12_000.0
NOMINAL_V = 230.0
DOCUMENT = {
    "nominal_hz": 50.0,
    "supply": {"bus": "hv", "short_circuit_mva": 800.0},
    "bus": [
        {"id": "hv", "nominal_kv": 110.0},
        {"id": "mv", "nominal_kv": 20.0},
        {"id": "end1", "nominal_kv": 20.0},
        {"id": "end2", "nominal_kv": 20.0},
        {"id": "lv1", "nominal_kv": 0.4},
        {"id": "lv2", "nominal_kv": 0.4},
    ],
    "transformer": [
        {
            "id": "t0",
            "from_bus": "hv",
            "to_bus": "mv",
            "rating_kva": 16_000.0,
            "uk_percent": 11.0,
            "x_r": 20.0,
            "vector_group": "Dyn11",
        },
        {"id": "t1", "from_bus": "end1", "to_bus": "lv1", "rating_kva": 400.0},
        {"id": "t2", "from_bus": "end2", "to_bus": "lv2", "rating_kva": 400.0},
    ],
    "feeder": [
        {"id": "feeder1", "from_bus": "mv", "to_bus": "end1", "km": 5.0},
        {"id": "feeder2", "from_bus": "mv", "to_bus": "end2", "km": 8.0},
    ],
    "load": [
        {"bus": "lv1", "kw": 100.0, "kvar": 20.0},
        {"bus": "lv2", "kw": 80.0, "kvar": 20.0},
        {"bus": "lv2", "kw": 40.0, "kvar": 8.0, "phases": "a"},
    ],
}
HARMONICS = (Harmonic(3, 1.0, 30.0), Harmonic(5, 1.5, 160.0))
OUTLETS = (
    Outlet("1", "lv1", 0, NOMINAL_V, 50.0, HARMONICS),
    Outlet("2", "lv2", 0, NOMINAL_V, 50.0),
    Outlet("3", "lv2", 1, NOMINAL_V, 50.0),
    Outlet("4", "mv", 0, 11_547.0, 50.0),
)


def small_network() -> PowerNetwork:
    return PowerNetwork(build(NetworkConfig, DOCUMENT, "small network"))


def system_with(
    *causes: Cause, hz: float = 50.0, at_s: float = 0.5, outlets: Iterable[Outlet] = OUTLETS
) -> PowerSystem:
    """A system in which the causes happen from `at_s` on."""
    system = PowerSystem(
        small_network(), Grid(hz), tuple(outlets), scheduled=((at_s, cause) for cause in causes)
    )
    system.before(at_s)
    return system


def moments(start_s: float, end_s: float) -> FloatArray:
    return np.arange(round(start_s * RATE_HZ), round(end_s * RATE_HZ)) / RATE_HZ


def rms_v(system: PowerSystem, box_id: str, start_s: float, cycles: int = 1, hz: float = 50.0) -> float:
    volts = system.voltages[box_id].volts(start_s + np.arange(240 * cycles) / (240 * hz))
    return float(np.sqrt(np.mean(volts**2)))
