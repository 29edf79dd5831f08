"""The components of a signal: exact phase, frequency, edges, rms, distortion, and the spans of disturbances.

Positions are fractional samples from sample 0. Rms values are integrals of the continuous voltage
(before noise and converter), between all moments at which it is not smooth, by Gauss-Legendre
quadrature: 96 nodes suffice for 24 turns of the integrand and stay within 1e-12 of the closed forms
(test_hil_truth.py). They do not depend on samples, so that an estimator is compared with the voltage itself.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from opq_sim.mains.disturbance import PlacedDisturbance, combined_kind
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import FloatArray
from opq_sim.mains.voltage import Mains
from opq_sim.mains.wave import ORDERS


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth of `samples` samples of some mains."""

    mains: Mains
    samples: int

    @property
    def rate_hz(self) -> float:
        """The stated rate, without the clock's errors."""
        return self.mains.rate_hz

    @property
    def grid(self) -> Grid:
        """Phase and frequency, with the disturbances' changes."""
        return self.mains.turned_grid

    @property
    def disturbances(self) -> tuple[PlacedDisturbance, ...]:
        """In time order, with exact starts and stops."""
        return self.mains.placed

    @property
    def kind(self) -> str:
        """The contract's name of all disturbances together."""
        return combined_kind(self.mains.placed)

    @property
    def fundamental_v(self) -> float:
        """Steady rms of the fundamental."""
        return self.mains.wave.fundamental_v

    @property
    def rms_v(self) -> float:
        """Steady true rms, without noise."""
        return self.mains.wave.rms_v

    @property
    def thd_percent(self) -> float:
        """Steady THD, of the fundamental."""
        return 100 * self.mains.wave.thd

    @property
    def ratios(self) -> NDArray[np.complex128]:
        """(50,) steady orders 1 .. 50 relative to the fundamental; angle as in sin(order phase + angle)."""
        return self.mains.wave.ratios

    def t_s(self, positions: FloatArray) -> FloatArray:
        """(m,) true seconds after sample 0 at which fractional samples are taken, without jitter."""
        return self.mains.clock.t_s(positions, self.rate_hz)

    def positions(self, t_s: FloatArray) -> FloatArray:
        """(m,) fractional samples at true seconds."""
        return self.mains.clock.position(t_s, self.rate_hz)

    def phase_cycles(self, positions: FloatArray) -> FloatArray:
        """(m,) phase of the fundamental's sine; a rising zero crossing is a whole number."""
        return self.grid.cycles(self.t_s(positions))

    def frequency_hz(self, positions: FloatArray) -> FloatArray:
        """(m,) true frequency at single moments."""
        return self.grid.hz(self.t_s(positions))

    def rocof_hz_per_s(self, positions: FloatArray) -> FloatArray:
        """(m,) true rate of change of frequency."""
        return self.grid.rocof_hz_per_s(self.t_s(positions))

    def edges(self, per_cycle: int = 1) -> FloatArray:
        """Positions 0 .. samples, rising, at which the phase reaches a whole `1 / per_cycle` of a cycle."""
        stop_s = float(self.t_s(np.array([float(self.samples)]))[0])
        low = math.ceil(self.grid.cycles_at(0.0) * per_cycle - 1e-9)
        high = math.floor(self.grid.cycles_at(stop_s) * per_cycle + 1e-9)
        found_s = self.grid.time_s(np.arange(low, high + 1) / per_cycle, 0.0, stop_s)
        return np.clip(self.positions(found_s), 0.0, float(self.samples))

    def cycle_rms_v(self) -> FloatArray:
        """(c,) true rms of each cycle between `edges(1)`."""
        edges = self.edges(1)
        return self.rms_v_between(edges[:-1], edges[1:])

    def half_cycle_rms_v(self) -> FloatArray:
        """(h,) Urms(1/2): entry k spans `edges(2)[k] .. [k + 2]`."""
        edges = self.edges(2)
        return self.rms_v_between(edges[:-2], edges[2:])

    def rms_v_between(self, starts: FloatArray, stops: FloatArray) -> FloatArray:
        """(m,) true rms of the voltage between positions."""
        if len(starts) == 0:
            return np.empty(0)
        bounds = np.unique(np.concatenate((starts, stops)))
        energy = np.concatenate(([0.0], np.cumsum(self._squares(bounds))))
        begin, end = np.searchsorted(bounds, starts), np.searchsorted(bounds, stops)
        length_s = self.t_s(stops) - self.t_s(starts)
        return np.sqrt((energy[end] - energy[begin]) / length_s)

    def residual_v(self, number: int = 0) -> float:
        """Lowest (of a rise: highest) Urms(1/2) of disturbance `number`, of half cycles that overlap it.

        Raises:
            ValueError: no half cycle does, it lies outside the samples or they are less than a cycle.
        """
        span = self.disturbances[number].span
        start, stop = self.positions(np.array([span.start_s, span.stop_s]))
        edges = self.edges(2)
        first = max(0, int(np.searchsorted(edges, start, side="right")) - 2)
        last = min(len(edges) - 2, int(np.searchsorted(edges, stop)))
        if start >= self.samples or last <= first:
            problem = f"disturbance {number} lies at samples {start:g} .. {stop:g}"
            raise ValueError(f"{problem}; want a whole cycle of the {self.samples} samples that touches it")
        found = self.rms_v_between(edges[first:last], edges[first + 2 : last + 2])
        low, high = float(found.min()), float(found.max())
        return low if abs(low - self.rms_v) >= abs(high - self.rms_v) else high

    def span_samples(self, number: int = 0) -> tuple[float, float]:
        """Fractional samples at which disturbance `number` begins and ends."""
        span = self.disturbances[number].span
        start, stop = self.positions(np.array([span.start_s, span.stop_s]))
        return float(start), float(stop)

    def phasor_v(self, positions: FloatArray, nominal_hz: float) -> NDArray[np.complex128]:
        """(m,) synchrophasor, rms: relative to a cosine of nominal_hz with its crest at sample 0.

        For a signal that is steady but for courses and flicker of the amplitude; IEEE C37.118.1-2011, 4.2.
        """
        t_s = self.t_s(positions)
        angle = 2 * math.pi * np.mod(self.grid.cycles(t_s) - nominal_hz * t_s - 0.25, 1.0)
        return np.asarray(self.fundamental_v * self.mains.share(t_s) * np.exp(1j * angle))

    def harmonics_v(self, start: float, stop: float) -> NDArray[np.complex128]:
        """(50,) rms and angle (of sin) of orders 1 .. 50 between positions, disturbances included.

        Fourier's integrals against the fundamental's phase: exact for whole cycles of a steady frequency.
        """
        begin_s, end_s = self.t_s(np.array([start, stop])).tolist()

        def lines(t_s: FloatArray) -> NDArray[np.complex128]:
            turn = np.exp(-2j * math.pi * np.mod(self.grid.cycles(t_s), 1.0))
            return np.asarray(self.mains.clean_v(t_s)[:, None] * turn[:, None] ** np.arange(1, ORDERS + 1))

        highest_hz = self.mains.highest_hz + ORDERS * self.grid.frequency_hz
        found = self._integrals(lines, np.array([begin_s, end_s]), highest_hz)[0]
        return np.asarray(1j * math.sqrt(2) / (end_s - begin_s) * found, dtype=np.complex128)

    def _squares(self, bounds: FloatArray) -> FloatArray:
        """(b - 1,) integral of the squared voltage between neighbouring positions, in V2s."""
        highest_hz = 2 * self.mains.highest_hz
        found = self._integrals(lambda t_s: self.mains.clean_v(t_s) ** 2, self.t_s(bounds), highest_hz)
        return np.asarray(found.real)

    def _integrals(
        self, integrand: Callable[[FloatArray], NDArray[np.inexact]], bounds_s: FloatArray, highest_hz: float
    ) -> NDArray[np.inexact]:
        grid = self.grid
        breaks = [np.empty(0), *(one.disturbance.breaks_s(one.span, grid) for one in self.disturbances)]
        step_s = min(1 / grid.frequency_hz, TURNS_PER_PANEL / highest_hz)
        return integrals(integrand, bounds_s, np.concatenate(breaks), step_s)


