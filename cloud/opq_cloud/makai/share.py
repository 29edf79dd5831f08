"""How much of the triggering service's time an installed trigger may take while others wait for it."""

import time
from collections.abc import Callable

SHARE = 0.3
MOST_S = 20.0
"""After a quiet time, at once: the last minutes of many Boxes, shown to one that begins."""


class Share:
    """Time is given back as it passes, idle time whole. The service's loop spends it, any thread looks."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic_s
        self._had_s, self._spent_at_s = MOST_S, monotonic_s()

    @property
    def left(self) -> bool:
        return self._left_s() > 0

    def took(self, seconds: float) -> None:
        self._had_s, self._spent_at_s = self._left_s() - seconds, self._now()

    def gave(self, seconds: float) -> None:
        """The service was idle for so long."""
        self._had_s, self._spent_at_s = min(MOST_S, self._left_s() + seconds), self._now()

    def _left_s(self) -> float:
        return min(MOST_S, self._had_s + SHARE * (self._now() - self._spent_at_s))
