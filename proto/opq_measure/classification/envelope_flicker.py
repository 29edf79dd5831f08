"""Flicker in a second or two: lines in the course of the rms, weighed as lamp, eye and brain weigh them.

A flickermeter needs seconds to forget its own beginning. The envelope has none: each line of its
spectrum that stands out of the noise is a sine fluctuation, whose Pinst the lamp's filter gives. Pst is
that of a fluctuation that goes on so for ten minutes.

Source: IEC 61000-4-15:2010, 5.5 (weighting filter) and 5.7; table 1 is met by the filter.
"""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from opq_measure.analysis.level_steps import step_places
from opq_measure.flicker.lamps import lamp_for
from opq_measure.signal import BoolArray, FloatArray

LEAST_S = 1.0
LEAST_PLACED_S = 5.0
"""In a shorter stretch it goes on from end to end."""
LEAST_PERIODS = 3.0
"""Periods of a line in the envelope: a slower swing may be a step or a ramp."""
SLOWEST_HZ = 1.5
LEAST_USUAL = 0.5
"""Median of the swing against its rms: 1 of a sine, 0.67 of noise, little of one dip among calm."""
HIGHEST_HZ_SHARE, QUIET_HZ_SHARE = 0.8, 0.45
"""Shares of the mains frequency: one cycle's rms hardly sees faster lines; between them nothing flickers."""
CHANCE = 0.02
"""The chance that noise gives a line in a whole signal, were its level known; by the larger of two estimates
of it one of 400."""
LONGEST_S = 10.0
"""A longer stretch is looked at in parts of so much, each half over the next: flicker may end."""
SMOOTH_S = 1.0
"""So much of a line is taken together to see where it begins and ends."""
FINER = 4
"""Places where a line is looked for, per bin: between two it loses no more than a twentieth of its power."""
EDGE_SHARE = 0.2
"""Share of the stretch that is faded where lines are looked for: a line loses a tenth of its power against
noise by it, and a third by a Hann window."""
BESIDE = 2
"""Bins to either side that belong to a line, by the Hann window."""
OF_STEP = 2
"""Values of Urms(1/2) that a step has a part in, to either side."""
PST_OF_STEADY = 0.5096
"""Pst^2 of a Pinst that is always 1: 0.0314 + 0.0525 + 0.0657 + 0.28 + 0.08; 4-15, 5.7."""


@dataclass(frozen=True, slots=True)
class EnvelopeFlicker:
    """Lines in a stretch of the envelope; none stands out where `pst` is 0 and `hz` NaN."""

    pst: float
    """Pst if it goes on for ten minutes."""
    hz: float
    """Frequency of the strongest line."""
    stretch: slice
    """Which values of the envelope it was seen in."""
    begins: bool = False
    ends: bool = False
    """Whether it is seen to begin and to end: at a step of the level or within a long stretch."""


def envelope_flicker(
    half_rms_v: FloatArray,
    usable: BoolArray,
    nominal_v: float,
    nominal_hz: float,
    noise_v: float = 0.0,
    rate_hz: float = 12_000.0,
) -> EnvelopeFlicker:
    """The strongest of the stretches between steps of the level.

    Args:
        half_rms_v: (h,) Urms(1/2).
        usable: (h,) those outside of dips, steps and jumps; the longest stretch of them counts.
        noise_v: rms of white noise in the samples, which moves the rms of a cycle by
            noise / sqrt(samples of a cycle); the scatter of few bins may say too little of it.
    Error: 5 % of Pst for one sine of 4 to 16 Hz at 40 dB (test_measure_classify.py).
    """
    longest = _longest(usable & np.isfinite(half_rms_v))
    found = EnvelopeFlicker(0.0, np.nan, longest)
    steps = [longest.start + each for each in step_places(half_rms_v[longest])]
    for first, stop in pairwise([longest.start, *steps, longest.stop]):
        after, before = first in steps, stop in steps
        begin = first + OF_STEP * after
        stretch = slice(begin, max(begin, stop - OF_STEP * before))
        for part in _parts(stretch, round(LONGEST_S * 2 * nominal_hz)):
            tries = (stretch.stop - stretch.start) * QUIET_HZ_SHARE
            pst, hz = _pst_of(half_rms_v[part], nominal_v, nominal_hz, noise_v, rate_hz, tries)
            if pst > found.pst:
                found = EnvelopeFlicker(pst, hz, stretch, after, before)
    if found.stretch.stop - found.stretch.start >= LEAST_PLACED_S * 2 * nominal_hz and found.pst > 0:
        return _placed(found, half_rms_v[found.stretch], 2 * nominal_hz)
    return found


def _parts(stretch: slice, longest: int) -> list[slice]:
    """All of it, or parts of one length that lie half over each other."""
    count = stretch.stop - stretch.start
    if count <= longest:
        return [stretch]
    number = 1 + math.ceil(2 * (count - longest) / longest)
    begins = np.linspace(stretch.start, stretch.stop - longest, number).astype(np.int64)
    return [slice(int(each), int(each) + longest) for each in begins]


