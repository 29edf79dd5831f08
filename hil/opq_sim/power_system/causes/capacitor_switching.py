"""A capacitor bank that is switched in: the voltage falls to the bank's, and rings with the source.

    v'' + (R / L) v' + v / (L C) = e / (L C)       L from the source, C from the bank
    free part: exp(-R t / 2L) (A cos w t + B sin w t),  w = sqrt(1 / LC - (R / 2L)^2)

A and B follow from an empty bank and no current at the closing; R is the resistance of source and loads at
the ringing frequency. Other banks of the network do not ring here.

Source: Greenwood, "Electrical Transients in Power Systems", 2nd edition, chapter 2 and section 5.2.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import (
    ComplexArray,
    DisturbanceTerms,
    FundamentalTerm,
    RingingTerm,
)
from opq_sim.power_system.network.shunts import Shunt


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacitorSwitching(Cause):
    """A bank of three phases, empty before, closed in all phases at once."""

    name: ClassVar[str] = "capacitor_switching"
    words: ClassVar[str] = "a capacitor bank switched in, ringing with the source"
    kvar: float = limit(600.0, 1.0, 1e6)
    angle_deg: float = limit(90.0, -360.0, 360.0)
    """Point on wave of phase a; 0 at its zero, where it rings least."""
    on_s: float = limit(0.0, 0.0, 86_400.0)
    """Time until it is switched off; 0: never."""

    def solved(self, site: Site) -> SolvedCause:
        start_s = site.moment_on_wave(self.at, 0, self.angle_deg)
        bank = Shunt(self.at, 0.0, -self.kvar)
        speed, damping = self.ringing(site)
        free = self._free_part(site, bank, start_s, speed, damping)
        order = max(2, round(speed / (2 * math.pi * site.nominal_hz)))
        own = site.injected_at(order, self.at, free)
        impedance = complex(np.vdot(free, own) / np.vdot(free, free))
        ringing = RingingTerm(
            start_s, speed / (2 * math.pi), 1 / damping, site.injected_v(order, self.at, free) / impedance
        )
        stays_s = start_s + self.on_s if self.on_s else math.inf
        change = FundamentalTerm(start_s, stays_s, site.changes(site.volts_of(site.state, (), [bank])))
        after = None if self.on_s else replace(site.state, shunts=(*site.state.shunts, bank))
        words = f"{self.kvar:g} kvar switched in at {self.at}, ringing at {speed / (2 * math.pi):.0f} Hz"
        terms = DisturbanceTerms(start_s, site.delays_s(self.at), (change,), (), (ringing,))
        return SolvedCause(terms, start_s + 4.6 / damping, words, self.at, after)  # down to a hundredth

    def ringing(self, site: Site) -> tuple[float, float]:
        """(rad/s of the ringing, 1/s of its decay).

        Raises:
            ValueError: it does not ring; the source's resistance is too large.
        """
        speed = 2 * math.pi * site.nominal_hz
        source = site.thevenin(self.at).z1
        inductance = source.imag / speed
        capacitance = self.kvar * 1e3 / 3 / (speed * site.place_nominal_v(self.at) ** 2)
        order = max(2, round(1 / math.sqrt(inductance * capacitance) / speed))
        damping = site.thevenin(self.at, order, with_loads=True).z1.real / (2 * inductance)
        square = 1 / (inductance * capacitance) - damping**2
        if square <= (2 * speed) ** 2 or damping <= 0:
            raise ValueError(f"{self.kvar:g} kvar do not ring at {self.at}; want a smaller bank")
        return math.sqrt(square), damping

    def _free_part(
        self, site: Site, bank: Shunt, start_s: float, speed: float, damping: float
    ) -> ComplexArray:
        """(3,) phases' peaks X of Im(X exp((-damping + j speed) t)) at the bank."""
        network = site.network.with_places([self.at])
        state = site.state
        steady = network.voltages((*state.shunts, bank), (), state.switching)[network.node(self.at)]
        turned = math.sqrt(2) * steady * np.exp(1j * site.turn(start_s))
        before = -turned.imag  # empty: the free part cancels the steady one at the start
        slope = -2 * math.pi * site.nominal_hz * turned.real
        return np.asarray((slope + damping * before) / speed + 1j * before)
