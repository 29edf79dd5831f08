"""Back-off: how long to wait before the next attempt, by the number of failures in a row.

restarts = Backoff((0.2, 0.5, 1.0, 2.0, 5.0), steady_s=60.0)
stop.wait(restarts.record_failure(ran_s=monotonic_s() - began_s))
"""

import math
import random
from collections.abc import Callable, Sequence


def doubling(first_s: float, longest_s: float, factor: float = 2.0) -> tuple[float, ...]:
    """Returns the waits `first_s`, `first_s * factor`, ... up to `longest_s`, which is the last one."""
    if not (0 < first_s <= longest_s and factor > 1):
        raise ValueError(
            f"waits from {first_s} s to {longest_s} s by {factor}; want 0 < first <= longest, factor > 1"
        )
    waits_s = [first_s]
    while waits_s[-1] < longest_s:
        waits_s.append(min(longest_s, waits_s[-1] * factor))
    return tuple(waits_s)


class Backoff:
    """Counts failures in a row and gives the wait after each. Has no clock; not thread-safe.

    Attributes:
        failures: failures since the last success, or since the last attempt that held for `steady_s`.
    """

    def __init__(
        self,
        waits_s: Sequence[float],
        *,
        steady_s: float = math.inf,
        jitter: float = 0.0,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        """Sets the waits.

        Args:
            waits_s: after the first failure, the second one, ...; the last wait is repeated.
            steady_s: if an attempt held for longer, its failure counts as the first of a new row.
            jitter: each wait is shortened by up to this share of it, so that many that failed together do not
                try again together.
            random_share: returns 0 .. 1.
        """
        if not waits_s:
            raise ValueError("waits_s is empty; want at least one wait")
        self.failures = 0
        self._waits_s = tuple(waits_s)
        self._steady_s = steady_s
        self._jitter = jitter
        self._random_share = random_share

    def record_failure(self, ran_s: float = 0.0) -> float:
        """Counts a failure after `ran_s` seconds; returns the seconds to wait before the next attempt."""
        if ran_s > self._steady_s:
            self.failures = 0
        wait_s = self._waits_s[min(self.failures, len(self._waits_s) - 1)]
        self.failures += 1
        if self._jitter:
            wait_s *= 1 - self._jitter * self._random_share()
        return wait_s

    def record_success(self) -> None:
        """Ends the row: the next failure is the first of a new one."""
        self.failures = 0
