"""What the voltage of one Box shows of the cause of a disturbance: numbers, no verdict.

A short circuit is as deep after three cycles as at first, and ends within a cycle. A motor's dip ends slowly,
most of it at the end. An inrush fades from the first cycle on and brings a second harmonic that fades too. A
bank or a tap changer leaves a step. Another frequency turns the phase steadily.

Source: Bollen, "Understanding Power Quality Problems", 2000, 4.4 to 4.9 (shapes of dips); Bollen and Gu,
2006, chapter 6 (causes by their shapes).
"""

import cmath
import math
from dataclasses import dataclass, fields

import numpy as np

from opq_measure.causes.phasor_series import HOPS_PER_CYCLE, PhasorSeries, phasor_series
from opq_measure.signal import FloatArray, SignalArray

SETTLED_CYCLES = 1.2
"""This long after a sudden change the phasor over one cycle contains nothing of the time before."""
EARLY_CYCLES = 3.0
"""The plateau is measured up to this many cycles after the onset."""
LATE_CYCLES = 12.0
"""A fading change is measured again this many cycles after the onset."""
SUDDEN_CYCLES = 3.0
MIN_CHANGE = 0.01
"""Share of the voltage before; the shape of a smaller change is unknown."""
CLEAR_CHANGE_SHARE = 0.03
"""Share of the voltage before from which the size alone shows the shape."""
SHORT_SHARE = 0.3
"""A change is short if less than this share of it is left after settling."""
HIGH_SHARE = 0.8
"""The recovery of a dip is timed between these three shares of its depth."""
HALF_SHARE = 0.5
LOW_SHARE = 0.3
NO_PHASE_SHARE = 1e-3
"""Share of the voltage before, below which a wave has no phase."""
NO_SIZE_SHARE = 0.1
"""Share of the voltage before, below which a wave has no frequency."""
STEADY_S = 0.25
"""Length of the end of the course from which the remaining change is measured."""
LONGEST_S = 4.0
"""Longest time after the onset that is analysed."""
HZ_FROM_S = 0.1
"""Beginning, after the onset, of the span whose phase gives the frequency."""
HZ_TO_S = 1.5
"""End of this span."""
MIN_HZ_S = 0.3
"""Least length of this span."""
MAX_BENT_RAD = 0.3
"""Largest rms deviation of the phase from a straight line; beyond it the phase has jumped."""


@dataclass(frozen=True, slots=True)
class OnsetTraits:
    """Percents and degrees against the wave before, extrapolated; None if the waveform does not show it."""

    before_hz: float
    change_percent: float
    """Size of the fundamental over the first cycles, against before: -30 for a dip to 70 %."""
    change_degrees: float
    """Phase over the first cycles, against before; positive when it leads."""
    lasting_s: float | None = None
    """Time until half of the change is gone for the first time; None if that does not happen."""
    recovery_cycles: float | None = None
    """Cycles from 80 to 30 % of the change, the first time that it falls so far; None if it does not."""
    fading_percent: float | None = None
    """Change after twelve cycles as a share of the first change; None if it ended suddenly before."""
    after_percent: float | None = None
    """Size at the end of the analysed time, against before."""
    second_percent: float | None = None
    """Second harmonic in the first cycles, beyond that before."""
    second_later_percent: float | None = None
    """The same share after twelve cycles."""
    odd_percent: float | None = None
    """Third and fifth harmonic together after twelve cycles, beyond those before."""
    hz_change: float | None = None
    """Frequency after the onset against before, by the slope of the phase."""

    def figures(self) -> tuple[tuple[str, float], ...]:
        """Names with their units and values, as figures of a finding; unknown ones are left out."""
        values = ((f"onset_{each.name}", getattr(self, each.name)) for each in fields(self))
        return tuple((name, float(value)) for name, value in values if value is not None)


def onset_traits(volts: SignalArray, rate_hz: float, hz: float, start_sample: float) -> OnsetTraits | None:
    """The traits of a disturbance that begins at a sample; None if the wave before is too short or not
    steady.

    Args:
        volts: (n,) volts or counts, without gaps.
        hz: about the frequency before.

    It takes 3.5 ms of CPU for 6 s at 12 kS/s (one core of a server, 2026-11-22).
    """
    series = phasor_series(volts, rate_hz, hz, start_sample, LONGEST_S)
    if series is None:
        return None
    cycle_s = 1 / series.hz
    early = _early(series)
    if early is None:
        return None
    change = _change(series, early)
    lasting_s = _first_below(series, change, HALF_SHARE)
    cycles = _recovery_cycles(series, change)
    over = cycles is not None and cycles <= SUDDEN_CYCLES and (lasting_s or 0.0) < LATE_CYCLES * cycle_s
    second = series.harmonics.get(2)
    return OnsetTraits(
        before_hz=series.hz,
        change_percent=100 * (abs(early) - 1),
        change_degrees=math.degrees(cmath.phase(early)) if abs(early) > NO_PHASE_SHARE else 0.0,
        lasting_s=lasting_s,
        recovery_cycles=cycles,
        fading_percent=None if over else _fading(series, early),
        after_percent=_after(series),
        second_percent=None if second is None else _beyond(series, second, SETTLED_CYCLES),
        second_later_percent=None if second is None else _beyond(series, second, LATE_CYCLES),
        odd_percent=sum(
            _beyond(series, series.harmonics[n], LATE_CYCLES) or 0.0 for n in (3, 5) if n in series.harmonics
        ),
        hz_change=_hz_change(series),
    )


