"""Where the voltage changes from one steady wave to another: the edge of a dip, a phase jump, a step.

The waves before and after are fitted separately, each over a few cycles, and extrapolated towards each other.
The instant is where switching from the one to the other leaves least (maximum likelihood for white noise). So
neither a dip nor a step of frequency is reported as a phase jump, and an edge near the voltage's zero
crossing, where nothing is visible for a while, has the uncertainty that it should have.

Source: segmentation into steady states and transitions, Bollen and Gu, Signal Processing of Power Quality
Disturbances, 2006, chapter 7; change point by maximum likelihood, Basseville and Nikiforov 1993, 2.6.
"""

import cmath
import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from opq_measure.signal import FloatArray, IndexArray, SignalArray
from opq_measure.timebase.cycles import Track
from opq_measure.waveform.steady import FREE_CYCLES, MIN_CYCLES, ORDERS, Steady, steady_wave

FITTED_CYCLES = 6.0
"""Cycles fitted on either side: 0.2 mHz and 0.005 degrees at 60 dB, and the mains is steady over 0.1 s."""
FEW_CYCLES = 3.0
"""Cycles fitted around a jump that spoils the track; over six, a ramp of 1 Hz/s leaves 1 %."""
SPOILS_SHARE = 1.0
"""Least size of a jump that spoils the track, over the fundamental before: 60 degrees."""
REACH_CYCLES = 1.0
"""Cycles around the first estimate in which the instant is searched."""
MARGIN_CYCLES = 0.06
"""Cycles around the instant left out of the second fit: 1 ms, in which a fault rings."""
MIN_CHANGE = 0.03
"""Least step, as a share of the fundamental: 3 % in amplitude or 1.7 degrees."""
SHORT_ORDERS = 10
"""Harmonics fitted per cycle of a short stretch, so that noise is not taken for harmonics."""
MAX_PASSES = 4
"""Most repetitions of the search with the corrected positions of the neighbours, and without false ones."""
FAR_CYCLES = 2 + REACH_CYCLES + FITTED_CYCLES
"""A neighbour further away is not a limit."""
SAME_INSTANT_SAMPLES = 1.0
"""Samples by which a neighbour may move before the changes next to it are searched again."""
EXPLAINED_RATIO = 2.0
"""A stretch contains no other change up to this residual, over the noise next to it."""
OF_STEP_SHARE = 0.25
"""The same beside a jump that spoils the track, as a share of the least step."""
CHANGE_OVER_NOISE = 1.5
"""Times the median difference from the cycle before: six scatters of noise over half a cycle."""
TWO_STEPS_CYCLES = 0.35
"""A difference from the cycle before lasts a cycle after a step; when longer by this, there were two."""
CLEAR_OF_JUMP_CYCLES = 5
"""Cycles from a jump at which the median of nine has none of the cycles that the jump spoils."""
MOVED_SHARE = 0.4
"""A cycle is examined only if its fundamental moved by this share of the smallest step: notches and noise
move it a little from cycle to cycle, too."""


@dataclass(frozen=True, slots=True)
class Change:
    """The wave `before` changes to `after` at `position` (fractional samples).

    `uncertainty_samples` is the standard uncertainty for white noise, 0.29 (a sample's grain) at least.
    `rest` is the rms, around the instant, of what neither wave explains: noise, or a ramp, ringing, a notch.
    """

    position: float
    uncertainty_samples: float
    rest: float
    before: Steady
    after: Steady

    @property
    def step(self) -> complex:
        """Ratio of the fundamental after the instant to that before: size and angle."""
        turn = self.after.phase_rad(self.position) - self.before.phase_rad(self.position)
        if self.before.amplitude <= 0:
            return complex(math.nan, math.nan)
        return self.after.amplitude / self.before.amplitude * cmath.exp(1j * turn)


def change_between(
    volts: SignalArray, before: Steady, after: Steady, low: int, high: int
) -> tuple[float, float, float]:
    """The instant between samples `low` and `high`, its standard uncertainty (samples), and the rms left."""
    part = np.asarray(volts[low:high], dtype=np.float64)
    later = (part - after.volts(low, high)) ** 2
    gain = (part - before.volts(low, high)) ** 2 - later
    cost = np.concatenate(([0.0], np.cumsum(gain)))  # entry t: the first t samples belong to `before`
    rest = math.sqrt(max(0.0, float(cost.min() + later.sum())) / max(1, high - low))
    noise = max(before.rest, after.rest, 1e-6 * max(before.amplitude, after.amplitude), 1e-150)
    weight = np.exp(-(cost - cost.min()) / (2 * noise**2))
    weight /= weight.sum()
    at = np.arange(len(cost)) - 0.5
    middle = float(weight @ at)
    spread = float(weight @ (at - middle) ** 2)
    return low + middle, math.sqrt(spread + 1 / 12), rest


