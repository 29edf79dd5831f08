"""The candidates of a signal: those that the analysis found, and those that only the whole signal shows.

Analysis --> dips, jumps, transients, lasting conditions, levels --+
pieces of a short record --> transients, what lasts, flicker ------+
mean cycle --> notches of every cycle, THD without them -----------+--> candidates --> classifier
residual after it --> transients below the noise of a sample ------+
envelope --> flicker of a second ----------------------------------+
"""

import math
from collections.abc import Iterable

import numpy as np

from opq_measure.analysis.occurrence import Occurrence, confidence_of, transient_because
from opq_measure.analysis.sudden import sudden_after
from opq_measure.classification.alike_cycles import AlikeCycles
from opq_measure.classification.bursts import Burst, bursts_in
from opq_measure.classification.by_chance import ALONE_FROM_PU
from opq_measure.classification.candidates.lasting_candidates import harmonics_of, levels_of, lines_of
from opq_measure.classification.candidates.noise_candidates import (
    by_whole_energy,
    is_alone,
    jump_in_noise,
    transient_in_noise,
    with_edges,
)
from opq_measure.classification.candidates.swing_candidates import change_of, flicker_of, swing_of
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.judgement import Found
from opq_measure.classification.measured_signal import BESIDE_CYCLES, TRANSIENTS, MeasuredSignal
from opq_measure.classification.pieces import Pieces
from opq_measure.classification.short_change import begun_at_step
from opq_measure.events.spans import reaches

LEAST_LEVEL_CYCLES = 1.2
"""A shorter swell may be the effect of a ringing on Urms(1/2), unless it is large; it is searched within a
piece."""
LARGE_SWELL_PERCENT = 125.0
"""A short swell of this size is not the effect of a ringing."""
EDGE_CYCLES = 1.25
"""Cycles beside the edge of a level or a jump in which the transients of the analysis are kept."""
JUMP_SHARE = 0.5
"""The waves of the pieces beside a jump differ at least by this share of the least jump."""
SEARCHED_S = 0.5
"""From this length on, transients in much noise are searched in the whole signal, which is more sensitive."""
SEEN_SHARE = 0.5
"""A transient of the whole signal is kept if at least this share of it lies in pieces."""
KEPT_OVER_NOISE_POWER = 2.0
"""It is kept if its power in the pieces is this many times the power of the noise."""
LONGEST_PIECES_S = 1.5
"""A longer record has windows without the disturbance, and pieces are not needed."""


def candidates_in(
    signal: MeasuredSignal, sudden: list[Occurrence], pieces: Pieces, limits: ClassLimits
) -> list[Found]:
    """All candidates, in no order; the classifier decides which of them explain others."""
    analysis = signal.analysis
    sudden = with_edges(signal, sudden, limits)
    is_short = analysis.duration_s <= LONGEST_PIECES_S
    noise_v = analysis.noise_v
    if is_short:  # in a window, swings and what rings are noise, too
        noise_v = min(noise_v, *(each.rest for each in pieces.steady), math.inf)
    noisy = noise_v > ALONE_FROM_PU * signal.usual_rms_v  # False where it is not known
    is_searched = not (noisy and analysis.duration_s >= SEARCHED_S)
    if is_short and is_searched and not _is_notched(signal, sudden):
        sudden = _with_bursts(signal, pieces, sudden, limits)
    sudden = [begun_at_step(each, signal) if each.kind == "rapid_voltage_change" else each for each in sudden]
    found: list[Found] = [*analysis.disturbances]
    found += [
        each
        for each in sudden
        if _counts(each, limits) and not signal.is_change_by_noise(each, limits.change_percent)
    ]
    jumps = list(jump_in_noise(signal, sudden, limits))
    found += jumps
    cycles = AlikeCycles(signal, [*sudden, *jumps])
    found += levels_of(signal, pieces, limits)
    found += lines_of(signal, cycles, pieces, sudden, limits)
    changes = list(change_of(signal, limits))
    flickers = list(flicker_of(signal, cycles, limits, changes))
    is_notched = any(each.kind == "periodic_notching" for each in analysis.occurrences)
    if is_short and not (flickers or is_notched or cycles.notching):
        flickers = list(swing_of(signal, pieces, limits))
    # with flicker no voltage is steady before a change
    found += flickers or (changes if limits.short_changes else [])
    was_steady = _is_steady(found)
    lasting = list(harmonics_of(signal, cycles, pieces, limits))
    found += lasting
    if not _is_steady(found):
        return found
    swings = is_short and any(pieces.swings)
    if was_steady and not is_notched and cycles.notching is None and not swings:
        found += transient_in_noise(signal, cycles, sudden, limits)
    return [
        by_whole_energy(each, signal, cycles)
        if isinstance(each, Occurrence) and is_alone(each, found)
        else each
        for each in found
    ]


def _is_notched(signal: MeasuredSignal, sudden: list[Occurrence]) -> bool:
    if any(each.kind == "periodic_notching" for each in signal.analysis.occurrences):
        return True
    return AlikeCycles(signal, sudden).notching is not None


def sudden_in(signal: MeasuredSignal) -> list[Occurrence]:
    """Jumps, transients and steps, also those in the end of the signal, which fills no window."""
    return [*signal.sudden(), *_after_windows(signal)]


