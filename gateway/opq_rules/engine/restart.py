"""How long to wait before a failed rule, or a source that ended with an error, starts again.

Source: reference/rules.md, C.2, restartStrategy.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from opq_rules.engine.clock import RuleClock

STEADY_S = 60.0
"""After so long without a failure, failures count from the beginning."""


@dataclass(frozen=True, slots=True)
class RestartStrategy:
    """`attempts` in a row, 0: none; the waits grow by `multiplier` up to `maxDelay`, each +- jitterFactor."""

    attempts: int = field(default=0, metadata={"minimum": 0, "maximum": 1_000_000})
    delay: int = field(default=1000, metadata={"minimum": 1, "maximum": 86_400_000, "ms": True})
    multiplier: float = field(default=2.0, metadata={"minimum": 1.0, "maximum": 100.0})
    maxDelay: int = field(default=30_000, metadata={"minimum": 1, "maximum": 86_400_000, "ms": True})  # noqa: N815
    jitterFactor: float = field(default=0.1, metadata={"minimum": 0.0, "maximum": 0.99})  # noqa: N815

    def wait_ms(self, failed: int, random: Callable[[], float]) -> float:
        """After `failed` failures in a row (from 1); `random` gives 0 .. 1."""
        grown = self.delay * self.multiplier ** min(failed - 1, 64)
        return min(grown, float(self.maxDelay)) * (1 + self.jitterFactor * (2 * random() - 1))


class RestartPolicy:
    """Counts the failures in a row of each rule, and says when the rule starts again."""

    def __init__(self, clock: RuleClock) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}
        """Rule -> failures in a row, and when the last one was."""

    def wait_s(self, rule_id: str, strategy: RestartStrategy) -> float | None:
        """The rule has failed: seconds until it starts again. None: it stays stopped."""
        now_s = self._clock.monotonic_s()
        count, last_s = self._failed.get(rule_id, (0, now_s))
        count = 1 if now_s - last_s > STEADY_S else count + 1
        self._failed[rule_id] = count, now_s
        return strategy.wait_ms(count, random.random) / 1000 if count <= strategy.attempts else None

    def forget(self, rule_id: str) -> None:
        self._failed.pop(rule_id, None)
