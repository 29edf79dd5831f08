"""Reasons and confidence of a part, from the figures of the measurement core.

A part's own probability shows how far its figure is beyond its limit. It does not contain other effects of
noise: a class that is missed, or one too many. The shares for these were set from small runs with other seeds
than those of test_measure_classify_accuracy.py, which prints how far the confidence is from the share that is
right.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.classified_parts import ClassifiedPart, Reason
from opq_measure.classification.severity import severity_of_part
from opq_measure.events.curves import lasting_words
from opq_measure.events.disturbance import Disturbance

Found = Disturbance | Occurrence
QUIET_PU = 0.03
"""Noise against the fundamental, rms, of a quiet signal: 30 dB."""
NOISY_PU = 0.10
"""Noise against the fundamental, rms, of a noisy signal: 20 dB."""
RIGHT_SHARE_QUIET = 0.995
"""Assumed share of right parts in a quiet signal."""
RIGHT_SHARE_NOISY = 0.992
"""Assumed share of right parts in a noisy signal."""
OFTEN_MISSED = {"none": 0.80, "harmonics": 0.95}
"""The share for these classes in much noise, which hides most where nothing is found."""
UNITS = {
    "_percent_max": "%",
    "_percent": "%",
    "_pu": "pu",
    "_degrees": "deg",
    "_hz": "Hz",
    "_v": "V",
    "_s": "s",
    "_v2s": "V2s",
}
LIMITS: Mapping[str, tuple[str, Callable[[ClassLimits, float], float]]] = {
    "harmonics": ("thd_percent", lambda limits, _hz: limits.thd_percent),
    "interharmonics": ("interharmonic_percent", lambda limits, _hz: limits.line_percent),
    "mains_signalling": ("signal_percent", lambda limits, _hz: limits.signal_percent),
    "frequency_deviation": ("deviation_hz", lambda limits, hz: limits.deviation_percent / 100 * hz),
    "phase_jump": ("phase_jump_degrees", lambda limits, _hz: limits.jump_degrees),
    "rapid_voltage_change": ("largest_change_percent", lambda limits, _hz: limits.change_percent),
    "impulsive_transient": ("peak_pu", lambda limits, _hz: limits.transient_pu),
    "oscillatory_transient": ("peak_pu", lambda limits, _hz: limits.transient_pu),
    "periodic_notching": ("notch_depth_pu", lambda limits, _hz: limits.notch_pu),
    "dc_offset": ("dc_percent", lambda limits, _hz: limits.dc.most_percent),
    "noise": ("noise_percent", lambda limits, _hz: limits.noise.most_percent),
    "flicker": ("pst_of_seen", lambda limits, _hz: limits.pst),
}
"""Class -> the figure that decides, and its limit."""


def judged(
    found: Found, with_it: tuple[Occurrence, ...], noise_pu: float, limits: ClassLimits
) -> ClassifiedPart:
    """A candidate as a part. `with_it`: jumps and transients at its edges; `noise_pu`: see `noise_ratio`."""
    if isinstance(found, Disturbance):
        reasons, because = _level_reasons(found, with_it, limits)
        severity = severity_of_part(found.kind, {}, found.residual_percent, found.itic, found.duration_s, 0.0)
    else:
        reasons, because = _reasons(found, limits), found.because
        severity = severity_of_part(found.kind, found.figures, None, None, found.duration_s, found.nominal_hz)
    if found.open_at_start:
        because = f"{because}; it had begun before this waveform"
    confidence = calibrated(found.kind, found.confidence, noise_pu)
    return ClassifiedPart(found.kind, found, confidence, severity, reasons, because)


def _level_reasons(
    found: Disturbance, with_it: tuple[Occurrence, ...], limits: ClassLimits
) -> tuple[tuple[Reason, ...], str]:
    sign = 1 if found.kind in ("swell", "overvoltage") else -1
    limit = (
        limits.rms.interruption_percent
        if found.kind == "interruption"
        else limits.rms.threshold_percent(sign)
    )
    reasons = [
        Reason("residual_percent", found.residual_percent, "%", limit),
        Reason("duration_cycles", found.duration_cycles, "cycles"),
        Reason("duration_s", found.duration_s, "s"),
    ]
    lasting = lasting_words(found.duration_cycles, found.duration_s)
    words = [f"residual {found.residual_percent:.1f} % for {lasting}"]
    for each in with_it:
        if each.kind == "phase_jump":
            degrees = each.figures["phase_jump_degrees"]
            reasons.append(Reason("phase_jump_degrees", degrees, "deg"))
            words.append(f"phase jump {degrees:+.0f} degrees")
            break
    words.append(found.because)
    return tuple(reasons), ", ".join(words[:-1]) + f" ({words[-1]})"


def _reasons(found: Occurrence, limits: ClassLimits) -> tuple[Reason, ...]:
    decides, limit_of = LIMITS[found.kind]
    limit = limit_of(limits, found.nominal_hz)
    return tuple(
        Reason(name, float(value), _unit(name), limit if name == decides else None)
        for name, value in found.figures.items()
        if math.isfinite(value)
    )


def _unit(name: str) -> str:
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def calibrated(kind: str, confidence: float, noise_pu: float) -> float:
    """The confidence, 0 .. 1, with the share of parts of this class that are right in such noise."""
    noisy = OFTEN_MISSED.get(kind, RIGHT_SHARE_NOISY)
    right = float(np.interp(noise_pu, (QUIET_PU, NOISY_PU), (RIGHT_SHARE_QUIET, noisy)))
    return min(1.0, max(0.0, confidence)) * right
