"""A short record as pieces between the edges of its levels, each with one wave, and what the waves leave.

    edges of levels, jumps --> pieces --> a swing of the amplitude (flicker), divided out --+
                                 |                                                          |
                                 +--> wave of each piece: DC, harmonics, frequency <--------+
                                            |
                                            +--> residual of the record: transients, notches, noise

A window of 10/12 cycles that a dip touches is flagged (61000-4-30, 4.7), and a record of fewer cycles has
none. The cycles beside a level and within it are as steady as any, and are measured here. Samples that are
far off do not count, so that a ringing or an impulse stays in the residual.

Source: Bollen and Gu 2006, chapter 7 (segmentation); Huber and Ronchetti 2009, 7.8 (fits without outliers).
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from opq_measure.classification.swing import MOST_SIZE_SHARE, Swing, amplitude_course, swing_at, swing_in
from opq_measure.signal import FloatArray
from opq_measure.waveform.steady import MIN_CYCLES as LEAST_CYCLES
from opq_measure.waveform.steady import Steady, steady_wave

ORDERS = 25
"""Most harmonics of a piece."""
ORDERS_PER_CYCLE = 4
"""Most harmonics per cycle of a piece; more would be fitted to a ringing."""
BESIDE_CYCLES = 0.75
"""Cycles beside a level's edge that are left out, because their side is unknown until the edge is refined."""
GUARD_CYCLES = 0.06
"""Cycles beside a refined edge that are left out, a millisecond, because a sampler's filter rings there."""
REFINES_CYCLES = 1.2
"""The edge lies within this distance of the place where Urms(1/2) passes the limit."""
FIRST_ORDERS = 7
"""Highest harmonic in the first fit of a piece, because a piece is short."""
MAX_TRIMS = 3
"""Most times that the ends of a piece are trimmed."""
TRIM_CYCLES = 3.0
"""Most cycles that are trimmed at a time."""
TRIMMED_CYCLES = 2.0
"""Fewest cycles that are left."""
OWN_CYCLES = 2.0
"""A shorter piece uses the most accurate wave, at its own level."""
LEAST_SCALED = 0.4
"""Cycles from which on a piece that is too short for any fit also uses that wave."""
LEVEL_SHARE = 0.6
"""Least share of the residual at an end of a piece that the piece's wave at another level explains."""
LEVEL_ENERGY = 60.0
"""Least energy in sigma^2 by which it explains this."""
OUTLIER_SIGMAS = 4.0
"""A sample this far off is replaced by the wave: a ringing or an impulse stays in the residual."""
SWING_ENERGY = 25.0
"""Energy in sigma^2 that a swing explains of a piece, or of one beside it: noise of 30 dB alone swings by 1 %
of a small residual in six cycles."""
REFINING_ROUNDS = 6
"""Most times that the borders of pieces are refined."""
MIN_CYCLES = LEAST_CYCLES + 0.02
"""A piece has a little more than the shortest wave that can be fitted."""
MOST_OFF = 0.08
"""Share of the record's frequency by which that of a piece may differ; otherwise it is not one wave of mains,
as half a cycle with nothing after it is not."""
MOST_INSIDE = 0.7
"""Share of samples that agree with a piece's own wave, below which the best wave at its level is used:
its two unknowns cannot follow a ringing."""
MOST_OUTSIDE = 0.6
"""With a larger share of outliers the wave is not refitted, because too little of the piece shows it."""
LEAST_SIGMA = 1e-3
"""Least noise, as a share of the amplitude, because the residual of a simulated wave is rounding, and drift
is not noise."""

Course = tuple[FloatArray, FloatArray]
"""Places and amplitudes, of `swing.amplitude_course`."""


