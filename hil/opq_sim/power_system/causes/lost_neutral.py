"""A broken neutral: the star point of the loads downstream floats to where their currents cancel.

    v_n = sum(v_p y_p) / (sum(y_p) + y_earth)      (Millman)

solved within the whole network. Lightly loaded phases rise, up to the voltage between phases.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, FundamentalTerm
from opq_sim.power_system.network.switching import OpenNeutral


@dataclass(frozen=True, slots=True, kw_only=True)
class LostNeutral(Cause):
    """The neutral breaks at a place, and is repaired later."""

    name: ClassVar[str] = "lost_neutral"
    words: ClassVar[str] = "a broken neutral: phases rise and fall with their loads"
    seconds: float = limit(20.0, 0.02, 86_400.0)
    earth_ohm: float = limit(0.0, 0.0, 10_000.0)
    """Resistance of the remaining earthing of the floating star point; 0: none."""

    def solved(self, site: Site) -> SolvedCause:
        broken = OpenNeutral(self.at, self.earth_ohm or None)
        switching = replace(site.state.switching, open_neutrals=(*site.state.switching.open_neutrals, broken))
        change = site.changes(site.volts_of(replace(site.state, switching=switching)))
        start_s, end_s = site.start_s, site.start_s + self.seconds
        terms = DisturbanceTerms(start_s, site.delays_s(self.at), (FundamentalTerm(start_s, end_s, change),))
        return SolvedCause(terms, end_s, f"neutral lost at {self.at} for {self.seconds:g} s", self.at)
