"""The phase of the fundamental every quarter cycle, and the cycle boundaries that follow from it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from opq_measure.signal import BoolArray, FloatArray
from opq_measure.timebase.hops import HOPS_PER_CYCLE, MAX_CURVATURE, TURN

REACH_HOPS = 4 * HOPS_PER_CYCLE
"""Hops from which the phase is extrapolated to the ends of the signal, a cycle away."""
EDGE_SLACK = 1e-6
"""Share of a step of phase: an edge outside the signal by no more is on its first or last sample."""


@dataclass(slots=True)
class Track:
    """The fundamental of a signal, or of a piece of it: its phase and amplitude every quarter cycle.

    `positions` (m,) in samples, `phase_rad` (m,) unwrapped, a rising zero crossing at multiples of
    2 pi; `amplitude` (m,) peak, in the signal's unit; `known` (m,) False where the phase was only
    extrapolated. Empty for a signal shorter than two nominal cycles.

    The track is valid for `begin` .. `samples`. Hops may lie outside of it, as context; where they end
    inside, the phase continues at the neighbouring frequency. A piece that is `joined` continues the
    previous one, to which an edge on `begin` belongs; a piece that is `open` is followed by another.
    Not `frozen`, because every window has one; it is not changed after it is made.
    """

    samples: int
    rate_hz: float
    nominal_hz: float
    positions: FloatArray
    phase_rad: FloatArray
    amplitude: FloatArray
    known: BoolArray
    begin: int = 0
    joined: bool = False
    open: bool = False

    def edges(self, per_cycle: int = 1) -> FloatArray:
        """Positions where the phase passes multiples of `2 pi / per_cycle`: fractional samples, rising.

        They lie within `begin` .. `samples`.
        """
        if len(self.positions) == 0:
            return np.empty(0)
        positions, phase_rad = self._to_the_ends()
        step = 2 * np.pi / per_cycle
        begin, end = np.interp((self.begin, self.samples), positions, phase_rad) / step
        first = np.floor(begin) + 1 if self.joined else np.ceil(begin - EDGE_SLACK)
        last = np.floor(end if self.open else end + EDGE_SLACK)
        found: FloatArray = np.interp(step * np.arange(first, last + 1), phase_rad, positions)
        return found if self.joined else np.maximum(found, self.begin)

    def at(self, phases_rad: FloatArray) -> FloatArray:
        """Positions of phases; a phase beyond an end of the track has the position of that end."""
        positions, phase_rad = self._to_the_ends()
        found: FloatArray = np.interp(phases_rad, phase_rad, positions)
        return found

    def phase_at_rad(self, position: float) -> float:
        """Phase at a position within the track."""
        return float(np.interp(position, *self._to_the_ends()))

    def known_between(self, starts: FloatArray, stops: FloatArray) -> BoolArray:
        """(m,) True where the fundamental was seen in at least half of the span of positions."""
        if len(self.positions) == 0:
            return np.zeros(len(starts), dtype=np.bool_)
        if self.known.all():  # nearly always
            return np.ones(len(starts), dtype=np.bool_)
        seen = np.concatenate(([0.0], np.cumsum(self.known)))
        first = np.searchsorted(self.positions, starts)
        last = np.searchsorted(self.positions, stops)
        empty = last <= first  # no hop inside, as beyond the first or last one: use its neighbour
        first = np.where(empty, np.clip(first - 1, 0, len(self.positions) - 1), first)
        last = np.where(empty, first + 1, last)
        known: BoolArray = seen[last] - seen[first] >= 0.5 * (last - first)
        return known

    def frequency_hz(self, start: float, stop: float) -> float:
        """Slope of the phase between two positions by least squares, Hz; NaN below two known hops."""
        return self.frequency_of_hz(*self.positions.searchsorted((start, stop)).tolist())

    def frequency_of_hz(self, first: int, last: int) -> float:
        """`frequency_hz` over the hops `first` .. `last`."""
        at, phase_rad, known = self.positions[first:last], self.phase_rad[first:last], self.known[first:last]
        count = np.count_nonzero(known)
        if count < 2:
            return float("nan")
        if count == last - first:  # the usual case; the hops are evenly apart
            slope = float(_slope_weights(count) @ (phase_rad - phase_rad[0])) / float(at[1] - at[0])
        else:
            at = at[known] - at[known].mean()
            slope = float(at @ phase_rad[known]) / float(at @ at)
        return slope * self.rate_hz / TURN

    def _to_the_ends(self) -> tuple[FloatArray, FloatArray]:
        """Positions and phase, extrapolated at the neighbouring frequency to both ends."""
        positions, phase_rad = self.positions, self.phase_rad
        short, early = bool(positions[0] > self.begin), bool(positions[-1] < self.samples)
        if not (short or early):
            return positions, phase_rad
        head = np.linspace(self.begin, positions[0], HOPS_PER_CYCLE, endpoint=False)[: HOPS_PER_CYCLE * short]
        tail = np.linspace(self.samples, positions[-1], HOPS_PER_CYCLE, endpoint=False)
        tail = tail[: HOPS_PER_CYCLE * early][::-1]
        before = np.minimum(self._beyond(positions, phase_rad, head), phase_rad[0])
        after = np.maximum(self._beyond(positions[::-1], phase_rad[::-1], tail), phase_rad[-1])
        before, after = np.maximum.accumulate(before), np.maximum.accumulate(after)  # a phase never runs back
        return np.concatenate((head, positions, tail)), np.concatenate((before, phase_rad, after))

    def _beyond(self, positions: FloatArray, phase_rad: FloatArray, places: FloatArray) -> FloatArray:
        """Phase at places before the first of these hops: slope and bend as in the cycles next to it."""
        reach = min(len(positions) - 1, REACH_HOPS)
        away = places - positions[0]
        if reach == 0:
            return np.asarray(phase_rad[0] + TURN * self.nominal_hz / self.rate_hz * away)
        near, far = float(positions[reach // 2] - positions[0]), float(positions[reach] - positions[0])
        slope = float(phase_rad[reach] - phase_rad[0]) / far
        bend = 0.0
        if reach == REACH_HOPS:
            most = MAX_CURVATURE / 2 * (self.nominal_hz / self.rate_hz) ** 2
            bend = (slope - float(phase_rad[reach // 2] - phase_rad[0]) / near) / (far - near)
            bend = min(max(bend, -most), most)
        return np.asarray(phase_rad[0] + slope * away + bend * away * (away - far))


@lru_cache(maxsize=256)
def _slope_weights(count: int) -> FloatArray:
    """(count,) weights that give the slope of evenly spaced values by least squares."""
    index = np.arange(count) - (count - 1) / 2
    weights: FloatArray = index / (index @ index)
    return weights
