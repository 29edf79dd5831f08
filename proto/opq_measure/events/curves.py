"""Verdicts on a dip or swell by its residual voltage and duration: ITIC, SEMI F47, IEEE 1159.

All three treat an rms event as a point (duration, residual voltage). A point on a line, also on a vertical
one, counts as inside. The lines have a small width, so that a measured 0.7 * 120 V for exactly 0.5 s is on
the line: 0.02 % of nominal for ITIC and F47, 0.001 % for IEEE 1159, a billionth of a duration.

    ITIC, lower    >= 0 % to 20 ms, >= 70 % to 0.5 s, >= 80 % to 10 s, >= 90 % on; else no_damage
    ITIC, upper    <= 120 % to 0.5 s, <= 110 % on; else prohibited
    F47-0706       >= 50 % to 0.2 s, >= 70 % to 0.5 s, >= 80 % to 1 s; else fail; no line after 1 s
    IEEE 1159      interruption < 10 %, sag 10 .. 90 %, swell >= 110 %; 0.5 cycle to 30 cycles instantaneous,
                   to 3 s momentary, to 60 s temporary, then sustained or under-/overvoltage

The parts of ITIC's upper curve below 3 ms (140 and 200 %) are for transients, which rms values do not show.
The original project's deviating curves are in `original.curves`. The standards were not at hand; the sources
of the values, and which of them have fewer than two, are in reports/event_sources.toml of the cloud.
"""

import math
from typing import Final, Literal

import numpy as np

from opq_measure.signal import BoolArray, FloatArray
from opq_measure.written_numbers import significant

IticVerdict = Literal["no_interruption_in_function", "no_damage", "prohibited"]
SemiF47Verdict = Literal["pass", "fail", "not_applicable"]

ITIC_LOW: Final = ((0.020, 0.0), (0.5, 70.0), (10.0, 80.0), (math.inf, 90.0))
"""(until s, at least % of nominal); ITI (CBEMA) curve, revised 2000."""
ITIC_HIGH: Final = ((0.5, 120.0), (math.inf, 110.0))
"""(until s, at most % of nominal); ITI (CBEMA) curve, revised 2000, the part for rms values."""
SEMI_F47: Final = ((0.2, 50.0), (0.5, 70.0), (1.0, 80.0))
"""(until s, at least % of nominal); SEMI F47-0706, table 1."""
LINE_PERCENT: Final = 1e-3
"""Width of a threshold, percent of nominal: the error of the rms of a steady voltage."""
STEP_PERCENT: Final = 0.02
"""Width of a curve's line: the error of the rms right next to a step; class A may be off by 0.1 %."""
LINE_WIDTH: Final = 1e-9
"""Width of a line in time, relative: far below any measurement, far above rounding."""

MIN_CYCLES: Final = 0.5
"""A change that is shorter is a transient (IEEE 1159-2019, table 2)."""
INSTANTANEOUS_CYCLES: Final = 30.0
"""A longer change is momentary (IEEE 1159-2019, table 2)."""
MOMENTARY_S: Final = 3.0
"""A longer change is temporary (IEEE 1159-2019, table 2)."""
TEMPORARY_S: Final = 60.0
"""Limits of duration; IEEE 1159-2019, table 2 (short and long duration rms variations)."""


def beyond_itic(residual_percent: FloatArray, duration_s: FloatArray) -> BoolArray:
    """(n,) whether the ITI curve has another verdict than `no_interruption_in_function`, of (n,) events.

    A year of a fleet has tens of thousands: 0.1 us each, and 4 us by `itic`.
    """
    low, high = _levels(ITIC_LOW, duration_s), _levels(ITIC_HIGH, duration_s)
    return np.asarray((residual_percent < low - STEP_PERCENT) | (high < residual_percent - STEP_PERCENT))


def beyond_semi_f47(residual_percent: FloatArray, duration_s: FloatArray) -> BoolArray:
    """(n,) whether SEMI F47 has the verdict `fail`, of (n,) events."""
    drawn = (residual_percent <= 100) & (SEMI_F47[-1][0] >= _least_s(duration_s))
    return np.asarray(drawn & (residual_percent < _levels(SEMI_F47, duration_s) - STEP_PERCENT))


def _levels(steps: tuple[tuple[float, float], ...], duration_s: FloatArray) -> FloatArray:
    """(n,) as `_level`; beyond the last step its level."""
    until_s, levels = np.array(steps).T
    found: FloatArray = levels[np.minimum(np.searchsorted(until_s, _least_s(duration_s)), len(steps) - 1)]
    return found


