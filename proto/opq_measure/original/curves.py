"""Verdicts of the original project's Mauka, which deviate from the curves; for comparison.

Differences from `events.curves`: values are compared without tolerance, so that rounding decides on a line
(132 V of 120 V are 110.00000000000001 % and prohibited); SEMI F47 counts its line as a violation, goes on to
1000 s and begins above one cycle; ITIC has the part above 120 % for less than 3 ms; IEEE 1159 classifies 30
cycles of sag as momentary and names a swell by every band that contains it.
All durations are cycles of 60 Hz.

Source: the original's Ieee1159VoltagePlugin, IticPlugin and SemiF47Plugin (docs/reference/opq-interop.md,
E.3).
"""

import math
from itertools import pairwise
from typing import Final

from opq_measure.events.curves import IticVerdict

"""The original assumes 60 Hz."""
PROHIBITED: Final = ((0.01, 500.0), (0.06, 200.0), (0.18, 140.0), (0.18, 120.0), (30.0, 120.0), (30.0, 110.0))
"""(cycles, %) corners; above them is prohibited. Straight between them, level after the last."""
NO_DAMAGE: Final = ((1.2, 0.0), (30.0, 70.0), (600.0, 80.0), (math.inf, 90.0))
"""(until cycles, below %) of the no-damage region."""
VIOLATION: Final = ((12.0, 50.0), (30.0, 70.0), (600.0, 80.0), (60_000.0, 90.0))
"""(until cycles, %): a violation is on the line or below it, or on a riser up to its upper end."""
VIOLATION_FROM_CYCLES: Final = 1.001

BANDS: Final = (
    ((0.0, 0.1), ((0.5, 180.0, "Momentary:Interruption"), (180.0, 3600.0, "Temporary:Interruption"))),
    (
        (0.1, 0.9),
        (
            (0.5, 30.0, "Instantaneous:Sag"),
            (30.0, 180.0, "Momentary:Sag"),
            (180.0, 3600.0, "Temporary:Sag"),
        ),
    ),
    ((0.8, 0.9), ((3600.0, math.inf, "Undervoltage"),)),
    ((1.1, 1.2), ((180.0, 3600.0, "Temporary:Swell"), (3600.0, math.inf, "Overvoltage"))),
    ((1.1, 1.4), ((30.0, 180.0, "Momentary:Swell"),)),
    ((1.1, 1.8), ((0.5, 30.0, "Instantaneous:Swell"),)),
)
"""Bands of Vrms / 120 V, inclusive except 0.1 for an interruption; rows (from cycles, to cycles, class)."""


def original_itic(percent: float, cycles: float) -> IticVerdict:
    """The region of (cycles, mean Vrms in % of nominal); a point on a line counts as inside."""
    if cycles >= PROHIBITED[0][0] and percent > _upper(cycles):
        return "prohibited"
    level = next((level for until, level in NO_DAMAGE if cycles <= until), NO_DAMAGE[-1][1])
    return "no_damage" if percent < level else "no_interruption_in_function"


def original_semi_f47(percent: float, cycles: float) -> bool:
    """Whether the original calls it a violation."""
    if not VIOLATION_FROM_CYCLES <= cycles <= VIOLATION[-1][0]:
        return False
    return percent <= next(level for until, level in reversed(_risen()) if cycles >= until)


def original_ieee1159(per_unit: float, cycles: float) -> tuple[str, ...]:
    """The classes of a run of this many cycles, one per band that contains it: the last row that fits."""
    found = []
    for number, ((low, high), rows) in enumerate(BANDS):
        inside = low <= per_unit < high if number == 0 else low <= per_unit <= high
        fitting = [name for first, last, name in rows if _fits(cycles, first, last)]
        if inside and fitting:
            found.append(fitting[-1])
    return tuple(found)


def _fits(cycles: float, first: float, last: float) -> bool:
    """Lower limits of 0.5 and 30 cycles are inclusive, 180 and 3600 are not; all upper limits are."""
    return (cycles >= first if first <= 30 else cycles > first) and cycles <= last


def _upper(cycles: float) -> float:
    for (first, high), (last, low) in pairwise(PROHIBITED):
        if first <= cycles <= last and first < last:
            return high + (low - high) * (cycles - first) / (last - first)
    return PROHIBITED[-1][1]


def _risen() -> tuple[tuple[float, float], ...]:
    """(from cycles, %) of the violation's steps; a riser belongs to the higher side."""
    starts = (VIOLATION_FROM_CYCLES, *(until for until, _ in VIOLATION[:-1]))
    return tuple(zip(starts, (level for _, level in VIOLATION), strict=True))