def change_near(
    volts: SignalArray,
    tracked: Track,
    near: float,
    first: float = 0.0,
    stop: float | None = None,
) -> Change | None:
    """The change of the wave within REACH cycles of a position.

    Args:
        volts: (n,) counts or volts that `tracked` was made of, at least 1.3 cycles to either side.
        first, stop: other changes, beyond which no sample is used; at least half a cycle apart.
    Returns:
        None where a side is too short for a fit. The caller has to know that there is a change: without one
        the instant is arbitrary, with an uncertainty that shows this.

    Error: position 0.3 samples for steps of 10 % and more away from the zero crossings, at 60 dB
    (test_measure_phase_jump.py).
    """
    stop = len(volts) if stop is None else min(stop, float(len(volts)))
    first = max(first, 0.0)
    period = tracked.rate_hz / _hz(tracked, near - 8 * tracked.rate_hz / tracked.nominal_hz, near)
    first += MARGIN_CYCLES * period if first > 0 else 0.0
    stop -= MARGIN_CYCLES * period if stop < len(volts) else 0.0
    if not first < near < stop:
        return None
    low, high = max(near - REACH_CYCLES * period, first), min(near + REACH_CYCLES * period, stop)
    if stop - near < 2 * MIN_CYCLES * period:  # little is left after it: search closer to it
        high = min(high, near + 0.4 * (stop - near))
    if near - first < 2 * MIN_CYCLES * period:
        low = max(low, near - 0.4 * (near - first))
    found = None
    for _ in range(2):
        waves = _around(volts, tracked, first, low, high, stop, FITTED_CYCLES * period)
        if waves is None:
            return found
        position, uncertainty, rest = change_between(
            volts, *waves, math.ceil(max(first, low - period / 4)), math.floor(min(stop, high + period / 4))
        )
        found = Change(position, uncertainty, rest, *waves)
        room = max(MARGIN_CYCLES * period, 3 * uncertainty)
        low, high = max(first, position - room), min(stop, position + room)
    return found


def changes_in(volts: SignalArray, tracked: Track, least: float = MIN_CHANGE) -> tuple[Change, ...]:
    """Every sudden change of the fundamental by `least` of itself or more, in time order.

    Args:
        volts: (n,) counts or volts, the waveform of an event with some cycles around; held in memory whole.
    Returns:
        Changes with at least 1.05 cycles on either side, half a cycle or more apart. Slow changes
        (wander, ramps) and steps of frequency or of harmonics are not included.
    """
    near = _without_doubles(volts, tracked, _candidates(volts, tracked, least), least)
    found: list[Change] = []
    known: dict[float, tuple[float, float, Change]] = {}  # by position: the bounds between which it was found
    far = FAR_CYCLES * tracked.rate_hz / tracked.nominal_hz
    for _ in range(MAX_PASSES):
        bounds = [0.0, *near, float(len(volts))]
        looked: list[Change | None] = []
        for before, at, after in zip(bounds[:-2], bounds[1:-1], bounds[2:], strict=True):
            was, near_by = known.get(at), (max(before, at - far), min(after, at + far))
            if was is not None and np.allclose(near_by, was[:2], rtol=0, atol=SAME_INSTANT_SAMPLES):
                looked.append(was[2])
                continue
            one = change_near(volts, tracked, at, before, after)
            looked.append(one)
            if one is not None:
                bounds_of = max(before, one.position - far), min(after, one.position + far)
                known[one.position] = *bounds_of, one
        found = [each for each in looked if each is not None and _real(each, least)]
        last, near = near, [each.position for each in found]
        if len(near) == len(last) and np.allclose(near, last, rtol=0, atol=1.0):
            break
    return _apart(found, tracked.rate_hz / tracked.nominal_hz / 4)


