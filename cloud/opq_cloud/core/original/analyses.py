"""Settings of the original's Mauka plug-ins as settings of the corresponding analyses. Pure.

Values are used within the limits of our analyses: `compat` stays a separate choice, because the original's
plug-ins name noise in every quiet hour (docs/reference/opq-interop.md H.35); settings only for `compat` wait
until it is chosen. Source of keys and meaning: docs/reference/opq-interop.md C.4, E.3.
"""

from collections.abc import Mapping
from typing import Any

FREQUENCY = "plugins.FrequencyVariationPlugin.frequency."
LOW_KEY = FREQUENCY + "variation.threshold.low"
"""The original's key of the lower limit, in hertz."""
HIGH_KEY = FREQUENCY + "variation.threshold.high"
"""The original's key of the upper limit, in hertz."""
REFERENCE_KEY = FREQUENCY + "ref"
THD_KEY = "plugins.ThdPlugin.threshold.percent"
NOISE_KEY = "plugins.TransientPlugin.noise.floor"
SHORTEST_KEY = "plugins.FrequencyVariationPlugin.min_incident_len_c"
WITH_COMPAT = {
    NOISE_KEY: ("noise_floor_v", 0.001, 1e6),
    "plugins.TransientPlugin.max.lull.ms": ("max_lull_ms", 0.0, 10_000.0),
    "plugins.TransientPlugin.oscillatory.min.cycles": ("oscillatory_crossings", 0, 10_000),
    "plugins.TransientPlugin.max.periodic.notching.std.dev": ("notching_std_samples", 0.0, 10_000.0),
    "plugins.TransientPlugin.auto.corr.thresh.periodicity": ("autocorrelation", 0.0, 1.0),
    "plugins.MakaiEventPlugin.filterOrder": ("filter_order", 1, 8),
    "plugins.MakaiEventPlugin.cutoffFrequency": ("cutoff_hz", 1.0, 5999.0),
}
"""Key -> setting of `transient` with `compat`, least, most; a whole number where the least is one."""
NUMBER_KEYS = (LOW_KEY, HIGH_KEY, REFERENCE_KEY, SHORTEST_KEY, THD_KEY, *WITH_COMPAT)
"""Keys that this file reads; each is a number."""
NOMINAL_HZ = 60.0
"""All of the original's plug-ins assume this frequency (E.2)."""
NOMINAL_V = 120.0
"""All of the original's plug-ins assume this voltage (E.2)."""
MIN_DEVIATION_PERCENT = 0.01
"""Bounds of our setting."""
MAX_DEVIATION_PERCENT = 8.0
MIN_THD_PERCENT = 0.1
"""Bounds of our setting."""
MAX_THD_PERCENT = 1000.0
MIN_PEAK_PERCENT = 5.0
"""Bounds of our setting; below 5 % of the peak no transient is measured."""
MAX_PEAK_PERCENT = 1000.0


def analysis_settings(document: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Returns analysis -> its settings, for the keys that a mauka.config.json has.

    Two limits of the frequency become one deviation, the larger of both; with `compat` both hold as they are.
    """
    found: dict[str, dict[str, float]] = {}
    frequency: dict[str, float] = {}
    nominal_hz = float(document.get(REFERENCE_KEY) or NOMINAL_HZ)
    limits_hz = [float(document[key]) for key in (LOW_KEY, HIGH_KEY) if document.get(key)]
    if limits_hz:
        percent = max(100 * abs(limit_hz - nominal_hz) / nominal_hz for limit_hz in limits_hz)
        percent = _within(percent, MIN_DEVIATION_PERCENT, MAX_DEVIATION_PERCENT)
        frequency = {"deviation_percent": round(percent, 6)}
        for key, name in ((LOW_KEY, "low_hz"), (HIGH_KEY, "high_hz")):
            if document.get(key):
                frequency[name] = _within(float(document[key]), 0.0, 1e6)
    if document.get(SHORTEST_KEY):
        frequency["least_cycles"] = round(_within(float(document[SHORTEST_KEY]), 1, 100_000))
    if frequency:
        found["frequency_deviation"] = frequency
    if document.get(THD_KEY):
        found["harmonics"] = {
            "thd_percent": _within(float(document[THD_KEY]), MIN_THD_PERCENT, MAX_THD_PERCENT)
        }
    transient: dict[str, float] = {}
    if document.get(NOISE_KEY):
        percent = 100 * float(document[NOISE_KEY]) / (NOMINAL_V * 2**0.5)
        transient["least_peak_percent"] = round(_within(percent, MIN_PEAK_PERCENT, MAX_PEAK_PERCENT), 6)
    for key, (name, least, most) in WITH_COMPAT.items():
        if document.get(key) is not None:
            value = _within(float(document[key]), least, most)
            transient[name] = round(value) if isinstance(least, int) else value
    if transient:
        found["transient"] = transient
    return found


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
