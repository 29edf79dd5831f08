"""Short disturbances: impulsive and oscillatory transients, and notches by phase."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from opq_sim.mains.disturbance import DisturbanceSpan, Instants, MainsDisturbance, PlacedDisturbance
from opq_sim.mains.grid import Grid
from opq_sim.mains.profiles import EDGE_S, FloatArray
from opq_sim.mains.wave import Wave

TAIL_CONSTANTS = 30.0
"""Time constants after which a decay counts as zero: 1e-13."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpulsiveTransient(MainsDisturbance):
    """A surge: two exponentials whose largest value is `peak_pu` of the fundamental's peak.

    It rises with `rise_s` (0: at once) and decays with `decay_s`; IEEE 1159-2019, 4.4.1.1 (from memory). It
    has no length of its own: `stop_s` is `start_s`, the decay is its tail.
    """

    kind: ClassVar[str] = "impulsive_transient"
    usual_s: ClassVar[float] = 0.0
    peak_pu: float = 0.5
    rise_s: float = 0.0
    decay_s: float = 0.0003

    def check(self) -> None:
        MainsDisturbance.check(self)
        if not (math.isfinite(self.peak_pu) and 0 <= self.rise_s < self.decay_s < math.inf):
            raise ValueError(f"{self}; want a finite peak_pu and 0 <= rise_s < decay_s")

    def tail_s(self) -> float:
        return TAIL_CONSTANTS * self.decay_s

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        """Adds the moments at which the exponentials have fallen, as bounds for integrals."""
        falls = np.array([0.0, 1.0, 3.0, 8.0, 16.0])
        return span.start_s + np.concatenate((self.rise_s * falls, self.decay_s * falls, [self.tail_s()]))

    def peak_v(self, wave: Wave) -> float:
        """The largest added value, with its sign."""
        return self.peak_pu * wave.peak_v

    def added(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        since = np.maximum(at.t_s - span.start_s, 0.0)
        surge = np.exp(-since / self.decay_s)
        if not self.rise_s:
            return np.asarray(self.peak_v(wave) * surge)
        rise, decay = self.rise_s, self.decay_s
        top_s = math.log(decay / rise) * rise * decay / (decay - rise)
        top = math.exp(-top_s / decay) - math.exp(-top_s / rise)
        return np.asarray(self.peak_v(wave) / top * (surge - np.exp(-since / rise)))

    def energy_v2s(self, wave: Wave) -> float:
        """Integral of the square of the added volts."""
        rise, decay = self.rise_s, self.decay_s
        if not rise:
            return self.peak_v(wave) ** 2 * decay / 2
        top_s = math.log(decay / rise) * rise * decay / (decay - rise)
        top = math.exp(-top_s / decay) - math.exp(-top_s / rise)
        whole = decay / 2 + rise / 2 - 2 * rise * decay / (rise + decay)
        return (self.peak_v(wave) / top) ** 2 * whole


@dataclass(frozen=True, slots=True, kw_only=True)
class OscillatoryTransient(MainsDisturbance):
    """A decaying oscillation: `peak_pu * exp(-t / decay_s) * sin(2 pi ring_hz t + phase_deg)`.

    `peak_pu` (of the fundamental's peak) is its envelope at the start; IEEE 1159-2019, 4.4.1.2.
    """

    kind: ClassVar[str] = "oscillatory_transient"
    usual_s: ClassVar[float] = 0.0
    peak_pu: float = 0.5
    ring_hz: float = 900.0
    decay_s: float = 0.002
    phase_deg: float = 90.0
    """Angle of a sine: 90 begins with its peak, 0 without a step."""

    def check(self) -> None:
        MainsDisturbance.check(self)
        if not (math.isfinite(self.peak_pu + self.phase_deg) and self.ring_hz > 0 and self.decay_s > 0):
            raise ValueError(f"{self}; want finite numbers, ring_hz and decay_s above 0")

    def tail_s(self) -> float:
        return TAIL_CONSTANTS * self.decay_s

    def highest_hz(self, grid_hz: float) -> float:
        return self.ring_hz

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        """Adds the moments at which the envelope has fallen, as bounds for integrals."""
        return np.asarray(span.start_s + self.decay_s * np.array([0.0, 1.0, 3.0, 8.0, 16.0, TAIL_CONSTANTS]))

    def peak_v(self, wave: Wave) -> float:
        """The envelope at the start."""
        return self.peak_pu * wave.peak_v

    def added(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        since = np.maximum(at.t_s - span.start_s, 0.0)
        turn = 2 * math.pi * self.ring_hz * since + math.radians(self.phase_deg)
        return np.asarray(self.peak_v(wave) * np.exp(-since / self.decay_s) * np.sin(turn))

    def energy_v2s(self, wave: Wave) -> float:
        """Integral of the square of the added volts."""
        speed, start = 2 * math.pi * self.ring_hz, 2 * math.radians(self.phase_deg)
        fall = 2 / self.decay_s
        beat = (fall * math.cos(start) - 2 * speed * math.sin(start)) / (fall**2 + 4 * speed**2)
        return self.peak_v(wave) ** 2 / 2 * (1 / fall - beat)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicNotching(MainsDisturbance):
    """Commutation notches: `per_cycle` of them, evenly spread, the first at `first_deg` of the fundamental.

    In a notch the voltage is nearer to zero by `depth` of itself (1: shorted) for `width_s`, at the grid's
    steady frequency. IEEE 519-2014, annex on notching: depth, width, and area in volt-microseconds.
    """

    kind: ClassVar[str] = "periodic_notching"
    usual_s: ClassVar[float] = 1.0
    depth: float = 0.3
    width_s: float = 0.0005
    per_cycle: int = 6
    first_deg: float = 30.0
    grid_hz: float = 60.0
    """The frequency for the width; replaced by the grid's frequency when it is placed."""

    def check(self) -> None:
        MainsDisturbance.check(self)
        if not (0 < self.depth <= 2 and self.per_cycle >= 1 and math.isfinite(self.first_deg)):
            raise ValueError(f"{self}; want a depth above 0, to 2, and at least one notch per cycle")
        if not 0 < self.width_cycles < 1 / self.per_cycle:
            raise ValueError(f"width_s is {self.width_s}; want above 0, below the distance of the notches")

    def placed(self, grid: Grid) -> PlacedDisturbance:
        """As for every disturbance; its notches are `width_s` wide at the grid's frequency.

        Raises:
            ValueError: the notches would touch each other there.
        """
        return MainsDisturbance.placed(replace(self, grid_hz=grid.frequency_hz), grid)

    @property
    def width_cycles(self) -> float:
        """Part of a cycle that one notch takes."""
        return self.width_s * self.grid_hz

    def share(self, at: Instants, span: DisturbanceSpan, wave: Wave) -> FloatArray | None:
        edge = EDGE_S * self.grid_hz
        place = np.mod(at.cycles - self.first_deg / 360 + edge, 1 / self.per_cycle)
        return np.where(place < self.width_cycles, 1 - self.depth, 1.0)

    def areas_vs(self, wave: Wave) -> FloatArray:
        """(per_cycle,) area that each notch removes from the fundamental: integral of |v| depth, in Vs."""
        starts = self.first_deg / 360 + np.arange(self.per_cycle) / self.per_cycle
        stops = starts + self.width_cycles
        return np.asarray(
            self.depth * wave.peak_v / (2 * math.pi * self.grid_hz) * (_folded(stops) - _folded(starts))
        )

    def breaks_s(self, span: DisturbanceSpan, grid: Grid) -> FloatArray:
        first = math.ceil((span.start_cycles - self.first_deg / 360) * self.per_cycle - 1)
        last = math.floor((span.stop_cycles - self.first_deg / 360) * self.per_cycle)
        starts = self.first_deg / 360 + np.arange(first, last + 1) / self.per_cycle
        edges = np.sort(np.concatenate((starts, starts + self.width_cycles)))
        edges = edges[(edges > span.start_cycles) & (edges < span.stop_cycles)]
        inside = grid.time_s(edges, max(0.0, span.start_s - 1e-3), span.stop_s)
        return np.concatenate(([span.start_s], inside, [span.stop_s]))


def _folded(cycles: FloatArray) -> FloatArray:
    """Integral of |sin(2 pi c)| 2 pi dc from 0: 4 per cycle."""
    halves = np.floor(2 * cycles)
    return np.asarray(2 * halves + 1 - np.cos(2 * math.pi * (cycles - halves / 2)))
