"""A load on one phase, or between two: the voltages of the three phases become unequal.

Between two phases of a network of short-circuit power S_k a load S makes u2 = S / S_k and no u0.

Source: IEC TR 61000-3-13:2008 (the ratio of the powers).
"""

from dataclasses import dataclass
from typing import ClassVar

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, FundamentalTerm
from opq_sim.power_system.network.shunts import Shunt


@dataclass(frozen=True, slots=True, kw_only=True)
class UnevenLoad(Cause):
    """A furnace of one phase, or a railway's substation, for a while."""

    name: ClassVar[str] = "uneven_load"
    words: ClassVar[str] = "a load on one or two phases: unbalance"
    kw: float = limit(3000.0, 0.1, 1e6)
    phases: str = "ab"
    """ab, bc, ca between two; a, b, c to neutral."""
    seconds: float = limit(60.0, 0.02, 86_400.0)

    def solved(self, site: Site) -> SolvedCause:
        load = Shunt(self.at, self.kw, 0.0, self.phases)
        change = site.changes(site.volts_of(site.state, (), [load]))
        start_s, end_s = site.start_s, site.start_s + self.seconds
        terms = DisturbanceTerms(start_s, site.delays_s(self.at), (FundamentalTerm(start_s, end_s, change),))
        words = f"{self.kw:g} kW on {self.phases} at {self.at} for {self.seconds:g} s"
        return SolvedCause(terms, end_s, words, self.at)
