"""Say a thing at most once per period, so that overload cannot flood the log."""

import time
from collections.abc import Callable


class OncePer:
    """`due()` is true at the first call and then once per `period_s`; the rest is for counters."""

    def __init__(self, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._clock = clock
        self._next_s: float | None = None

    def due(self) -> bool:
        now_s = self._clock()
        if self._next_s is not None and now_s < self._next_s:
            return False
        self._next_s = now_s + self._period_s
        return True
