"""Loads, motors at standstill and capacitors between the phases and earth at one place.

A shunt is a constant impedance that takes its power at nominal voltage. At order h of the nominal frequency
its conductance stays, an inductance has 1/h of its susceptance and a capacitance h times as much.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from opq_sim.power_system.network.branches import ComplexArray

PHASES = ("a", "b", "c")
WYE_BELOW_V = 1000 / 3**0.5
"""Nominal phase-to-neutral volts below which `auto` means wye: low voltage has a neutral."""


@dataclass(frozen=True, slots=True)
class Shunt:
    """A load, motor or capacitor at a place; `kvar` below 0 is capacitive.

    `phases`: abc, or one phase to neutral (a, b, c), or between two (ab, bc, ca). The power is of all of
    them together. A motor at standstill takes its starting kVA at its starting power factor
    (4 to 8 times its rating, 0.2 to 0.4).
    """

    at: str
    kw: float = 0.0
    kvar: float = 0.0
    phases: str = "abc"
    connection: Literal["auto", "wye", "delta"] = "auto"

    def __post_init__(self) -> None:
        if self.phases not in ("abc", "a", "b", "c", "ab", "bc", "ca"):
            raise ValueError(f"phases {self.phases!r} at {self.at}; want abc, a, b, c, ab, bc or ca")
        if not (np.isfinite(self.kw) and np.isfinite(self.kvar) and self.kw >= 0):
            raise ValueError(f"{self.kw} kW, {self.kvar} kvar at {self.at}; want kw of 0 or more")

    def is_wye(self, nominal_v: float) -> bool:
        """True if it is connected between phases and neutral, at a bus of `nominal_v` phase to neutral."""
        if len(self.phases) == 2:
            return False
        if len(self.phases) == 1 or self.connection == "wye":
            return True
        return self.connection == "auto" and nominal_v < WYE_BELOW_V

    def wye_s(self, nominal_v: float, order: int = 1) -> ComplexArray:
        """(3,) siemens from each phase to neutral; zeros for a delta."""
        admittances = np.zeros(3, dtype=np.complex128)
        if self.is_wye(nominal_v):
            for phase in self.phases:
                admittances[PHASES.index(phase)] = self._of(nominal_v, len(self.phases), order)
        return admittances

    def delta_s(self, nominal_v: float, order: int = 1) -> ComplexArray:
        """(3, 3) siemens between phases: their currents from their voltages; zeros for a wye."""
        matrix = np.zeros((3, 3), dtype=np.complex128)
        if self.is_wye(nominal_v):
            return matrix
        pairs = ("ab", "bc", "ca") if len(self.phases) == 3 else (self.phases,)
        admittance = self._of(3**0.5 * nominal_v, len(pairs), order)
        for pair in pairs:
            k, m = PHASES.index(pair[0]), PHASES.index(pair[1])
            matrix[[k, m], [k, m]] += admittance
            matrix[[k, m], [m, k]] -= admittance
        return matrix

    def _of(self, across_v: float, branches: int, order: int) -> complex:
        conductance = 1e3 * self.kw / branches / across_v**2
        susceptance = -1e3 * self.kvar / branches / across_v**2
        return complex(conductance, susceptance * (order if susceptance > 0 else 1 / order))
