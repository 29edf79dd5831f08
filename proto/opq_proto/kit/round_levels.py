"""Round values for the axis of a chart.

A separate file: pages of View and the page of one recording draw axes, and neither imports the other.
"""

from collections.abc import Sequence
from math import ceil, floor, log10


def round_levels(bottom: float, top: float) -> Sequence[tuple[float, str]]:
    """Three to six round values within the limits."""
    raw = (top - bottom) / 4
    power = 10.0 ** floor(log10(raw))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= raw * 0.999)
    digits = max(0, -floor(log10(step) + 1e-9) + (1 if round(step / power, 3) == 2.5 else 0))
    first = ceil(bottom / step)
    return [(k * step, f"{k * step:.{digits}f}") for k in range(first, floor(top / step) + 1)]
