"""Circuit: after the second failure in a row calls fail at once, for longer each time; then one may try.

For what is called on the engine's thread: each failure is a second in which all rules stand still.
"""

import time
from collections.abc import Callable

IN_ROW = 2
PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Of the second failure in a row, the third, ...; the last one stays."""


class Circuit:
    """`refused`: calls that failed at once."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.refused = 0
        self._now = monotonic_s
        self._in_row = 0
        self._until_s = 0.0

    @property
    def tripped(self) -> bool:
        """The next failure opens it again: nobody should wait for anything."""
        return self._in_row >= IN_ROW

    def wait_s(self) -> float:
        """How long calls still fail at once; 0.0: one may be made. Counts the refused."""
        left_s = self._until_s - self._now() if self.tripped else 0.0
        self.refused += left_s > 0
        return max(0.0, left_s)

    def worked(self) -> None:
        self._in_row = 0

    def failed(self) -> None:
        self._in_row += 1
        if self.tripped:
            self._until_s = self._now() + PAUSES_S[min(self._in_row - IN_ROW, len(PAUSES_S) - 1)]