INTEGRATION_NODES = 96
TURNS_PER_PANEL = 24.0
"""Turns of an integrand's highest frequency within the nodes; k turns need pi k nodes, and some 20 more."""
NODES_AT_ONCE = 1 << 16


def integrals(
    integrand: Callable[[FloatArray], NDArray[np.inexact]],
    bounds_s: FloatArray,
    breaks_s: FloatArray,
    step_s: float,
) -> NDArray[np.inexact]:
    """The integral over each span between neighbouring bounds.

    Args:
        integrand: (n,) rising seconds -> (n,) or (n, k) values.
        bounds_s: (b,) rising seconds.
        breaks_s: moments at which the integrand steps or bends, in any order.
        step_s: longest part for which the nodes suffice.
    Returns:
        (b - 1,) or (b - 1, k).
    """
    steps = np.arange(bounds_s[0], bounds_s[-1], step_s)
    points = np.unique(np.concatenate((bounds_s, breaks_s, steps)))
    points = points[(points >= bounds_s[0]) & (points <= bounds_s[-1])]
    nodes, weights = _nodes()
    parts = []
    at_once = NODES_AT_ONCE // INTEGRATION_NODES
    for first in range(0, len(points) - 1, at_once):
        ends = points[first : first + at_once + 1]
        half, middle = np.diff(ends) / 2, (ends[1:] + ends[:-1]) / 2
        values = integrand((middle[:, None] + half[:, None] * nodes).ravel())
        shaped = values.reshape(len(half), INTEGRATION_NODES, -1)
        parts.append(half[:, None] * np.einsum("pnk,n->pk", shaped, weights))
    found = np.concatenate(parts)
    whole = np.concatenate((np.zeros((1, found.shape[1])), np.cumsum(found, axis=0)))
    spans = np.diff(whole[np.searchsorted(points, bounds_s)], axis=0)
    return spans[:, 0] if values.ndim == 1 else spans


@lru_cache(maxsize=1)
def _nodes() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(INTEGRATION_NODES)
    return nodes, weights
