"""What a signal may contain: what the analysis found, and what only the whole signal shows.

Analysis --> dips, jumps, transients, lasting conditions, levels --+
mean cycle --> notches of every cycle, THD without them -----------+--> candidates --> classifier
residual after it --> transients below the noise of a sample ------+
envelope --> flicker of a second ----------------------------------+
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from opq_measure.analysis.conditions import PST_SIGMA, WindowSeries, frequency_deviations_in, harmonics_in
from opq_measure.analysis.levels import dc_offset_in, noise_in
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.analysis.short_flicker import is_hidden_by_noise, short_flicker_in
from opq_measure.analysis.sudden import sudden_after
from opq_measure.analysis.tones import MAX_INTERHARMONIC_PERCENT, tones_in
from opq_measure.classification.alike_cycles import AlikeCycles
from opq_measure.classification.between_levels import frequency_between, harmonics_between, offset_between
from opq_measure.classification.by_chance import ODDS_ALONE, posterior
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.envelope_flicker import envelope_flicker
from opq_measure.classification.judgement import Found
from opq_measure.classification.mean_cycle import thd_outside
from opq_measure.classification.measured_signal import BESIDE_CYCLES, TRANSIENTS, MeasuredSignal
from opq_measure.classification.noise_candidates import (
    by_whole_energy,
    is_alone,
    jump_in_noise,
    tone_in_noise,
    transient_in_noise,
    with_edges,
)
from opq_measure.classification.short_change import EARLY_CYCLES, begun_at_step, short_change_in
from opq_measure.timebase.cycles import WINDOW_S

ENVELOPE_MARGIN = 1.15
"""Pst of a second or two counts from so many times its limit on, because it is accurate to a tenth."""
LONGEST_ENVELOPE_S = 5.0
"""From this length on the flickermeter of 61000-4-15 has settled and is used instead of the envelope."""


def candidates_in(signal: MeasuredSignal, limits: ClassLimits) -> list[Found]:
    """All candidates, in no order; the classifier decides which of them explain others."""
    analysis, series = signal.analysis, signal.analysis.series
    sudden = [*signal.sudden(), *_after_windows(signal)]
    sudden = with_edges(signal, sudden, limits)
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
    without_jumps = _between(signal, ("phase_jump",))
    found += dc_offset_in(without_jumps, analysis.nominal_v, limits.dc)
    found += noise_in(_between(signal, (*TRANSIENTS, "phase_jump")), limits.noise)
    found += frequency_deviations_in(without_jumps, limits.deviation_percent)
    if len(analysis.cycle_starts) > 1:
        found += frequency_between(signal, cycles.usable, limits)
    least = min(limits.line_percent, limits.signal_percent)
    tones = [each for each in analysis.occurrences if each.kind in ("interharmonics", "mains_signalling")]
    tones = tones if least == MAX_INTERHARMONIC_PERCENT else tones_in(series, least)
    if not signal.windows_without(("phase_jump",)).any():
        tones = []  # in the only window, a jump has a line, too
    tones = [each for each in tones if _line(each) > _line_limit(each, limits)]
    found += list(tone_in_noise(signal, cycles, bool(tones), limits)) or tones
    changes = list(_change(signal, limits))
    flickers = list(_flicker(signal, cycles, limits, changes))
    found += flickers or (changes if limits.short_changes else [])  # flicker leaves nothing steady to change
    found += _of_mean_cycle(signal, cycles, sudden, limits, _is_steady(found))
    if not _is_steady(found):
        return found
    return [
        by_whole_energy(each, signal, cycles)
        if isinstance(each, Occurrence) and is_alone(each, found)
        else each
        for each in found
    ]


def _between(signal: MeasuredSignal, kinds: tuple[str, ...]) -> WindowSeries:
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
    """Whether everything that lasts is the same in every cycle, so that the mean cycle leaves only noise."""
    lines = ("interharmonics", "mains_signalling")
    lasting = ("harmonics", "noise", "frequency_deviation", "dc_offset")
    return not any(
        each.kind in lines or (each.kind in lasting and not (each.open and each.open_at_start))
        for each in found
    )


def _counts(each: Occurrence, limits: ClassLimits) -> bool:
    if each.kind == "phase_jump":
        return abs(each.figures["phase_jump_degrees"]) >= limits.jump_degrees
    if each.kind == "rapid_voltage_change":
        return abs(each.figures["largest_change_percent"]) >= limits.change_percent
    return abs(each.figures["peak_pu"]) >= limits.transient_pu


def _line(each: Occurrence) -> float:
    return max(each.figures.get("interharmonic_percent_max", 0.0), each.figures.get("signal_percent", 0.0))


def _line_limit(each: Occurrence, limits: ClassLimits) -> float:
    return limits.line_percent if each.kind == "interharmonics" else limits.signal_percent


def _lies_in(each: Occurrence, one: Occurrence) -> bool:
    slack = WINDOW_S * each.rate_hz
    return one.start_sample - slack <= each.start_sample and each.end_sample <= one.end_sample + slack


def _flicker(
    signal: MeasuredSignal, cycles: AlikeCycles, limits: ClassLimits, changes: Sequence[Occurrence]
) -> Iterable[Occurrence]:
    """Flicker by the flickermeter where it has settled, else by the envelope.

    A change makes the envelope swing, too; the meter starts again after it. The envelope is not used where
    there are notches: whole samples of them move it. The meter also responds to noise, over all frequencies;
    a line that this hides may stand out in the envelope.
    """
    analysis = signal.analysis
    notching = [each for each in analysis.occurrences if each.kind == "periodic_notching"]
    flickers: list[Occurrence] = []
    is_long = analysis.duration_s >= LONGEST_ENVELOPE_S
    if is_long:
        at = [each.start_sample for each in changes] + [each.end_sample for each in changes]
        every = chain(analysis.occurrences, short_flicker_in(signal.volts, analysis, limits.pst, at))
        flickers = [each for each in every if each.kind == "flicker"]
        flickers = [each for each in flickers if not any(_lies_in(each, one) for one in notching)]
    if notching or changes or (is_long and not is_hidden_by_noise(analysis, limits.pst)) or cycles.notching:
        yield from flickers
        return
    clear = signal.clear_of(analysis.half_starts)
    noise_v = analysis.noise_v if math.isfinite(analysis.noise_v) else 0.0
    found = envelope_flicker(
        analysis.half_rms_v, clear, analysis.nominal_v, analysis.nominal_hz, noise_v, analysis.rate_hz,
        ENVELOPE_MARGIN * limits.pst,
    )  # fmt: skip
    if flickers:  # noise may hide a line between harmonics; the beat frequency identifies it
        yield from (replace(each, figures={**each.figures, "modulation_hz": found.hz}) for each in flickers)
    if flickers or not found.pst > ENVELOPE_MARGIN * limits.pst:
        return
    whole = signal.throughout(
        "flicker",
        confidence_of(found.pst, limits.pst, 4 * PST_SIGMA * found.pst)
        * posterior(found.sigmas, found.by_chance, ODDS_ALONE),
        f"the rms swings with {found.hz:.1f} Hz, Pst {found.pst:.2f} if it goes on for ten minutes",
        {
            "pst_of_seen": found.pst,
            "modulation_hz": found.hz,
            "sigmas": found.sigmas,
            "by_chance": found.by_chance,
        },
    )
    starts, stretch = analysis.half_starts, found.stretch
    yield replace(
        whole,
        start_sample=float(starts[stretch.start]) if found.begins else whole.start_sample,
        end_sample=float(starts[stretch.stop]) if found.ends else whole.end_sample,
        open_at_start=not found.begins,
        open=not found.ends,
    )


def _change(signal: MeasuredSignal, limits: ClassLimits) -> Iterable[Occurrence]:
    """A rapid voltage change that has no steady second on both sides."""
    analysis = signal.analysis
    if any(each.kind == "rapid_voltage_change" for each in analysis.occurrences):
        return
    found = short_change_in(
        analysis.half_rms_v,
        signal.clear_of(analysis.half_starts),
        analysis.nominal_v,
        analysis.nominal_hz,
        limits.change_percent,
    )
    if found is None:
        return
    change = Occurrence(
        kind="rapid_voltage_change",
        start_sample=float(analysis.half_starts[found.start]),
        end_sample=float(analysis.half_starts[found.stop]),
        rate_hz=analysis.rate_hz,
        nominal_hz=analysis.nominal_hz,
        confidence=confidence_of(
            abs(found.largest_percent), limits.change_percent, max(found.scatter_percent / 2, 0.1)
        ),
        because=(
            f"Urms(1/2) left its mean by {found.largest_percent:+.2f} % of nominal and was "
            f"{found.steady_percent:+.2f} % from it at the end; less than a steady second was seen"
        ),
        figures={
            "steady_change_percent": found.steady_percent,
            "largest_change_percent": found.largest_percent,
        },
        open=not found.back,
    )
    yield begun_at_step(change, signal, -EARLY_CYCLES)


def _of_mean_cycle(
    signal: MeasuredSignal, cycles: AlikeCycles, sudden: list[Occurrence], limits: ClassLimits, steady: bool
) -> Iterable[Occurrence]:
    """Notching, harmonics without the part that notches cause, and transients in the noise."""
    analysis, without_jumps = signal.analysis, _between(signal, ("phase_jump",))
    harmonics = list(harmonics_in(without_jumps, limits.thd_percent))
    notching = [each for each in analysis.occurrences if each.kind == "periodic_notching"]
    mean = cycles.mean
    if mean is None:
        yield from (*harmonics, *notching)
        return
    harmonics += harmonics_between(signal, mean, limits)
    yield from offset_between(signal, mean, limits)
    seen = cycles.notching
    if seen is not None and harmonics and seen.deepest.depth_v > limits.notch_pu * mean.peak_v:
        thd_percent = 100 * thd_outside(mean, seen)
        harmonics = [] if thd_percent <= limits.thd_percent else harmonics
    yield from harmonics
    if notching:
        yield from (each for each in notching if each.figures["notch_depth_pu"] >= limits.notch_pu)
    elif seen is not None and seen.deepest.depth_v >= limits.notch_pu * mean.peak_v:
        depth, count = seen.deepest.depth_v / mean.peak_v, float(seen.per_cycle)
        yield signal.throughout(
            "periodic_notching",
            confidence_of(depth, limits.notch_pu, mean.rest_v / mean.peak_v / mean.cycles**0.5),
            f"{count:.0f} notches in the mean cycle, {100 * depth:.1f} % of the peak deep",
            {"notch_depth_pu": depth, "notches_per_cycle": count},
        )
    if steady and _is_steady(harmonics) and not notching and seen is None:
        yield from transient_in_noise(signal, cycles, sudden, limits)
