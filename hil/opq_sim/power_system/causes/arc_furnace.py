"""An arc furnace: its reactive current wanders between nothing and a short circuit, and the voltage flickers.

    u(t) = u0 (1 + k(t) (u_short / u0 - 1)),    k(t) = mean + sum of sines of 0.5 to 25 Hz, density as 1 / f

u_short: the electrodes shorted. The density is chosen here; limits of connection are stated in the depression
of the short circuit. Source: UIE, "Flicker measurement and evaluation", 1992 (short-circuit voltage
depression).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, FundamentalTerm, ModulationProfile
from opq_sim.power_system.network.shunts import Shunt

TONES = 24
LOW_HZ = 0.5
"""Lowest frequency of the flicker."""
HIGH_HZ = 25.0
"""Highest frequency of the flicker."""
MEAN = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ArcFurnace(Cause):
    """A furnace that melts for a while."""

    name: ClassVar[str] = "arc_furnace"
    words: ClassVar[str] = "an arc furnace that melts: flicker"
    mva: float = limit(2.0, 0.01, 500.0)
    """Power with the electrodes shorted, nearly all of it reactive."""
    restlessness: float = limit(0.15, 0.0, 0.25)
    """Standard deviation of its power, relative to the short circuit."""
    seconds: float = limit(30.0, 1.0, 86_400.0)

    def solved(self, site: Site) -> SolvedCause:
        start_s, end_s = site.start_s, site.start_s + self.seconds
        shorted = Shunt(self.at, 1e3 * self.mva * 0.2, 1e3 * self.mva * math.sqrt(1 - 0.2**2))
        change = site.changes(site.volts_of(site.state, (), [shorted]))
        bounds = np.geomspace(LOW_HZ, HIGH_HZ, TONES + 1)  # bands of equal power: density as 1 / f
        hz = np.sqrt(bounds[1:] * bounds[:-1]) * site.chance.uniform(0.97, 1.03, TONES)
        peaks = np.full(TONES, self.restlessness * math.sqrt(2 / TONES))
        profile = ModulationProfile(MEAN, hz, peaks, site.chance.uniform(0, 2 * math.pi, TONES))
        factor = FundamentalTerm(start_s, end_s, change, profile)
        words = f"arc furnace of {self.mva:g} MVA at {self.at} for {self.seconds:g} s"
        return SolvedCause(
            DisturbanceTerms(start_s, site.delays_s(self.at), (factor,)), end_s, words, self.at
        )