def _real(change: Change, least: float) -> bool:
    """Whether the step is large enough and exceeds the fits' residual: an impulse in a fit is not a step."""
    before, after = change.before, change.after
    turn = after.phase_rad(change.position) - before.phase_rad(change.position)
    size = abs(after.amplitude * cmath.exp(1j * turn) - before.amplitude)
    return size >= max(least * max(before.amplitude, after.amplitude), before.rest, after.rest)


def _without_doubles(volts: SignalArray, tracked: Track, near: list[float], least: float) -> list[float]:
    """Positions, with one instead of two that one change explains: a jump with a step of frequency."""
    period = tracked.rate_hz / tracked.nominal_hz
    kept: list[float] = []
    for index, at in enumerate(near):
        if kept and at - kept[-1] < 3 * period:
            before = kept[-2] if len(kept) > 1 else 0.0
            after = near[index + 1] if index + 1 < len(near) else float(len(volts))
            one = _only_change(volts, tracked, (before, kept[-1], at, after), least)
            if one is not None:
                kept[-1] = one.position
                continue
        kept.append(at)
    return kept


def _only_change(
    volts: SignalArray, tracked: Track, places: tuple[float, float, float, float], least: float
) -> Change | None:
    """The one change between the second and third of the places, if it leaves too little for two."""
    one = _change_across(volts, tracked, places, FITTED_CYCLES)
    if one is not None and one.rest < EXPLAINED_RATIO * max(one.before.rest, one.after.rest):
        return one
    one = _change_across(volts, tracked, places, FEW_CYCLES)
    if one is None or abs(one.step - 1) < SPOILS_SHARE:
        return None
    of_step = OF_STEP_SHARE * least * min(one.before.amplitude, one.after.amplitude)
    return one if one.rest < of_step else None


def _change_across(
    volts: SignalArray, tracked: Track, places: tuple[float, float, float, float], cycles: float
) -> Change | None:
    """One change between the second and third of the places, with nothing else between first and last."""
    before, low, high, after = places
    period = tracked.rate_hz / tracked.nominal_hz
    low, high = max(before, low - period / 2), min(after, high + period / 2)
    waves = _around(volts, tracked, before, low, high, after, cycles * period)
    if waves is None:
        return None
    found = change_between(volts, *waves, math.ceil(low), math.floor(high))
    return Change(*found, *waves)


def _apart(found: list[Change], least: float) -> tuple[Change, ...]:
    """The changes without those at the same place as the one before."""
    return tuple(
        each
        for index, each in enumerate(found)
        if index == 0 or each.position - found[index - 1].position > least
    )


def _around(
    volts: SignalArray, tracked: Track, first: float, low: float, high: float, stop: float, reach: float
) -> tuple[Steady, Steady] | None:
    """The waves fitted before `low` and after `high`; a side short of a cycle uses the other one, scaled."""
    ahead = _fitted(volts, tracked, max(first, low - reach), low)
    behind = _fitted(volts, tracked, high, min(stop, high + reach))
    if ahead is None and behind is None:
        return None
    if behind is None and ahead is not None:
        behind = _scaled(ahead, volts, high, min(stop, high + reach), tracked)
    elif ahead is None and behind is not None:
        ahead = _scaled(behind, volts, max(first, low - reach), low, tracked)
    return None if ahead is None or behind is None else (ahead, behind)


def _fitted(volts: SignalArray, tracked: Track, begin: float, end: float) -> Steady | None:
    start, stop = math.ceil(begin), math.floor(end)
    hz = _hz(tracked, begin, end)
    cycles = (stop - start) * hz / tracked.rate_hz
    if cycles < FREE_CYCLES:  # the track of so short a stretch contains its surroundings, too
        hz = _hz(tracked, begin - 8 * tracked.rate_hz / hz, end + 8 * tracked.rate_hz / hz)
        cycles = (stop - start) * hz / tracked.rate_hz
    if cycles < MIN_CYCLES:
        return None
    orders = ORDERS if cycles > FITTED_CYCLES / 2 else round(SHORT_ORDERS * cycles)
    return steady_wave(volts, tracked.rate_hz, start, stop, hz, orders)


def _scaled(wave: Steady, volts: SignalArray, begin: float, end: float, tracked: Track) -> Steady | None:
    start, stop = math.ceil(begin), math.floor(end)
    if (stop - start) * tracked.nominal_hz < 0.2 * tracked.rate_hz:
        return None
    return wave.scaled(volts, start, stop)


