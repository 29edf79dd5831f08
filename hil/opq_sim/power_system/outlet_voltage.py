"""The voltage of one outlet: a steady state of the network, and the effects of disturbances on it.

An `OutletVoltage` is the `BoxVoltage` of one outlet of a `PowerSystem`. It has no time steps: each moment is
computed from the known disturbances, so any block gives the same numbers.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from opq_sim.mains.profiles import EDGE_S, FloatArray
from opq_sim.mains.wave import ORDERS, Harmonic, shape
from opq_sim.power_system.box_voltage import SteadyVoltage
from opq_sim.power_system.disturbance_terms import DisturbanceTerms, FundamentalTerm, HarmonicTerm, SlipTerm

SETTLED_S = 1e9
"""A moment long after a unit's trip, when all lost cycles are counted."""
JITTER_S = 1e-3
"""Moments of a block rise, except for jitter below this."""


class SystemPhase(Protocol):
    """The phase of the whole system; `mains.grid.Grid` and `SystemFrequency` fulfil it."""

    def cycles(self, t_s: FloatArray) -> FloatArray: ...

    def hz(self, t_s: FloatArray) -> FloatArray: ...


class DisturbanceRecord(Protocol):
    """The source of an outlet's disturbances: a `PowerSystem`."""

    def before(self, end_s: float) -> Sequence[DisturbanceTerms]:
        """All remembered disturbances that begin before `end_s`, in the order in which they began."""
        ...


@dataclass(frozen=True, slots=True)
class Outlet:
    """The outlet of a Box, and its undisturbed voltage."""

    box_id: str
    bus: str
    phase: int
    """0, 1, 2: a, b, c."""
    nominal_v: float
    nominal_hz: float
    harmonics: tuple[Harmonic, ...] = ()
    dc_v: float = 0.0

    @property
    def harmonic_factor(self) -> float:
        """True rms relative to that of the fundamental, without direct voltage."""
        return math.sqrt(1 + sum((each.percent / 100) ** 2 for each in self.harmonics))


