"""The class of a signal: one pure function for `opq-tools classify` and for every analysis of Mauka.

The signal is cut where it changes (dips, steps, jumps). Lasting disturbances are measured between the cuts,
sudden ones on the residual. Then whatever another disturbance explains is removed.
"""

import cmath
import math
from typing import TypeGuard

import numpy as np

from opq_measure.analysis.analysed import SignalAnalysis
from opq_measure.analysis.analyser import analyze
from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.by_chance import likely
from opq_measure.classification.candidates.candidates import candidates_in, pieces_between, sudden_in
from opq_measure.classification.candidates.noise_candidates import without_noise
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classified_parts import NONE, UNKNOWN, Classification, ClassifiedPart, Reason
from opq_measure.classification.first_sample import from_first_sample
from opq_measure.classification.judgement import Found, calibrated, judged
from opq_measure.classification.measured_signal import NOISE_SIGMAS, TRANSIENTS, MeasuredSignal
from opq_measure.classification.without_notches import without_notches
from opq_measure.events.disturbance import Disturbance
from opq_measure.signal import SignalArray
from opq_measure.written_numbers import significant

NEAR_S = 0.004
"""Largest distance between a jump and an impulse that is its edge."""
PASSES_CYCLES = 2.0
"""Longest dip or swell that is the effect of a jump to a wave of the same size."""
PASSES_PERCENT = 30.0
"""Largest change of such a dip or swell."""
SAME_SIZE_SHARE = 0.05
"""Waves before and after a jump have the same size if they differ by less than this."""
TURNING_CYCLES = 1.0
"""A swell this short at a jump to a smaller wave is the jump's effect, and so is such a dip at a jump to a
larger wave."""
UNSEEN_CYCLES = 1.5
"""With fewer cycles on either side of an edge the wave there is unknown, and the edge looks like an
impulse."""
OWN_WAVE = 2.0
"""Below this multiple of the fundamental's frequency a transient is not a ringing (ringing is searched above
240 Hz)."""
AS_LONG_CYCLES = 0.3
"""A longer deviation without swing beside a dip of half a cycle is the dip and not an impulse."""
TURNED_CYCLES = 3.6
"""A shorter dip is not long enough between its edges to separate a line from the fundamental."""
TURNING_LINE_SHARE = 0.6
"""In a longer dip, lines this near to the fundamental, as a share of its frequency, turn its phase."""
BEFORE_CYCLES = 4
"""Cycles before a jump whose median rms gives its step in volts."""
BEAT_HZ = 1.5
"""Tolerance of a beat frequency; both frequencies are accurate to a bin of the waveform."""
TELEGRAM_HZ = 10.0
"""A ringing this near to a telegram's frequency may belong to it."""
TELEGRAM_SIZES = 2.0
"""A ringing that is at most this many times as large as a telegram belongs to it."""
CLASSES = 17
"""Number of classes of one recording; docs/classes.md has their table."""
LONG_ENOUGH_S = 0.5
"""From this length on every class has its least length."""
SWINGS_S = 0.34
"""Length of three swings of 8.8 Hz, to which eyes are most sensitive."""
NOISE_LATE_S = 0.4
"""Two windows, by which the beginning of noise may be found late."""
LATE_NOISE_SIGMAS = 4.5
"""A level that a thousand samples of noise hardly exceed."""
DEFAULT_LIMITS = ClassLimits()


def classify(
    signal: SignalArray,
    rate_hz: float,
    nominal_v: float = 120.0,
    nominal_hz: float = 60.0,
    v_per_lsb: float = 1.0,
    limits: ClassLimits = DEFAULT_LIMITS,
) -> Classification:
    """The class of a signal without gaps, with its reasons.

    Args:
        signal: (n,) volts, or counts with their gain in `v_per_lsb`.
    Raises:
        ValueError: see `signal.check_signal`; a nominal or the gain is not positive.

    CPU: 0.12 s for 5 s at 12 kS/s. At 6.4 kS/s a record of 0.4 s takes 35 ms, and with notches beside a dip
    0.3 to 0.6 s, because it is measured again without its notches.
    """
    analysis = analyze(signal, rate_hz, nominal_v, nominal_hz, limits.rms, v_per_lsb)
    return classification_of(
        MeasuredSignal(np.asarray(signal, dtype=np.float64) * v_per_lsb, analysis, limits.rms), limits
    )


