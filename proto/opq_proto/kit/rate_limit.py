"""Rate limits: log lines at most once per period, and token buckets per key.

Unknown peers can cause any number of both, so the number of keys is limited too.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from opq_proto.kit.bound_logger import BoundLogger

LOG_PERIOD_S = 10.0
MAX_KEYS = 1000


class RateLimitedLog:
    """A log that writes about one matter once per period; the next line has the count since then.

    The matter is the event's name, and `key` where one is given (a Box, a peer). One owner.
    """

    def __init__(
        self,
        log: BoundLogger,
        period_s: float = LOG_PERIOD_S,
        monotonic_s: Callable[[], float] = time.monotonic,
        most_keys: int = MAX_KEYS,
    ) -> None:
        """`most_keys` matters are remembered; beyond, all new ones share one entry."""
        self._log = log
        self._period_s = period_s
        self._monotonic_s = monotonic_s
        self._most_keys = most_keys
        self._lines: dict[Hashable, tuple[float, int]] = {}

    def due(self, matter: Hashable) -> int:
        """Counts an occurrence; returns how many the line stands for, 0 where it is too soon for a line."""
        now_s = self._monotonic_s()
        if matter not in self._lines and len(self._lines) >= self._most_keys:
            recent = {m: line for m, line in self._lines.items() if now_s - line[0] < self._period_s}
            self._lines = recent
            if len(recent) >= self._most_keys:
                matter = None
        last_s, count = self._lines.get(matter, (float("-inf"), 0))
        if now_s - last_s < self._period_s:
            self._lines[matter] = (last_s, count + 1)
            return 0
        self._lines[matter] = (now_s, 0)
        return count + 1

    def debug(self, event: str, *, key: Hashable = None, **facts: Any) -> bool:
        """Writes the line if it is due; adds `count` where it stands for more than one."""
        return self._write(self._log.debug, event, key, facts)

    def info(self, event: str, *, key: Hashable = None, **facts: Any) -> bool:
        """As `debug`."""
        return self._write(self._log.info, event, key, facts)

    def warning(self, event: str, *, key: Hashable = None, **facts: Any) -> bool:
        """As `debug`."""
        return self._write(self._log.warning, event, key, facts)

    def error(self, event: str, *, key: Hashable = None, **facts: Any) -> bool:
        """As `debug`."""
        return self._write(self._log.error, event, key, facts)

    def exception(self, event: str, *, key: Hashable = None, **facts: Any) -> bool:
        """As `debug`, with the traceback of the exception that is being handled."""
        return self._write(self._log.exception, event, key, facts)

    def _write(self, write: Callable[..., None], event: str, key: Hashable, facts: dict[str, Any]) -> bool:
        count = self.due(event if key is None else (event, key))
        if count > 1:
            facts["count"] = count
        if count:
            write(event, **facts)
        return count > 0


class TokenBuckets:
    """Allows each key `burst` actions at once, then `per_s` each second; forgets the least recent keys."""

    def __init__(
        self,
        burst: float,
        per_s: float,
        most_keys: int = MAX_KEYS,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`burst` is what a bucket holds, and what a new key starts with."""
        self._burst = float(burst)
        self._per_s = per_s
        self._most_keys = most_keys
        self._monotonic_s = monotonic_s
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def left(self, key: Hashable) -> float:
        """Tokens that `key` has now."""
        now_s = self._monotonic_s()
        tokens, at_s = self._buckets.get(key, (self._burst, now_s))
        return min(self._burst, tokens + (now_s - at_s) * self._per_s)

    def spend(self, key: Hashable, tokens: float = 1.0) -> bool:
        """Takes tokens; False, with nothing taken, where there are fewer."""
        may = self.left(key) >= tokens
        self.charge(key, tokens if may else 0.0)
        return may

    def charge(self, key: Hashable, tokens: float) -> None:
        """Takes tokens that were used already; a bucket with fewer owes the rest."""
        self._buckets[key] = (self.left(key) - tokens, self._monotonic_s())
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._most_keys:
            self._buckets.popitem(last=False)

    def give_back(self, key: Hashable) -> None:
        """Gives back a token that was spent on an action that failed."""
        if key in self._buckets:
            tokens, at_s = self._buckets[key]
            self._buckets[key] = (tokens + 1.0, at_s)
