"""A unit that trips: the frequency of the whole system falls, and control brings it back.

The swing equation with droop and secondary control (`frequency.StepAnswer`); the initial ROCOF is
dP f0 / (2 H S). Source: Kundur, "Power System Stability and Control", 11.1.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, SlipTerm
from opq_sim.power_system.system_frequency import PowerStep, StepAnswer

WITHIN_SHARE = 0.001
"""It is over when the frequency is again this close to nominal, as a share of nominal."""
LONGEST_S = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitTrip(Cause):
    """Loss of generation somewhere in the whole system or, below 0 MW, of load."""

    name: ClassVar[str] = "unit_trip"
    words: ClassVar[str] = "a unit lost: the frequency of the whole system falls"
    mw: float = limit(10.0, -20_000.0, 20_000.0)

    def solved(self, site: Site) -> SolvedCause:
        if site.model is None:
            raise ValueError("unit_trip: this scenario has no [frequency] with a preset; want one")
        place = site.network.config.supply.bus if self.at == "system" else self.at
        profile = StepAnswer(site.model, PowerStep(0.0, self.mw))
        everywhere = np.ones(len(site.outlets), dtype=np.bool_)
        slip = SlipTerm(site.start_s, math.inf, profile, everywhere)
        seconds: np.ndarray = np.arange(0.0, LONGEST_S, 0.1)
        off = np.flatnonzero(np.abs(profile.hz(seconds)) > WITHIN_SHARE * site.nominal_hz)
        lasting_s = float(seconds[off[-1]]) if len(off) else 0.0
        lowest_hz = float(profile.hz(seconds)[np.argmax(np.abs(profile.hz(seconds)))])
        what = "generation" if self.mw > 0 else "load"
        words = f"{abs(self.mw):g} MW of {what} lost, {lowest_hz:+.3f} Hz at most"
        terms = DisturbanceTerms(site.start_s, site.delays_s(place), (), (slip,))
        return SolvedCause(terms, site.start_s + lasting_s, words, place)
