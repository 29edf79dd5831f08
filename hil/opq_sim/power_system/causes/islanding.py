"""An island: a switch opens, and the part downstream runs on with its own generation at its own frequency.

    2H d(x)/dt = p + governor - D x,   lag d(governor)/dt = -x / droop - governor

p is generation less load, per unit of the rating; x is the frequency's deviation from the grid's, per unit.
The island is solved like a whole system's step (`frequency.StepAnswer`), with the island's size and without
secondary control. When the switch closes again out of phase, the island is pulled to the grid at
once: its phase jumps back. The surge of current meanwhile is not modelled, and the grid's own wander
continues in the island.
Source: Kundur, "Power System Stability and Control", 11.1 (swing equation with droop).
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, FundamentalTerm, SlipTerm
from opq_sim.power_system.places import Place
from opq_sim.power_system.swing_model import SwingModel
from opq_sim.power_system.system_frequency import PowerStep, StepAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Islanding(Cause):
    """A feeder or a point of it opens; `at` is that switch. It closes again after a while."""

    name: ClassVar[str] = "islanding"
    words: ClassVar[str] = "a part of the network on its own, reclosed out of phase"
    seconds: float = limit(4.0, 0.1, 3600.0)
    inertia_s: float = limit(1.5, 0.05, 20.0)
    """H of the generation in the island."""
    droop: float = limit(0.04, 0.005, 0.2)
    governor_s: float = limit(0.5, 0.05, 10.0)
    """Lag of its governors."""
    damping: float = limit(1.0, 0.0, 5.0)
    """Relative change of the island's load over that of its frequency."""

    def solved(self, site: Site) -> SolvedCause:
        config = site.network.config
        place = f"{self.at}/{SHORT_KM:g}km" if Place.parse(self.at).km is None else self.at
        network = site.network.with_places([place])
        behind = {node for node in network.nodes if network.upstream(place, node)} | {network.node(place)}
        inside = [each for each in config.generation if network.node(each.bus) in behind]
        if not inside:
            raise ValueError(f"islanding: nothing generates below {self.at}; want a place above a source")
        load_kw = sum(each.kw for each in config.load if network.node(each.bus) in behind)
        model = self._model(sum(each.rating_kva for each in inside), load_kw, site.nominal_hz)
        lost_mw = (load_kw - sum(each.kw for each in inside)) / 1000
        settled_hz, profile = model.settled_hz(lost_mw), StepAnswer(model, PowerStep(0.0, lost_mw))
        opened = replace(site.state.switching, open_at=site.state.switching.open_at | {self.at})
        change = site.changes(site.volts_of(replace(site.state, switching=opened)))
        start_s, end_s = site.start_s, site.start_s + self.seconds
        gained = float(profile.cycles(np.array([self.seconds]))[0])
        back_deg = -360 * ((gained + 0.5) % 1.0 - 0.5)
        slip = SlipTerm(start_s, end_s, profile, site.downstream(place), back_deg)
        terms = DisturbanceTerms(
            start_s, site.delays_s(place), (FundamentalTerm(start_s, end_s, change),), (slip,)
        )
        words = f"island behind {self.at} at {settled_hz:+.2f} Hz, reclosed after {self.seconds:g} s"
        jump = f", {abs(back_deg):.0f} degrees out of phase"
        return SolvedCause(terms, end_s, words + jump, place)

    def _model(self, rating_kva: float, load_kw: float, nominal_hz: float) -> SwingModel:
        """The island as its own power system, without load noise and secondary control."""
        return SwingModel(
            name="island",
            nominal_hz=nominal_hz,
            rating_mva=rating_kva / 1000,
            inertia_s=self.inertia_s,
            damping_pu=self.damping * load_kw / rating_kva,
            droop_pu=self.droop,
            governor_s=self.governor_s,
            secondary_per_s=0.0,
            noise_hz=0.0,
            noise_primary_per_s=1.0,
            noise_secondary_per_s2=1.0,
        )


SHORT_KM = 0.001
"""A metre beyond the switch at a feeder's beginning."""
