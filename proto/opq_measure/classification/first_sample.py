"""The start of a part, finer than the windows or half cycles in which it was found.

A lasting condition is found in windows of 0.2 s, and a voltage change by half cycles. Most of them begin at
an instant: a furnace, a rectifier, a telegram or a transformer that is switched in. They begin with the first
sample that leaves the wave before. A frequency leaves its limit by itself, so a deviation begins when the
frequency passes the limit, by the zero crossings around.
"""

import math
from dataclasses import replace

import numpy as np

from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.judgement import Found
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.events.disturbance import Disturbance
from opq_measure.waveform.departure import ABRUPT_SHARE, departure_in
from opq_measure.waveform.steady import steady_wave

WINDOW_CYCLES = (-13.0, 13.0)
"""A window of 10/12 cycles shows a condition that begins in it, or only the next one does."""
SPANS_CYCLES = {
    "harmonics": WINDOW_CYCLES,
    "interharmonics": WINDOW_CYCLES,
    "mains_signalling": WINDOW_CYCLES,
    "periodic_notching": WINDOW_CYCLES,
    "flicker": (-30.0, 30.0),
    "rapid_voltage_change": (-1.25, 0.75),
    "phase_jump": (-0.5, 0.25),
    "impulsive_transient": (-0.5, 0.1),
    "oscillatory_transient": (-0.5, 0.1),
}
"""Class -> where its first sample may lie, from the start that was found; for flicker that may be placed by
means of a second."""
AGREES_S = 0.0004
"""A start this near stays, because the change from one wave to another is more accurate than the first
sample."""
CYCLES_BEFORE = 9
"""Cycles whose median frequency is used."""
LINE_FIGURES = {"mains_signalling": "signal_percent", "interharmonics": "interharmonic_percent"}
"""Class of a line that is found in the whole signal, where its beginning may be -> the figure of its size.
Notches of the mean cycle are another class of which that is so, and flicker is one, as the meter settles."""
LEFT_BEFORE_SHARE = 0.3
"""The wave before the beginning of a line has at most this share of it."""
FIRST_SWING_SHARE = 0.1
"""The first half cycle of flicker has at least this share of the largest swing of a cycle or two."""
UNSTEADY_RATIO = 2.0
"""Flicker leaves at least this many times as much of a fitted wave as the wave before it."""
PASSES_CYCLES = 2
"""Cycles in which a shorter change, such as a ringing, is over."""
MAX_BEGINNINGS = 3
"""Most beginnings that are tried."""
FLICKER_RANGE_RATIO = 4.0
"""The range of Urms(1/2) during flicker over that before it, at least; a line's beat swings all the time."""
CLEARER_SHARE = 0.5
"""The wave before notches has at most this share of the distortion of the wave after it."""
SIDE_CYCLES = 4
"""Cycles on each side that are compared."""
MEAN_HALF_CYCLES = 10
"""Half cycles whose mean frequency shows where the limit is passed."""
FIT_HALF_CYCLES = 7
"""Half cycles on either side of this place to which a cubic is fitted."""
IMAGINARY_ROUNDING = 1e-6
"""A root of the cubic with a smaller imaginary part, from rounding, counts as real."""


def from_first_sample(found: Found, signal: MeasuredSignal, limits: ClassLimits) -> Found:
    """`found` with its start at its first sample; unchanged where the noise hides that."""
    is_anywhere = found.kind in LINE_FIGURES or found.kind in ("periodic_notching", "flicker")
    if isinstance(found, Disturbance) or (found.open_at_start and not is_anywhere):
        return found
    if found.kind == "frequency_deviation":
        return _from_passing(found, signal, limits.deviation_percent)
    if found.kind not in SPANS_CYCLES:
        return found
    early, late = SPANS_CYCLES[found.kind]
    span = found.start_sample + early * signal.cycle, found.start_sample + late * signal.cycle
    most_rest_v = math.inf
    if found.open_at_start:
        span = CYCLES_BEFORE * signal.cycle, found.end_sample
        if found.kind in LINE_FIGURES:
            line_percent = found.figures[LINE_FIGURES[found.kind]]
            most_rest_v = LEFT_BEFORE_SHARE * line_percent / 100 * signal.usual_rms_v
    abrupt = FIRST_SWING_SHARE if found.kind == "flicker" else ABRUPT_SHARE
    hz = _hz_before(signal, span[0])
    at = None if hz is None else departure_in(signal.volts, found.rate_hz, hz, *span, most_rest_v, abrupt)
    if found.kind == "flicker" and hz is not None:
        at = _unsteady_from(found.start_sample if at is None else at, found, signal, hz)
    if at is None or abs(at - found.start_sample) <= AGREES_S * found.rate_hz:
        return found
    if found.open_at_start and not _begins_at(at, found, signal, hz):
        return found
    instant = found.end_sample == found.start_sample
    end = at if instant else max(at, found.end_sample)
    return replace(found, start_sample=at, end_sample=end, open_at_start=False)


