"""A rapid voltage change in a waveform that is too short, or too noisy, for the rule of 61000-4-30.

The standard wants a steady second before and after, each value of it within the hysteresis. An event's
waveform often ends sooner, and in noise single values leave it by chance. Here the rms has to be steady
for a third of a second, and the mean of three cycles to leave it by the threshold.

Source: IEC 61000-4-30:2015, 5.11 (Urms(1/2) against its mean; dUmax, dUss); the shorter times are ours.
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.signal import BoolArray, FloatArray

STEADY_S = 0.33
TOGETHER = 5
"""Urms(1/2) values that are taken together, three cycles."""
MOST_SCATTER = 0.25
"""The share of the change by which a steady rms may scatter."""


@dataclass(frozen=True, slots=True)
class ShortChange:
    """`start`, `stop` index the Urms(1/2); percents of nominal, with sign. `back`: it is as it was."""

    start: int
    stop: int
    largest_percent: float
    steady_percent: float
    scatter_percent: float
    back: bool


def short_change_in(
    half_rms_v: FloatArray, usable: BoolArray, nominal_v: float, nominal_hz: float, threshold_percent: float
) -> ShortChange | None:
    """The change, if there is one. Args: half_rms_v, usable (h,): values outside of dips and jumps."""
    percent = 100 * half_rms_v / nominal_v
    known = usable & np.isfinite(percent)
    steady = round(STEADY_S * 2 * nominal_hz)
    if np.count_nonzero(known) != len(known) or len(percent) < 2 * steady:
        return None
    smooth = np.convolve(percent, np.ones(TOGETHER) / TOGETHER, "valid")
    before = float(np.median(percent[:steady]))
    off = smooth - before
    beyond = np.flatnonzero(np.abs(off) >= threshold_percent)
    if len(beyond) < TOGETHER // 2 + 1 or beyond[0] < steady - TOGETHER:
        return None
    scatter = 1.4826 * float(np.median(np.abs(percent[:steady] - before)))
    largest = float(off[np.argmax(np.abs(off))])
    if scatter > MOST_SCATTER * abs(largest):
        return None
    left = np.flatnonzero(np.abs(off) > threshold_percent / 2)
    back = bool(left[-1] + TOGETHER < len(off))
    after = float(np.median(percent[-steady:])) - before
    stop = int(left[-1]) + TOGETHER if back else len(percent) - 1
    return ShortChange(int(left[0]) + TOGETHER // 2, stop, largest, after, scatter, back)
