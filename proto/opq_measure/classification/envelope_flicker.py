"""Flicker in a second or two: lines in the course of the rms, weighted as by lamp, eye and brain.

A flickermeter needs seconds to settle. The envelope does not: each line of its spectrum that stands out of
the noise is a sine fluctuation, whose Pinst follows from the lamp's filter. Pst is that of a fluctuation that
continues like this for ten minutes.

Source: IEC 61000-4-15:2010, 5.5 (weighting filter) and 5.7; table 1 is met by the filter.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from opq_measure.analysis.level_steps import step_places
from opq_measure.classification.by_chance import CHANCE, LEVEL_SIGMAS
from opq_measure.flicker.lamps import lamp_for
from opq_measure.signal import BoolArray, FloatArray

MIN_S = 1.0
"""The envelope of a shorter record does not show flicker."""
MIN_PLACED_S = 5.0
"""In a shorter stretch flicker is assumed to last throughout."""
MIN_PERIODS = 3.0
"""Least number of periods of a line in the envelope, because a slower swing may be a step or a ramp."""
SLOWEST_HZ = 1.5
"""Slower swings of the envelope are changes of the level."""
MIN_MEDIAN = 0.5
"""Least median of the swing over its rms: 1 for a sine, 0.67 for noise, little for one dip in calm."""
HIGHEST_HZ_SHARE = 0.8
"""Share of the mains frequency; a cycle's rms hardly shows faster lines."""
QUIET_HZ_SHARE = 0.45
"""Share of the mains frequency above which the envelope shows only noise."""
TRIES_PER_BIN = 3.5
"""Independent lines per bin that the search between the bins tries, at 8 times the mean power."""
ENVELOPE_ROUNDING = 1e-20
"""Least power of the envelope's noise, the accuracy of doubles."""
LONGEST_S = 10.0
"""A longer stretch is analysed in parts of this length that overlap by half, because flicker may end."""
SMOOTH_S = 1.0
"""Length over which a line is averaged to find where it begins and ends."""
STEPS_PER_BIN = 4
"""Searched frequencies per bin; a line between two of them loses at most a twentieth of its power."""
EDGE_SHARE = 0.1
"""Share of the stretch that is faded in and out in the search for lines. It costs a line a twentieth of its
power against noise; a Hann window costs a third."""
SIDE_BINS = 2
"""Bins on either side that belong to a line, because of the Hann window."""
STEP_VALUES = 2
"""Values of Urms(1/2) on either side of a step that contain part of it."""
GOES_ON_SHARE = 0.5
"""Flicker continues in a stretch with at least this share of the strongest Pst, or swing."""
MIN_SWING_S = 0.2
"""A shorter stretch cannot show a swing."""
PST_OF_STEADY = 0.5096
"""Pst^2 of a Pinst that is always 1: 0.0314 + 0.0525 + 0.0657 + 0.28 + 0.08; 4-15, 5.7."""


@dataclass(frozen=True, slots=True)
class EnvelopeFlicker:
    """Flicker lines in a stretch of the envelope; `pst` is 0 and `hz` NaN where none stands out."""

    pst: float
    """Pst if it continues for ten minutes."""
    hz: float
    """Frequency of the strongest line."""
    stretch: slice
    """The values of the envelope in which it was found."""
    sigmas: float = math.nan
    by_chance: float = 0.0
    """How far the strongest line stands out, and the chance that noise has such a line."""
    begins: bool = False
    ends: bool = False
    """Whether its beginning and its end were found: at a step of the level or within a long stretch."""


def envelope_flicker(
    half_rms_v: FloatArray,
    usable: BoolArray,
    nominal_v: float,
    nominal_hz: float,
    noise_v: float = 0.0,
    rate_hz: float = 12_000.0,
    least_pst: float = 0.0,
) -> EnvelopeFlicker:
    """The strongest flicker of the stretches between steps of the level, from the first to the last with it.

    Args:
        half_rms_v: (h,) Urms(1/2).
        usable: (h,) those outside of dips, steps and jumps; the longest stretch of them counts.
        noise_v: rms of white noise in the samples, which moves the rms of a cycle by
            noise / sqrt(samples of a cycle).
        least_pst: a line with less does not count.
    Error: 5 % of Pst for one sine of 4 to 16 Hz at 40 dB (test_measure_classify.py).
    """

    def strongest(stretch: slice, least_pst: float) -> EnvelopeFlicker:
        own = EnvelopeFlicker(0.0, np.nan, stretch)
        for part in _parts(stretch, round(LONGEST_S * 2 * nominal_hz)):
            share = (stretch.stop - stretch.start) / max(1, part.stop - part.start)
            seen = _lines_of(half_rms_v[part], nominal_v, nominal_hz, noise_v, rate_hz, least_pst, share)
            if seen is not None and seen.pst > own.pst:
                own = replace(seen, stretch=stretch)
        return own

    longest = _longest(usable & np.isfinite(half_rms_v))
    steps = [longest.start + each for each in step_places(half_rms_v[longest], 2 * nominal_hz)]
    found = EnvelopeFlicker(0.0, np.nan, longest)
    stretches: list[EnvelopeFlicker] = []
    for first, stop in pairwise([longest.start, *steps, longest.stop]):
        after, before = first in steps, stop in steps
        begin = first + STEP_VALUES * after
        stretch = slice(begin, max(begin, stop - STEP_VALUES * before))
        own = replace(strongest(stretch, least_pst), begins=after, ends=before)
        stretches.append(own)
        found = own if own.pst > found.pst else found
    if found.pst == 0:
        return found
    fainter = [
        each if each.pst else replace(each, pst=strongest(each.stretch, GOES_ON_SHARE * found.pst).pst)
        for each in stretches
    ]
    alike = [each for each in fainter if _goes_on(each, found, half_rms_v, nominal_hz)]
    if len(alike) > 1:
        whole = slice(alike[0].stretch.start, alike[-1].stretch.stop)
        return replace(found, stretch=whole, begins=alike[0].begins, ends=alike[-1].ends)
    if found.stretch.stop - found.stretch.start >= MIN_PLACED_S * 2 * nominal_hz:
        return _placed(found, half_rms_v[found.stretch], 2 * nominal_hz)
    return found


