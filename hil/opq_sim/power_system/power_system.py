"""A network with outlets, a frequency, and the causes that happen in it: the one truth of a run.

Causes are solved in the order in which they begin, each in the network as earlier ones left it, and only when
a moment after its begin is requested: so causes can be added during a run. Overlapping causes
multiply the fundamental (a dead outlet stays dead) and add the rest.
"""

import heapq
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from opq_proto.errors import OpqError
from opq_sim.mains.profiles import FloatArray
from opq_sim.power_system.causes.cause import Cause
from opq_sim.power_system.causes.site import NetworkState, Site, SolvedCause
from opq_sim.power_system.disturbance_terms import ComplexArray, DisturbanceTerms, FundamentalTerm, SlipTerm
from opq_sim.power_system.map_places import MapPlaces
from opq_sim.power_system.network.network import PowerNetwork
from opq_sim.power_system.outlet_voltage import SETTLED_S, Outlet, OutletVoltage, SystemPhase
from opq_sim.power_system.swing_model import SwingModel

KEEP_S = 3600.0
"""How long a finished disturbance is remembered: a gateway may request old waveforms that long."""
REFUSED_KEPT = 100
MAX_WAITING = 10_000
CAUSE_STREAM = 0x0CA5


@dataclass(frozen=True, slots=True)
class GridDisturbance:
    """A cause that has happened, and its result."""

    number: int
    """From 1, in the order in which they were added; the truth file contains it."""
    cause: Cause
    solved: SolvedCause
    before_v: ComplexArray
    """(outlets,) phasors of the network before it, V rms."""
    start_cycles: float
    """Phase of the system at its begin, as `PowerSystem.cycles`."""
    system: "PowerSystem"

    @property
    def start_s(self) -> float:
        """Its begin at its place."""
        return self.solved.terms.start_s


@dataclass(frozen=True, slots=True)
class Refusal:
    """A scheduled cause that could not happen, and the reason."""

    number: int
    cause: Cause
    reason: str


