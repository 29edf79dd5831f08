"""A large motor that starts direct on line: its starting current over the source's impedance.

    y(s) = 1 / (r1 + r2 / s + j x)      v = v0 / (1 + z y)
    2H d(1 - s)/dt = |v y|^2 r2 / s - load (1 - s)^2

with slip s from 1, all of the motor's rating. Source: Kundur, "Power System Stability and Control", 7.2
(equivalent circuit, torque), IEEE 399-1997, chapter 9 (a starting motor as an impedance over the source's).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from opq_sim.mains.profiles import FloatArray
from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import (
    ComplexArray,
    DisturbanceTerms,
    FundamentalTerm,
    TableProfile,
)
from opq_sim.power_system.network.shunts import Shunt

STEP_S = 0.002
LONGEST_S = 60.0
RATED_FACTOR = 0.8
"""Efficiency times power factor of a running motor of some 100 kW."""
POINTS = 500
RUNNING_SLIP = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class MotorStart(Cause):
    """An induction motor of three phases with a fan or a pump."""

    name: ClassVar[str] = "motor_start"
    words: ClassVar[str] = "a large motor started direct on line"
    kw: float = limit(75.0, 0.1, 50_000.0)
    """Rated power at the shaft."""
    starting_ratio: float = limit(6.0, 2.0, 10.0)
    """Starting current relative to rated current; IEC 60034-12."""
    starting_pf: float = limit(0.3, 0.1, 0.8)
    inertia_s: float = limit(0.5, 0.05, 20.0)
    """H: energy of motor and load at full speed, per VA of its rating."""
    load: float = limit(0.6, 0.0, 1.0)
    """Torque at full speed, relative to rated torque."""
    running_s: float = limit(20.0, 0.5, 86_400.0)
    """Time from the start until it is switched off."""

    @property
    def rating_kva(self) -> float:
        """Apparent power when it runs at full load."""
        return self.kw / RATED_FACTOR

    def solved(self, site: Site) -> SolvedCause:
        start_s = site.start_s
        starting_kva = self.starting_ratio * self.rating_kva
        reactive = math.sqrt(1 - self.starting_pf**2)
        shunt = Shunt(self.at, starting_kva * self.starting_pf, starting_kva * reactive)
        change = site.changes(site.volts_of(site.state, (), [shunt]))
        seconds, sizes = self.run_up(site)
        profile = TableProfile(seconds, sizes)
        factor = FundamentalTerm(start_s, start_s + self.running_s, change, profile)
        over = np.flatnonzero(np.abs(sizes) > np.abs(sizes[-1]) + 0.1)
        end_s = start_s + min(float(seconds[over[-1]]) if len(over) else 0.0, self.running_s)
        words = f"{self.kw:g} kW motor started at {self.at}, {end_s - start_s:.1f} s to run up"
        terms = DisturbanceTerms(start_s, site.delays_s(self.at), (factor,))
        return SolvedCause(terms, end_s, words, self.at)

    def run_up(self, site: Site) -> tuple[FloatArray, ComplexArray]:
        """(m,) seconds, and (m,) the motor's effect on the voltage relative to its effect at standstill."""
        base_ohm = 3 * site.place_nominal_v(self.at) ** 2 / (self.rating_kva * 1e3)
        source = site.thevenin(self.at, with_loads=True).z1 / base_ohm
        volts = abs(complex(site.place_v(self.at)[0])) / site.place_nominal_v(self.at)
        resistance = self.starting_pf / self.starting_ratio
        r1 = r2 = resistance / 2
        reactance = math.sqrt(1 - self.starting_pf**2) / self.starting_ratio

        def admittance(slip: float) -> complex:
            return 1 / (r1 + r2 / slip + 1j * reactance)

        def acceleration(slip: float) -> float:
            taken = admittance(slip)
            current = volts * abs(taken / (1 + source * taken))
            return (current**2 * r2 / slip - self.load * (1 - slip) ** 2) / (2 * self.inertia_s)

        slip, slips = 1.0, [1.0]
        while len(slips) * STEP_S < min(LONGEST_S, self.running_s):
            first = acceleration(slip)
            half = acceleration(max(slip - first * STEP_S / 2, RUNNING_SLIP / 10))
            slip = min(max(slip - half * STEP_S, RUNNING_SLIP / 10), 1.0)
            slips.append(slip)
            if abs(half) < 1e-3 and slip < 0.5:
                break
        chosen = np.unique(np.linspace(0, len(slips) - 1, POINTS).astype(np.int64))
        taken = np.array([admittance(slips[index]) for index in chosen])
        sizes = taken / (1 + source * taken)
        seconds = np.asarray(chosen * STEP_S, dtype=np.float64)
        return seconds, np.asarray(sizes / sizes[0], dtype=np.complex128)
