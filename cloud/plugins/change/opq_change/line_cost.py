"""LineCost: the squared error of a straight line, as ruptures wants a cost.

Apart from `points.py`, because the import of the base class takes a second of CPU.
"""

from itertools import accumulate
from typing import Any

from ruptures.base import BaseCost


class LineCost(BaseCost):  # type: ignore[misc]
    """Out of sums: a piece costs the same whatever its length."""

    model = "lines"

    def __init__(self, min_size: int) -> None:
        self.min_size = min_size

    def fit(self, signal: Any) -> "LineCost":
        self.signal = signal
        x, y = signal.T
        self._sums = [[0.0, *accumulate(each.tolist())] for each in (x, x * x, y, x * y, y * y)]
        return self

    def error(self, start: int, end: int) -> float:
        n = end - start
        x, xx, y, xy, yy = (each[end] - each[start] for each in self._sums)
        sxx, sxy, syy = xx - x * x / n, xy - x * y / n, yy - y * y / n
        return float(max(0.0, syy - sxy * sxy / sxx))
