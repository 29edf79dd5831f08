"""Severity of a disturbance: 0 to 10, one scale for all classes, to one decimal. Pure.

Voltage: the verdict of the ITIC curve gives the band, as it shows the effect on equipment: 0 to 4 where it
continues, 4 to 8 where it may stop, 7 to 10 where it may be damaged. Within the band, 0.6 depends on the
distance from nominal and 0.4 on the logarithm of the duration from 10 ms to 100 s. A lasting disturbance has
2 at the limit of its standard, and 3 more for each doubling. A transient has 5 at the fundamental's peak, a
phase jump 10 at 60 degrees, an outage 10.

Source: ITI (CBEMA) Application Note of 2000 for the bands; the limits are those of docs/classes.md (EN
50160:2010 for THD, frequency, flicker). The slopes are ours, and were not compared with a person's judgement.
"""

import math
from collections.abc import Mapping

VOLTAGE_CLASSES = frozenset({"sag", "interruption", "undervoltage", "swell", "overvoltage"})
BANDS = {"no_interruption_in_function": (0.0, 4.0), "no_damage": (4.0, 8.0), "prohibited": (7.0, 10.0)}
SHORT_S = 0.01
"""Severity within a band of the ITIC curve rises with the logarithm of the duration from this one on."""
RISING_DECADES = 4.0
"""Decades of duration over which it rises."""
DEPTH_SHARE = 0.6
"""Share of the depth in the severity within a band; the rest is the duration."""
SEVERITY_AT_LIMIT = 2.0
"""Severity of a figure at its limit."""
SEVERITY_PER_DOUBLING = 3.0
"""Rise of the severity each time that the figure is doubled."""
SEVERITY_PER_PEAK = 5.0
"""Severity of a transient per peak of the fundamental."""
SEVERITY_PER_DEGREE = 1 / 6
"""Severity of a phase jump per degree."""
UNKNOWN_SEVERITY = 2.0
"""Severity of a class without a known figure."""
MAX_SEVERITY = 10.0
"""The scale ends here."""
DEVIATION_SHARE = 0.01
"""Limit of a frequency deviation, as a share of nominal."""
LASTING: Mapping[str, tuple[tuple[str, ...], float]] = {
    "harmonics": (("thd_percent",), 8.0),
    "interharmonics": (("interharmonic_percent",), 1.0),
    "mains_signalling": (("signal_percent",), 1.0),
    "rapid_voltage_change": (("largest_change_percent", "steady_change_percent"), 5.0),
    "periodic_notching": (("notch_depth_pu",), 0.03),
    "dc_offset": (("dc_percent",), 1.5),
    "noise": (("noise_percent",), 6.0),
    "flicker": (("pst_of_seen", "pst"), 1.0),
    "unbalance": (("u2_percent", "magnitudes_percent"), 2.0),
}
"""Class -> the figures that measure it, of which the first known one counts; and the limit. The scale is
fixed: these are the default limits (a test compares them), and they stay where other limits are set."""
STEADY_STATES = frozenset(LASTING) - {"rapid_voltage_change"}
"""Classes that last for hours: other disturbances in that time are not part of them."""


def severity_of_part(
    kind: str,
    figures: Mapping[str, float],
    residual_percent: float | None,
    itic: str | None,
    duration_s: float,
    nominal_hz: float,
) -> float:
    """The severity, 0 to 10; for a combination, that of its worst part.

    Args:
        kind: a class, or several joined by `+`.
        figures: of the part, by the names that `opq_measure` gives them.
        residual_percent: of nominal; None for a class without.
        itic: verdict of the curve of 2000; None counts as one band from 0 to 10.
    """
    if kind in VOLTAGE_CLASSES and residual_percent is not None:
        return _of_voltage(residual_percent, itic, duration_s)
    return max((_of_figures(part, figures, nominal_hz) for part in kind.split("+")), default=UNKNOWN_SEVERITY)


def _of_voltage(residual_percent: float, itic: str | None, duration_s: float) -> float:
    off = min(1.0, abs(residual_percent - 100.0) / 100.0)
    long = min(1.0, max(0.0, math.log10(max(duration_s, SHORT_S) / SHORT_S) / RISING_DECADES))
    low, high = BANDS.get(itic or "", (0.0, MAX_SEVERITY))
    return _rounded(low + (high - low) * (DEPTH_SHARE * off + (1 - DEPTH_SHARE) * long))


def _of_figures(kind: str, figures: Mapping[str, float], nominal_hz: float) -> float:
    match kind:
        case "outage":
            return MAX_SEVERITY
        case "impulsive_transient" | "oscillatory_transient" if "peak_pu" in figures:
            return _rounded(SEVERITY_PER_PEAK * abs(figures["peak_pu"]))
        case "phase_jump" if "phase_jump_degrees" in figures:
            return _rounded(SEVERITY_PER_DEGREE * abs(figures["phase_jump_degrees"]))
        case "frequency_deviation" if "deviation_hz" in figures:
            return _lasting(abs(figures["deviation_hz"]), DEVIATION_SHARE * nominal_hz)
    names, limit = LASTING.get(kind, ((), 1.0))
    known = [abs(figures[name]) for name in names if name in figures]
    return _lasting(abs(known[0]), limit) if known else UNKNOWN_SEVERITY


def _lasting(value: float, limit: float) -> float:
    if not value > 0 or not limit > 0:
        return 0.0
    return _rounded(SEVERITY_AT_LIMIT + SEVERITY_PER_DOUBLING * math.log2(value / limit))


def _rounded(value: float) -> float:
    return round(min(MAX_SEVERITY, max(0.0, value)), 1) if math.isfinite(value) else UNKNOWN_SEVERITY
