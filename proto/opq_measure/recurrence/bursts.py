"""Moments of occurrences, taken together where they follow each other closely.

A fault with its reclosings, or an afternoon of lightning, is one occurrence: its members are not independent
of each other, and a test that counts them singly finds a regularity that is none. Pure.
"""

import math

import numpy as np

from opq_measure.signal import FloatArray


def burst_starts(times_s: FloatArray, apart_s: float) -> FloatArray:
    """The first moment of each burst.

    Args:
        times_s: (n,) seconds, in any order.
        apart_s: what comes within it after the one before belongs to the same burst.
    Returns:
        (m,) rising, m <= n.
    Raises:
        ValueError: a time is not finite, or `apart_s` is negative.
    """
    if not bool(np.all(np.isfinite(times_s))) or not apart_s >= 0:
        raise ValueError("want finite times and a gap of 0 s or more between bursts")
    rising = np.sort(np.asarray(times_s, dtype=np.float64))
    if len(rising) == 0:
        return rising
    return rising[np.concatenate(([True], np.diff(rising) > apart_s))]


def at_least(count: int, total: int, share: float) -> float:
    """The probability, 0 to 1, that `count` or more of `total` trials succeed, each with `share`."""
    if count <= 0:
        return 1.0
    if share <= 0.0:
        return 0.0
    if share >= 1.0:
        return 1.0 if count <= total else 0.0
    logs = [
        math.lgamma(total + 1)
        - math.lgamma(each + 1)
        - math.lgamma(total - each + 1)
        + each * math.log(share)
        + (total - each) * math.log1p(-share)
        for each in range(count, total + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, logs)))