def _unsteady_from(at: float, found: Occurrence, signal: MeasuredSignal, hz: float) -> float:
    """Where flicker begins: not at a ringing or a step after which the wave is as steady as before it."""
    size, gap = round(SIDE_CYCLES * signal.cycle), round(PASSES_CYCLES * signal.cycle)
    for _ in range(MAX_BEGINNINGS):
        before, behind = round(at - signal.cycle) - size, round(at) + gap
        if before < 0 or behind + size > len(signal.volts):
            break
        rates = found.rate_hz
        early, late = (steady_wave(signal.volts, rates, each, each + size, hz) for each in (before, behind))
        most_rest_v = UNSTEADY_RATIO * early.rest
        if late.rest > most_rest_v:
            break
        first = behind + size + signal.cycle
        later = departure_in(signal.volts, rates, hz, first, found.end_sample, most_rest_v, FIRST_SWING_SHARE)
        if later is None:
            break
        at = later
    return at


def _begins_at(at: float, found: Occurrence, signal: MeasuredSignal, hz: float | None) -> bool:
    """Whether an occurrence that was found throughout begins at this sample."""
    if found.kind in LINE_FIGURES:
        return True  # their size before it was a condition of `departure_in`
    if found.kind == "flicker":
        return _swings_only_after(signal, at)
    return _is_clearer_before(signal, at, hz)


def _swings_only_after(signal: MeasuredSignal, at: float) -> bool:
    """Whether Urms(1/2) varies little before this sample, beside what it does after it."""
    level, starts = signal.analysis.half_rms_v, signal.analysis.half_starts
    early, late = level[starts < at - signal.cycle], level[starts >= at]
    early, late = early[np.isfinite(early)], late[np.isfinite(late)]
    if len(early) < 2 * CYCLES_BEFORE or not len(late):
        return False
    return FLICKER_RANGE_RATIO * float(np.ptp(early)) <= float(np.ptp(late))


def _is_clearer_before(signal: MeasuredSignal, at: float, hz: float | None) -> bool:
    """Whether the wave is much less distorted before this sample than after it."""
    size, gap = round(SIDE_CYCLES * signal.cycle), round(signal.cycle)
    before, behind = round(at) - gap - size, round(at) + gap
    if hz is None or before < 0 or behind + size > len(signal.volts):
        return False
    rates = signal.analysis.rate_hz
    early, late = (steady_wave(signal.volts, rates, each, each + size, hz) for each in (before, behind))
    first, second = (
        math.hypot(each.thd, math.sqrt(2) * each.rest / each.amplitude) for each in (early, late)
    )
    return first <= CLEARER_SHARE * second


def _from_passing(found: Occurrence, signal: MeasuredSignal, limit_percent: float) -> Occurrence:
    """A frequency deviation from the moment at which the frequency passes the limit and stays beyond it."""
    analysis, edges, mean = signal.analysis, signal.analysis.half_starts, MEAN_HALF_CYCLES
    sign = math.copysign(1.0, found.figures["deviation_hz"])
    limit_hz = analysis.nominal_hz * (1 + sign * limit_percent / 100)
    early, late = (found.start_sample + cycles * signal.cycle for cycles in WINDOW_CYCLES)
    low, high = np.searchsorted(edges, (early, late)).tolist()
    near = edges[low:high]
    if len(near) <= mean:
        return found
    within = sign * (mean / 2 * found.rate_hz / (near[mean:] - near[:-mean]) - limit_hz) < 0
    if within[-1] or not within.any():
        return found
    middle = low + int(np.flatnonzero(within)[-1]) + 1 + mean // 2
    fitted = edges[max(0, middle - FIT_HALF_CYCLES) : middle + FIT_HALF_CYCLES + 1]
    if len(fitted) <= 2 * FIT_HALF_CYCLES or not np.isfinite(fitted).all():
        return found
    counts = np.arange(-FIT_HALF_CYCLES, FIT_HALF_CYCLES + 1) / FIT_HALF_CYCLES
    places = np.polynomial.Polynomial.fit(counts, fitted, 3, domain=(-1, 1))
    half_cycle = found.rate_hz / (2 * limit_hz) * FIT_HALF_CYCLES
    passes = [
        each.real for each in (places.deriv() - half_cycle).roots() if abs(each.imag) < IMAGINARY_ROUNDING
    ]
    at = min(passes, key=abs, default=np.inf)
    if abs(at) > 1:
        return found
    start = float(places(at))
    return replace(found, start_sample=start, end_sample=max(start, found.end_sample))


def _hz_before(signal: MeasuredSignal, sample: float) -> float | None:
    """Median frequency of the cycles before a sample; None where none is known."""
    analysis = signal.analysis
    last = int(np.searchsorted(analysis.cycle_starts, sample))
    known = analysis.frequency_hz[max(0, last - CYCLES_BEFORE) : last]
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else None
