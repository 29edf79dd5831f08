"""Requirements of EN 50160 on a week's values: shares within limits, percentiles, its limits for low voltage.

The values are aggregates: 10 min for voltage, harmonics, THD and unbalance, 2 h for Plt, 10 s for frequency,
3 s for signalling. Unknown values are not counted. The caller leaves out flagged values (the
standard speaks of normal operation, interruptions excluded).

Source: EN 50160:2010, 4.2 (low voltage, interconnected systems), limits from memory.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from opq_measure.signal import FloatArray

HARMONICS_PERCENT: Final = {
    **dict.fromkeys(range(6, 25, 2), 0.5),
    **{2: 2.0, 3: 5.0, 4: 1.0, 5: 6.0, 7: 5.0, 9: 1.5, 11: 3.5, 13: 3.0},
    **{15: 0.5, 17: 2.0, 19: 1.5, 21: 0.5, 23: 1.5, 25: 1.5},
}
"""Order -> % of the declared voltage, 95 % of a week; EN 50160:2010, table 1."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """At least `percent` of the values must lie from `low` to `high`, limits included."""

    name: str
    percent: float
    low: float = -math.inf
    high: float = math.inf


LOW_VOLTAGE: Final = (
    Requirement("rms_percent", 95.0, 90.0, 110.0),  # 4.2.2.2, of the declared voltage
    Requirement("rms_percent", 100.0, 85.0, 110.0),
    Requirement("frequency_percent", 99.5, 99.0, 101.0),  # 4.2.1, of the nominal frequency; over a year
    Requirement("frequency_percent", 100.0, 94.0, 104.0),
    Requirement("plt", 95.0, high=1.0),  # 4.2.3.2
    Requirement("u2_percent", 95.0, high=2.0),  # 4.2.4
    Requirement("thd_percent", 95.0, high=8.0),  # 4.2.5
)
"""Rows of EN 50160:2010, 4.2; harmonics are in `HARMONICS_PERCENT`."""


@dataclass(frozen=True, slots=True)
class ComplianceVerdict:
    """Whether a week meets a requirement; `share_percent` NaN and `met` None when no value is known."""

    requirement: Requirement
    count: int
    share_percent: float
    met: bool | None


def percentile(values: FloatArray, percent: float) -> float:
    """The smallest value that `percent` % of the known values do not exceed; NaN when none is known.

    It is the nearest rank, without interpolation, so that "95 % of the values are within the limit" and "the
    95 % value is within the limit" mean the same.
    """
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent}, want above 0 and to 100")
    known = np.sort(values[~np.isnan(values)])
    if len(known) == 0:
        return math.nan
    return float(known[max(math.ceil(round(percent / 100 * len(known), 9)), 1) - 1])


def judge(values: FloatArray, requirement: Requirement) -> ComplianceVerdict:
    """Checks whether enough of the (n,) values lie within the requirement's limits; NaN is unknown."""
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return ComplianceVerdict(requirement, 0, math.nan, None)
    inside = int(np.count_nonzero((known >= requirement.low) & (known <= requirement.high)))
    enough = inside >= round(requirement.percent / 100 * len(known), 9)
    return ComplianceVerdict(requirement, len(known), 100 * inside / len(known), enough)