def _hz(tracked: Track, begin: float, end: float) -> float:
    found = tracked.frequency_hz(begin, end)
    if not math.isfinite(found):
        found = tracked.frequency_hz(-math.inf, math.inf)
    usable = math.isfinite(found) and 0.5 * tracked.nominal_hz < found < 1.6 * tracked.nominal_hz
    return found if usable else tracked.nominal_hz


def _candidates(volts: SignalArray, tracked: Track, least: float) -> list[float]:
    """Starts of runs of differences from the cycle before, and places a cycle before the end of long ones."""
    edges = tracked.edges(1)
    if len(edges) < 4:
        return []
    period = float(np.median(np.diff(edges)))
    size = math.ceil(period)
    part = np.asarray(volts, dtype=np.float64)
    half = max(1, round(period / 2))
    here = np.arange(size + 1, len(part))
    strength = np.min(
        [
            _strength(part, here, half, edges, each)
            for each in (0, -CLEAR_OF_JUMP_CYCLES, CLEAR_OF_JUMP_CYCLES)
        ],
        axis=0,
    )
    at = here[0] + np.arange(len(strength)) + half / 2
    usual = np.interp(at, tracked.positions, tracked.amplitude)
    loudest = float(tracked.amplitude.max(initial=0.0))
    noise = CHANGE_OVER_NOISE * float(np.median(strength)) if len(strength) else 0.0
    beyond = strength > np.maximum(0.7 * least * np.maximum(usual, 0.1 * loudest), noise)
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], beyond, [False])).astype(np.int8)))
    near: list[float] = []
    for begin, end in pairwise(bounds):
        if not beyond[begin]:
            continue
        start = (
            float(at[begin]) + period / 5
        )  # the smoothing reaches a quarter cycle out, and some of the change is needed to see it
        last = float(at[end - 1]) - period / 5 - period
        near.append(start)
        if last - start > TWO_STEPS_CYCLES * period:
            near.append(last)
    if not near:
        return near
    moved = _fundamental_steps(part, size, period)
    usual = np.interp(near, tracked.positions, tracked.amplitude)
    wanted = MOVED_SHARE * least * np.maximum(usual, 0.1 * loudest)
    reach = 3 * size // 2
    lows = np.clip(np.array(near).astype(np.int64) - size - reach, 0, len(moved) - 1)
    return [
        each
        for each, low, least_v in zip(near, lows.tolist(), wanted.tolist(), strict=True)
        if moved[low : low + 2 * reach + 1].max() >= least_v
    ]


def _strength(part: FloatArray, here: IndexArray, half: int, edges: FloatArray, off: int) -> FloatArray:
    """(n,) rms of the difference from the cycle before over half a cycle, as a peak.

    Its length is that of the cycles `off` further on: a jump spoils the track of two cycles on either side.
    """
    periods = _smooth(np.diff(edges))
    periods = periods[np.clip(np.arange(len(periods)) + off, 0, len(periods) - 1)]
    before = here - np.interp(here, edges[1:], periods)
    change = part[here] - np.interp(before, np.arange(len(part)), part)
    energy = np.concatenate(([0.0], np.cumsum(change**2)))
    return np.asarray(np.sqrt(2 * np.maximum(energy[half:] - energy[:-half], 0.0) / half))


def _fundamental_steps(part: FloatArray, size: int, period: float) -> FloatArray:
    """(n - 2 size + 1,) distance of the fundamental of `size` samples, a cycle, from that of those before.

    Entry k compares samples k + size .. with k ..; in the unit of the peak.
    """
    width = max(1, math.isqrt(len(part)))
    rows = -(-len(part) // width)
    turn = -2j * math.pi / period
    turns = np.multiply.outer(np.exp(turn * width * np.arange(rows)), np.exp(turn * np.arange(width)))
    sums = np.concatenate(([0.0], np.cumsum(part * turns.ravel()[: len(part)])))
    cycles = sums[size:] - sums[:-size]
    found: FloatArray = 2 / size * np.abs(cycles[size:] - cycles[:-size])
    return found


def _smooth(periods: FloatArray) -> FloatArray:
    """The median of nine neighbours: a jump of the phase is not a change of the period."""
    padded = np.pad(periods, 4, "edge")
    smooth: FloatArray = np.median(np.lib.stride_tricks.sliding_window_view(padded, 9), axis=-1)
    return smooth
