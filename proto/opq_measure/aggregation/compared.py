"""Two meters of one quantity beside each other: bias, spread and delay.

A meter whose values come faster is averaged over the other's intervals; its values hold until the next one.
The delay is where the two agree best (cross-correlation), to a fraction of an interval.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_VALUES = 12
LEAST_CORRELATION = 0.5
"""Below this correlation the delay of best agreement is chance."""
FINE_VALUES = 5
"""With this many values of the other meter in one of our intervals, they can be moved by a part of it."""
_SEARCH_STEPS = 30
"""Steps of the search between two delays; it leaves 1e-6 of an interval."""
FloatArray = NDArray[np.float64]
Agreement = Callable[[float], float]
"""Delay, s -> correlation."""


@dataclass(frozen=True, eq=False, slots=True)
class MeterComparison:
    """The other meter against ours, with its delay taken out (to whole intervals where it is not finer)."""

    count: int
    """Intervals that both have."""
    bias: float
    """Mean of the other's values minus ours."""
    spread: float
    """Standard deviation of these differences."""
    delay_s: float | None
    """How much later the other's course is; None where the courses do not show it."""
    correlation: float | None
    """Correlation of the two courses at that delay; None where one does not move."""
    chosen: NDArray[np.int64]
    """(count,) places of our values."""
    other: FloatArray
    """(count,) the other's values for them."""


def compared(
    our_s: FloatArray,
    ours: FloatArray,
    their_s: FloatArray,
    theirs: FloatArray,
    length_s: float,
    most_s: float,
) -> MeterComparison | None:
    """Compares two courses; None where fewer than LEAST_VALUES intervals have both.

    Args:
        our_s: (n,) rising, starts of our intervals, seconds.
        ours: (n,) means over `length_s` from there.
        their_s: (m,) rising, starts of the other's values, seconds.
        theirs: (m,) each holds until the next one.
        most_s: longest delay that is tried, either way.
    """
    if len(their_s) < 2 or len(our_s) < LEAST_VALUES:
        return None
    steps = np.append(np.diff(their_s), np.median(np.diff(their_s)))
    holds = np.minimum(steps, 1.5 * np.median(steps))  # a hole stays open
    edges = np.append(their_s, their_s[-1] + holds[-1])
    sums = np.concatenate(([0.0], np.cumsum(theirs * holds)))
    times = np.concatenate(([0.0], np.cumsum(holds)))
    far_edges = np.append(their_s + holds, edges[-1])

    def passed(at: FloatArray) -> tuple[FloatArray, FloatArray]:
        place = np.clip(np.searchsorted(their_s, at, "right") - 1, 0, len(their_s) - 1)
        inside = np.clip(np.minimum(at, far_edges[place]) - their_s[place], 0.0, None)
        return sums[place] + theirs[place] * inside, times[place] + inside

    def means(delay_s: float) -> FloatArray:
        """The other's mean over each of our intervals, later by a delay; NaN below 90 % of it."""
        first, last = passed(our_s + delay_s), passed(our_s + delay_s + length_s)
        known = last[1] - first[1]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(known >= 0.9 * length_s, (last[0] - first[0]) / known, np.nan)

    def agreement(delay_s: float) -> float:
        other = means(delay_s)
        both = ~np.isnan(other) & ~np.isnan(ours)
        if int(both.sum()) < LEAST_VALUES:
            return -1.0
        a, b = ours[both] - ours[both].mean(), other[both] - other[both].mean()
        size = float(np.sqrt((a @ a) * (b @ b)))
        return float(a @ b) / size if size > 1e-12 * len(a) else -1.0

    is_fine = float(np.median(steps)) <= length_s / FINE_VALUES
    delay_s, correlation = _best(agreement, length_s, most_s, is_fine)
    moves = correlation >= LEAST_CORRELATION
    whole_s = delay_s if is_fine else round(delay_s / length_s) * length_s
    other = means(whole_s if moves else 0.0)
    chosen = np.flatnonzero(~np.isnan(other) & ~np.isnan(ours))
    if len(chosen) < LEAST_VALUES:
        return None
    apart = other[chosen] - ours[chosen]
    return MeterComparison(
        len(chosen),
        float(apart.mean()),
        float(apart.std(ddof=1)),
        delay_s if moves else None,
        correlation if correlation > -1.0 else None,
        chosen,
        other[chosen],
    )


def _best(agreement: Agreement, length_s: float, most_s: float, is_fine: bool) -> tuple[float, float]:
    """The delay at which two courses agree best: whole and half intervals first, then between two of them."""
    step_s = length_s / 2 if is_fine else length_s
    many = int(most_s // step_s)
    tried = [step_s * each for each in range(-many, many + 1)]
    found = [agreement(each) for each in tried]
    at = int(np.argmax(found))
    if is_fine:
        return _highest(agreement, tried[at] - step_s, tried[at] + step_s)
    if not 0 < at < len(tried) - 1:
        return tried[at], found[at]
    # a parabola, because a mean of two values would agree too well
    before, best, after = found[at - 1 : at + 2]
    bend = before - 2 * best + after
    moved = 0.5 * (before - after) / bend if bend < 0 else 0.0
    return tried[at] + step_s * moved, best


def _highest(agreement: Agreement, low: float, high: float) -> tuple[float, float]:
    """The highest point between two delays, by the golden section."""
    golden = (5**0.5 - 1) / 2
    one, two = high - golden * (high - low), low + golden * (high - low)
    at_one, at_two = agreement(one), agreement(two)
    for _ in range(_SEARCH_STEPS):
        if at_one >= at_two:
            high, two, at_two = two, one, at_one
            one = high - golden * (high - low)
            at_one = agreement(one)
        else:
            low, one, at_one = one, two, at_two
            two = low + golden * (high - low)
            at_two = agreement(two)
    return one, at_one
