"""What a signal may contain: what the analysis found, and what only the whole signal shows.

Analysis --> dips, jumps, transients, lasting conditions, levels --+
mean cycle --> notches of every cycle, THD without them -----------+--> candidates --> classifier
residual after it --> transients below the noise of a sample ------+
envelope --> flicker of a second ----------------------------------+
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from itertools import chain

import numpy as np

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.conditions import PST_SIGMA, WindowSeries, frequency_deviations_in, harmonics_in
from opq_measure.analysis.levels import dc_offset_in, noise_in
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.analysis.short_flicker import is_hidden_by_noise, short_flicker_in
from opq_measure.analysis.sudden import sudden_after
from opq_measure.analysis.tones import MAX_INTERHARMONIC_PERCENT, OVER_NOISE, tones_in
from opq_measure.classification.between_levels import frequency_between, harmonics_between, offset_between
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.edge_transients import BESIDE_CYCLES as BESIDE_EDGE_CYCLES
from opq_measure.classification.edge_transients import edge_transient
from opq_measure.classification.envelope_flicker import envelope_flicker
from opq_measure.classification.faint_jump import faint_jump
from opq_measure.classification.faint_tones import MIN_SHARE, faint_tone
from opq_measure.classification.faint_transients import FRAME_S, FaintTransient, faint_transient
from opq_measure.classification.mean_cycle import MeanCycle, mean_cycle, notching_of, thd_outside
from opq_measure.classification.measured_signal import BESIDE_CYCLES, TRANSIENTS, MeasuredSignal
from opq_measure.classification.short_change import EARLY_CYCLES, begun_at_step, short_change_in
from opq_measure.events.disturbance import Disturbance
from opq_measure.signal import BoolArray, FloatArray, IndexArray
from opq_measure.timebase.cycles import WINDOW_S
from opq_measure.waveform.notches import Notching

Found = Disturbance | Occurrence
MEAN_POINTS_SHARE = 0.9
"""Number of points of the mean cycle per sample of a cycle."""
UNSURE_CYCLES = 2
"""Further cycles beside a change, where the tracked phase is off by parts of a sample: no residual there."""
FAINT_FROM_PU = 0.012
"""Noise (share of the fundamental's peak) from which single samples no longer show a transient of 0.1."""
EDGE_FROM_PU = 0.003
"""The same at the edge of a dip, where single samples show an impulse together with the step."""
SURE_SIGMAS = 3.0
"""A shape that stands out by so much is as likely noise as not; none is reported below 3.5, few below 5."""
ENVELOPE_MARGIN = 1.15
"""Pst of a second or two counts from so many times its limit on, because it is accurate to a tenth."""
HIDDEN = 0.8
"""Share of a line's limit: where one window needs more than this to be sure, the whole signal is searched."""
NOTCH_EXCESS = 1.3
"""Power that the harmonics leave of the mean cycle over the power of its noise, which scatters by a tenth."""
NEAR_S = 0.012
"""Length of the residual before and after a transient that distinguishes a ringing from an impulse."""
BESIDE_SHARE = 0.2
"""Share of a signal that has to be clear of a dip to search it for lines, where the dip leaves no window."""
LONGEST_ENVELOPE_S = 5.0
"""From this length on the flickermeter of 61000-4-15 has settled and is used instead of the envelope."""

LONGEST_TONE_S = 20.0
"""A longer signal is not searched for a line as a whole: that takes 0.1 s of CPU and 100 bytes per sample."""


def candidates_in(signal: MeasuredSignal, limits: ClassLimits) -> list[Found]:
    """All candidates, in no order; the classifier decides which of them explain others."""
    analysis, series = signal.analysis, signal.analysis.series
    sudden = [*signal.sudden(), *_after_windows(signal)]
    sudden = _with_edges(signal, sudden, limits)
    sudden = [begun_at_step(each, signal) if each.kind == "rapid_voltage_change" else each for each in sudden]
    found: list[Found] = [*analysis.disturbances]
    found += [
        each
        for each in sudden
        if _counts(each, limits) and not signal.is_change_by_noise(each, limits.change_percent)
    ]
    jumps = list(_faint_jump(signal, sudden, limits))
    found += jumps
    cycles = _Cycles(signal, [*sudden, *jumps])
    found += dc_offset_in(series, analysis.nominal_v, limits.dc)
    found += noise_in(_between(signal, TRANSIENTS), limits.noise)
    found += frequency_deviations_in(_between(signal, ("phase_jump",)), limits.deviation_percent)
    if len(analysis.cycle_starts) > 1:
        found += frequency_between(signal, cycles.usable, limits)
    least = min(limits.line_percent, limits.signal_percent)
    tones = [each for each in analysis.occurrences if each.kind in ("interharmonics", "mains_signalling")]
    tones = tones if least == MAX_INTERHARMONIC_PERCENT else tones_in(series, least)
    tones = [each for each in tones if _line(each) > _line_limit(each, limits)]
    found += list(_faint_tone(signal, cycles, bool(tones), limits)) or tones
    changes = list(_change(signal, limits))
    found += changes if limits.short_changes else []
    found += [] if changes else _flicker(signal, cycles, limits)  # a step makes the envelope swing, too
    found += _of_mean_cycle(signal, cycles, sudden, limits, _is_steady(found))
    if not _is_steady(found):
        return found
    return [
        _told_by_whole(each, signal, cycles)
        if isinstance(each, Occurrence) and _is_alone(each, found)
        else each
        for each in found
    ]


class _Cycles:
    """The cycles of a signal that are alike, their mean and the residual after it, each computed once."""

    def __init__(self, signal: MeasuredSignal, sudden: list[Occurrence]) -> None:
        self._signal, self._sudden = signal, sudden
        self.starts = signal.analysis.cycle_starts

    @cached_property
    def usable(self) -> BoolArray:
        """(c - 1,) cycles that no dip, step, jump or transient touches."""
        return self._signal.clear_of(self.starts[:-1], self._sudden)

    @cached_property
    def mean(self) -> MeanCycle | None:
        """The mean cycle; None with too few cycles."""
        if len(self.starts) < 2:
            return None
        points = int(MEAN_POINTS_SHARE * self._signal.cycle)
        return mean_cycle(self._signal.volts, self.starts, self.usable, points)

    @cached_property
    def notching(self) -> Notching | None:
        """The notches of the mean cycle; None where its harmonics leave no more than noise."""
        if self.mean is None or self.mean.beside_harmonics(self._signal.cycle) < NOTCH_EXCESS:
            return None
        return notching_of(self.mean, self._signal.analysis.nominal_hz)

    @cached_property
    def residual(self) -> tuple[FloatArray, IndexArray]:
        """See `MeanCycle.residual_of`; only for a signal that has a mean cycle."""
        assert self.mean is not None
        return self.mean.residual_of(self._signal.volts, self.starts)


def _between(signal: MeasuredSignal, kinds: tuple[str, ...]) -> WindowSeries:
    """The course, with NaN in windows that are touched by an occurrence of these kinds.

    Only noise and frequency are replaced: a transient's spectrum is as wide as that of noise, and a jump of
    the phase looks like another frequency.
    """
    series, clear = signal.analysis.series, signal.windows_without(kinds)
    return replace(
        series,
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


def _faint_tone(
    signal: MeasuredSignal, cycles: _Cycles, seen: bool, limits: ClassLimits
) -> Iterable[Occurrence]:
    """A line that windows of 0.2 s do not show, because of the noise or of a harmonic next to it.

    `seen`: the windows already show a line; then the whole signal is searched only where the noise could
    hide one, or where no window is clear of a dip.
    """
    analysis = signal.analysis
    starts, fundamental_v = analysis.cycle_starts, signal.usual_rms_v
    least = min(limits.line_percent, limits.signal_percent)
    hidden_v = OVER_NOISE * analysis.noise_v * math.sqrt(2 / (WINDOW_S * analysis.rate_hz))
    is_flagged = not np.isfinite(analysis.series.interharmonic).any()  # no window is clear of a dip
    if len(starts) < 2 or (seen and not is_flagged and hidden_v <= HIDDEN * least / 100 * fundamental_v):
        return
    if any(each.kind == "periodic_notching" for each in analysis.occurrences):
        return
    if analysis.duration_s > LONGEST_TONE_S or cycles.mean is None:
        return
    residual, cycle = cycles.residual
    hz = (len(starts) - 1) * analysis.rate_hz / float(starts[-1] - starts[0])
    share = BESIDE_SHARE if is_flagged else MIN_SHARE
    tone = faint_tone(residual, cycles.usable[cycle], analysis.rate_hz, fundamental_v, hz, least, share)
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


def _lies_in(each: Occurrence, one: Occurrence) -> bool:
    slack = WINDOW_S * each.rate_hz
    return one.start_sample - slack <= each.start_sample and each.end_sample <= one.end_sample + slack


def _flicker(signal: MeasuredSignal, cycles: _Cycles, limits: ClassLimits) -> Iterable[Occurrence]:
    """Flicker by the flickermeter where it has settled, else by the envelope.

    The envelope is not used where there are notches: whole samples of them move it. The meter also responds
    to noise, over all frequencies; a line that this hides may stand out in the envelope.
    """
    analysis = signal.analysis
    notching = [each for each in analysis.occurrences if each.kind == "periodic_notching"]
    flickers: list[Occurrence] = []
    is_long = analysis.duration_s >= LONGEST_ENVELOPE_S
    if is_long:
        every = chain(analysis.occurrences, short_flicker_in(signal.volts, analysis, limits.pst))
        flickers = [each for each in every if each.kind == "flicker"]
        flickers = [each for each in flickers if not any(_lies_in(each, one) for one in notching)]
    if notching or (is_long and not is_hidden_by_noise(analysis, limits.pst)) or cycles.notching:
        yield from flickers
        return
    clear = signal.clear_of(analysis.half_starts)
    noise_v = analysis.noise_v if math.isfinite(analysis.noise_v) else 0.0
    found = envelope_flicker(
        analysis.half_rms_v, clear, analysis.nominal_v, analysis.nominal_hz, noise_v, analysis.rate_hz
    )
    if flickers:  # noise may hide a line between harmonics; the beat frequency identifies it
        yield from (replace(each, figures={**each.figures, "modulation_hz": found.hz}) for each in flickers)
    if flickers or not found.pst > ENVELOPE_MARGIN * limits.pst:
        return
    whole = signal.throughout(
        "flicker",
        confidence_of(found.pst, limits.pst, 4 * PST_SIGMA * found.pst),
        f"the rms swings with {found.hz:.1f} Hz, Pst {found.pst:.2f} if it goes on for ten minutes",
        {"pst_of_seen": found.pst, "modulation_hz": found.hz},
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
    signal: MeasuredSignal, cycles: _Cycles, sudden: list[Occurrence], limits: ClassLimits, steady: bool
) -> Iterable[Occurrence]:
    """Notching, harmonics without the part that notches cause, and transients in the noise."""
    analysis, series = signal.analysis, signal.analysis.series
    harmonics = list(harmonics_in(series, limits.thd_percent))
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
        yield from _faint(signal, cycles, sudden, limits)


def _faint(
    signal: MeasuredSignal, cycles: _Cycles, sudden: list[Occurrence], limits: ClassLimits
) -> Iterable[Occurrence]:
    """A transient of which no single sample stands out, in a signal with much noise and no other one."""
    analysis, mean = signal.analysis, cycles.mean
    if mean is None or not FAINT_FROM_PU * mean.peak_v < analysis.noise_v:
        return
    if any(each.kind in TRANSIENTS for each in sudden):
        return
    residual, cycle = cycles.residual
    first = math.ceil(analysis.cycle_starts[0])
    quiet = np.convolve(~cycles.usable, np.ones(2 * UNSURE_CYCLES + 1), "same") == 0
    found = faint_transient(residual, quiet[cycle], analysis.rate_hz)
    if found is None or abs(found.peak) < limits.transient_pu * mean.peak_v:
        return
    yield _faint_occurrence(analysis, found, first, mean.peak_v)


def _is_alone(each: Occurrence, found: list[Found]) -> bool:
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


def _told_by_whole(each: Occurrence, signal: MeasuredSignal, cycles: _Cycles) -> Occurrence:
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
    return _faint_occurrence(analysis, found, first + begin, mean.peak_v)


def _with_edges(signal: MeasuredSignal, sudden: list[Occurrence], limits: ClassLimits) -> list[Occurrence]:
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
            one for one in sudden
            if not (one.kind in TRANSIENTS and abs(one.start_sample - each.start_sample) <= near)
        ]  # fmt: skip
        if each.open_at_start or any(one.kind == "phase_jump" for one in with_it):
            continue  # between a jump and its dip there may be a third wave for some milliseconds
        if any(one.kind in TRANSIENTS for one in others):
            continue
        level = without_noise(each, signal, limits)
        found = edge_transient(
            signal.volts, analysis.rate_hz, float(np.median(known)), each.start_sample, each.end_sample,
            level.kind == "interruption",
        )  # fmt: skip
        if found is not None and abs(found.peak) >= limits.transient_pu * peak_v:
            sudden = [*others, _faint_occurrence(analysis, found, 0, peak_v)]
    return sudden


def _faint_jump(
    signal: MeasuredSignal, sudden: list[Occurrence], limits: ClassLimits
) -> Iterable[Occurrence]:
    """A phase jump in a signal with much noise and no other jump."""
    analysis = signal.analysis
    if any(each.kind == "phase_jump" for each in sudden):
        return
    if not FAINT_FROM_PU * math.sqrt(2) * signal.usual_rms_v < analysis.noise_v:
        return
    starts = analysis.cycle_starts
    found = faint_jump(starts, analysis.rms_v, signal.clear_of(starts))
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


def _faint_occurrence(
    analysis: SignalAnalysis, found: FaintTransient, first: int, peak_v: float
) -> Occurrence:
    peak_pu = abs(found.peak) / peak_v
    rings = math.isfinite(found.frequency_hz)
    ringing = f" of {found.frequency_hz:.0f} Hz" if rings else ""
    return Occurrence(
        kind="oscillatory_transient" if rings else "impulsive_transient",
        start_sample=float(first + found.start),
        end_sample=float(first + found.stop),
        rate_hz=analysis.rate_hz,
        nominal_hz=analysis.nominal_hz,
        confidence=confidence_of(found.sigmas, SURE_SIGMAS, 1.0),
        because=(
            f"{found.peak:+.4g} V{ringing}, {100 * peak_pu:.1f} % of the fundamental's peak, "
            f"{found.sigmas:.1f} sigma of the noise by its whole energy"
        ),
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