def _goes_on(
    each: EnvelopeFlicker, found: EnvelopeFlicker, half_rms_v: FloatArray, nominal_hz: float
) -> bool:
    """Whether the flicker found is in this stretch, too, or the stretch is too short to show that it is not.

    One too short for lines has to swing as much.
    """
    count = each.stretch.stop - each.stretch.start
    if count >= MIN_S * 2 * nominal_hz:
        return each.pst >= GOES_ON_SHARE * found.pst
    if count < MIN_SWING_S * 2 * nominal_hz:
        return True
    swing, usual = (float(_swing(half_rms_v[one.stretch]).std()) for one in (each, found))
    return swing >= GOES_ON_SHARE * usual


def _swing(values: FloatArray) -> FloatArray:
    """(n,) what is left of the values over their mean without a straight line."""
    at = np.linspace(-1.0, 1.0, len(values))
    share: FloatArray = values / values.mean()
    return np.asarray(share - np.polyval(np.polyfit(at, share, 1), at))


def _parts(stretch: slice, longest: int) -> list[slice]:
    """The whole stretch, or parts of one length that overlap by half or more."""
    count = stretch.stop - stretch.start
    if count <= longest:
        return [stretch]
    number = 1 + math.ceil(2 * (count - longest) / longest)
    begins = np.linspace(stretch.start, stretch.stop - longest, number).astype(np.int64)
    return [slice(int(each), int(each) + longest) for each in begins]


