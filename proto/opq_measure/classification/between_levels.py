"""Lasting disturbances in a signal where no window of 10/12 cycles is clear of a dip or swell.

Windows that contain part of a dip are flagged and not used (61000-4-30, 4.7). A second with a dip of half of
it may have no others. The cycles beside the dip still show harmonics and DC, by the mean cycle
(`mean_cycle`), and the frequency, by the length of the clear cycles. `faint_tones` finds lines there.
"""

import math
from collections.abc import Iterable

import numpy as np

from opq_measure.analysis.conditions import FREQUENCY_SIGMA_HZ, OTHER_NOMINAL_PERCENT, THD_SIGMA
from opq_measure.analysis.levels import LEVEL_SIGMA
from opq_measure.analysis.occurrence import Occurrence, confidence_of
from opq_measure.classification.class_limits import ClassLimits
from opq_measure.classification.mean_cycle import MIN_CYCLES, MeanCycle
from opq_measure.classification.measured_signal import MeasuredSignal
from opq_measure.signal import BoolArray

MIN_CONSECUTIVE_CYCLES = 3
"""Least number of consecutive cycles from which their length is measured."""
ORDERS = 25
"""Harmonics of the mean cycle that are counted; higher ones are small, and all contain its noise."""


def harmonics_between(signal: MeasuredSignal, mean: MeanCycle, limits: ClassLimits) -> Iterable[Occurrence]:
    """THD of the mean cycle, corrected for its noise; nothing where a window is clear."""
    if np.isfinite(signal.analysis.series.thd).any():
        return
    thd_percent = 100 * mean_thd(mean, signal.cycle)
    if thd_percent > limits.thd_percent:
        yield signal.throughout(
            "harmonics",
            confidence_of(thd_percent, limits.thd_percent, THD_SIGMA * thd_percent),
            f"THD {thd_percent:.2f} % in the mean of the {mean.cycles} cycles beside it, "
            f"above {limits.thd_percent:g} %",
            {"thd_percent": thd_percent, "thd_percent_max": thd_percent},
        )


def offset_between(signal: MeasuredSignal, mean: MeanCycle, limits: ClassLimits) -> Iterable[Occurrence]:
    """Direct voltage of the mean cycle; nothing where a window is clear."""
    if np.isfinite(signal.analysis.series.dc_v).any():
        return
    offset_v = float(mean.volts.mean())
    percent, limit = 100 * offset_v / signal.analysis.nominal_v, limits.dc.most_percent
    if abs(percent) > limit:
        yield signal.throughout(
            "dc_offset",
            confidence_of(abs(percent), limit, LEVEL_SIGMA * abs(percent)),
            f"direct voltage of {percent:+.2f} % of nominal, {offset_v:+.3g} V, in the mean of the "
            f"{mean.cycles} cycles beside it, above {limit:g} %",
            {"dc_percent": percent, "dc_v": offset_v},
        )


def mean_thd(mean: MeanCycle, cycle_samples: float) -> float:
    """THD as a ratio, orders 2 to 25; `cycle_samples`: samples per cycle, for its noise."""
    points = len(mean.volts)
    power = (2 / points * np.abs(np.fft.rfft(mean.volts))) ** 2
    of_noise = 4 / points * mean.rest_v**2 * points / (cycle_samples * mean.cycles)
    last = min(ORDERS, len(power) - 1)
    left = max(0.0, float(power[2 : last + 1].sum()) - (last - 1) * of_noise)
    return math.sqrt(left / float(power[1])) if power[1] > 0 else 0.0


def frequency_between(signal: MeasuredSignal, usable: BoolArray, limits: ClassLimits) -> Iterable[Occurrence]:
    """The frequency of the clear stretches, eight cycles or more in all; nothing where a window is clear.

    Args:
        usable: (c,) which cycles are clear, as many as the analysis has starts of cycles, less one.
    """
    analysis = signal.analysis
    if np.isfinite(analysis.series.frequency_hz).any():
        return
    bounds = np.flatnonzero(np.diff(np.concatenate(([0], usable.astype(np.int8), [0]))))
    parts = [
        analysis.cycle_starts[begin : end + 1]
        for begin, end in zip(bounds[::2].tolist(), bounds[1::2].tolist(), strict=True)
        if end - begin >= MIN_CONSECUTIVE_CYCLES
    ]
    count = sum(len(each) - 1 for each in parts)
    if count < MIN_CYCLES:
        return
    # one length of the cycle for all stretches, with an offset for each
    at = [np.arange(len(each)) - (len(each) - 1) / 2 for each in parts]
    sums = [float(place @ each) for place, each in zip(at, parts, strict=True)]
    hz = analysis.rate_hz * sum(float(place @ place) for place in at) / sum(sums)
    off_hz, nominal_hz = hz - analysis.nominal_hz, analysis.nominal_hz
    limit_hz = limits.deviation_percent / 100 * nominal_hz
    if not limit_hz < abs(off_hz) <= OTHER_NOMINAL_PERCENT / 100 * nominal_hz:
        return
    yield signal.throughout(
        "frequency_deviation",
        confidence_of(abs(off_hz), limit_hz, 2 * FREQUENCY_SIGMA_HZ),
        f"{hz:.3f} Hz over the {count} cycles beside it, off nominal by more than {limit_hz:g} Hz",
        {"deviation_hz": off_hz},
    )