def classification_of(signal: MeasuredSignal, limits: ClassLimits = DEFAULT_LIMITS) -> Classification:
    """The class of a signal that is measured already; its analysis has to be made with `limits.rms`."""
    analysis = signal.analysis
    noise_pu = noise_ratio(signal)
    parts = parts_in(signal, limits)
    unseen = not_measured(analysis)
    measured_share = 1 - len(unseen) / CLASSES
    if parts:
        kinds = sorted({each.kind for each in parts})
        return Classification(
            "+".join(kinds),
            measured_share
            * math.prod(max(each.confidence for each in parts if each.kind == kind) for kind in kinds),
            max(each.severity for each in parts),
            parts,
            "; ".join(each.because for each in parts),
        )
    reason = Reason("cycles", float(len(analysis.cycle_starts)), "cycles", 2.0)
    known = np.isfinite(analysis.frequency_hz)
    if len(known) < 2 or not known.any():
        return Classification(
            UNKNOWN, 1.0, None, (), "it does not contain two cycles of measurable mains", (reason,)
        )
    reasons = _of_nothing(analysis, noise_pu, limits)
    return Classification(
        NONE,
        measured_share * calibrated(NONE, 1.0, noise_pu),
        0.0,
        (),
        "no figure is beyond its limit: "
        + ", ".join(f"{each.name} {significant(each.value, 4)}" for each in reasons)
        + (f"; too short for {', '.join(unseen)}" if unseen else ""),
        reasons,
    )


def not_measured(analysis: SignalAnalysis) -> tuple[str, ...]:
    """The classes that a signal of this length cannot show."""
    if analysis.duration_s >= LONG_ENOUGH_S:
        return ()
    unseen = ["mains_signalling", "rapid_voltage_change"]
    if analysis.duration_s < SWINGS_S:
        unseen.append("flicker")
        if not np.isfinite(analysis.series.interharmonic).any():
            unseen += ["interharmonics", "noise"]
    return tuple(sorted(unseen))


def parts_in(signal: MeasuredSignal, limits: ClassLimits = DEFAULT_LIMITS) -> tuple[ClassifiedPart, ...]:
    """Every disturbance of a signal, in time order."""
    analysis = signal.analysis
    levels: list[Disturbance] = []
    details: dict[int, tuple[Occurrence, ...]] = {}
    for each, with_it in zip(analysis.disturbances, analysis.details, strict=True):
        if signal.by_noise(each):
            continue
        level = without_noise(each, signal, limits)
        levels.append(level)
        details[id(level)] = with_it
    sudden = sudden_in(signal)
    pieces = pieces_between(signal, sudden)
    notched = without_notches(signal, pieces, limits)
    if notched is not None:
        signal, sudden = notched.bare, sudden_in(notched.bare)
        pieces = pieces_between(signal, sudden)
    candidates = candidates_in(signal, sudden, pieces, limits)
    others = [each for each in candidates if isinstance(each, Occurrence)]
    if notched is not None:
        others = [each for each in others if each.kind != "periodic_notching"] + [notched.notching]
    found: list[Found] = [*levels, *others]
    noise_pu = noise_ratio(signal)
    kept = likely([each for each in found if not _explained(each, found, signal, limits)], noise_pu)
    parts = []
    for one in kept:
        is_removed = notched is not None and one is notched.notching  # and its first sample is known
        begun = one if is_removed else from_first_sample(one, signal, limits)
        parts.append(judged(begun, details.get(id(one), ()), noise_pu, limits))
    return tuple(sorted(parts, key=lambda part: (part.found.start_sample, part.kind)))


def noise_ratio(signal: MeasuredSignal) -> float:
    """Noise over the fundamental where there is one, rms to rms; 0 where it is not known."""
    usual = signal.usual_rms_v
    ratio = signal.analysis.noise_v / usual if usual > 0 else math.nan
    return ratio if math.isfinite(ratio) else 0.0