class OutletVoltage:
    """One outlet's voltage; a `BoxVoltage`. All outlets of a system are read by one thread.

    Args:
        index: of the outlet in the terms' arrays.
        base_v: its phasor in the undisturbed network, V rms; the angle is that of a sine at phase 0.
    """

    def __init__(
        self, outlet: Outlet, index: int, base_v: complex, phase: SystemPhase, record: DisturbanceRecord
    ) -> None:
        self.outlet = outlet
        self.nominal_v = outlet.nominal_v
        self.nominal_hz = outlet.nominal_hz
        self._index = index
        self._base_v = base_v
        self._size_v = abs(base_v)
        self._turned = float(np.angle(base_v)) / (2 * math.pi)
        self._slipped = 0.0
        self._phase = phase
        self._record = record
        self._ratios = np.zeros(ORDERS, dtype=np.complex128)
        self._ratios[0] = 1.0
        for each in outlet.harmonics:
            turn = np.exp(1j * math.radians(each.phase_deg))
            self._ratios[each.order - 1] += each.percent / 100 * turn

    def add_lasting(self, terms: DisturbanceTerms) -> None:
        """Adds the lasting part of a disturbance to the steady state; call it in the order in which they
        began.

        The multiplications are the same as before, so later moments keep their bits.
        """
        for term in terms.fundamental:
            if math.isinf(term.end_s) and term.affects(self._index):
                factor = term.factor(np.zeros(1), self._index)
                self._size_v = float((self._size_v * np.abs(factor))[0])
                self._turned = float((self._turned + np.angle(factor) / (2 * math.pi))[0])
                self._base_v *= complex(factor[0])
        for slip in terms.slips:
            if math.isinf(slip.end_s) and slip.affects(self._index):
                self._slipped += float(slip.cycles(np.array([SETTLED_S]))[0])

    def volts(self, t_s: FloatArray) -> FloatArray:
        """(n,) instantaneous volts at `t_s`, (n,) rising seconds after the run's start."""
        if len(t_s) == 0:
            return np.empty(0)
        if len(t_s) == 1:  # NumPy multiplies a single complex number differently, which changes the last bit
            return self.volts(np.repeat(t_s, 2))[:1]
        size_v, turned, slipped = self._fundamental(t_s)
        grid = self._phase.cycles(t_s) + slipped
        total = size_v * shape(self.outlet.harmonics, grid + turned, fundamental=True)
        total *= math.sqrt(2)
        total += self.outlet.dc_v
        for terms, delay_s in self._during(float(t_s[0]), float(t_s[-1])):
            for term in terms.added:
                span = _inside(t_s, term.start_s + delay_s, term.end_s + delay_s)
                if span is not None and term.affects(self._index):
                    since_s = t_s[span] - (term.start_s + delay_s)
                    total[span] += term.volts_at(since_s, grid[span], self._index)
        return np.asarray(total, dtype=np.float64)

    def cycles(self, t_s: FloatArray) -> FloatArray:
        """(n,) phase of its fundamental in cycles; it jumps where the fundamental's does."""
        if len(t_s) == 0:
            return np.empty(0)
        _, turned, slipped = self._fundamental(t_s)
        return np.asarray(self._phase.cycles(t_s) + slipped + turned)

    def steady(self, start_s: float, end_s: float) -> SteadyVoltage | None:
        """The voltage of [start_s, end_s); None: something begins, ends or changes within it, or it is in an
        island.
        """
        touching = list(self._during(start_s, end_s))  # first: it may settle lasting terms
        value, dc_v, index = self._base_v, self.outlet.dc_v, self._index
        added = np.zeros(ORDERS, dtype=np.complex128)
        for terms, delay_s in touching:
            for term in terms.terms:
                begin_s, stop_s = term.start_s + delay_s, term.end_s + delay_s
                if stop_s <= start_s or begin_s >= end_s or not term.affects(index):
                    continue
                if begin_s > start_s or stop_s < end_s:
                    return None
                if isinstance(term, SlipTerm) and term.whole_system:
                    continue
                if isinstance(term, FundamentalTerm) and term.profile.constant:
                    value *= 1 + complex(term.changes[index])
                elif isinstance(term, HarmonicTerm) and term.profile.constant and term.order <= ORDERS:
                    if term.order:
                        added[term.order - 1] += term.volts[index]
                    else:
                        dc_v += float(term.volts[index].real)
                else:
                    return None
        size_v = abs(value)
        ratios = self._ratios.copy()
        if size_v > 0:
            ratios += added / size_v * np.exp(-1j * np.arange(1, ORDERS + 1) * np.angle(value))
        return SteadyVoltage(size_v, ratios, dc_v)

    def changes(self, start_s: float, end_s: float) -> tuple[float, ...]:
        """Moments within [start_s, end_s), rising, at which a term of a disturbance begins or ends here."""
        found: set[float] = set()
        for terms, _ in self._during(start_s, end_s):
            found |= set(terms.moments_s(self._index))
        return tuple(sorted(moment for moment in found if start_s <= moment < end_s))

    def onsets(self, start_s: float, end_s: float) -> tuple[float, ...]:
        """Moments within [start_s, end_s), rising, at which a disturbance begins here."""
        found = [
            moments[0]
            for terms, _ in self._during(start_s, end_s)
            if (moments := terms.moments_s(self._index))
        ]
        return tuple(sorted(moment for moment in found if start_s <= moment < end_s))

    def _during(self, start_s: float, end_s: float) -> Iterator[tuple[DisturbanceTerms, float]]:
        """Disturbances that may affect a span here, each with its delay."""
        for terms in self._record.before(end_s + JITTER_S):
            if terms.last_s > start_s - JITTER_S:
                yield terms, float(terms.delays_s[self._index])

    def _fundamental(
        self, t_s: FloatArray
    ) -> tuple[FloatArray | float, FloatArray | float, FloatArray | float]:
        """(n,) rms of the fundamental, the cycles of its own angle, and those that its grid has gained."""
        touching = list(self._during(float(t_s[0]), float(t_s[-1])))  # first: see `steady`
        size: FloatArray | float = self._size_v
        turned: FloatArray | float = self._turned
        slipped: FloatArray | float = self._slipped
        index = self._index
        for terms, delay_s in touching:
            turning: tuple[FundamentalTerm | SlipTerm, ...] = (*terms.fundamental, *terms.slips)
            for term in turning:
                span = _inside(t_s, term.start_s + delay_s, term.end_s + delay_s)
                if span is None or not term.affects(index):
                    continue
                since_s = t_s[span] - (term.start_s + delay_s)
                gained = np.zeros(len(t_s))
                if isinstance(term, FundamentalTerm):
                    factor = term.factor(since_s[:1] if term.profile.constant else since_s, index)
                    sizes = np.ones(len(t_s))
                    sizes[span] = np.abs(factor)
                    size = size * sizes
                    gained[span] = np.angle(factor) / (2 * math.pi)
                    turned = turned + gained
                else:
                    gained[span] = term.cycles(since_s)
                    slipped = slipped + gained
        return size, turned, slipped


def _inside(t_s: FloatArray, start_s: float, end_s: float) -> np.ndarray | None:
    """(n,) True for moments in [start_s, end_s); None: there are none."""
    if t_s[-1] < start_s - JITTER_S or t_s[0] >= end_s + JITTER_S:
        return None
    inside = (t_s >= start_s - EDGE_S) & (t_s < end_s - EDGE_S)
    return inside if inside.any() else None
