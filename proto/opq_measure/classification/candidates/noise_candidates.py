"""Candidates that noise hides in single samples and windows, but the whole signal shows: lines, jumps,
transients.

`faint_tones.py`, `faint_jump.py`, `faint_transients.py` and `edge_transients.py` distinguish them from noise;
here they get the part of the signal that no other occurrence touches, and their results become occurrences.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.occurrence import Occurrence, confidence_of, transient_because
from opq_measure.analysis.tones import TONE_OVER_NOISE
from opq_measure.classification.alike_cycles import AlikeCycles
from opq_measure.classification.by_chance import ODDS_ALONE, ODDS_AT_EDGE
from opq_measure.classification.candidates.edge_transients import BESIDE_CYCLES as BESIDE_EDGE_CYCLES
from opq_measure.classification.candidates.edge_transients import edge_transient
from opq_measure.classification.candidates.faint_transients import FRAME_S, FaintTransient, faint_transient
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.faint_jump import faint_jump, jump_across
from opq_measure.classification.faint_tones import faint_tone
from opq_measure.classification.judgement import Found
from opq_measure.classification.measured_signal import TRANSIENTS, MeasuredSignal
from opq_measure.classification.pieces import Pieces
from opq_measure.events.disturbance import Disturbance
from opq_measure.timebase.cycles import WINDOW_S

UNSURE_CYCLES = 2
"""Further cycles beside a change without a residual, because the tracked phase is off by parts of a sample
there."""
FAINT_FROM_PU = 0.012
"""Noise (share of the fundamental's peak) from which single samples no longer show a transient of 0.1."""
EDGE_FROM_PU = 0.003
"""The same at the edge of a dip, where single samples show an impulse together with the step."""
SHORT_DIP_CYCLES = 3.5
"""A shorter dip in much noise does not show its phase between its edges."""
HIDDEN_PART = 0.8
"""The whole signal is searched for a line if one window needs more than this share of its limit to be
sure."""
NEAR_S = 0.012
"""Length of the residual before and after a transient that distinguishes a ringing from an impulse."""
LONGEST_TONE_S = 20.0
"""A longer signal is not searched for a line as a whole, because that takes 0.1 s of CPU and 100 bytes per
sample."""


def tone_in_noise(
    signal: MeasuredSignal, cycles: AlikeCycles, pieces: Pieces, seen: bool, limits: ClassLimits
) -> Iterable[Occurrence]:
    """A line that windows of 0.2 s do not show, because of the noise or of a harmonic next to it.

    `seen`: the windows already show a line; then the whole signal is searched only where the noise could
    hide one, or where no window is clear of a dip.
    """
    analysis = signal.analysis
    starts, fundamental_v = analysis.cycle_starts, signal.usual_rms_v
    least = min(limits.line_percent, limits.signal_percent)
    hidden_v = TONE_OVER_NOISE * analysis.noise_v * math.sqrt(2 / (WINDOW_S * analysis.rate_hz))
    is_flagged = not np.isfinite(analysis.series.interharmonic).any()  # no window is clear of a dip
    if len(starts) < 2 or (seen and not is_flagged and hidden_v <= HIDDEN_PART * least / 100 * fundamental_v):
        return
    if any(each.kind == "periodic_notching" for each in analysis.occurrences):
        return
    if analysis.duration_s > LONGEST_TONE_S:
        return
    if is_flagged and pieces.steady:  # each level has a different wave, but a mean cycle has only one
        usable = np.isfinite(pieces.residual)
        residual = np.where(usable, pieces.residual, 0.0)
    elif cycles.mean is not None:
        residual, cycle = cycles.residual
        usable = cycles.usable[cycle]
    else:
        return
    hz = (len(starts) - 1) * analysis.rate_hz / float(starts[-1] - starts[0])
    tone = faint_tone(residual, usable, analysis.rate_hz, fundamental_v, hz, least)
    if tone is None or tone.mirrored:
        return
    limit = limits.signal_percent if tone.keyed else limits.line_percent
    if tone.percent <= limit:
        return
    confidence = confidence_of(tone.percent, limit, tone.percent / tone.sigmas)
    sure = f"{tone.sigmas:.1f} times the noise of its line over the whole signal"
    if tone.keyed:
        yield signal.throughout(
            "mains_signalling",
            confidence,
            f"a keyed line of {tone.hz:.1f} Hz, {tone.percent:.2f} % of the fundamental, "
            f"on for {100 * tone.on_share:.0f} %, {sure}",
            {"signal_hz": tone.hz, "signal_percent": tone.percent, "on_share": tone.on_share},
        )
    else:
        yield signal.throughout(
            "interharmonics",
            confidence,
            f"{tone.percent:.2f} % of the fundamental at {tone.hz:.1f} Hz, above {limit:g} %, {sure}",
            {
                "interharmonic_hz": tone.hz,
                "interharmonic_percent": tone.percent,
                "interharmonic_percent_max": tone.percent,
            },
        )


def jump_in_noise(
    signal: MeasuredSignal, sudden: list[Occurrence], limits: ClassLimits
) -> Iterable[Occurrence]:
    """A phase jump in a signal with much noise and no other jump."""
    analysis = signal.analysis
    if any(each.kind == "phase_jump" for each in sudden):
        return
    if not FAINT_FROM_PU * math.sqrt(2) * signal.usual_rms_v < analysis.noise_v:
        return
    starts = analysis.cycle_starts
    usable = signal.clear_of(starts)
    found = faint_jump(starts, analysis.rms_v, usable)
    for each in analysis.disturbances:
        if found is None and each.kind != "interruption" and each.duration_cycles < SHORT_DIP_CYCLES:
            found = jump_across(starts, analysis.rms_v, usable, each.start_sample)
    if found is None or abs(found.degrees) < limits.jump_degrees:
        return
    yield Occurrence(
        kind="phase_jump",
        start_sample=found.position,
        end_sample=found.position,
        rate_hz=analysis.rate_hz,
        nominal_hz=analysis.nominal_hz,
        confidence=confidence_of(abs(found.degrees), limits.jump_degrees, found.uncertainty_degrees),
        because=f"the cycles go on {found.degrees:+.2f} degrees from where they were",
        figures={
            "phase_jump_degrees": found.degrees,
            "uncertainty_degrees": found.uncertainty_degrees,
            "amplitude_ratio": found.amplitude_ratio,
        },
    )


def with_edges(signal: MeasuredSignal, sudden: list[Occurrence], limits: ClassLimits) -> list[Occurrence]:
    """The sudden occurrences; in much noise, also transients at the beginning of a dip or swell.

    These are found in what both waves around the edge leave. That shows what no single sample shows, and
    distinguishes a ringing from an impulse by its whole energy.
    """
    analysis = signal.analysis
    known = analysis.frequency_hz[np.isfinite(analysis.frequency_hz)]
    peak_v = math.sqrt(2) * signal.usual_rms_v
    if not len(known) or not EDGE_FROM_PU * peak_v < analysis.noise_v:
        return sudden
    near = BESIDE_EDGE_CYCLES * signal.cycle
    for each, with_it in zip(analysis.disturbances, analysis.details, strict=True):
        others = [
            one
            for one in sudden
            if not (one.kind in TRANSIENTS and abs(one.start_sample - each.start_sample) <= near)
        ]
        if each.open_at_start or any(one.kind == "phase_jump" for one in with_it):
            continue  # between a jump and its dip there may be a third wave for some milliseconds
        if any(one.kind in TRANSIENTS for one in others):
            continue
        level = without_noise(each, signal, limits)
        found = edge_transient(
            signal.volts,
            analysis.rate_hz,
            float(np.median(known)),
            each.start_sample,
            each.end_sample,
            level.kind == "interruption",
        )
        if found is not None and abs(found.peak) >= limits.transient_pu * peak_v:
            sudden = [*others, _faint_occurrence(analysis, found, 0, peak_v, ODDS_AT_EDGE)]
    return sudden


def transient_in_noise(
    signal: MeasuredSignal, cycles: AlikeCycles, sudden: list[Occurrence], limits: ClassLimits
) -> Iterable[Occurrence]:
    """A transient of which no single sample stands out, in a signal with much noise and no other one."""
    analysis, mean = signal.analysis, cycles.mean
    if mean is None or not FAINT_FROM_PU * mean.peak_v < analysis.noise_v:
        return
    if any(each.kind in TRANSIENTS for each in sudden):
        return
    if not signal.windows_without(("phase_jump",)).any():
        return  # the noise is unknown
    residual, cycle = cycles.residual
    first = math.ceil(analysis.cycle_starts[0])
    quiet = np.convolve(~cycles.usable, np.ones(2 * UNSURE_CYCLES + 1), "same") == 0
    found = faint_transient(residual, quiet[cycle], analysis.rate_hz)
    if found is None or abs(found.peak) < limits.transient_pu * mean.peak_v:
        return
    faint = _faint_occurrence(analysis, found, first, mean.peak_v, ODDS_ALONE)
    yield replace(faint, figures={**faint.figures, "by_chance": math.exp(found.log_chance)})


def is_alone(each: Occurrence, found: list[Found]) -> bool:
    """Whether it is an impulse with no dip, jump, step or other transient near it, and no notching."""
    if each.kind != "impulsive_transient" or "sigmas" in each.figures:
        return False
    near = WINDOW_S / 2 * each.rate_hz
    return not any(
        one.kind == "periodic_notching"
        or (
            one is not each
            and (
                isinstance(one, Disturbance)
                or one.kind in (*TRANSIENTS, "phase_jump", "rapid_voltage_change")
            )
            and one.start_sample - near <= each.start_sample <= one.end_sample + near
        )
        for one in found
    )


def by_whole_energy(each: Occurrence, signal: MeasuredSignal, cycles: AlikeCycles) -> Occurrence:
    """In much noise, the ringing of which `each` is only the first half wave; else `each` itself."""
    analysis, mean = signal.analysis, cycles.mean
    if mean is None or not FAINT_FROM_PU * mean.peak_v < analysis.noise_v:
        return each
    residual, cycle = cycles.residual
    first = math.ceil(analysis.cycle_starts[0])
    quiet = residual[cycles.usable[cycle]]
    begin = max(0, round(each.start_sample - first - NEAR_S * each.rate_hz))
    part = residual[begin : begin + round((2 * NEAR_S + FRAME_S) * each.rate_hz) + 1]
    if not len(quiet):
        return each
    found = faint_transient(part, np.ones(len(part), np.bool_), each.rate_hz, float(quiet.std()))
    if found is None or not math.isfinite(found.frequency_hz):
        return each
    return _faint_occurrence(analysis, found, first + begin, mean.peak_v, ODDS_ALONE)


def _faint_occurrence(
    analysis: SignalAnalysis, found: FaintTransient, first: int, peak_v: float, odds: float
) -> Occurrence:
    peak_pu = abs(found.peak) / peak_v
    rings = math.isfinite(found.frequency_hz)
    return Occurrence(
        kind="oscillatory_transient" if rings else "impulsive_transient",
        start_sample=float(first + found.start),
        end_sample=float(first + found.stop),
        rate_hz=analysis.rate_hz,
        nominal_hz=analysis.nominal_hz,
        confidence=found.posterior(odds),
        because=transient_because(found.peak, peak_pu, found.frequency_hz, found.sigmas),
        figures={
            "peak_v": found.peak,
            "peak_pu": peak_pu,
            "principal_frequency_hz": found.frequency_hz,
            "sigmas": found.sigmas,
        },
    )


def without_noise(each: Disturbance, signal: MeasuredSignal, limits: ClassLimits) -> Disturbance:
    """A dip as an interruption if its residual without the Box's noise is below that limit; else `each`."""
    if each.kind != "sag":
        return each
    left, limit = signal.left_percent(each), limits.rms.interruption_percent
    if not left < limit:
        return each
    return replace(
        each,
        kind="interruption",
        because=f"{each.because}; {left:.2f} % without the noise, below the {limit:g} % of an interruption",
    )
