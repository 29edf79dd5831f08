"""Lets a line through once per period and key, and says how many it stands for."""

import time
from collections.abc import Callable, Hashable

MAX_KEYS = 1000
"""Keys remembered; beyond, all new ones share one entry, so that a flood cannot fill the memory."""


class OncePer:
    """A limit for log lines about things that strangers can cause."""

    def __init__(self, period_s: float, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._now = monotonic_s
        self._seen: dict[Hashable, tuple[float, int]] = {}

    def take(self, key: Hashable) -> int:
        """0: say nothing now; else how many there were since the last line, this one included."""
        if key not in self._seen and len(self._seen) >= MAX_KEYS:
            now = self._now()
            self._seen = {k: v for k, v in self._seen.items() if now - v[0] < self._period_s}
            if len(self._seen) >= MAX_KEYS:
                key = None
        last, count = self._seen.get(key, (float("-inf"), 0))
        count += 1
        if self._now() - last < self._period_s:
            self._seen[key] = (last, count)
            return 0
        self._seen[key] = (self._now(), 0)
        return count
