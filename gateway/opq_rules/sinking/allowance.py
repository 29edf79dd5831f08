"""Allowance: how often a sink may act for one key: so many at once, then so many a minute.

It has no clock of its own.
"""

from collections import OrderedDict
from collections.abc import Hashable

BURST = 150
"""At once, where a minute's share is less: half a minute of what a rule finds window by window."""
MOST_KEYS = 10_000


class Allowance:
    """`per_minute`: 0 for without limit. Times are those of a monotonic clock, seconds."""

    def __init__(self, per_minute: int) -> None:
        self._per_s = per_minute / 60
        self._most = float(max(BURST, per_minute))
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, now_s: float) -> bool:
        """Whether it may act now."""
        if not self._per_s:
            return True
        left, at_s = self._left.pop(key, (self._most, now_s))
        left = min(self._most, left + (now_s - at_s) * self._per_s)
        may = left >= 1.0
        self._left[key] = (left - may, now_s)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return may

    def give_back(self, key: Hashable) -> None:
        """It could not act."""
        if key in self._left:
            left, at_s = self._left[key]
            self._left[key] = (left + 1.0, at_s)
