"""Whether occurrences come at one interval: "six of the last eight came 15 min after the one before".

Under chance occurrences have no memory, so the times between them are exponential, of whatever rate. The
probability that such a time lies in [m, 1.22 m] is largest at one rate, and known in closed form; so
the probability that k of n lie there is at most that of the binomial distribution, and, as m was chosen among
the n, at most n times that of k - 1 of the others. `chance` is that upper bound, whatever the rate.
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.recurrence.bursts import at_least, burst_starts
from opq_measure.signal import FloatArray

SPREAD = 0.1
"""An interval counts as the same within so much of it, either way."""
BURST_S = 60.0
"""What follows within a minute is the same occurrence: reclosings."""
SHORTEST_S = 120.0
FEWEST = 4
"""Times between occurrences before anything is said; three of them alike."""


@dataclass(frozen=True, slots=True)
class RepeatedInterval:
    """`count` of `total` times between two occurrences are alike.

    `least_s`, `middle_s`, `most_s`: of those that are alike. `chance`: how likely that is by chance, at most.
    """

    count: int
    total: int
    least_s: float
    middle_s: float
    most_s: float
    chance: float


def repeated_interval(times_s: FloatArray) -> RepeatedInterval | None:
    """The interval that is least likely by chance; None: too few occurrences, or none are alike.

    Args:
        times_s: (n,) seconds, in any order.
    Raises:
        ValueError: a time is not finite.

    Error: of 2,000 series of 9 times without memory, 0.05 to 60 an hour, at most 1 % have a chance of
        0.05 or less.
    """
    starts = burst_starts(times_s, BURST_S)
    gaps = np.sort(np.diff(starts))
    total = len(gaps)
    if total < FEWEST:
        return None
    best: RepeatedInterval | None = None
    for row in np.flatnonzero(gaps >= SHORTEST_S).tolist():
        least_s = float(gaps[row])
        alike = gaps[row : int(np.searchsorted(gaps, least_s * (1 + SPREAD) / (1 - SPREAD), "right"))]
        if len(alike) < FEWEST - 1:
            continue
        chance = min(1.0, total * at_least(len(alike) - 1, total - 1, _largest_share(least_s)))
        if best is None or chance < best.chance:
            best = RepeatedInterval(
                len(alike), total, least_s, float(np.median(alike)), float(alike[-1]), chance
            )
    return best


def _largest_share(least_s: float) -> float:
    """The largest probability over all rates that a time without memory, above `BURST_S`, lies there."""
    low = least_s - BURST_S
    high = least_s * (1 + SPREAD) / (1 - SPREAD) - BURST_S
    ratio = low / high
    return ratio ** (low / (high - low)) * (1 - ratio) if low > 0 else 1.0
