"""Ripple control: a tone on the mains that is switched on and off, a telegram for meters and boilers.

    i = level u_nominal / |z(f)| at the injector, in all phases like a positive sequence

solved through the network at the tone's nearest harmonic. Levels of 1 to 5 % at 110 to 500 Hz: IEC
61000-2-2:2002, 4.10; frequencies in use (175, 216.67, 316.67, 492 Hz) and telegrams of some 0.5 s a bit from
memory.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, KeyedProfile, ToneTerm

MAX_BITS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RippleControl(Cause):
    """One telegram."""

    name: ClassVar[str] = "ripple_control"
    words: ClassVar[str] = "a telegram of ripple control: mains signalling"
    hz: float = limit(216.67, 100.0, 3000.0)
    percent: float = limit(2.0, 0.1, 9.0)
    """Percent of nominal, at the injector."""
    bits: str = "1101001011010001"
    bit_s: float = limit(0.5, 0.02, 60.0)

    def solved(self, site: Site) -> SolvedCause:
        if not self.bits or set(self.bits) - {"0", "1"} or len(self.bits) > MAX_BITS:
            raise ValueError(
                f"ripple_control: bits is {self.bits[:40]!r}; want 1 to {MAX_BITS} zeros and ones"
            )
        start_s, end_s = site.start_s, site.start_s + len(self.bits) * self.bit_s
        order = max(2, round(self.hz / site.nominal_hz))
        place_v = site.place_v(self.at)
        unit_a = np.asarray(place_v / abs(place_v[0]), dtype=np.complex128)
        here_v = site.injected_at(order, self.at, unit_a)
        level_v = self.percent / 100 * site.place_nominal_v(self.at)
        volts = site.injected_v(order, self.at, unit_a) * level_v / abs(complex(here_v[0]))
        tone = ToneTerm(
            start_s, end_s, self.hz, np.where(site.alive, volts, 0), KeyedProfile(self.bits, self.bit_s)
        )
        words = f"ripple control of {self.hz:g} Hz, {self.percent:g} %, from {self.at}, {len(self.bits)} bits"
        terms = DisturbanceTerms(start_s, site.delays_s(self.at), (), (), (tone,))
        return SolvedCause(terms, end_s, words, self.at)
