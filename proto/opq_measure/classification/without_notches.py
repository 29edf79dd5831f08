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
from collections.abc import Sequence
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
from opq_measure.classification.regular_notches import CycleNotch, regular_notches
from opq_measure.classification.swing import Swing
from opq_measure.signal import BoolArray, FloatArray, IndexArray
from opq_measure.waveform.notches import LEAST_ORDER_SAMPLES, MAX_CYCLES, MIN_CYCLES
from opq_measure.waveform.steady import Steady

LEAST_NOTCHES = 2
"""A converter has two commutations a cycle or more; one deviation may be noise or the rest of a ringing."""
SAME_LEVEL = 0.9
"""A cycle of this share of the largest size shows a notch as well as that one."""
LEAST_SIGMAS = 8.0
"""A notch exceeds the noise of all its samples in all cycles by this many sigma, because its place is that of
the largest of many deviations."""
MEDIAN_SCATTER = math.sqrt(math.pi / 2)
"""Scatter of a median over that of a mean, in normal noise."""
SHOWN_SIGMAS = 2.5
"""A cycle shows whether it has a notch if that has this many sigma there: noise hides half of one in a tenth
of such cycles. In a deep dip it has fewer."""
HOLE_SIGMAS = 3.0
"""A notch reaches as far as the median cycle leaves the wave by this many of its sigma."""
LEAST_HOLE_SHARE = 0.005
"""A deviation below this share of the peak is not part of a notch, because few orders leave as much."""
FILL_SIGMAS = 3.0
"""Largest deviation, in sigma of the noise, of the samples that take the place of a notch."""
USUAL_HARMONIC = 0.1
"""Size of a harmonic against the peak, which the fit takes where nothing beside the notches shows it."""
LEAST_ORDERS = 5
"""Fewest orders of the wave: it has the harmonics of a bridge of one phase."""
EDGE_CYCLES = 0.25
"""Cycles beside the border of two pieces in which it is searched again, as long as the widest notch."""


@dataclass(frozen=True, slots=True)
class Notched:
    """`bare`: the signal without its notches; `notching`: their occurrence, from the first notch on."""

    bare: MeasuredSignal
    notching: Occurrence


@dataclass(frozen=True, slots=True)
class _Cycles:
    """`rows` (c, p): cycles from a rising zero crossing, against their peak. `samples` (c, p): their places.

    `weight` (c, p): square of the peak in volts, because the same noise is larger against a smaller wave; 0
    where a cycle leaves its piece.
    """

    rows: FloatArray
    samples: FloatArray
    weight: FloatArray

    @property
    def number(self) -> float:
        """So many cycles of the largest peak are as accurate."""
        total = self.weight.sum(axis=0)
        return float((total**2 / np.maximum((self.weight**2).sum(axis=0), 1e-300)).mean())


def without_notches(signal: MeasuredSignal, pieces: Pieces, limits: ClassLimits) -> Notched | None:
    """The signal without its notches; None for a longer one, and where most cycles have no notch."""
    analysis = signal.analysis
    cycles = _cycles_in(signal, pieces) if analysis.duration_s <= LONGEST_PIECES_S else None
    if cycles is None:
        return None
    middle = _median(cycles.rows, cycles.weight)
    inside = cycles.weight > 0
    left_v = np.abs(cycles.rows - middle)[inside] * np.sqrt(cycles.weight[inside])
    noise_v = 1.4826 * float(np.median(left_v))
    sigma = MEDIAN_SCATTER * noise_v / math.sqrt(float(cycles.weight.sum(axis=0).min()))
    mean = MeanCycle(middle, len(cycles.rows), sigma * math.sqrt(len(cycles.rows)))
    if not mean.has_edges(signal.cycle):
        return None
    notches = _notches_in(mean, analysis.nominal_hz, limits.notch_pu)
    found = _of_most(cycles, middle, notches, sigma, noise_v)
    if found is None:
        notches = regular_notches(middle, sigma, limits.notch_pu)
        found = _of_most(cycles, middle, notches, sigma, noise_v)
    if found is None:
        return None
    wave, holes = found
    stretches = _stretches(holes)
    volts = _filled(signal, pieces, middle, wave, holes)
    again = analyze(volts, analysis.rate_hz, analysis.nominal_v, analysis.nominal_hz, signal.rms_limits)
    depth, number = max(each.depth for each in notches), float(len(notches))
    occurrence = signal.throughout(
        "periodic_notching",
        confidence_of(depth, limits.notch_pu, sigma),
        f"{number:.0f} notches in the median of {cycles.number:.0f} cycles, "
        f"{100 * depth:.1f} % of the peak deep",
        {"notch_depth_pu": depth, "notches_per_cycle": number},
    )
    first = _first_notch(cycles, wave, stretches)
    if first is not None:
        occurrence = replace(occurrence, start_sample=first, open_at_start=False)
    return Notched(MeasuredSignal(volts, again, signal.rms_limits), occurrence)