def _explained(each: Found, found: list[Found], signal: MeasuredSignal, limits: ClassLimits) -> bool:
    """Whether another disturbance causes what was found as this one."""
    jumps = [one for one in found if isinstance(one, Occurrence) and one.kind == "phase_jump"]
    if isinstance(each, Disturbance):  # the rms over a cycle with a jump in it is higher or lower
        short = each.duration_cycles < PASSES_CYCLES and abs(each.residual_percent - 100) < PASSES_PERCENT
        way = 1.0 if each.residual_percent > 100 else -1.0
        return short and any(
            _within(one, each, signal.cycle)
            and (
                abs(one.figures["amplitude_ratio"] - 1) < SAME_SIZE_SHARE
                or (each.duration_cycles < TURNING_CYCLES and way * (one.figures["amplitude_ratio"] - 1) < 0)
            )
            for one in jumps
        )
    if each.kind == "rapid_voltage_change":  # the same, if the voltage returns nearly to its former value
        short = each.end_sample - each.start_sample < PASSES_CYCLES * signal.cycle
        stays = abs(each.figures["steady_change_percent"]) >= limits.change_percent
        return short and not stays and any(_within(one, each, signal.cycle) for one in jumps)
    if each.kind == "phase_jump":  # with no voltage left there is no phase
        return any(
            isinstance(one, Disturbance)
            and _within(each, one, signal.cycle)
            and (one.kind == "interruption" or _is_turned_by_line(each, one, found))
            for one in found
        )
    if each.kind in TRANSIENTS and any(
        isinstance(one, Disturbance) and (_is_cut_edge(each, one, signal) or _is_own_wave(each, one))
        for one in found
    ):
        return True
    if each.kind == "oscillatory_transient" and any(
        isinstance(one, Occurrence) and (_is_keyed(each, one) or _is_of_noise(each, one, signal))
        for one in found
    ):
        return True
    if each.kind == "flicker":
        return any(one.kind == "interharmonics" and _beats(each, one, signal) for one in found)
    if (
        each.kind == "impulsive_transient"
    ):  # an edge found off by parts of a sample leaves less than the step, plus the noise
        near = NEAR_S * each.rate_hz
        noise_v = signal.analysis.noise_v if math.isfinite(signal.analysis.noise_v) else 0.0
        peak_v = abs(each.figures["peak_v"]) - NOISE_SIGMAS * noise_v - _turned_harmonics_v(found, signal)
        return any(
            abs(one.start_sample - each.start_sample) <= near
            and (each.figures["peak_pu"] <= _step(one) or peak_v <= _step_v(one, signal))
            for one in jumps
        )
    return False


def _is_cut_edge(each: Occurrence, level: Disturbance, signal: MeasuredSignal) -> bool:
    """Whether a transient is the edge of a dip or swell too near to an end of the signal to know its wave.

    A transient in the residual of the pieces is not such an edge.
    """
    if "sigmas" in each.figures and "by_chance" not in each.figures:
        return False
    unseen = UNSEEN_CYCLES * signal.cycle
    at_start = each.start_sample < unseen and level.start_sample < 2 * unseen
    last = signal.analysis.samples
    at_end = each.end_sample > last - unseen and level.end_sample > last - 2 * unseen
    return at_start or at_end


def _is_own_wave(each: Occurrence, level: Disturbance) -> bool:
    """Whether a supposed transient is the fundamental of a dip or swell of about a cycle or a few."""
    hz = each.figures.get("principal_frequency_hz", math.nan)
    over = each.start_sample < level.end_sample and each.end_sample > level.start_sample
    as_long = (each.end_sample - each.start_sample) * each.nominal_hz > AS_LONG_CYCLES * each.rate_hz
    return over and (hz < OWN_WAVE * each.nominal_hz or (as_long and not math.isfinite(hz)))


def _is_of_noise(each: Occurrence, noise: Occurrence, signal: MeasuredSignal) -> bool:
    """Whether a supposed ringing is part of noise, or the beginning of noise, which windows place later.

    False where no window before the noise is known: a dip may have taken these, and no beginning is seen.
    """
    if noise.kind != "noise":
        return False
    series = signal.analysis.series
    if not np.isfinite(series.noise[series.stops <= noise.start_sample]).any():
        return False
    first = noise.start_sample - NOISE_LATE_S * each.rate_hz
    sigma_pu = noise.figures["noise_percent_max"] / 100 / math.sqrt(2)
    return (
        first <= each.start_sample <= noise.end_sample
        and each.figures["peak_pu"] <= LATE_NOISE_SIGMAS * sigma_pu
    )


def _is_keyed(each: Occurrence, telegram: Occurrence) -> bool:
    """Whether a supposed ringing is a telegram that begins or ends in samples outside of all windows."""
    if telegram.kind != "mains_signalling":
        return False
    off = each.figures.get("principal_frequency_hz", math.nan) - telegram.figures["signal_hz"]
    most = TELEGRAM_SIZES * telegram.figures["signal_percent"] / 100
    return abs(off) <= TELEGRAM_HZ and each.figures["peak_pu"] <= most


