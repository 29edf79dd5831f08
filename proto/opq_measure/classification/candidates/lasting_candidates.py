"""Lasting candidates of a signal: harmonics, direct voltage, frequency, noise, lines and notching.

Windows clear of sudden changes --> figures of the analysis ------+
pieces, where no window is clear --> THD, direct voltage, Hz -----+--> candidates
mean cycle --> notches of every cycle, THD without them ----------+
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from opq_measure.analysis.lasting_conditions import WindowSeries, frequency_deviations_in, harmonics_in
from opq_measure.analysis.levels import dc_offset_in, noise_in
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.analysis.tones import MAX_INTERHARMONIC_PERCENT, tones_in
from opq_measure.classification.alike_cycles import AlikeCycles
from opq_measure.classification.between_levels import frequency_between, harmonics_between, offset_between
from opq_measure.classification.candidates.noise_candidates import tone_in_noise
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.mean_cycle import thd_outside
from opq_measure.classification.measured_signal import TRANSIENTS, MeasuredSignal
from opq_measure.classification.pieces import Pieces
from opq_measure.events.spans import beyond, reaches


def levels_of(signal: MeasuredSignal, pieces: Pieces, limits: ClassLimits) -> list[Occurrence]:
    """Direct voltage, noise and frequency."""
    without_jumps = between(signal, ("phase_jump",))
    nominal_v = signal.analysis.nominal_v
    return [
        *dc_offset_in(without_jumps, nominal_v, limits.dc),
        *offset_between(signal, pieces, limits),
        *noise_in(between(signal, (*TRANSIENTS, "phase_jump")), limits.noise),
        *frequency_deviations_in(without_jumps, limits.deviation_percent),
        *frequency_between(signal, pieces, limits),
    ]


def lines_of(
    signal: MeasuredSignal, cycles: AlikeCycles, pieces: Pieces, sudden: list[Occurrence], limits: ClassLimits
) -> list[Occurrence]:
    """Lines between the harmonics that are steady or keyed; a ringing in the only window also has a line."""
    analysis = signal.analysis
    least = min(limits.line_percent, limits.signal_percent)
    tones = [each for each in analysis.occurrences if each.kind in ("interharmonics", "mains_signalling")]
    tones = tones if least == MAX_INTERHARMONIC_PERCENT else tones_in(analysis.series, least)
    if not signal.windows_without(("phase_jump",)).any():
        tones = []  # in the only window, a jump has a line, too
    tones = [each for each in tones if beyond(_line(each), _line_limit(each, limits))]
    tones = list(tone_in_noise(signal, cycles, pieces, bool(tones), limits)) or tones
    if not any(each.kind in TRANSIENTS for each in sudden):
        return tones
    return [each for each in tones if not _is_of_transient(each, pieces, sudden)]


def _is_of_transient(line: Occurrence, pieces: Pieces, sudden: list[Occurrence]) -> bool:
    """Whether a steady line is absent outside of the transients; checked only in a short signal."""
    if line.kind != "interharmonics" or line.duration_s > LONGEST_S:
        return False
    quiet = np.isfinite(pieces.residual)
    for each in sudden:
        if each.kind in TRANSIENTS:
            beside = BESIDE_S * each.rate_hz
            quiet[max(0, round(each.start_sample - beside)) : round(each.end_sample + beside)] = False
    at = np.flatnonzero(quiet)
    if len(at) < LEAST_S * line.rate_hz:
        return True
    turned = np.exp(-2j * np.pi * line.figures["interharmonic_hz"] / line.rate_hz * at)
    seen = 2 * abs(complex(turned @ pieces.residual[at])) / len(at)
    return bool(seen < TRACE_SHARE * _line(line) / 100 * pieces.amplitude)


LONGEST_S = 1.0
"""A line that is not longer than this may be the trace of a short occurrence."""
BESIDE_S = 0.01
"""Time beside the short occurrence that is left out when the line is judged by the rest."""
LEAST_S = 0.02
"""Least length of this rest."""
TRACE_SHARE = 0.5
"""The line is a trace if less than this share of it is left there."""


def harmonics_of(
    signal: MeasuredSignal, cycles: AlikeCycles, pieces: Pieces, limits: ClassLimits
) -> Iterable[Occurrence]:
    """Notching, and harmonics without the part that notches cause."""
    analysis, without_jumps = signal.analysis, between(signal, ("phase_jump",))
    harmonics = [
        *harmonics_in(without_jumps, limits.thd_percent),
        *harmonics_between(signal, pieces, limits),
    ]
    notching = [each for each in analysis.occurrences if each.kind == "periodic_notching"]
    mean = cycles.mean
    if mean is None:
        yield from (*harmonics, *notching)
        return
    seen = cycles.notching
    if seen is not None and harmonics and seen.deepest.depth_v > limits.notch_pu * mean.peak_v:
        thd_percent = 100 * thd_outside(mean, seen)
        harmonics = harmonics if beyond(thd_percent, limits.thd_percent) else []
    yield from harmonics
    if notching:
        yield from (each for each in notching if reaches(each.figures["notch_depth_pu"], limits.notch_pu))
    elif seen is not None and reaches(seen.deepest.depth_v, limits.notch_pu * mean.peak_v):
        depth, count = seen.deepest.depth_v / mean.peak_v, float(seen.per_cycle)
        yield signal.throughout(
            "periodic_notching",
            confidence_of(depth, limits.notch_pu, mean.rest_v / mean.peak_v / mean.cycles**0.5),
            f"{count:.0f} notches in the mean cycle, {100 * depth:.1f} % of the peak deep",
            {"notch_depth_pu": depth, "notches_per_cycle": count},
        )


def between(signal: MeasuredSignal, kinds: tuple[str, ...]) -> WindowSeries:
    """The course, with NaN in windows that are touched by an occurrence of these kinds.

    A transient's spectrum is as wide as that of noise; a jump of the phase looks like another frequency, and
    half a cycle of it like noise, harmonics and direct voltage.
    """
    series, clear = signal.analysis.series, signal.windows_without(kinds)
    return replace(
        series,
        thd=np.where(clear, series.thd, np.nan),
        dc_v=np.where(clear, series.dc_v, np.nan),
        noise=np.where(clear, series.noise, np.nan),
        frequency_hz=np.where(clear, series.frequency_hz, np.nan),
    )


def _line(each: Occurrence) -> float:
    return max(each.figures.get("interharmonic_percent_max", 0.0), each.figures.get("signal_percent", 0.0))


def _line_limit(each: Occurrence, limits: ClassLimits) -> float:
    return limits.line_percent if each.kind == "interharmonics" else limits.signal_percent