def _early(series: PhasorSeries) -> complex | None:
    """The fundamental over the first settled cycles; for a shorter change, its value furthest from before."""
    part = series.relative[series.between(SETTLED_CYCLES / series.hz, EARLY_CYCLES / series.hz)]
    first = series.relative[series.between(0.0, SETTLED_CYCLES / series.hz)]
    if len(part) < HOPS_PER_CYCLE or len(first) == 0:
        return None
    settled = complex(np.median(part.real), np.median(part.imag))
    furthest = complex(first[np.argmax(np.abs(first - 1))])
    return settled if abs(settled - 1) > SHORT_SHARE * abs(furthest - 1) else furthest


def _change(series: PhasorSeries, early: complex) -> FloatArray | None:
    """(h,) share of the first change that is left, by size; by phasor where only the phase moved."""
    size = abs(early) - 1
    if abs(size) >= CLEAR_CHANGE_SHARE or abs(early - 1) < 2 * abs(size):
        return (np.abs(series.relative) - 1) / size if abs(size) >= MIN_CHANGE else None
    return np.abs(series.relative - 1) / abs(early - 1) if abs(early - 1) >= MIN_CHANGE else None


def _first_below(series: PhasorSeries, change: FloatArray | None, share: float) -> float | None:
    """Seconds from the onset until less than a share of the change is left."""
    if change is None:
        return None
    part = series.between(SETTLED_CYCLES / series.hz / 2, math.inf)
    left, time_s = change[part], series.time_s[part]
    below = np.flatnonzero(left < share)
    if len(below) == 0:
        return None
    at = int(below[0])
    if at == 0:
        return float(time_s[0])
    return float(np.interp(-share, -left[at - 1 : at + 1], time_s[at - 1 : at + 1]))


def _recovery_cycles(series: PhasorSeries, change: FloatArray | None) -> float | None:
    """Number of cycles that the size takes from 80 to 30 % of its change."""
    low_s = _first_below(series, change, LOW_SHARE)
    if change is None or low_s is None:
        return None
    part = series.between(0.0, low_s)
    high = np.flatnonzero(change[part] > HIGH_SHARE)
    return None if len(high) == 0 else (low_s - float(series.time_s[part][high[-1]])) * series.hz


def _fading(series: PhasorSeries, early: complex) -> float | None:
    """Percent of the change that is left after twelve cycles."""
    at_s = LATE_CYCLES / series.hz
    part = series.relative[series.between(at_s, at_s + 3 / series.hz)]
    if len(part) < 2 * HOPS_PER_CYCLE or abs(abs(early) - 1) < MIN_CHANGE:
        return None
    return 100 * (float(np.median(np.abs(part))) - 1) / (abs(early) - 1)


def _after(series: PhasorSeries) -> float | None:
    end_s = float(series.time_s[-1])
    if end_s < 2 * STEADY_S:
        return None
    part = series.relative[series.between(end_s - STEADY_S, end_s)]
    return 100 * (float(np.median(np.abs(part))) - 1)


def _beyond(series: PhasorSeries, sizes: FloatArray, cycles: float) -> float | None:
    """Percent beyond the value before, over the three cycles that begin `cycles` cycles after the onset."""
    part = sizes[series.between(cycles / series.hz, (cycles + 3) / series.hz)]
    before = sizes[series.time_s[: len(sizes)] < -1.0 / series.hz]
    return 100 * float(np.median(part) - np.median(before)) if len(part) >= HOPS_PER_CYCLE else None


def _hz_change(series: PhasorSeries) -> float | None:
    part = series.between(HZ_FROM_S, HZ_TO_S)
    time_s = series.time_s[part]
    if len(time_s) < HOPS_PER_CYCLE or time_s[-1] - time_s[0] < MIN_HZ_S:
        return None
    if float(np.abs(series.relative[part]).min()) < NO_SIZE_SHARE:
        return None
    phase = np.unwrap(np.angle(series.relative[part]))
    slope, start = np.polyfit(time_s, phase, 1)
    bent = float(np.std(phase - slope * time_s - start))
    return float(slope) / (2 * math.pi) if bent < MAX_BENT_RAD else None
