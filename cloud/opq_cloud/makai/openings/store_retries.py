"""Calls that the store refused; they are made again until it takes them."""

from collections import deque
from collections.abc import Callable
from typing import TypeVar

from opq_cloud.core.service import ServiceCounters
from opq_proto.errors import StoreError
from opq_proto.kit.log import BoundLogger
from opq_proto.kit.rate_limit import RateLimitedLog

RETRY_S = 1.0
RETRIES_KEPT = 1000
"""Limit of refused triggers, and of Boxes that join an event, that are tried again."""
Answer = TypeVar("Answer")


class StoreRetries:
    """One owner. Attributes: `lost`, calls that found no room."""

    def __init__(self, counters: ServiceCounters, logger: BoundLogger) -> None:
        self.lost = 0
        self._counters = counters
        self._limited = RateLimitedLog(logger)
        self._calls: deque[Callable[[], object]] = deque(maxlen=RETRIES_KEPT)
        self._next_s = 0.0

    def attempt(
        self, call: Callable[[], Answer], again: Callable[[], object], event: str, **facts: object
    ) -> tuple[bool, Answer | None]:
        """Returns True and the result of `call`, or False where the store refused: `again` is called later.

        `event`, `facts`: for the log.
        """
        try:
            return True, call()
        except StoreError as error:
            self._counters.add("triggers_delayed")
            self._limited.error(event, error=str(error), **facts)
        if len(self._calls) == RETRIES_KEPT:
            self._counters.add("triggers_lost")
            self.lost += 1
        self._calls.append(again)
        return False, None

    def advance(self, now_s: float) -> None:
        """Makes the calls again where it is time. `now_s`: monotonic."""
        if self._calls and now_s >= self._next_s:
            self._next_s = now_s + RETRY_S
            for _ in range(len(self._calls)):
                self._calls.popleft()()