def _cycles_in(signal: MeasuredSignal, pieces: Pieces) -> _Cycles | None:
    """The cycles of all pieces that have a voltage, also in part; None with too few."""
    points = int(MEAN_POINTS_SHARE * signal.cycle)
    grid = np.arange(points) / points
    rows, samples, weight = list[FloatArray](), list[FloatArray](), list[FloatArray]()
    for wave, swing in zip(pieces.steady, pieces.swings, strict=True):
        if wave.amplitude <= signal.dead_peak_v:
            continue
        at = np.arange(wave.start, wave.stop, dtype=np.float64)
        turns, size_v = _course(wave, swing, at)
        beside = signal.volts[wave.start : wave.stop] / size_v - np.sin(2 * np.pi * turns)
        for begin in range(math.floor(turns[0]), math.floor(turns[-1]) + 1):
            turned = begin + grid
            rows.append(np.interp(turned, turns, beside))
            samples.append(np.interp(turned, turns, at))
            is_inside = (turned >= turns[0]) & (turned <= turns[-1])
            weight.append(np.where(is_inside, np.interp(turned, turns, size_v) ** 2, 0.0))
    if len(rows) < MIN_CYCLES:
        return None
    cycles = _Cycles(np.array(rows) + np.sin(2 * np.pi * grid), np.array(samples), np.array(weight))
    return cycles if cycles.number >= MIN_CYCLES and (cycles.weight > 0).any(axis=0).all() else None


