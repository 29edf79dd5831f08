"""An island: a switch opens, what is behind it goes on with its own generation at its own frequency.

    2H d(x)/dt = p - x / droop,   p = (generation - load) / rating,   x = p droop (1 - exp(-t / (2 H droop)))

x is the frequency's deviation per unit. When the switch closes again out of phase, the island is pulled to
the grid at once: its phase jumps back. The surge of current while that happens is not modelled.
Source: Kundur, "Power System Stability and Control", 11.1 (swing equation with droop).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from opq_hil.mains.courses import FloatArray
from opq_hil.power_system.causes.cause import Cause, limit
from opq_hil.power_system.causes.site import Site, SolvedCause
from opq_hil.power_system.disturbance_terms import DisturbanceTerms, FundamentalTerm, SlipTerm
from opq_hil.power_system.places import Place


@dataclass(frozen=True, slots=True)
class DroopCourse:
    """A frequency that leaves that of the grid and settles; a `FrequencyCourse` of seconds since it left."""

    settled_hz: float
    time_s: float

    def hz(self, t_s: FloatArray) -> FloatArray:
        return np.asarray(-self.settled_hz * np.expm1(-np.maximum(t_s, 0.0) / self.time_s))

    def cycles(self, t_s: FloatArray) -> FloatArray:
        since = np.maximum(t_s, 0.0)
        return np.asarray(self.settled_hz * (since + self.time_s * np.expm1(-since / self.time_s)))

    def rocof_hz_per_s(self, t_s: FloatArray) -> FloatArray:
        since = np.maximum(t_s, 0.0)
        return np.asarray(self.settled_hz / self.time_s * np.exp(-since / self.time_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Islanding(Cause):
    """A feeder or a point of it opens; `at` is that switch. It closes again after a while."""

    name: ClassVar[str] = "islanding"
    words: ClassVar[str] = "a part of the network on its own, reclosed out of phase"
    seconds: float = limit(4.0, 0.1, 3600.0)
    inertia_s: float = limit(1.5, 0.05, 20.0)
    """H of the generation in the island."""
    droop: float = limit(0.04, 0.005, 0.2)

    def solved(self, site: Site) -> SolvedCause:
        config = site.network.config
        place = f"{self.at}/{SHORT_KM:g}km" if Place.parse(self.at).km is None else self.at
        network = site.network.with_places([place])
        behind = {node for node in network.nodes if network.upstream(place, node)} | {network.node(place)}
        inside = [each for each in config.generation if network.node(each.bus) in behind]
        if not inside:
            raise ValueError(f"islanding: nothing generates behind {self.at}; want a place before a source")
        rating_kva = sum(each.rating_kva for each in inside)
        load_kw = sum(each.kw for each in config.load if network.node(each.bus) in behind)
        surplus = (sum(each.kw for each in inside) - load_kw) / rating_kva
        settled_hz = surplus * self.droop * site.nominal_hz
        course = DroopCourse(settled_hz, 2 * self.inertia_s * self.droop)
        opened = replace(site.state.switching, open_at=site.state.switching.open_at | {self.at})
        change = site.changes(site.volts_of(replace(site.state, switching=opened)))
        start_s, end_s = site.start_s, site.start_s + self.seconds
        gained = float(course.cycles(np.array([self.seconds]))[0])
        back_deg = -360 * ((gained + 0.5) % 1.0 - 0.5)
        slip = SlipTerm(start_s, end_s, course, site.downstream(place), back_deg)
        terms = DisturbanceTerms(
            start_s, site.delays_s(place), (FundamentalTerm(start_s, end_s, change),), (slip,)
        )
        words = f"island behind {self.at} at {settled_hz:+.2f} Hz, reclosed after {self.seconds:g} s"
        jump = f", {abs(back_deg):.0f} degrees out of phase"
        return SolvedCause(terms, end_s, words + jump, place)


SHORT_KM = 0.001
"""A metre behind the switch at a feeder's beginning."""
