"""Rapid voltage changes in a waveform that is too short or too noisy for the rule of 61000-4-30.

The standard requires a steady second before and after, with each value within the hysteresis. An event's
waveform often ends sooner, and noise moves single values out of it by chance. Here the rms has to be steady
for a third of a second, and the mean of three cycles has to leave it by the threshold. The start of a change
is located more finely than by half cycles.

Source: IEC 61000-4-30:2015, 5.11 (Urms(1/2) against its mean; dUmax, dUss); the shorter times are ours.
"""

from dataclasses import dataclass, replace

import numpy as np

from opq_measure.analysis.occurrence import Occurrence
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.events.steps import change_at
from opq_measure.signal import BoolArray, FloatArray

STEADY_S = 0.33
"""The voltage is steady for this long before and after a change."""
AVERAGED_VALUES = 5
"""Number of Urms(1/2) values that are averaged: three cycles."""
MAX_SCATTER = 0.25
"""Largest scatter of a steady rms, as a share of the change."""


LATE_CYCLES = 0.45
"""Urms(1/2) leaves its mean this long after a step."""
EARLY_CYCLES = 0.55
"""The mean of five values leaves it this long before a step."""
NEAR_CYCLES = 0.75
"""Tolerance of these times."""
VALUES_BEFORE = 10
"""Number of Urms(1/2) values from which the voltage before is taken."""


@dataclass(frozen=True, slots=True)
class ShortChange:
    """`start`, `stop` index the Urms(1/2); percents of nominal, with sign. `back`: the voltage came back."""

    start: int
    stop: int
    largest_percent: float
    steady_percent: float
    scatter_percent: float
    back: bool


def short_change_in(
    half_rms_v: FloatArray,
    usable: BoolArray,
    nominal_v: float,
    nominal_hz: float,
    threshold_percent: float,
    together: int = AVERAGED_VALUES,
) -> ShortChange | None:
    """The change, if there is one.

    Args:
        usable: (h,) marks the `half_rms_v` (h,) outside of dips and jumps.
        together: number of `half_rms_v` in each mean that is compared with the voltage before.
    """
    percent = 100 * half_rms_v / nominal_v
    known = usable & np.isfinite(percent)
    steady = round(STEADY_S * 2 * nominal_hz)
    if np.count_nonzero(known) != len(known) or len(percent) < 2 * steady:
        return None
    smooth = np.convolve(percent, np.ones(together) / together, "valid")
    before = float(np.median(percent[:steady]))
    off = smooth - before
    beyond = np.flatnonzero(np.abs(off) >= threshold_percent)
    if len(beyond) < together // 2 + 1 or beyond[0] < steady - together:
        return None
    scatter = 1.4826 * float(np.median(np.abs(percent[:steady] - before)))
    largest = float(off[np.argmax(np.abs(off))])
    if scatter > MAX_SCATTER * abs(largest):
        return None
    left = np.flatnonzero(np.abs(off) > threshold_percent / 2)
    back = bool(left[-1] + together < len(off))
    after = float(np.median(percent[-steady:])) - before
    stop = int(left[-1]) + together if back else len(percent) - 1
    return ShortChange(int(left[0]) + together // 2, stop, largest, after, scatter, back)


def begun_at_step(change: Occurrence, signal: MeasuredSignal, late_cycles: float = LATE_CYCLES) -> Occurrence:
    """A rapid voltage change with its start moved to the step in the samples.

    Unchanged if they show no step, or one after its end.
    Urms(1/2) places the start 5 to 16 ms late, the step within 0.1 ms at 40 dB of noise and better.
    """
    analysis, cycle = signal.analysis, signal.cycle
    near = change.start_sample - late_cycles * cycle
    last = int(np.searchsorted(analysis.half_starts, near - cycle))
    before_v = analysis.half_rms_v[max(0, last - VALUES_BEFORE) : last]
    if len(before_v) < VALUES_BEFORE or not np.isfinite(before_v).all():
        return change
    half_v = change.figures["largest_change_percent"] / 200 * analysis.nominal_v
    at = change_at(signal.volts, near, cycle, float(np.median(before_v)) + half_v)
    if at is None or at > change.end_sample or abs(at - near) > NEAR_CYCLES * cycle:
        return change
    return replace(change, start_sample=at)