class Pieces:
    """Each property is computed once, when it is first needed.

    Args:
        volts: (n,).
        edges: samples near which the wave changes, in order.
        dead_v: largest peak of a wave that is an interruption.
    """

    def __init__(
        self, volts: FloatArray, rate_hz: float, hz: float, edges: Sequence[float], dead_v: float = 0.0
    ) -> None:
        self._volts, self._rate_hz, self._hz = volts, rate_hz, hz
        self._edges, self._dead_v = edges, dead_v
        self._swings: dict[tuple[int, int, float], tuple[Course, Swing | None]] = {}

    @cached_property
    def fitted(self) -> tuple[Steady, ...]:
        """The pieces of a cycle and more."""
        bounds = self._bounds
        for _ in range(MAX_TRIMS):
            waves = self._waves(bounds)
            seen = self._seen(waves)
            trimmed = [part for wave in waves for part in self._trimmed(wave, seen)]
            if trimmed == [(wave.start, wave.stop) for wave in waves]:
                break
            bounds = trimmed
        return waves

    def _trimmed(self, wave: Steady, seen: Sequence[tuple[Steady, Swing]]) -> list[tuple[int, int]]:
        """The piece in parts, where it ends or begins at another level."""
        first, stop = wave.start, wave.stop
        quarter = round(self._rate_hz / wave.hz / 4)
        shown = wave.volts(first, stop + quarter)
        swing = self._swing_of(wave)[1] or self._followed(wave, seen)
        if swing is not None:  # the end of a swing is not a level
            shown *= swing.values(np.arange(first, stop + quarter, dtype=np.float64), self._rate_hz)
        left = self._volts[first:stop] - shown[:-quarter]
        ahead = shown[quarter:]
        if len(left) < TRIMMED_CYCLES * self._rate_hz / wave.hz:
            return [(first, stop)]
        most = min(len(left) // 2, round(TRIM_CYCLES * self._rate_hz / wave.hz))
        guard = round(GUARD_CYCLES * self._rate_hz / wave.hz)
        late = _other_level(left[::-1][:most], shown[:-quarter][::-1][:most], ahead[::-1][:most], wave.rest)
        early = _other_level(left[:most], shown[:most], ahead[:most], wave.rest)
        parts = [(first + early + guard if early else first, stop - late - guard if late else stop)]
        if early > guard:
            parts.insert(0, (first, first + early - guard))
        if late > guard:
            parts.append((stop - late + guard, stop))
        return parts

    @cached_property
    def _bounds(self) -> list[tuple[int, int]]:
        edges = self._refined()
        guard = GUARD_CYCLES * self._rate_hz / self._hz
        ends = [-guard, *edges, len(self._volts) + guard]
        return [(math.ceil(before + guard), math.floor(after - guard)) for before, after in pairwise(ends)]

    def _waves(
        self, bounds: Sequence[tuple[int, int]], level: FloatArray | None = None
    ) -> tuple[Steady, ...]:
        """The wave of each stretch; for a stretch of few cycles the most accurate wave, at its level."""
        volts = self._volts if level is None else self._volts / level
        cycle = self._rate_hz / self._hz
        fits = [self._fit(volts, first, stop, ORDERS) for first, stop in bounds]
        found = [each for each in fits if each is not None]
        if not found:
            return ()
        best = best_of(found)
        long = [each for each in found if each.stop - each.start >= (best.stop - best.start) / 3]
        sigma = max(min(each.rest for each in long), LEAST_SIGMA * best.amplitude)
        waves = []
        for each in found:
            if each is best:
                waves.append(self._settled(volts, each, sigma))
            elif each.stop - each.start < OWN_CYCLES * cycle:
                waves.append(replace(self._nearest(volts, self._like(best, volts, each)), rest=sigma))
            else:
                waves.append(self._settled(volts, self._start(volts, each, best, sigma), sigma))
        if level is not None or best.amplitude > self._dead_v:  # else it is noise
            waves += [
                replace(best.scaled(volts, first, stop), rest=sigma)
                for first, stop in bounds
                if LEAST_SCALED * cycle <= stop - first < MIN_CYCLES * cycle
            ]
        return tuple(sorted(waves, key=lambda each: each.start))

    def _start(self, volts: FloatArray, own: Steady, best: Steady, sigma: float) -> Steady:
        """The wave that most samples agree with; where few do, one of few unknowns."""
        part = volts[own.start : own.stop]
        alike = self._like(best, volts, own)
        left = [np.abs(part - each.volts(own.start, own.stop)) for each in (own, *alike)]
        most = OUTLIER_SIGMAS * sigma
        inliers = [float(np.mean(each <= most)) for each in left]
        energy = [float(np.sum(np.minimum(each, most) ** 2)) for each in left]
        if inliers[0] >= MOST_INSIDE and energy[0] <= min(energy[1:]) + LEVEL_ENERGY * sigma**2:
            return own  # else it lacks the harmonics beyond its orders
        if max(inliers[1:]) > 1 - MOST_OUTSIDE:
            return alike[int(np.argmax(inliers[1:]))]
        return self._nearest(volts, alike)

    def _nearest(self, volts: FloatArray, waves: Sequence[Steady]) -> Steady:
        """The wave that leaves least of its samples, by the median, which no impulse moves."""
        return min(
            waves,
            key=lambda each: float(
                np.median(np.abs(volts[each.start : each.stop] - each.volts(each.start, each.stop)))
            ),
        )

    def _like(self, best: Steady, volts: FloatArray, own: Steady) -> tuple[Steady, Steady]:
        """The best wave at this level: a far fault takes the harmonics with it, a load keeps them."""
        scaled = best.scaled(volts, own.start, own.stop)
        shift = np.exp(1j * best.step_rad * (own.middle - best.middle) * np.arange(len(best.lines)))
        kept = best.lines * shift
        rest = replace(scaled, lines=np.concatenate((kept[:1], [0j], kept[2:])))
        part = volts[own.start : own.stop] - rest.volts(own.start, own.stop)
        hz = max(best.hz, LEAST_CYCLES * self._rate_hz / len(part))
        first = steady_wave(part, self._rate_hz, 0, len(part), hz, 1)
        kept[1] = first.lines[1]
        return scaled, replace(scaled, lines=kept)

    @cached_property
    def swings(self) -> tuple[Swing | None, ...]:
        """The swing of the amplitude of each piece, or None."""
        seen = self._seen(self.fitted)
        if not seen:
            return (None,) * len(self.fitted)
        hz = max((swing for _, swing in seen), key=lambda each: each.swings).hz
        swings = []
        for each in self.fitted:
            course, swing = self._swing_of(each)
            if swing is None:
                swing = swing_at(hz, course, each.hz, self._rate_hz)
            swings.append(self._followed(each, seen) if swing is None else swing)
        return tuple(swings)

    def _seen(self, waves: Sequence[Steady]) -> list[tuple[Steady, Swing]]:
        """The pieces that show their own swing."""
        return [(each, swing) for each in waves if (swing := self._swing_of(each)[1]) is not None]

    def _swing_of(self, wave: Steady) -> tuple[Course, Swing | None]:
        """The course of the amplitude in a piece, and its own swing; kept, because it is asked for twice."""
        key = (wave.start, wave.stop, wave.step_rad)
        if key not in self._swings:
            course = amplitude_course(self._volts, *key)
            swing = swing_in(course, wave.hz, self._rate_hz)
            if swing is not None:
                energy = (abs(swing.size) * wave.amplitude) ** 2 * (wave.stop - wave.start) / 4
                swing = swing if energy > SWING_ENERGY * wave.rest**2 else None
            self._swings[key] = course, swing
        return self._swings[key]

    def _followed(self, wave: Steady, seen: Sequence[tuple[Steady, Swing]]) -> Swing | None:
        """The swing of another piece, in one too short to show it: its share, or as many volts.

        Tried are that of the piece beside it, and that which is known best.
        """
        if not seen:
            return None
        part = self._volts[wave.start : wave.stop]
        shown = wave.volts(wave.start, wave.stop)
        at = np.arange(wave.start, wave.stop, dtype=np.float64)

        def explained(each: Swing | None) -> float:
            swung = shown if each is None else shown * each.values(at, self._rate_hz)
            energy = float(swung @ swung)
            return float(swung @ part) ** 2 / energy if energy else 0.0  # no supply: exactly 0 V

        beside = min(seen, key=lambda one: abs(one[0].middle - wave.middle))
        longest = max(seen, key=lambda one: one[1].swings)
        tried = [
            replace(swing, size=swing.size * share)
            for other, swing in (beside, longest)
            for share in (1.0, other.amplitude / max(wave.amplitude, 1e-300))
        ]
        best = max(tried, key=explained)
        is_better = explained(best) - explained(None) > SWING_ENERGY * wave.rest**2
        return best if is_better and abs(best.size) <= MOST_SIZE_SHARE else None

    @cached_property
    def steady(self) -> tuple[Steady, ...]:
        """The pieces without their swing."""
        if not any(self.swings):
            return self.fitted
        level = np.ones(len(self._volts))
        for each, swing in zip(self.fitted, self.swings, strict=True):
            if swing is not None:
                at = np.arange(each.start, each.stop, dtype=np.float64)
                level[each.start : each.stop] = swing.values(at, self._rate_hz)
        return self._waves([(each.start, each.stop) for each in self.fitted], level)

    @cached_property
    def residual(self) -> FloatArray:
        """(n,) what the waves leave; NaN outside of the pieces."""
        left = np.full(len(self._volts), np.nan)
        for each, swing in zip(self.steady, self.swings, strict=True):
            wave = each.volts(each.start, each.stop)
            if swing is not None:
                wave *= swing.values(np.arange(each.start, each.stop, dtype=np.float64), self._rate_hz)
            left[each.start : each.stop] = self._volts[each.start : each.stop] - wave
        return left

    @cached_property
    def amplitude(self) -> float:
        """Peak of the fundamental in the most accurate piece; 0 without pieces."""
        return best_of(self.steady).amplitude if self.steady else 0.0

    def step_degrees(self, position: float) -> float:
        """Lead of the wave after a position over the wave before it, degrees; NaN without both."""
        before = [each for each in self.steady if each.middle < position]
        behind = [each for each in self.steady if each.middle >= position]
        if not before or not behind:
            return math.nan
        early, late = before[-1], behind[0]
        turned = best_of(self.steady).step_rad * (late.middle - early.middle)
        step = late.phase_rad(late.middle) - early.phase_rad(early.middle) - turned
        return math.degrees(math.remainder(step, 2 * math.pi))

    def _refined(self) -> list[float]:
        """The edges where switching from one wave to the other leaves least."""
        cycle = self._rate_hz / self._hz
        bounds = [-math.inf, *self._edges, math.inf]
        waves, spans = list[Steady | None](), list[tuple[int, int]]()
        for before, after in pairwise(bounds):
            beside = BESIDE_CYCLES * cycle
            if after - before < 2 * beside + MIN_CYCLES * cycle:
                beside = max(0.0, (after - before - MIN_CYCLES * cycle) / 2)
            first, stop = max(0, math.ceil(before + beside) if before > 0 else 0), len(self._volts)
            if after < stop:
                stop = math.floor(after - beside)
            spans.append((first, stop))
            waves.append(self._fit(self._volts, first, stop, FIRST_ORDERS))
        known = [each for each in waves if each is not None]
        for k, (first, stop) in enumerate(spans):
            if waves[k] is None and known and stop - first >= LEAST_SCALED * cycle:
                waves[k] = best_of(known).scaled(self._volts, first, stop)
        refined = []
        for at, early, late in zip(self._edges, waves[:-1], waves[1:], strict=True):
            low = max(0, round(at - REFINES_CYCLES * cycle))
            high = min(len(self._volts), round(at + REFINES_CYCLES * cycle))
            refined.append(at if early is None or late is None else self._switch(early, late, low, high))
        return sorted(refined)

    def _switch(self, early: Steady, late: Steady, low: int, high: int) -> float:
        part = self._volts[low:high]
        gain = (part - early.volts(low, high)) ** 2 - (part - late.volts(low, high)) ** 2
        return low + float(np.argmin(np.concatenate(([0.0], np.cumsum(gain))))) - 0.5

    def _fit(self, volts: FloatArray, first: int, stop: int, most: int) -> Steady | None:
        """The wave that fits best but for outliers; None with less than a cycle, or of another frequency."""
        cycles = (stop - first) * self._hz / self._rate_hz
        if cycles < MIN_CYCLES:
            return None
        orders = min(most, int(ORDERS_PER_CYCLE * cycles))
        wave = steady_wave(volts, self._rate_hz, first, stop, self._hz, orders)
        return self._settled(volts, wave, None) if self._is_near(wave) else None

    def _is_near(self, wave: Steady) -> bool:
        return abs(wave.hz - self._hz) <= MOST_OFF * self._hz

    def _settled(self, volts: FloatArray, wave: Steady, sigma: float | None) -> Steady:
        """The wave that fits the samples within some sigmas of it, from this one on."""
        first, stop, orders = wave.start, wave.stop, len(wave.lines) - 1
        part = volts[first:stop]
        before, scatter = np.zeros(len(part), dtype=np.bool_), 0.0
        for turn in range(REFINING_ROUNDS):
            fitted = wave.volts(first, stop)
            left = np.abs(part - fitted)
            scatter = max(1.4826 * float(np.median(left)), LEAST_SIGMA * wave.amplitude)
            beyond = left > OUTLIER_SIGMAS * (scatter if sigma is None else sigma)
            if float(beyond.mean()) > MOST_OUTSIDE or (turn and (beyond == before).all()):
                break
            if not turn and not beyond.any() and sigma is None:
                break
            before = beyond
            again = steady_wave(np.where(beyond, fitted, part), self._rate_hz, 0, len(part), wave.hz, orders)
            if not self._is_near(again):
                break
            wave = replace(again, start=first, stop=stop)
        return replace(wave, rest=scatter if sigma is None else sigma)


def best_of(waves: Sequence[Steady]) -> Steady:
    """The most accurate wave, by its energy."""
    return max(waves, key=lambda each: (each.stop - each.start) * each.amplitude**2)


def _other_level(left: FloatArray, wave: FloatArray, ahead: FloatArray, sigma: float) -> int:
    """Number of samples from an end of a piece on that are the wave at another level; 0 for none."""
    cc, ss, cs = np.cumsum(wave * wave), np.cumsum(ahead * ahead), np.cumsum(wave * ahead)
    c, s, energy = np.cumsum(wave * left), np.cumsum(ahead * left), np.cumsum(left * left)
    det = np.maximum(cc * ss - cs * cs, 1e-3 * cc * ss)
    explained = (ss * c * c - 2 * cs * c * s + cc * s * s) / np.maximum(det, 1e-300)
    gain = explained - LEVEL_SHARE * energy
    at = int(np.argmax(gain))
    return at + 1 if gain[at] > LEVEL_ENERGY * sigma**2 else 0
