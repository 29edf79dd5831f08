"""Severity of a finding: 0 to 10, to one decimal, by what equipment makes of it and for how long. Pure.

The figures are ours (docs/mauka.md). Mauka takes the worst of an incident's findings; who sees a part of an
incident is told the worst of that part.
"""

import math

from opq_proto.messages import Finding

MIDDLING = 2.0
"""Severity of a class that no figure says more of."""
SHORT_S = 0.01
OF_VOLTAGE = frozenset({"sag", "interruption", "undervoltage", "swell", "overvoltage"})
_BANDS = {"no_interruption_in_function": (0.0, 4.0), "no_damage": (4.0, 8.0), "prohibited": (7.0, 10.0)}
"""Severity by the ITIC curve's verdict: equipment goes on, may stop, may be harmed."""


def severity_of(one: Finding) -> float:
    """0 to 10, to one decimal: what equipment makes of it, and for how long.

    A dip, swell or interruption lies in the band of its ITIC verdict, the deeper and the longer the higher.
    Others are judged by their figure: peak of a transient, hertz off, degrees of a jump, percent of a step.
    """
    if one.kind in OF_VOLTAGE and one.residual_percent is not None:
        return _rms_severity(one)
    figures = dict(one.figures)
    sizes = {
        "impulsive_transient": 4.0 * figures.get("peak_pu", 0.5),
        "oscillatory_transient": 4.0 * figures.get("peak_pu", 0.5),
        "frequency_deviation": 2.0 * abs(figures.get("deviation_hz", 1.0)),
        "phase_jump": abs(figures.get("phase_jump_degrees", 20.0)) / 10.0,
        "rapid_voltage_change": abs(figures.get("steady_change_percent", 5.0)) / 2.5,
        "harmonics": figures.get("thd_percent", 16.0) / 4.0,
        "flicker": 2.0 * figures.get("pst", figures.get("pst_of_seen", 1.0)),
        "outage": 10.0,
    }
    size = max((sizes.get(part, MIDDLING) for part in one.kind.split("+")), default=MIDDLING)
    return round(min(10.0, max(0.0, size)), 1) if math.isfinite(size) else MIDDLING


def _rms_severity(one: Finding) -> float:
    percent = one.residual_percent or 0.0
    off = min(1.0, abs(percent - 100.0) / 100.0)
    length_s = max(SHORT_S, (one.end_ns - one.start_ns) / 1e9)
    long = min(1.0, math.log10(length_s / SHORT_S) / 4.0)  # 10 ms: 0; 100 s: 1
    low, high = _BANDS.get(one.itic or "", (0.0, 10.0))
    return round(low + (high - low) * (0.6 * off + 0.4 * long), 1)