def _least_s(duration_s: FloatArray) -> FloatArray:
    return np.asarray(duration_s - LINE_WIDTH * np.maximum(duration_s, 1e-3))


def lasting_words(cycles: float, seconds: float) -> str:
    """The duration as text: `9.24 cycles`, or `25 s` where it is longer than instantaneous in IEEE 1159."""
    if cycles <= INSTANTANEOUS_CYCLES:
        return f"{significant(cycles, 3)} cycles"
    return f"{significant(seconds, 3)} s" if seconds < 1000 else f"{seconds:.0f} s"


def itic(residual_percent: float, duration_s: float) -> IticVerdict:
    """The verdict of the ITI curve on an rms event.

    Args:
        residual_percent: of nominal; the minimum of a dip, the maximum of a swell.
        duration_s: whole duration, >= 0.
    Returns:
        `no_interruption_in_function` between and on the lines, `no_damage` below, `prohibited` above.
    Raises:
        ValueError: a value is negative or not finite.
    Source: ITI (CBEMA) curve application note, 2000.
    """
    _check(residual_percent, duration_s)
    if below(residual_percent, _level(ITIC_LOW, duration_s), STEP_PERCENT):
        return "no_damage"
    if below(_level(ITIC_HIGH, duration_s), residual_percent, STEP_PERCENT):
        return "prohibited"
    return "no_interruption_in_function"


def semi_f47(residual_percent: float, duration_s: float) -> SemiF47Verdict:
    """Whether equipment that meets SEMI F47 rides through a dip: `pass` on and above the line, `fail` below.

    `not_applicable` for a dip longer than 1 s, where the standard draws no line, and for a swell
    (above 100 %).
    """
    _check(residual_percent, duration_s)
    if residual_percent > 100 or not _at_least(SEMI_F47[-1][0], duration_s):
        return "not_applicable"
    return "fail" if below(residual_percent, _level(SEMI_F47, duration_s), STEP_PERCENT) else "pass"


def ieee1159(residual_percent: float, duration_s: float, nominal_hz: float) -> str | None:
    """Name of an rms variation, or None for one that IEEE 1159 has no name for.

    Below 10 % it is an interruption, from 10 to 90 % a sag, from 110 % a swell; values between and durations
    below half a cycle have no name. Half a cycle to 30 cycles is instantaneous, to 3 s momentary, to 1 min
    temporary, longer a sustained interruption, an undervoltage or an overvoltage. A duration on a limit
    belongs to the shorter class. The standard's upper magnitudes of swells are typical values and not limits
    here.

    Source: IEEE 1159-2019, table 2 (magnitudes and durations).
    """
    _check(residual_percent, duration_s)
    if not _at_least(duration_s, MIN_CYCLES / nominal_hz):
        return None
    interrupted = below(residual_percent, 10.0)
    if interrupted:
        long_name, name = "sustained interruption", "interruption"
    elif not below(90.0, residual_percent):
        long_name, name = "undervoltage", "sag"
    elif not below(residual_percent, 110.0):
        long_name, name = "overvoltage", "swell"
    else:
        return None
    if not _at_least(TEMPORARY_S, duration_s):
        return long_name
    if not _at_least(MOMENTARY_S, duration_s):
        return f"temporary {name}"
    if interrupted or not _at_least(INSTANTANEOUS_CYCLES / nominal_hz, duration_s):
        return f"momentary {name}"
    return f"instantaneous {name}"


def below(percent: float, limit_percent: float, width_percent: float = LINE_PERCENT) -> bool:
    """Whether a measured rms, in percent of nominal, lies below a limit and not on its line."""
    return percent < limit_percent - width_percent


def _level(steps: tuple[tuple[float, float], ...], duration_s: float) -> float:
    """The level that holds for a duration; on a vertical line, the more lenient one before it."""
    least_s = duration_s - LINE_WIDTH * max(duration_s, 1e-3)
    return next(level for until_s, level in steps if until_s >= least_s)


def _at_least(value: float, limit: float) -> bool:
    """Whether a duration reaches a limit, give or take the width of a line."""
    return value >= limit - LINE_WIDTH * max(abs(limit) if math.isfinite(limit) else 0.0, 1e-3)


def _check(residual_percent: float, duration_s: float) -> None:
    if not (math.isfinite(residual_percent) and residual_percent >= 0):
        raise ValueError(f"residual_percent is {residual_percent}, want a number from 0")
    if not (math.isfinite(duration_s) and duration_s >= 0):
        raise ValueError(f"duration_s is {duration_s}, want a number from 0")
