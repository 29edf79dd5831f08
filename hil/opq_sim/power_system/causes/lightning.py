"""Lightning on or beside a line: a surge to every outlet, and a flashover when the insulation does not hold.

    beside a line: U = 30 ohm I h / d (1 + b / sqrt(2 - b^2)), b the return stroke's speed relative to light
    on it: U = I Z / 2        along it: U / (1 + k U x), by corona
    onto other feeders over a busbar of n lines: 2 / n of it

Source: Rusck 1958, in IEEE 1410-2010, annex B; Foust and Menger, in Gonen, "Electric Power Transmission
System Engineering", for the corona (k from memory); Bewley's 2 / n in Greenwood, 9.6. A share of the surge
passes the service transformer, and arresters limit it: class II, 1.5 kV (IEC 61643-11).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from opq_sim.power_system.causes.cause import Cause, limit
from opq_sim.power_system.causes.fault import ClearedFault
from opq_sim.power_system.causes.site import Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, ImpulseTerm
from opq_sim.power_system.network.network_faults import FaultType

RUSCK_OHM = 30.0
STROKE_SPEED = 0.4
"""Share of the speed of light; IEEE 1410-2010 uses this value."""
SURGE_OHM = 400.0
"""Surge impedance of an overhead line."""
CORONA_PER_KV_KM = 0.0002
FRONT_S = 0.4e-6
"""Time constant of the front of a surge of 1.2/50 us; IEC 60060-1:2010."""
TAIL_S = 68e-6
"""Time constant of its tail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lightning(Cause):
    """One stroke."""

    name: ClassVar[str] = "lightning"
    words: ClassVar[str] = "a stroke beside or on a line: a surge, perhaps a flashover"
    current_ka: float = limit(31.0, 1.0, 300.0)
    """Crest; 31 kA is the median of first strokes (CIGRE 63, 1991)."""
    distance_m: float = limit(60.0, 0.0, 5000.0)
    """Distance from the line; 0: on it."""
    height_m: float = limit(10.0, 3.0, 60.0)
    insulation_kv: float = limit(150.0, 1.0, 2000.0)
    """Above it the line flashes over."""
    through: float = limit(0.01, 0.0, 1.0)
    """Share of the surge that passes the service transformer."""
    arrester_v: float = limit(1500.0, 100.0, 20_000.0)
    """Largest voltage at an outlet."""
    type: FaultType = "LG"
    """Type of the fault that the flashover makes."""
    phases: str = ""
    clear_ms: float = limit(100.0, 1.0, 600_000.0)
    breaker: str = ""
    recloses: float = limit(0.0, 0.0, 3.0)

    @property
    def surge_kv(self) -> float:
        """Crest at the place, before the insulation limits it."""
        if self.distance_m == 0:
            return self.current_ka * SURGE_OHM / 2
        bend = 1 + STROKE_SPEED / math.sqrt(2 - STROKE_SPEED**2)
        return RUSCK_OHM * self.current_ka * self.height_m / self.distance_m * bend

    def solved(self, site: Site) -> SolvedCause:
        flashes = self.surge_kv > self.insulation_kv
        limited_kv = min(self.surge_kv, self.insulation_kv)
        km = site.distances_km(self.at)
        passed = np.where(site.on_feeder_of(self.at), 1.0, site.busbar_share)
        arriving_v = 1e3 * limited_kv / (1 + CORONA_PER_KV_KM * limited_kv * km) * passed
        service = np.array([site.place_nominal_v(each.bus) < 1000 for each in site.outlets])
        volts = np.minimum(arriving_v * np.where(service, self.through, 1.0), self.arrester_v)
        follow = self._flashover().solved(site) if flashes else None
        start_s = follow.terms.start_s if follow else site.start_s
        surge = ImpulseTerm(start_s, FRONT_S, TAIL_S, np.where(site.alive, volts, 0.0))
        fundamental = follow.terms.fundamental if follow else ()
        terms = DisturbanceTerms(start_s, site.delays_s(self.at), fundamental, (), (surge,))
        words = f"lightning of {self.current_ka:g} kA {self.distance_m:g} m from {self.at}"
        after = f": {follow.words}" if follow else f", {limited_kv:.0f} kV on the line"
        return SolvedCause(terms, follow.end_s if follow else start_s + 5 * TAIL_S, words + after, self.at)

    def _flashover(self) -> ClearedFault:
        return ClearedFault(
            at=self.at,
            type=self.type,
            phases=self.phases,
            clear_ms=self.clear_ms,
            breaker=self.breaker,
            recloses=self.recloses,
        )
