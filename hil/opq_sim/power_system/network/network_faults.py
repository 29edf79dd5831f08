"""Short circuits: four types at any place, with fault resistance, as a shunt of three phases.

The solution needs no table of types: a fault is an admittance between phases and earth. The coupled
sequence networks give the voltages at every bus, through the transformers.

Source: M. H. J. Bollen, "Understanding Power Quality Problems", IEEE Press 2000, chapter 4: dip types A to G.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from opq_sim.power_system.network.branches import ComplexArray
from opq_sim.power_system.network.shunts import PHASES

FaultType = Literal["LG", "LL", "LLG", "LLL"]
BOLTED_OHM = 1e-7
"""Resistance of a metallic fault: far below any impedance of a network (milliohms), far above rounding."""
USUAL_PHASES: dict[FaultType, str] = {"LG": "a", "LL": "bc", "LLG": "bc", "LLL": "abc"}


@dataclass(frozen=True, slots=True)
class ShortCircuit:
    """A fault at a place.

    `resistance_ohm` lies between the phase and earth (LG), between the two phases (LL), between the joined
    phases and earth (LLG), or in each phase up to the common point (LLL, not earthed).
    """

    at: str
    type: FaultType = "LG"
    phases: str = ""
    """The faulted phases; empty: a, bc, bc, abc."""
    resistance_ohm: float = 0.0

    def __post_init__(self) -> None:
        if self.type not in USUAL_PHASES:
            raise ValueError(f"fault type {self.type!r} at {self.at}; want LG, LL, LLG or LLL")
        usual = USUAL_PHASES[self.type]
        if self.phases and (
            len(set(self.phases)) != len(usual)
            or len(self.phases) != len(usual)
            or not set(self.phases) <= set(PHASES)
        ):
            raise ValueError(f"{self.type} on phases {self.phases!r} at {self.at}; want such as {usual}")
        if not (math.isfinite(self.resistance_ohm) and self.resistance_ohm >= 0):
            raise ValueError(f"resistance_ohm at {self.at} is {self.resistance_ohm}; want 0 or more")

    def phase_s(self) -> ComplexArray:
        """(3, 3) siemens: the currents into the fault from the phase-to-earth voltages."""
        struck = [PHASES.index(phase) for phase in (self.phases or USUAL_PHASES[self.type])]
        matrix = np.zeros((3, 3), dtype=np.complex128)
        given = 1 / max(self.resistance_ohm, BOLTED_OHM)
        if self.type == "LG":
            matrix[struck[0], struck[0]] = given
            return matrix
        if self.type == "LL":
            each, earth = 2 * given, 0.0
        elif self.type == "LLG":
            each, earth = 1 / BOLTED_OHM, given
        else:
            each, earth = given, 0.0
        count = len(struck)
        joined = each * np.eye(count) - each**2 / (count * each + earth) * np.ones((count, count))
        matrix[np.ix_(struck, struck)] = joined
        return matrix