def pieces_between(signal: MeasuredSignal, sudden: Iterable[Occurrence]) -> Pieces:
    """The pieces between the edges of levels, jumps and steps."""
    analysis = signal.analysis
    known = analysis.frequency_hz[np.isfinite(analysis.frequency_hz)]
    edges: list[float] = []
    levels: list[Found] = [
        each
        for each in analysis.disturbances
        if each.duration_cycles >= LEAST_LEVEL_CYCLES or not 100 < each.residual_percent < LARGE_SWELL_PERCENT
    ]
    levels += [each for each in sudden if each.kind not in TRANSIENTS]
    for each in levels:
        edges += [each.start_sample] * (not each.open_at_start) + [each.end_sample] * (not each.open)
    hz = float(np.median(known)) if len(known) else analysis.nominal_hz
    return Pieces(signal.volts, analysis.rate_hz, hz, sorted(set(edges)), signal.dead_peak_v)


def _with_bursts(
    signal: MeasuredSignal, pieces: Pieces, sudden: list[Occurrence], limits: ClassLimits
) -> list[Occurrence]:
    """The sudden occurrences, with transients by the waves of the pieces but for those at an edge.

    Where a level begins, the two waves are known best by what was fitted there; with a jump, there may be a
    third wave for some milliseconds.
    """
    sudden = [
        each
        for each in sudden
        if each.kind != "phase_jump"
        or not abs(pieces.step_degrees(each.start_sample)) < JUMP_SHARE * limits.jump_degrees
    ]
    near = EDGE_CYCLES * signal.cycle
    edges = [each.start_sample for each in signal.analysis.disturbances if not each.open_at_start]
    jumps = [each.start_sample for each in sudden if each.kind == "phase_jump"]
    is_dead = pieces.amplitude <= signal.dead_peak_v
    peak_v = math.sqrt(2) * signal.analysis.nominal_v if is_dead else pieces.amplitude
    bursts = [
        _transient(each, signal, peak_v, limits)
        for each in bursts_in(pieces, signal.analysis.rate_hz, limits.transient_pu * peak_v)
        if not any(abs(each.first - at) <= near for at in jumps)
    ]
    kept = [
        each
        for each in sudden
        if each.kind not in TRANSIENTS
        or (
            any(abs(each.start_sample - at) <= near for at in (*edges, *jumps))
            and not any(abs(each.start_sample - one.start_sample) <= near for one in bursts)
            and _stands_out(each, pieces)
        )
    ]
    return [*kept, *bursts]


def _stands_out(each: Occurrence, pieces: Pieces) -> bool:
    """Whether a transient at an edge is in what the waves leave, too; true where it is only between both."""
    if any(pieces.swings):
        return False  # a swinging wave is not the fitted one
    left = pieces.residual[round(each.start_sample) : round(each.end_sample) + 1]
    seen = left[np.isfinite(left)]
    if len(seen) < SEEN_SHARE * len(left):
        return True
    sigma = min(one.rest for one in pieces.steady)
    return float(np.mean(seen**2)) > KEPT_OVER_NOISE_POWER * sigma**2


def _transient(found: Burst, signal: MeasuredSignal, peak_v: float, limits: ClassLimits) -> Occurrence:
    rings = math.isfinite(found.hz)
    peak_pu = abs(found.peak_v) / peak_v
    return Occurrence(
        kind="oscillatory_transient" if rings else "impulsive_transient",
        start_sample=float(found.first),
        end_sample=float(found.stop),
        rate_hz=signal.analysis.rate_hz,
        nominal_hz=signal.analysis.nominal_hz,
        confidence=confidence_of(peak_pu, limits.transient_pu, abs(found.peak_v) / found.sigmas / peak_v),
        because=transient_because(found.peak_v, peak_pu, found.hz, found.sigmas),
        figures={
            "peak_v": found.peak_v,
            "peak_pu": peak_pu,
            "principal_frequency_hz": found.hz,
            "sigmas": found.sigmas,
        },
    )


def _after_windows(signal: MeasuredSignal) -> Iterable[Occurrence]:
    """Sudden occurrences after the last whole window of the signal; none next to a dip or a known one."""
    analysis = signal.analysis
    stops = analysis.series.stops
    last_stop = float(stops[-1]) if len(stops) else 0.0
    beside = BESIDE_CYCLES * signal.cycle
    known = [(each.start_sample - beside, each.end_sample + beside) for each in analysis.disturbances]
    known += [(each.start_sample - beside, each.end_sample + beside) for each in signal.sudden()]
    for each in sudden_after(signal.volts, analysis.rate_hz, analysis.nominal_hz, last_stop):
        if not any(begin <= each.start_sample <= end for begin, end in known):
            yield each


def _is_steady(found: Iterable[Found]) -> bool:
    """Whether lasting disturbances are the same in every cycle, so that the mean cycle leaves only noise."""
    lines = ("interharmonics", "mains_signalling")
    lasting = ("harmonics", "noise", "frequency_deviation", "dc_offset")
    return not any(
        each.kind in lines or (each.kind in lasting and not (each.open and each.open_at_start))
        for each in found
    )


def _counts(each: Occurrence, limits: ClassLimits) -> bool:
    if each.kind == "phase_jump":
        return reaches(abs(each.figures["phase_jump_degrees"]), limits.jump_degrees)
    if each.kind == "rapid_voltage_change":
        return reaches(abs(each.figures["largest_change_percent"]), limits.change_percent)
    return reaches(abs(each.figures["peak_pu"]), limits.transient_pu)
