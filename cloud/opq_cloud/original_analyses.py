"""Settings of the original's Mauka plug-ins as settings of the analyses that stand for them. Pure.

Values are obeyed within what our analyses can do: `compat` stays a choice of its own, as the original's
plug-ins name noise in every quiet hour (opq-interop H.35). Source of keys and meaning: opq-interop C.4, E.3.
"""

from collections.abc import Mapping
from typing import Any

FREQUENCY = "plugins.FrequencyVariationPlugin.frequency."
LOW_KEY, HIGH_KEY = FREQUENCY + "variation.threshold.low", FREQUENCY + "variation.threshold.high"
REFERENCE_KEY = FREQUENCY + "ref"
THD_KEY = "plugins.ThdPlugin.threshold.percent"
NOISE_KEY = "plugins.TransientPlugin.noise.floor"
NUMBER_KEYS = (LOW_KEY, HIGH_KEY, REFERENCE_KEY, THD_KEY, NOISE_KEY)
"""Keys that this file reads; each is a number."""
NOMINAL_HZ, NOMINAL_V = 60.0, 120.0
"""All of the original's plug-ins are for these (E.2)."""
LEAST_DEVIATION, MOST_DEVIATION = 0.01, 8.0
LEAST_THD, MOST_THD = 0.1, 1000.0
LEAST_PEAK, MOST_PEAK = 5.0, 1000.0
"""Bounds of our settings, percent; below 5 % of the peak no transient is measured."""


def analysis_settings(document: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Analysis -> its settings, for the keys that a mauka.config.json has.

    Two limits of the frequency become one deviation, the larger of both.
    """
    found: dict[str, dict[str, float]] = {}
    nominal_hz = float(document.get(REFERENCE_KEY) or NOMINAL_HZ)
    limits_hz = [float(document[key]) for key in (LOW_KEY, HIGH_KEY) if document.get(key)]
    if limits_hz:
        percent = max(100 * abs(limit_hz - nominal_hz) / nominal_hz for limit_hz in limits_hz)
        percent = _within(percent, LEAST_DEVIATION, MOST_DEVIATION)
        found["frequency_deviation"] = {"deviation_percent": round(percent, 6)}
    if document.get(THD_KEY):
        found["harmonics"] = {"thd_percent": _within(float(document[THD_KEY]), LEAST_THD, MOST_THD)}
    if document.get(NOISE_KEY):
        percent = 100 * float(document[NOISE_KEY]) / (NOMINAL_V * 2**0.5)
        found["transient"] = {"least_peak_percent": round(_within(percent, LEAST_PEAK, MOST_PEAK), 6)}
    return found


def _within(value: float, least: float, most: float) -> float:
    return min(max(value, least), most)
