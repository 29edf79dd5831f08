"""Dip types A to G through transformers, as phasors, against Bollen's equations."""

import cmath
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from opq_proto.config.reading import build
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.network.network_config import NetworkConfig, network_problems
from opq_sim.power_system.network.network_faults import FaultType, ShortCircuit

Q = math.sqrt(3) / 2


def dip_phasors(dip_type: str, v: complex) -> NDArray[np.complex128]:
    """Phases a, b, c of a dip of unit voltage before it, characteristic voltage v, symmetrical phase a.

    Source: M. H. J. Bollen, "Understanding Power Quality Problems", IEEE Press 2000, chapter 4.4; the
    starred types: phase-to-neutral voltages of an earth fault behind transformers.
    """
    a, real, imaginary = {
        "A": (v, -v / 2, Q * v),
        "B": (v, -0.5, Q),
        "C": (1, -0.5, Q * v),
        "D": (v, -v / 2, Q),
        "E": (1, -v / 2, Q * v),
        "F": (v, -v / 2, 1 / math.sqrt(3) + v / math.sqrt(12)),
        "G": (2 / 3 + v / 3, -1 / 3 - v / 6, Q * v),
        "C*": (1, -0.5, Q * (1 / 3 + 2 / 3 * v)),
        "D*": (1 / 3 + 2 / 3 * v, -1 / 6 - v / 3, Q),
    }[dip_type]
    return np.array([a, real - 1j * imaginary, real + 1j * imaginary])


def two_transformers(first: str, second: str) -> PowerNetwork:
    """A stiff earthed supply with z0 = z1 at 20 kV, a feeder to be struck, and two transformers in a row."""
    line = {"r_ohm_per_km": 0.4, "x_ohm_per_km": 0.4, "r0_ohm_per_km": 0.4, "x0_ohm_per_km": 0.4}
    line |= {"c_nf_per_km": 0.0, "c0_nf_per_km": 0.0}
    document = {
        "supply": {"bus": "i", "short_circuit_mva": 200.0, "x_r": 3.0},
        "bus": [{"id": name, "nominal_kv": kv} for name, kv in (("i", 20.0), ("ii", 6.0), ("iii", 0.4))],
        "feeder": [{"id": "f", "from_bus": "i", "km": 5.0, **line}],
        "transformer": [
            {"id": "t1", "from_bus": "i", "to_bus": "ii", "rating_kva": 5e3, "vector_group": first},
            {"id": "t2", "from_bus": "ii", "to_bus": "iii", "rating_kva": 1e3, "vector_group": second},
        ],
    }
    return PowerNetwork(build(NetworkConfig, document, cross_check=network_problems))


def rotated(phasors: NDArray[np.complex128], symmetrical: int) -> NDArray[np.complex128]:
    """The same dip with another symmetrical phase: a set of the same sequence, turned by 120 degrees."""
    return np.roll(phasors, symmetrical) * cmath.exp(-2j * math.pi / 3 * symmetrical)


# Bollen, chapter 4.4: one phase to earth, two phases, two phases to earth. Dy and Yd make of each type the
# next one; Dd takes out the zero sequence alone.
TYPES: list[tuple[FaultType, str, tuple[str, str, str]]] = [
    ("LLL", "star-delta", ("A", "A", "A")),
    ("LG", "star-delta", ("B", "C*", "D*")),
    ("LL", "star-delta", ("C", "D", "C")),
    ("LLG", "star-delta", ("E", "F", "G")),
    ("LLL", "delta-delta", ("A", "A", "A")),
    ("LG", "delta-delta", ("B", "D*", "C*")),
    ("LL", "delta-delta", ("C", "C", "D")),
    ("LLG", "delta-delta", ("E", "G", "F")),
]
GROUPS = {
    "star-delta": (("Dyn11", "Dyn1"), ("Yd1", "Dyn11"), ("Dyn5", "Yzn5")),
    "delta-delta": (("Dd0", "Dyn11"), ("Dd6", "YNd1"), ("Yy0", "Dyn5")),
}


@pytest.mark.parametrize(("fault", "kind", "types"), TYPES)
@pytest.mark.parametrize("pair", [0, 1, 2])
def test_transformers_change_the_dip_type(
    fault: FaultType, kind: str, types: tuple[str, str, str], pair: int
) -> None:
    grid = two_transformers(*GROUPS[kind][pair])
    at = grid.voltages(faults=[ShortCircuit("f/2km", fault)])
    before = grid.voltages()
    supply = 20e3**2 / 200e6 / math.hypot(1, 3) * complex(1, 3)
    line = 2 * complex(0.4, 0.4)
    v = line / (supply + line)
    for bus, dip_type in zip(("i", "ii", "iii"), types, strict=True):
        seen = at[bus] / before[bus][0]
        reference = dip_phasors(dip_type, v)
        misfits = [np.abs(seen - rotated(reference, phase)).max() for phase in range(3)]
        assert min(misfits) < 1e-4, (bus, dip_type, np.abs(seen), np.abs(reference))


def test_a_phase_jump_passes_a_transformer() -> None:
    """A characteristic voltage with a phase jump keeps its angle through a transformer."""
    grid = two_transformers("Dyn11", "Dyn1")
    at = grid.voltages(faults=[ShortCircuit("f/2km", "LLL")])
    before = grid.voltages()
    jump = [np.angle(at[bus][0] / before[bus][0]) for bus in ("i", "ii", "iii")]
    supply, line = 2 / math.hypot(1, 3) * complex(1, 3), 2 * complex(0.4, 0.4)
    assert jump == pytest.approx([cmath.phase(line / (supply + line))] * 3, abs=1e-5)
    assert abs(jump[0]) > 0.1  # radians: the feeder has another X/R than the supply
