"""A tap changer under load: the voltage downstream of its transformer changes by one tap after the other.

Steps of 1.25 to 1.67 % every 3 to 10 s; IEC 60214-1, and Kundur, "Power System Stability and Control", 11.2.
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, FundamentalTerm
from opq_sim.power_system.places import PlaceError


@dataclass(frozen=True, slots=True, kw_only=True)
class TapChange(Cause):
    """Some taps up or down, without end; `at` is the transformer."""

    name: ClassVar[str] = "tap_change"
    words: ClassVar[str] = "a transformer's taps, one after the other"
    steps: float = limit(1.0, -17.0, 17.0)
    """Up (a higher voltage downstream) or, below 0, down."""
    step_percent: float = limit(1.5, 0.1, 5.0)
    every_s: float = limit(5.0, 0.1, 600.0)
    within_percent: float = limit(100.0, 0.1, 100.0)
    """A change that would end farther than this from the network's own tap goes the other way instead.

    A regulator keeps the voltage near nominal, so random changes must not add up to a low voltage for hours.
    """

    def solved(self, site: Site) -> SolvedCause:
        transformers = {each.id: each for each in site.network.config.transformer}
        if self.at not in transformers:
            known = ", ".join(transformers) or "none is defined"
            raise PlaceError(f"{self.at!r} is not a transformer of the network; want one of {known}")
        count = round(abs(self.steps))
        if not count:
            raise ValueError("tap_change: steps is 0; want at least one up or down")
        taps = dict(site.state.switching.taps_pu)
        own_pu = transformers[self.at].tap_pu
        at_pu = taps.get(self.at, own_pu)
        step_pu = math.copysign(self.step_percent / 100, self.steps)
        if abs(at_pu + count * step_pu - own_pu) > self.within_percent / 100 + 1e-9:
            step_pu = -step_pu
        state, before_v, terms = site.state, site.before_v, []
        for number in range(count):
            at_pu += step_pu
            taps[self.at] = at_pu
            state = replace(state, switching=replace(state.switching, taps_pu=tuple(sorted(taps.items()))))
            after_v = site.volts_of(state)
            moment_s = site.start_s + number * self.every_s
            terms.append(FundamentalTerm(moment_s, math.inf, site.changes_from(before_v, after_v)))
            before_v = after_v
        place = transformers[self.at].to_bus
        end_s = site.start_s + (count - 1) * self.every_s + 1 / site.nominal_hz
        way = "up" if step_pu > 0 else "down"
        words = f"{self.at}: {count} tap{'s' * (count > 1)} {way}, now {at_pu:.4g} pu"
        return SolvedCause(
            DisturbanceTerms(site.start_s, site.delays_s(place), tuple(terms)), end_s, words, place, state
        )
