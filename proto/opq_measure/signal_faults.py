"""Faults of a recorder: a signal without mains, a stuck value, a clipping converter. Pure.

A figure relative to the fundamental needs a fundamental, and a stuck value is not a sag. Exact zeros are not
stuck, because an interruption in a simulation or a digital source has them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from opq_measure.signal import MAX_V, FloatArray, SignalArray

STUCK_S = 0.008
"""The shortest stuck value, nearly half a cycle of 60 Hz, in which mains always moves."""
ZERO_PEAK_SHARE = 0.02
"""Share of the peak below which a constant value is near zero, as in an interruption."""
CLIPPED_CYCLES = 1 / 16
"""The shortest flat top in most cycles; a top at 98 % of the peak lasts a sixteenth of a cycle."""
TIMES_ROUNDING = 2.0
"""A flat top is this many times as long as one from the converter's rounding."""
OF_CYCLES = 0.5
LEAST_LINE_SHARE = 0.1
"""Least power of a supply's line, as a share of the power without DC."""
OF_TOTAL_SHARE = 0.02
"""Least rms of a supply's line, as a share of the whole rms."""
NEAR_HZ = 0.2


@dataclass(frozen=True, slots=True)
class StuckSpan:
    """Samples [start, stop) of one value."""

    start: int
    stop: int
    value: float


def stuck_spans(values: SignalArray, rate_hz: float) -> list[StuckSpan]:
    """The spans of consecutive samples (n,) that stay at one value away from zero for `STUCK_S`."""
    shortest = max(4, math.ceil(STUCK_S * rate_hz))
    if len(values) < shortest or not _may_be_stuck(values, (shortest - 1) // 2):
        return []
    edges = np.flatnonzero(np.diff(values) != 0) + 1
    starts = np.concatenate(([0], edges))
    stops = np.concatenate((edges, [len(values)]))
    long = stops - starts >= shortest
    if not long.any():
        return []
    peak = float(np.abs(values.astype(np.float64)).max())
    return [
        StuckSpan(start, stop, float(values[start]))
        for start, stop in zip(starts[long].tolist(), stops[long].tolist(), strict=True)
        if abs(float(values[start])) > ZERO_PEAK_SHARE * peak or (start == 0 and stop == len(values))
    ]


def _may_be_stuck(values: SignalArray, step: int) -> bool:
    """Whether all samples from one multiple of `step` to the next are alike, as twice in a stuck span."""
    some = values[::step]
    return any(
        (values[at : at + step + 1] == values[at]).all()
        for at in (step * np.flatnonzero(some[1:] == some[:-1])).tolist()
    )


def clipped_at(values: SignalArray, rate_hz: float, nominal_hz: float) -> float | None:
    """The value at which most cycles are cut flat; None where they are not."""
    cycle = rate_hz / nominal_hz
    if len(values) < 2 * cycle:
        return None
    plain = values.astype(np.float64)
    steps = np.abs(np.diff(np.unique(plain[: 1 << 16])))
    rounding = float(steps[steps > 0].min()) if (steps > 0).any() else 0.0
    for limit in (float(plain.max()), float(plain.min())):
        if limit == 0:
            continue
        by_rounding = 2 * math.acos(max(-1.0, 1 - min(2.0, rounding / abs(limit)))) / (2 * math.pi) * cycle
        shortest = max(3.0, CLIPPED_CYCLES * cycle, TIMES_ROUNDING * by_rounding)
        edges = np.flatnonzero(np.diff(np.concatenate(([False], plain == limit, [False])).astype(np.int8)))
        flat = int((edges[1::2] - edges[::2] >= shortest).sum())
        if flat >= OF_CYCLES * len(plain) / cycle:
            return limit
    return None


def has_mains(stretches: Iterable[FloatArray], rate_hz: float, nominal_hz: float) -> bool:
    """Whether any of some stretches of volts has a line near the nominal frequency that is its mains."""
    return any(_has_line(volts, rate_hz, nominal_hz) for volts in stretches)


def _has_line(volts: FloatArray, rate_hz: float, nominal_hz: float) -> bool:
    if len(volts) < 2 * rate_hz / nominal_hz or not (np.abs(volts) <= MAX_V).all():
        return True  # too short to exclude mains
    window = np.hanning(len(volts) + 2)[1:-1]
    wave = volts - volts.mean()
    power = np.abs(np.fft.rfft(wave * window)) ** 2
    hertz = np.fft.rfftfreq(len(volts), 1 / rate_hz)
    total, whole = float(power.sum()), float(np.mean(volts**2))
    if total <= 0:
        return False
    width = max(NEAR_HZ * nominal_hz, 2 * rate_hz / len(volts))
    line = float(power[np.abs(hertz - nominal_hz) <= width].sum()) / total
    return line >= LEAST_LINE_SHARE and line * float(np.var(volts)) >= OF_TOTAL_SHARE**2 * whole