def _placed(found: EnvelopeFlicker, values: FloatArray, per_s: float) -> EnvelopeFlicker:
    """The stretch in which the line has half of its size; a mean over a second has half at an end."""
    size = round(SMOOTH_S * per_s)
    turned = (values / values.mean() - 1) * np.exp(-2j * np.pi * found.hz / per_s * np.arange(len(values)))
    swing = np.abs(np.convolve(turned, np.ones(size) / size, "same"))
    swing = swing[size // 2 : len(swing) - size // 2]  # only means over whole seconds
    above = np.flatnonzero(swing > swing.max() / 2)
    first, last = int(above[0]), int(above[-1])
    begins, ends = first > 0, last < len(swing) - 1
    start = found.stretch.start + (first + size // 2 if begins else 0)
    stop = found.stretch.start + last + size // 2 if ends else found.stretch.stop
    return replace(found, stretch=slice(start, stop), begins=begins or found.begins, ends=ends or found.ends)


def _lines_of(
    values: FloatArray,
    nominal_v: float,
    nominal_hz: float,
    noise_v: float,
    rate_hz: float,
    least_pst: float,
    stretches: float,
) -> EnvelopeFlicker | None:
    """The flicker lines of a stretch of Urms(1/2), if any stands out; `stretches`: number of such in all."""
    per_s = 2 * nominal_hz
    if len(values) < MIN_S * per_s:
        return None
    mean, off = float(values.mean()), _swing(values)
    of_noise = (
        2 * (noise_v / mean) ** 2 * nominal_hz / rate_hz
    )  # factor 2: consecutive cycles overlap by half
    seen = _stand_out(off, per_s, nominal_v, nominal_hz, of_noise, least_pst, stretches)
    swing = float(np.median(np.abs(off))) >= MIN_MEDIAN * float(off.std())
    if seen is None or not swing:
        return None
    window = np.hanning(len(values) + 2)[1:-1]
    lines = np.abs(np.fft.rfft(off * window)) ** 2
    hz: FloatArray = np.fft.rfftfreq(len(values), 1 / per_s).astype(np.float64)
    near = np.zeros(len(hz), dtype=np.bool_)
    near[np.minimum(np.round(seen.hz * len(values) / per_s).astype(np.int64), len(hz) - 1)] = True
    near = (np.convolve(near, np.ones(2 * SIDE_BINS + 1), "same") > 0) & (hz < HIGHEST_HZ_SHARE * nominal_hz)
    power = float(np.sum(window * window))
    # amplitude^2 of (1 + a sin) from the power of all bins of its line
    square = 4 * np.maximum(lines[near] / np.sinc(hz[near] / nominal_hz) ** 2 - seen.quiet * power, 0.0)
    parts = square / (power * len(values)) * _pst_squared(hz[near], nominal_v, nominal_hz)
    pst = max(float(np.sqrt(parts.sum())), seen.pst)  # the wider window is more exact for a faint line
    return EnvelopeFlicker(pst, float(hz[near][np.argmax(parts)]), slice(0, 0), seen.sigmas, seen.by_chance)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What stands out: `hz` (k,) of all such frequencies; the strongest line's Pst, sigmas and chance."""

    hz: FloatArray
    pst: float
    sigmas: float
    by_chance: float
    quiet: float
    """Mean power of noise in a bin of a window of power 1."""


def _stand_out(
    off: FloatArray,
    per_s: float,
    nominal_v: float,
    nominal_hz: float,
    of_noise: float,
    least_pst: float,
    stretches: float,
) -> _Seen | None:
    """The lines that noise has by chance in few signals only, and each of which would count as flicker.

    The search uses a window that hardly fades, and frequencies between bins, too. White noise of the samples
    is a mean of two half cycles, so its spectrum is a squared cosine; a swing's is a squared sinc, as long as
    it is slower than half the rate of the half cycles.
    """
    count = len(off)
    edge = np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1)) / (EDGE_SHARE / 2 * count)
    fade = np.sin(np.pi / 2 * np.minimum(edge, 1.0)) ** 2
    weight = float(np.sum(fade * fade))
    lines = np.abs(np.fft.rfft(off * fade, STEPS_PER_BIN * count)) ** 2 / weight
    hz: FloatArray = np.fft.rfftfreq(STEPS_PER_BIN * count, 1 / per_s).astype(np.float64)
    lines, hz = lines[hz < HIGHEST_HZ_SHARE * nominal_hz], hz[hz < HIGHEST_HZ_SHARE * nominal_hz]
    power = lines / np.cos(np.pi / 2 * hz / nominal_hz) ** 2
    fast = hz > QUIET_HZ_SHARE * nominal_hz
    quiet = float(np.median(power[fast])) / math.log(2)
    scatter = 1 / (math.log(2) * math.sqrt(np.count_nonzero(fast) / STEPS_PER_BIN))
    if quiet < of_noise * (1 + LEVEL_SIGMAS * scatter):
        quiet = of_noise
    quiet = max(quiet, ENVELOPE_ROUNDING)
    slow = (hz >= max(SLOWEST_HZ, MIN_PERIODS * per_s / count)) & ~fast
    power, lines, hz = power[slow] / quiet, lines[slow] / np.sinc(hz[slow] / nominal_hz) ** 2, hz[slow]
    to_pst = np.sqrt(4 / weight * _pst_squared(hz, nominal_v, nominal_hz))
    tries = max(1.0, TRIES_PER_BIN / STEPS_PER_BIN * stretches * len(hz))
    faintest = to_pst * math.sqrt(quiet * math.log(tries / CHANCE))
    tries = TRIES_PER_BIN / STEPS_PER_BIN * stretches * max(1, int(np.count_nonzero(faintest >= least_pst)))
    pst = to_pst * np.sqrt(np.maximum(lines - quiet, 0.0))
    out = np.flatnonzero((power > math.log(tries / CHANCE)) & (pst >= least_pst))
    if not len(out):
        return None
    strongest = int(out[np.argmax(power[out])])
    most = float(power[strongest])
    return _Seen(hz[out], float(pst[strongest]), math.sqrt(2 * most), tries * math.exp(-most), quiet)


def pst_of_swing(hz: float, nominal_v: float, nominal_hz: float) -> float:
    """Pst of a sine fluctuation of amplitude 1 that continues for ten minutes."""
    return float(np.sqrt(_pst_squared(np.array([hz]), nominal_v, nominal_hz))[0])


def _pst_squared(hz: FloatArray, nominal_v: float, nominal_hz: float) -> FloatArray:
    """Pst^2 of sine fluctuations of amplitude 1; the lamp's square makes it 2."""
    lamp = lamp_for(nominal_v, nominal_hz)
    return np.asarray(PST_OF_STEADY * 2 * np.abs(lamp.response(hz)) ** 2 * lamp.scale())


def _longest(usable: BoolArray) -> slice:
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], usable, [False])).astype(np.int8)))
    if len(bounds) == 0:
        return slice(0, 0)
    widest = int(np.argmax(bounds[1::2] - bounds[::2]))
    return slice(int(bounds[2 * widest]), int(bounds[2 * widest + 1]))
