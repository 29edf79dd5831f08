"""A short record without its notches, so that what is beside them is measured as if it were alone.

A dip or a swing leaves few cycles that are alike, and each notch is also a short transient. So the cycles of
all pieces are laid over one another, by the phase and the size of the wave of their piece:

    pieces --> cycles of one size --> median cycle --> notches --> in most cycles? --+
                                           |                                         |
                                           +--> wave beside them --> in their place -+--> record without them

A commutation short-circuits two phases, so that its notch is a share of the voltage, in a dip as beside it.
The median cycle has no impulse and no ringing, because few cycles contain it.

Source: IEEE 1159-2019, 4.5.4, and IEEE 519-2022 (notches); Mohan, Undeland and Robbins 2003, 6.4
(commutation).
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from opq_measure.analysis.analyser import analyze
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.classification.alike_cycles import MEAN_POINTS_SHARE
from opq_measure.classification.candidates.candidates import LONGEST_PIECES_S
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.mean_cycle import ORDERS, MeanCycle, notching_of
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.classification.pieces import Pieces
from opq_measure.signal import BoolArray, FloatArray, IndexArray
from opq_measure.waveform.notches import LEAST_ORDER_SAMPLES, MAX_CYCLES, MIN_CYCLES, Notching

LEAST_NOTCHES = 2
"""A converter has two commutations a cycle or more; one deviation may be noise or the rest of a ringing."""
LEAST_SIGMAS = 8.0
"""A notch exceeds the noise of all its samples in all cycles by this many sigma, because its place is that of
the largest of many deviations."""
MEDIAN_SCATTER = math.sqrt(math.pi / 2)
"""Scatter of a median over that of a mean, in normal noise."""
HOLE_SIGMAS = 3.0
"""A notch reaches as far as the median cycle leaves the wave by this many of its sigma."""
LEAST_HOLE_SHARE = 0.005
"""A deviation below this share of the peak is not part of a notch, because few orders leave as much."""
FILL_SIGMAS = 3.0
"""Largest deviation, in sigma of the noise, of the samples that take the place of a notch."""


@dataclass(frozen=True, slots=True)
class Notched:
    """`bare`: the signal without its notches; `notching`: their occurrence, from the first notch on."""

    bare: MeasuredSignal
    notching: Occurrence


@dataclass(frozen=True, slots=True)
class _Cycles:
    """`turns` (n,): phase of the fundamental, 0 at its rising zero crossing. `size_v` (n,): its peak, 0 in an
    interruption. `rows` (c, p): whole cycles, against their peak. `samples` (c, p): their points."""

    turns: FloatArray
    size_v: FloatArray
    rows: FloatArray
    samples: FloatArray


def without_notches(signal: MeasuredSignal, pieces: Pieces, limits: ClassLimits) -> Notched | None:
    """The signal without its notches; None for a longer one, and where most cycles have no notch."""
    analysis = signal.analysis
    cycles = _cycles_in(signal, pieces) if analysis.duration_s <= LONGEST_PIECES_S else None
    if cycles is None:
        return None
    count, middle = len(cycles.rows), np.median(cycles.rows, axis=0)
    sigma = 1.4826 * float(np.median(np.abs(cycles.rows - middle)))
    median = MeanCycle(middle, count, sigma)
    notching = notching_of(median, analysis.nominal_hz)
    if notching is None or notching.deepest.depth_v < limits.notch_pu * median.peak_v:
        return None
    if notching.per_cycle < LEAST_NOTCHES:
        return None
    found = _wave_and_holes(middle, notching, sigma * MEDIAN_SCATTER / math.sqrt(count))
    if found is None:
        return None
    wave, holes = found
    stretches = _stretches(holes)
    if not all(_is_in_most(cycles.rows[:, hole] - wave[hole], sigma) for hole in stretches):
        return None
    volts = _filled(signal.volts, cycles, wave, holes)
    again = analyze(volts, analysis.rate_hz, analysis.nominal_v, analysis.nominal_hz, signal.rms_limits)
    depth, number = notching.deepest.depth_v / median.peak_v, float(notching.per_cycle)
    occurrence = signal.throughout(
        "periodic_notching",
        confidence_of(depth, limits.notch_pu, sigma / math.sqrt(count)),
        f"{number:.0f} notches in the median of {count} cycles, {100 * depth:.1f} % of the peak deep",
        {"notch_depth_pu": depth, "notches_per_cycle": number},
    )
    first = _first_notch(cycles, wave, stretches)
    if first is not None:
        occurrence = replace(occurrence, start_sample=first, open_at_start=False)
    return Notched(MeasuredSignal(volts, again, signal.rms_limits), occurrence)


def _cycles_in(signal: MeasuredSignal, pieces: Pieces) -> _Cycles | None:
    """The cycles of all pieces that have a voltage; None with too few."""
    if not pieces.steady:
        return None
    analysis, count = signal.analysis, len(signal.volts)
    at = np.arange(count, dtype=np.float64)
    turns, size_v = np.zeros(count), np.zeros(count)
    points = int(MEAN_POINTS_SHARE * signal.cycle)
    grid = np.arange(points) / points
    rows, samples = list[FloatArray](), list[FloatArray]()
    borders = [0, *((one.stop + other.start) // 2 for one, other in pairwise(pieces.steady)), count]
    for wave, swing, (first, stop) in zip(pieces.steady, pieces.swings, pairwise(borders), strict=True):
        if wave.amplitude <= signal.dead_peak_v:
            continue
        span, own = at[first:stop], slice(wave.start, wave.stop)
        lead = math.pi / 2 + float(np.angle(wave.lines[1]))
        turns[first:stop] = (lead + wave.step_rad * (span - wave.middle)) / (2 * math.pi)
        size_v[first:stop] = wave.amplitude * (1.0 if swing is None else swing.values(span, analysis.rate_hz))
        beside = signal.volts[own] / size_v[own] - np.sin(2 * np.pi * turns[own])
        for begin in turns[wave.start] + np.arange(math.floor(turns[wave.stop - 1] - turns[wave.start])):
            turned = begin + np.mod(grid - begin, 1.0)
            rows.append(np.interp(turned, turns[own], beside))
            samples.append(np.interp(turned, turns[own], at[own]))
    if len(rows) < MIN_CYCLES:
        return None
    return _Cycles(turns, size_v, np.array(rows) + np.sin(2 * np.pi * grid), np.array(samples))


def _wave_and_holes(
    middle: FloatArray, notching: Notching, sigma: float
) -> tuple[FloatArray, BoolArray] | None:
    """(p,) the wave that fits a cycle beside its notches, and (p,) where the notches are.

    None where too little of the cycle is beside them.
    """
    points = len(middle)
    angles = 2 * np.pi * np.arange(points) / points
    lead = float(np.angle(np.fft.rfft(middle)[1])) + np.pi / 2
    cores = np.zeros(points, dtype=np.bool_)
    for place in notching.places:
        apart = (np.degrees(angles + lead) - place.phase_degrees + 180.0) % 360.0 - 180.0
        wide = notching.width_degrees(place)
        cores |= np.abs(apart) <= wide / 2 + 360.0 / points
    orders = min(ORDERS, int(points / LEAST_ORDER_SAMPLES))
    turned = angles[:, None] * np.arange(1, orders + 1)
    basis = np.hstack((np.ones((points, 1)), np.cos(turned), np.sin(turned)))
    wave, holes = middle, cores
    for _ in range(2):  # the second time beside all of a notch, its slopes included
        if np.count_nonzero(~holes) < basis.shape[1] + points // 8:
            return None
        wave = basis @ np.linalg.lstsq(basis[~holes], middle[~holes], rcond=None)[0]
        off = np.abs(middle - wave) > max(HOLE_SIGMAS * sigma, LEAST_HOLE_SHARE)
        holes = _grown(cores, off)
    return wave, holes


def _grown(cores: BoolArray, off: BoolArray) -> BoolArray:
    """The cores with the points next to them that are off, around the cycle."""
    holes = cores
    for _ in range(len(cores)):
        wider = holes | ((np.roll(holes, 1) | np.roll(holes, -1)) & off)
        if (wider == holes).all():
            break
        holes = wider
    return holes


def _stretches(holes: BoolArray) -> list[IndexArray]:
    """The points of each hole, also across the end of the cycle."""
    begin = int(np.argmin(holes))
    at = begin + np.flatnonzero(np.roll(holes, -begin))
    return [each % len(holes) for each in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)]


def _is_in_most(off: FloatArray, sigma: float) -> bool:
    """Whether most cycles (c, h) leave the wave in a hole to one side, by more than noise does."""
    means = off.mean(axis=1)
    usual = float(np.median(means))
    share = float(np.mean(means / usual > 0.5)) if usual else 0.0
    count = len(off) * max(1, off.shape[1] - 2)  # the points at its ends are beside it
    scatter = MEDIAN_SCATTER * sigma / math.sqrt(count)
    return share >= MAX_CYCLES and abs(usual) >= LEAST_SIGMAS * scatter


def _first_notch(cycles: _Cycles, wave: FloatArray, stretches: list[IndexArray]) -> float | None:
    """Sample of the first notch after some cycles without one; None where the record begins with notches."""
    off = np.array([(cycles.rows[:, hole] - wave[hole]).mean(axis=1) for hole in stretches])
    depths = np.clip(off / np.median(off, axis=1, keepdims=True), 0.0, 1.0).ravel()
    at = np.array([cycles.samples[:, hole[0]] for hole in stretches]).ravel()
    order = np.argsort(at)
    first = int(np.argmax(np.concatenate(([0.0], np.cumsum(0.5 - depths[order])))))
    return float(at[order][first]) if first >= MIN_CYCLES * len(stretches) else None


def _filled(volts: FloatArray, cycles: _Cycles, wave: FloatArray, holes: BoolArray) -> FloatArray:
    """(n,) the signal with the wave in the place of its notches.

    What the samples beside a hole leave of the wave is mirrored into it, so that it has as much noise.
    """
    points = len(wave)
    places = np.mod(cycles.turns, 1.0) * points
    before = places.astype(np.int64) % points
    inside = (holes[before] | holes[(before + 1) % points]) & (cycles.size_v > 0)
    shown = cycles.size_v * np.interp(places, np.arange(points + 1), np.append(wave, wave[0]))
    left = volts - shown
    beside = left[~inside & (cycles.size_v > 0)]
    most = FILL_SIGMAS * 1.4826 * float(np.median(np.abs(beside))) if len(beside) else 0.0
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], inside, [False])).astype(np.int8)))
    mirrored = left.copy()
    for first, stop in bounds.reshape(-1, 2).tolist():
        at = np.arange(first, stop)
        source = np.where(at - first < stop - at, 2 * first - 1 - at, 2 * stop - 1 - at)
        mirrored[first:stop] = left[np.clip(source, 0, len(left) - 1)]
    return np.where(inside, shown + np.clip(mirrored, -most, most), volts)