def _course(wave: Steady, swing: Swing | None, at: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Phase in turns, 0 at the rising zero crossing, and peak in volts of a piece's wave at samples `at`."""
    lead = math.pi / 2 + float(np.angle(wave.lines[1]))
    size = np.ones(len(at)) if swing is None else swing.values(at, wave.rate_hz)
    return (lead + wave.step_rad * (at - wave.middle)) / (2 * math.pi), wave.amplitude * size


def _median(rows: FloatArray, weight: FloatArray) -> FloatArray:
    """(p,) the weighted median of each column, between two values by their weight.

    `standards.indices.weighted_median` does not interpolate: with the few cycles of a dip that moves it by a
    whole value, and of 49 pairs of notches with a level 3 more were wrong.
    """
    order = np.argsort(rows, axis=0)
    values, own = np.take_along_axis(rows, order, axis=0), np.take_along_axis(weight, order, axis=0)
    total = np.cumsum(own, axis=0)
    middles = total - own / 2
    return np.array(
        [np.interp(one[-1] / 2, at, of) for one, at, of in zip(total.T, middles.T, values.T, strict=True)]
    )


def _notches_in(cycle: MeanCycle, nominal_hz: float, least: float) -> tuple[CycleNotch, ...]:
    """The notches, one of them of the `least` depth, that a fit of the wave beside them shows."""
    notching = notching_of(cycle, nominal_hz)
    if notching is None or notching.per_cycle < LEAST_NOTCHES:
        return ()
    lead_degrees = math.degrees(float(np.angle(np.fft.rfft(cycle.volts)[1]))) + 90.0
    notches = tuple(
        CycleNotch(
            (each.phase_degrees - lead_degrees) / 360.0,
            notching.width_degrees(each) / 360.0,
            each.depth_v / cycle.peak_v,
        )
        for each in notching.places
    )
    return notches if max(each.depth for each in notches) >= least else ()


def _wave_and_holes(
    middle: FloatArray, notches: Sequence[CycleNotch], sigma: float
) -> tuple[FloatArray, BoolArray] | None:
    """(p,) the wave that fits a cycle beside its notches, and (p,) where the notches are.

    None where too little of the cycle is beside them.
    """
    points = len(middle)
    turns = np.arange(points) / points
    cores = np.zeros(points, dtype=np.bool_)
    for notch in notches:
        cores |= np.abs(np.mod(turns - notch.turn + 0.5, 1.0) - 0.5) <= notch.width / 2 + 1 / points
    wave, holes = middle, cores
    for _ in range(2):  # the second time beside all of a notch, its slopes included
        beside = int(np.count_nonzero(~holes))
        orders = min(ORDERS, int(points / LEAST_ORDER_SAMPLES), (beside - points // 8) // 2)
        if orders < min(LEAST_ORDERS, int(points / LEAST_ORDER_SAMPLES)):
            return None
        turned = 2 * np.pi * turns[:, None] * np.arange(1, orders + 1)
        basis = np.hstack((np.ones((points, 1)), np.cos(turned), np.sin(turned)))
        gram = basis[~holes].T @ basis[~holes]
        usual = np.full(len(gram), (max(sigma, LEAST_HOLE_SHARE) / USUAL_HARMONIC) ** 2)
        usual[[1, orders + 1]] = 0.0  # the fundamental
        wave = basis @ np.linalg.solve(gram + np.diag(usual), basis[~holes].T @ middle[~holes])
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


def _of_most(
    cycles: _Cycles, middle: FloatArray, notches: tuple[CycleNotch, ...], sigma: float, noise_v: float
) -> tuple[FloatArray, BoolArray] | None:
    """(p,) the wave beside the notches, and (p,) where they are; None where most cycles lack one of them."""
    found = _wave_and_holes(middle, notches, sigma) if notches else None
    if found is None or not all(
        _is_in_most(cycles, found[0], hole, noise_v) for hole in _stretches(found[1])
    ):
        return None
    return found


def _is_in_most(cycles: _Cycles, wave: FloatArray, hole: IndexArray, noise_v: float) -> bool:
    """Whether most cycles leave the wave in a hole to one side, by more than noise does."""
    means, weight = _in_hole(cycles, wave, hole)
    if len(means) < MIN_CYCLES:
        return False
    usual = abs(float(_median(means[:, None], weight[:, None])[0]))
    count = max(1, len(hole) - 2)  # the points at its ends are beside it
    scatter = MEDIAN_SCATTER * noise_v / math.sqrt(count * float(weight.sum()))
    size = usual * np.sqrt(count * weight)
    shows = size >= min(SHOWN_SIGMAS * noise_v, SAME_LEVEL * float(size.max()))
    if usual < LEAST_SIGMAS * scatter or np.count_nonzero(shows) < MIN_CYCLES:
        return False
    sign = np.sign(np.average(means, weights=weight))
    return float(np.mean(sign * means[shows] > usual / 2)) >= MAX_CYCLES


def _in_hole(cycles: _Cycles, wave: FloatArray, hole: IndexArray) -> tuple[FloatArray, FloatArray]:
    """(k,) what the cycles with all of a hole leave of the wave there, in the mean, and (k,) their weight."""
    weight = cycles.weight[:, hole]
    whole = (weight > 0).all(axis=1)
    return (cycles.rows[:, hole] - wave[hole])[whole].mean(axis=1), weight[whole].mean(axis=1)


def _first_notch(cycles: _Cycles, wave: FloatArray, stretches: Sequence[IndexArray]) -> float | None:
    """Sample of the first notch after some cycles without one; None where the record begins with notches."""
    depths, at = list[FloatArray](), list[FloatArray]()
    for hole in stretches:
        off, weight = _in_hole(cycles, wave, hole)
        usual = float(_median(off[:, None], weight[:, None])[0])
        depths.append(np.clip(off / usual, 0.0, 1.0))
        at.append(cycles.samples[(cycles.weight[:, hole] > 0).all(axis=1), hole[0]])
    order = np.argsort(np.concatenate(at))
    missing = np.cumsum(0.5 - np.concatenate(depths)[order])
    first = int(np.argmax(np.concatenate(([0.0], missing))))
    return float(np.concatenate(at)[order][first]) if first >= MIN_CYCLES * len(stretches) else None


def _courses(signal: MeasuredSignal, pieces: Pieces, middle: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) phase in turns and peak in volts, 0 in an interruption; each piece reaches to its next one.

    The border is where switching from one median cycle to the other leaves least, because a notch there is
    a share of the voltage on its side.
    """
    volts, points = signal.volts, len(middle)
    cycle = np.append(middle, middle[0])

    def of(k: int, first: int, stop: int) -> tuple[FloatArray, FloatArray]:
        wave = pieces.steady[k]
        turns, size_v = _course(wave, pieces.swings[k], np.arange(first, stop, dtype=np.float64))
        return turns, size_v if wave.amplitude > signal.dead_peak_v else np.zeros(stop - first)

    def left(k: int, first: int, stop: int) -> FloatArray:
        turns, size_v = of(k, first, stop)
        shown = size_v * np.interp(np.mod(turns, 1.0) * points, np.arange(points + 1), cycle)
        return np.asarray((volts[first:stop] - shown) ** 2)

    borders, beside = [0], round(EDGE_CYCLES * signal.cycle)
    for k, (one, other) in enumerate(pairwise(pieces.steady)):
        first, stop = max(one.start, one.stop - beside), min(other.stop, other.start + beside)
        first = max(first, borders[-1])
        gain = np.cumsum(left(k, first, stop) - left(k + 1, first, stop))
        borders.append(first + int(np.argmin(np.concatenate(([0.0], gain)))))
    spans = pairwise([*borders, len(volts)])
    courses = [of(k, first, stop) for k, (first, stop) in enumerate(spans)]
    return np.concatenate([each for each, _ in courses]), np.concatenate([each for _, each in courses])


def _filled(
    signal: MeasuredSignal, pieces: Pieces, middle: FloatArray, wave: FloatArray, holes: BoolArray
) -> FloatArray:
    """(n,) the signal with the wave in the place of its notches.

    What the samples beside a hole leave of the wave is mirrored into it, so that it has as much noise. A
    sample that lies beyond both the wave and the notch keeps by how much, because that is not of the notch.
    """
    volts, points = signal.volts, len(wave)
    turns, size_v = _courses(signal, pieces, middle)
    places = np.mod(turns, 1.0) * points
    before = places.astype(np.int64) % points
    after = (before + 1) % points
    inside = (holes[before] | holes[after]) & (size_v > 0)
    shown = size_v * np.interp(places, np.arange(points + 1), np.append(wave, wave[0]))
    left = volts - shown
    beside = left[~inside & (size_v > 0)]
    most = FILL_SIGMAS * 1.4826 * float(np.median(np.abs(beside))) if len(beside) else 0.0
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], inside, [False])).astype(np.int8)))
    mirrored = left.copy()
    for first, stop in bounds.reshape(-1, 2).tolist():
        at = np.arange(first, stop)
        source = np.where(at - first < stop - at, 2 * first - 1 - at, 2 * stop - 1 - at)
        mirrored[first:stop] = left[np.clip(source, 0, len(left) - 1)]
    # a slope may be a sample earlier or later
    near = np.stack([np.roll(middle, 1), middle, np.roll(middle, -1), wave])
    least, largest = near.min(axis=0), near.max(axis=0)
    low, high = np.minimum(least[before], least[after]), np.maximum(largest[before], largest[after])
    beyond = volts - np.clip(volts, size_v * low - most, size_v * high + most)
    return np.where(inside, shown + np.clip(mirrored, -most, most) + beyond, volts)