def _beats(flicker: Occurrence, line: Found, signal: MeasuredSignal) -> bool:
    """Whether the voltage swings with the beat of this line with the fundamental or a harmonic."""
    hz, known = signal.analysis.window_hz, signal.analysis.frequency_hz
    hz = hz[np.isfinite(hz)] if np.isfinite(hz).any() else known[np.isfinite(known)]
    swing = flicker.figures.get("modulation_hz", math.nan)
    if not isinstance(line, Occurrence) or not len(hz) or not math.isfinite(swing):
        return False
    mains_hz, line_hz = float(np.median(hz)), line.figures["interharmonic_hz"]
    beats = abs(line_hz - mains_hz * np.arange(1, round(line_hz / mains_hz) + 2))
    return bool(np.abs(beats - swing).min() <= max(BEAT_HZ, 1 / signal.analysis.duration_s))


def _step(jump: Occurrence) -> float:
    """Size of the difference between the waves before and after, as a share of the fundamental's peak."""
    after = cmath.rect(jump.figures["amplitude_ratio"], math.radians(jump.figures["phase_jump_degrees"]))
    return abs(after - 1)


def _step_v(jump: Occurrence, signal: MeasuredSignal) -> float:
    """The same in volts, by the cycles before the jump, because most of a signal may be the dip that the jump
    begins."""
    analysis = signal.analysis
    last = int(np.searchsorted(analysis.cycle_starts, jump.start_sample - 2 * signal.cycle))
    before_v = analysis.rms_v[max(0, last - BEFORE_CYCLES) : last]
    return math.sqrt(2) * float(np.median(before_v)) * _step(jump) if len(before_v) else 0.0


def _turned_harmonics_v(found: list[Found], signal: MeasuredSignal) -> float:
    """Largest part of harmonics in a step of the phase, peak volts, because a jump can reverse them."""
    thd = max((one.figures["thd_percent"] for one in found if _is_of(one, "harmonics")), default=0.0) / 100
    return 2 * math.sqrt(2) * thd * signal.usual_rms_v if thd > 0 else 0.0


def _is_turned_by_line(jump: Occurrence, level: Disturbance, found: list[Found]) -> bool:
    """Whether a line between harmonics can turn the phase by so much in a dip.

    In the few cycles beside its edges a line near the fundamental cannot be separated from it, in a dip of
    few cycles no line can; and it is large against a small residual.
    """
    lines = [one for one in found if _is_of(one, "interharmonics")]
    if level.duration_cycles >= TURNED_CYCLES:
        off_hz = TURNING_LINE_SHARE * jump.nominal_hz
        lines = [one for one in lines if abs(one.figures["interharmonic_hz"] - jump.nominal_hz) <= off_hz]
    if not lines or level.residual_percent <= 0:
        return False
    percent = max(one.figures["interharmonic_percent_max"] for one in lines)
    most = math.degrees(math.asin(min(1.0, percent / level.residual_percent)))
    most += NOISE_SIGMAS * jump.figures["uncertainty_degrees"]
    return abs(jump.figures["phase_jump_degrees"]) <= most


def _is_of(one: Found, kind: str) -> TypeGuard[Occurrence]:
    return isinstance(one, Occurrence) and one.kind == kind


def _within(each: Occurrence, one: Found, slack: float) -> bool:
    return one.start_sample - slack <= each.start_sample <= one.end_sample + slack


def _of_nothing(analysis: SignalAnalysis, noise_pu: float, limits: ClassLimits) -> tuple[Reason, ...]:
    """The reasons of `none`: the figures that were checked and lie within their limits."""
    halves = analysis.half_rms_v[np.isfinite(analysis.half_rms_v)]
    percent = 100 / analysis.nominal_v * halves
    hz = analysis.window_hz[np.isfinite(analysis.window_hz)]
    thd = analysis.window_thd[np.isfinite(analysis.window_thd)]
    reasons = [
        Reason("lowest_percent", float(percent.min()), "%", limits.rms.sag_percent),
        Reason("highest_percent", float(percent.max()), "%", limits.rms.swell_percent),
        Reason("noise_percent", 100 * noise_pu, "%", limits.noise.most_percent),
    ]
    if len(hz):
        off = float(hz[np.argmax(np.abs(hz - analysis.nominal_hz))])
        reasons.append(Reason("frequency_hz", off, "Hz"))
    if len(thd):
        reasons.append(Reason("thd_percent", 100 * float(thd.max()), "%", limits.thd_percent))
    return tuple(reasons)
