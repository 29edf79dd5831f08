"""Rectifiers and chargers: harmonic currents into the network's impedance at each harmonic.

    u_h = z_h i_h        six pulses: i_h = i_1 / h for h = 6 k +- 1, with the signs of the bridge

Source: Arrillaga and Watson, "Power System Harmonics", 2nd edition, 3.5 (bridge); IEEE 519-2014 and measured
spectra of switch-mode supplies and of chargers with power factor correction, from memory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import AddedTerm, DisturbanceTerms, FundamentalTerm, HarmonicTerm
from opq_sim.power_system.network.shunts import Shunt

Spectrum = Literal["six_pulse", "twelve_pulse", "switch_mode", "charger"]
BRIDGE_SIGN = {5: -1, 7: 1, 11: -1, 13: 1, 17: -1, 19: 1, 23: -1, 25: 1}
SPECTRA: Mapping[str, Mapping[int, float]] = {
    "six_pulse": {order: sign / order for order, sign in BRIDGE_SIGN.items()},
    "twelve_pulse": {order: BRIDGE_SIGN[order] / order for order in (11, 13, 23, 25)},
    "switch_mode": {3: -0.65, 5: 0.4, 7: -0.2, 9: 0.08, 11: 0.05, 13: -0.05},
    "charger": {3: 0.06, 5: 0.03, 7: 0.025, 9: 0.015, 11: 0.015, 13: 0.01},
}
"""Current of each order relative to the fundamental; sign of its cosine at the fundamental's crest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConverterLoad(Cause):
    """Rectifiers or chargers that run for a while, balanced over three phases."""

    name: ClassVar[str] = "converter_load"
    words: ClassVar[str] = "rectifiers or chargers: harmonic currents over the network's impedance"
    kw: float = limit(100.0, 0.1, 1e5)
    spectrum: Spectrum = "six_pulse"
    seconds: float = limit(20.0, 0.1, 86_400.0)
    firing_deg: float = limit(20.0, 0.0, 80.0)
    """Angle by which the current lags the voltage."""

    def solved(self, site: Site) -> SolvedCause:
        start_s, end_s = site.start_s, site.start_s + self.seconds
        place_v, nominal_v = site.place_v(self.at), site.place_nominal_v(self.at)
        lag = math.radians(self.firing_deg)
        load = Shunt(self.at, self.kw, self.kw * math.tan(lag))
        change = FundamentalTerm(start_s, end_s, site.changes(site.volts_of(site.state, (), [load])))
        drawn_a = self.kw * 1e3 / (3 * nominal_v * math.cos(lag))
        added: list[AddedTerm] = []
        for order, share in SPECTRA[self.spectrum].items():
            tops = np.angle(place_v) - lag - math.pi / 2
            taken = drawn_a * share * 1j * np.exp(1j * order * tops)
            volts = np.where(site.alive, site.injected_v(order, self.at, -taken), 0)
            added.append(HarmonicTerm(start_s, end_s, order, volts))
        terms = DisturbanceTerms(start_s, site.delays_s(self.at), (change,), (), tuple(added))
        words = f"{self.kw:g} kW of {self.spectrum} load at {self.at} for {self.seconds:g} s"
        return SolvedCause(terms, end_s, words, self.at)
