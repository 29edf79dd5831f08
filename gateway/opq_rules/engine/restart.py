"""How long to wait before a rule, or a source that broke, is tried again. Pure but for the jitter handed in.

Source: reference/rules.md, C.2, restartStrategy.
"""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Restart:
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