class SharedPhase:
    """The phase of the system, computed once for Boxes that request the same moments."""

    def __init__(self, phase: SystemPhase) -> None:
        self._phase = phase
        self._last: tuple[FloatArray, FloatArray] = (np.empty(0), np.empty(0))

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) as the phase itself; read only."""
        moments, cycles = self._last
        if len(moments) != len(t_s) or not np.array_equal(moments, t_s):
            cycles = self._phase.cycles(t_s)
            self._last = (t_s.copy(), cycles)
        return cycles

    def hz(self, t_s: FloatArray) -> FloatArray:
        """(n,) as the phase itself."""
        return self._phase.hz(t_s)


@dataclass(frozen=True, slots=True)
class PlannedCause:
    """An added cause: its number, its time, and its result if it happened now."""

    number: int
    at_s: float
    solved: SolvedCause


class PowerSystem:
    """One network, many outlets.

    Args:
        model: of the whole system's frequency, for units that trip; None: nothing trips here.
        places: coordinates of its places; None: unknown.
        scheduled: (seconds, cause) in rising order, may be endless; read only up to the requested moments.

    Attributes:
        happened, latest: how many disturbances there were, and the last of them.
        refused: the newest causes that could not be solved when their time came.
        on_refusal: called with each of them.
    """

    def __init__(
        self,
        network: PowerNetwork,
        phase: SystemPhase,
        outlets: Sequence[Outlet],
        seed: int = 1,
        scheduled: Iterable[tuple[float, Cause]] = (),
        keep_s: float = KEEP_S,
        model: SwingModel | None = None,
        places: MapPlaces | None = None,
    ) -> None:
        self.network = network.with_places([outlet.bus for outlet in outlets])
        self.phase = SharedPhase(phase)
        self.outlets = tuple(outlets)
        self.places = places
        self.refused: deque[Refusal] = deque(maxlen=REFUSED_KEPT)
        self.happened = 0
        self.latest: GridDisturbance | None = None
        self.on_refusal: Callable[[Refusal], None] | None = None
        self._on_disturbance: Callable[[GridDisturbance], None] | None = None
        self._on_time: Callable[[float], None] | None = None
        self._seed = seed
        self._model = model
        self._keep_s = keep_s
        self._scheduled = iter(scheduled)
        self._next = next(self._scheduled, None)
        self._waiting: list[tuple[float, int, Cause]] = []
        self._number = 0
        self._state = NetworkState()
        self._terms: tuple[DisturbanceTerms, ...] = ()
        self._reached_s = 0.0
        self._settled_cycles = 0.0
        self._lock = threading.Lock()
        base_v = self._site(0.0, 0).before_v
        self.voltages = {
            outlet.box_id: OutletVoltage(outlet, index, complex(base_v[index]), self.phase, self)
            for index, outlet in enumerate(self.outlets)
        }
        """By Box id."""

    @property
    def reached_s(self) -> float:
        """Causes can only begin after this moment, because a reader has read up to it."""
        return self._reached_s

    def listen(
        self,
        on_disturbance: Callable[[GridDisturbance], None] | None,
        on_time: Callable[[float], None] | None = None,
    ) -> None:
        """Registers a function that gets each disturbance, in order, as soon as it is solved, and one for
        the moments reached.
        """
        self._on_disturbance = on_disturbance
        self._on_time = on_time

    def hz(self, t_s: FloatArray) -> FloatArray:
        """(n,) frequency of the system at moments already reached, with disturbances of the whole system."""
        total = self.phase.hz(t_s)
        for terms in self._terms:
            for slip in terms.slips:
                if slip.whole_system:
                    inside = (t_s >= slip.start_s) & (t_s < slip.end_s)
                    total = total + np.where(inside, slip.profile.hz(t_s - slip.start_s), 0.0)
        return total

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) phase of the system at rising moments, with disturbances of the whole system."""
        return self._cycles(self.before(float(t_s[-1]) if len(t_s) else 0.0), t_s)

    def _cycles(self, disturbances: Sequence[DisturbanceTerms], t_s: FloatArray) -> FloatArray:
        total = self._settled_cycles + self.phase.cycles(t_s)
        for slip in (each for terms in disturbances for each in terms.slips if each.whole_system):
            inside = (t_s >= slip.start_s) & (t_s < slip.end_s)
            if inside.any():
                total[inside] += slip.cycles(t_s[inside] - slip.start_s)
        return np.asarray(total)

    def feeds(self, place: str, bus: str) -> bool:
        """True if `bus` is fed through a place, or is at it."""
        network = self.network.with_places([place])
        return network.upstream(place, bus) or network.node(place) == network.node(bus)

    def feeder_of(self, bus: str) -> str | None:
        """The first feeder on the way from the supply; None: there is none."""
        return self.network.topology.first_feeder(bus)

    def check(self, cause: Cause, at_s: float = 0.0) -> SolvedCause:
        """The result of a cause at `at_s` in the network as it is now; nothing happens.

        Raises:
            PlaceError, ValueError: it cannot happen in this network.
        """
        return cause.solved(self._site(at_s, 0))

    def add(self, cause: Cause, at_s: float = 0.0) -> "PlannedCause":
        """Adds a cause at `at_s`, or at the first later moment that is not yet read; any thread may call it.

        Raises:
            PlaceError, ValueError: it cannot happen in this network.
            OpqError: too many are waiting already.
        """
        with self._lock:
            if len(self._waiting) >= MAX_WAITING:
                raise OpqError(f"{MAX_WAITING} causes wait already; want fewer at once")
            at_s = max(at_s, self._reached_s)
            solved = self.check(cause, at_s)
            self._number += 1
            heapq.heappush(self._waiting, (at_s, self._number, cause))
            return PlannedCause(self._number, at_s, solved)

    def before(self, end_s: float) -> Sequence[DisturbanceTerms]:
        """All remembered terms that may begin before `end_s`, in the order in which they began."""
        if end_s > self._reached_s:
            with self._lock:
                self._solve_until(end_s)
        return self._terms

    def _solve_until(self, end_s: float) -> None:
        while True:
            planned_s = self._next[0] if self._next is not None else float("inf")
            waiting_s = self._waiting[0][0] if self._waiting else float("inf")
            if min(planned_s, waiting_s) >= end_s:
                break
            if self._next is not None and planned_s <= waiting_s:
                self._number += 1
                at_s, number, cause = planned_s, self._number, self._next[1]
                self._next = next(self._scheduled, None)
            else:
                at_s, number, cause = heapq.heappop(self._waiting)
            self._happen(at_s, number, cause)
        self._reached_s = max(self._reached_s, end_s)
        if self._on_time is not None:
            self._on_time(self._reached_s)

    def _happen(self, at_s: float, number: int, cause: Cause) -> None:
        site = self._site(at_s, number)
        try:
            solved = cause.solved(site)
        except (OpqError, ValueError) as error:
            self.refused.append(Refusal(number, cause, str(error)))
            if self.on_refusal is not None:
                self.on_refusal(self.refused[-1])
            return
        self._discard_before(at_s - self._keep_s)
        start_cycles = float(self._cycles(self._terms, np.array([solved.terms.start_s]))[0])
        self._terms = (*self._terms, solved.terms)
        if solved.state_after is not None:
            self._state = solved.state_after
        self.happened += 1
        self.latest = GridDisturbance(number, cause, solved, site.before_v, start_cycles, self)
        if self._on_disturbance is not None:
            self._on_disturbance(self.latest)

    def _discard_before(self, before_s: float) -> None:
        """Drops disturbances that ended before a moment; lasting ones become part of the steady state."""
        remaining = [terms for terms in self._terms if terms.last_s >= before_s]
        while remaining and _settled(remaining[0], before_s):
            for voltage in self.voltages.values():
                voltage.add_lasting(remaining[0])
            self._settled_cycles += sum(
                float(slip.cycles(np.array([SETTLED_S]))[0])
                for slip in remaining[0].slips
                if slip.whole_system
            )
            remaining.pop(0)
        self._terms = tuple(remaining)

    def _site(self, at_s: float, number: int) -> Site:
        chance = np.random.Generator(np.random.PCG64((self._seed, CAUSE_STREAM, number)))
        return Site(self.network, self.outlets, self.phase, self._state, at_s, chance, self._model)


def _settled(terms: DisturbanceTerms, before_s: float) -> bool:
    """True if the rest of a disturbance is constant from a moment on, at every outlet."""
    late_s = float(terms.delays_s.max(initial=0.0))
    for term in terms.terms:
        if term.start_s + late_s >= before_s:
            return False
        if isinstance(term, FundamentalTerm):
            constant = term.profile.constant
        else:
            constant = (
                isinstance(term, SlipTerm) and not term.profile.hz(np.array([before_s - term.start_s])).any()
            )
        if not (term.end_s + late_s < before_s or (term.end_s == float("inf") and constant)):
            return False
    return True
