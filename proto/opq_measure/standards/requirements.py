"""Shares of values within limits, and percentiles, as EN 50160, IEC 61000-2-2 and IEEE 519 ask for them.

The values are aggregates of class A: 10 min for voltage, harmonics and unbalance, 2 h for Plt, 10 s for
frequency, 3 s for the very short times of IEEE 519. NaN is unknown and is not counted. The limits are in
files of `opq_cloud/reports/limits`; a value on a limit is inside.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opq_measure.signal import FloatArray

BoolArray = NDArray[np.bool_]
LIMIT_ROUNDING = 2e-7
"""Width of a limit, relative: values are stored in single precision, and 253 V is 110 % of 230 V."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """At least `percent` of the values must lie from `low` to `high`, limits included."""

    percent: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.percent <= 100:
            raise ValueError(f"percent is {self.percent}, want above 0 and to 100")
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}, want low below high")


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether enough of the values meet a requirement; NaN where no value is known."""

    count: int
    """Known values."""
    inside: int
    value: float
    """The value that must be within the limit: the percentile at the limit that is nearer to being passed."""
    lowest: float
    highest: float
    met: bool | None
    """None: no value is known, or the missing ones decide."""

    @property
    def share_percent(self) -> float:
        """Share of the known values within the limits."""
        return 100 * self.inside / self.count if self.count else math.nan


def percentile(values: FloatArray, percent: float) -> float:
    """The smallest value that `percent` % of the known values do not exceed; NaN when none is known.

    It is the nearest rank, without interpolation, so that "95 % of the values are within the limit" and "the
    95 % value is within the limit" mean the same.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent}, want above 0 and to 100")
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return math.nan
    place = _needed(percent, len(known)) - 1
    return float(np.partition(known, place)[place])


def inside(values: FloatArray, requirement: Requirement) -> BoolArray:
    """(n,) whether each value lies within the limits; False for an unknown one."""
    low = (
        requirement.low - LIMIT_ROUNDING * abs(requirement.low)
        if math.isfinite(requirement.low)
        else -math.inf
    )
    high = (
        requirement.high + LIMIT_ROUNDING * abs(requirement.high)
        if math.isfinite(requirement.high)
        else math.inf
    )
    found: BoolArray = (values >= low) & (values <= high)
    return found


def judge(values: FloatArray, requirement: Requirement, missing: int = 0) -> Judgement:
    """Checks whether enough of the (n,) values lie within the requirement's limits; NaN is not counted.

    `missing` values of the span are not among them. Each of these may be within or outside: the requirement
    is met if it is met with all of them outside, and not met if it is not met with all of them within.
    """
    values = np.asarray(values, dtype=np.float64)
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return Judgement(0, 0, math.nan, math.nan, math.nan, None)
    good = int(np.count_nonzero(inside(known, requirement)))
    needed = _needed(requirement.percent, len(known) + missing)
    return Judgement(
        len(known),
        good,
        _nearest_to_limit(known, requirement),
        float(known.min()),
        float(known.max()),
        True if good >= needed else False if good + missing < needed else None,
    )


def _needed(percent: float, count: int) -> int:
    """How many of `count` values are `percent` % of them, rounded up."""
    return max(math.ceil(round(percent / 100 * count, 9)), 1)


def _nearest_to_limit(known: FloatArray, requirement: Requirement) -> float:
    """The percentile to state beside the limit; with two limits that of the side with less room."""
    upper = percentile(known, requirement.percent)
    if not math.isfinite(requirement.low):
        return upper
    lower = -percentile(-known, requirement.percent)
    if not math.isfinite(requirement.high):
        return lower
    return upper if requirement.high - upper <= lower - requirement.low else lower
