"""Short circuits and the breaker's response: clearing, and reclosing up to three times.

    fault | open, dead downstream of the breaker | closed, and the fault again unless it is gone | ...

Phasors by symmetrical components (`network.voltages`, Grainger and Stevenson, chapter 12); reclosing times as
in IEEE C37.104-2012, table 1: 0.3 to 0.5 s for the first shot, some seconds for the second.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from opq_sim.power_system.causes.cause import Cause, limit, phase_number
from opq_sim.power_system.causes.site import NetworkState, Site, SolvedCause
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, FundamentalTerm
from opq_sim.power_system.network.network_faults import USUAL_PHASES, FaultType, ShortCircuit


@dataclass(frozen=True, slots=True, kw_only=True)
class ClearedFault(Cause):
    """A short circuit that a breaker or a fuse clears."""

    name: ClassVar[str] = "fault"
    words: ClassVar[str] = "a short circuit, cleared and perhaps reclosed"
    type: FaultType = "LG"
    phases: str = ""
    """The faulted phases; empty: a, bc, bc, abc."""
    resistance_ohm: float = limit(0.0, 0.0, 10_000.0)
    angle_deg: float = limit(90.0, -360.0, 360.0)
    """Point on wave of its first phase; insulation fails near the crest."""
    clear_ms: float = limit(100.0, 1.0, 600_000.0)
    breaker: str = ""
    """Feeder, transformer or place that opens; empty: nothing opens, the fault ends by itself."""
    recloses: float = limit(0.0, 0.0, 3.0)
    dead_ms: float = limit(400.0, 10.0, 600_000.0)
    """From opening to closing."""
    permanent: bool = False
    """True: the fault outlasts the dead time; after the last attempt the breaker stays open for `open_s`."""
    open_s: float = limit(30.0, 0.1, 86_400.0)

    def solved(self, site: Site) -> SolvedCause:
        wanted = self.phases or USUAL_PHASES.get(self.type, "a")
        start_s = site.moment_on_wave(self.at, phase_number(wanted[0], self.name), self.angle_deg)
        circuit = ShortCircuit(self.at, self.type, self.phases, self.resistance_ohm)
        struck = site.changes(site.volts_of(site.state, [circuit]))
        spans = [(start_s, start_s + self.clear_ms / 1e3, struck)]
        if self.breaker:
            switching = site.state.switching
            opened = replace(switching, open_at=switching.open_at | {self.breaker})
            dead = site.changes(site.volts_of(NetworkState(opened, site.state.shunts)))
            for shot in range(int(self.recloses)):
                open_s = spans[-1][1]
                close_s = open_s + self.dead_ms / 1e3 * (1 if shot == 0 else 5)
                spans.append((open_s, close_s, dead))
                if not self.permanent:
                    break
                spans.append((close_s, close_s + self.clear_ms / 1e3, struck))
            if self.permanent or not self.recloses:
                spans.append((spans[-1][1], spans[-1][1] + self.open_s, dead))
        terms = tuple(FundamentalTerm(begin_s, end_s, change) for begin_s, end_s, change in spans)
        kind = f"{self.type} fault at {self.at}, cleared after {self.clear_ms:g} ms"
        reclosing = f", {int(self.recloses)} x reclosed" if self.recloses else ""
        return SolvedCause(
            DisturbanceTerms(start_s, site.delays_s(self.at), terms), spans[-1][1], kind + reclosing, self.at
        )