def _placed(found: EnvelopeFlicker, values: FloatArray, per_s: float) -> EnvelopeFlicker:
    """From where to where the line has half of its size; a mean over a second is half there."""
    size = round(SMOOTH_S * per_s)
    turned = (values / values.mean() - 1) * np.exp(-2j * np.pi * found.hz / per_s * np.arange(len(values)))
    swing = np.abs(np.convolve(turned, np.ones(size) / size, "same"))
    swing = swing[size // 2 : len(swing) - size // 2]  # whole seconds
    above = np.flatnonzero(swing > swing.max() / 2)
    first, last = int(above[0]), int(above[-1])
    begins, ends = first > 0, last < len(swing) - 1
    start = found.stretch.start + (first + size // 2 if begins else 0)
    stop = found.stretch.start + last + size // 2 if ends else found.stretch.stop
    return replace(found, stretch=slice(start, stop), begins=begins or found.begins, ends=ends or found.ends)


def _pst_of(
    values: FloatArray, nominal_v: float, nominal_hz: float, noise_v: float, rate_hz: float, tries: float
) -> tuple[float, float]:
    """Pst and the strongest line of one stretch of Urms(1/2); `tries` bins are looked at in all stretches."""
    per_s = 2 * nominal_hz
    if len(values) < LEAST_S * per_s:
        return 0.0, np.nan
    at = np.linspace(-1.0, 1.0, len(values))
    mean = float(values.mean())
    off = values / mean - np.polyval(np.polyfit(at, values / mean, 1), at)
    window = np.hanning(len(values) + 2)[1:-1]
    lines = np.abs(np.fft.rfft(off * window)) ** 2
    hz: FloatArray = np.fft.rfftfreq(len(values), 1 / per_s).astype(np.float64)
    inside = hz < HIGHEST_HZ_SHARE * nominal_hz
    hz, lines = hz[inside], lines[inside] / np.sinc(hz[inside] / nominal_hz) ** 2  # a mean over one cycle
    fast = hz > QUIET_HZ_SHARE * nominal_hz
    of_noise = (
        2 * (noise_v / mean) ** 2 * nominal_hz / rate_hz
    )  # two: half of each cycle is the next one's, too
    quiet = max(float(np.median(lines[fast])) / np.log(2), of_noise * float(np.sum(window * window)))
    out = _stand_out(off, hz, per_s, nominal_hz, of_noise, math.log(max(tries, 1.0) / CHANCE))
    swing = float(np.median(np.abs(off))) >= LEAST_USUAL * float(off.std())
    if not (out.any() and swing):
        return 0.0, np.nan
    near = np.convolve(out, np.ones(2 * BESIDE + 1), "same") > 0
    # amplitude^2 of (1 + a sin) from the power of all bins of its line; squared by the lamp it is 2 a
    square = 4 * np.maximum(lines[near] - quiet, 0.0) / (float(np.sum(window * window)) * len(values))
    lamp = lamp_for(nominal_v, nominal_hz)
    felt = 2 * square * np.abs(lamp.response(hz[near])) ** 2 * lamp.scale()
    return float(np.sqrt(PST_OF_STEADY * felt.sum())), float(hz[near][np.argmax(felt)])


def _stand_out(
    off: FloatArray, hz: FloatArray, per_s: float, nominal_hz: float, of_noise: float, least: float
) -> BoolArray:
    """(k,) the bins of `hz` in or near which a line has `least` times the mean power of noise.

    Looked for in a stretch that hardly fades, and between bins, too.
    """
    count = len(off)
    edge = np.minimum(np.arange(1, count + 1), np.arange(count, 0, -1)) / (EDGE_SHARE / 2 * count)
    fade = np.sin(np.pi / 2 * np.minimum(edge, 1.0)) ** 2
    lines = np.abs(np.fft.rfft(off * fade, FINER * count)) ** 2
    at_hz: FloatArray = np.fft.rfftfreq(FINER * count, 1 / per_s).astype(np.float64)
    inside = at_hz < HIGHEST_HZ_SHARE * nominal_hz
    at_hz, lines = at_hz[inside], lines[inside] / np.sinc(at_hz[inside] / nominal_hz) ** 2
    quiet = float(np.median(lines[at_hz > QUIET_HZ_SHARE * nominal_hz])) / np.log(2)
    quiet = max(quiet, of_noise * float(np.sum(fade * fade)))
    slowest = max(SLOWEST_HZ, LEAST_PERIODS * per_s / count)
    out = (at_hz >= slowest) & (at_hz <= QUIET_HZ_SHARE * nominal_hz) & (lines > least * quiet)
    found = np.zeros(len(hz), dtype=np.bool_)
    found[np.minimum(np.round(at_hz[out] * count / per_s).astype(np.int64), len(hz) - 1)] = True
    return found


def _longest(usable: BoolArray) -> slice:
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], usable, [False])).astype(np.int8)))
    if len(bounds) == 0:
        return slice(0, 0)
    widest = int(np.argmax(bounds[1::2] - bounds[::2]))
    return slice(int(bounds[2 * widest]), int(bounds[2 * widest + 1]))
