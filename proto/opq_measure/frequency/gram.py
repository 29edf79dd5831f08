"""Products of a sine's harmonics with each other over a stretch of samples, in closed form.

Positions u are counted from the middle, -(n - 1) / 2 .. (n - 1) / 2, so that cosines (even) and sines
(odd) are orthogonal. All follows from `D(a) = sum of cos(a u) = sin(n a / 2) / sin(a / 2)` and its two
derivatives.
"""

from dataclasses import dataclass

import numpy as np

from opq_measure.signal import FloatArray


@dataclass(frozen=True, slots=True)
class Gram:
    """Sums over all u of products of `cos(k w u)`, `sin(k w u)`, `u sin(w u)` and `u cos(w u)`."""

    even: FloatArray
    """(orders + 1, orders + 1) cosines with cosines; the first is DC."""
    odd: FloatArray
    """(orders, orders) sines with sines."""
    slope_even: FloatArray
    """(orders + 1,) cosines with u sin(w u)."""
    slope_odd: FloatArray
    """(orders,) sines with u cos(w u)."""
    square_even: float
    """u sin(w u) with itself."""
    square_odd: float
    """u cos(w u) with itself."""


def gram_of(samples: int, omega: float, orders: int) -> Gram:
    """The products for a fundamental of `omega` rad per sample; `orders * omega` below pi."""
    order = np.arange(orders + 1)
    highest = max(2, 2 * orders)
    half = omega * np.arange(1, highest + 1) / 2
    top, low = np.sin(samples * half), np.sin(half)
    top_rise, low_rise = samples / 2 * np.cos(samples * half), np.cos(half) / 2
    ratio = top / low
    sums = np.concatenate(((float(samples),), ratio))
    rises = np.concatenate(((0.0,), (top_rise - ratio * low_rise) / low))
    apart, beyond = np.abs(order[:, None] - order), order[:, None] + order
    after, before = rises[order + 1], rises[np.abs(order - 1)] * np.sign(order - 1)
    cross = float(low_rise[1] / low[1])
    bend = float(ratio[1]) * ((1 - samples**2) / 4 + 2 * cross * cross)
    bend -= 2 * float(top_rise[1] / low[1]) * cross
    square = samples * (samples**2 - 1) / 12
    return Gram(
        even=(sums[apart] + sums[beyond]) / 2,
        odd=((sums[apart] - sums[beyond]) / 2)[1:, 1:],
        slope_even=(before - after) / 2,
        slope_odd=-(after + before)[1:] / 2,
        square_even=(square + bend) / 2,
        square_odd=(square - bend) / 2,
    )
