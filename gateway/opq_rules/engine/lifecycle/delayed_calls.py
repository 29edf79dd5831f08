"""DelayedCalls: later calls on one thread: restarts, schedules, loading at the start."""

import heapq
import itertools
import threading
from collections.abc import Callable

from opq_proto.kit import log
from opq_rules.engine.clock import RuleClock, ended


class DelayedCalls:
    """Calls made one after another by its own thread; an exception is logged and counted."""

    def __init__(self, clock: RuleClock) -> None:
        self.failures = 0
        self._clock = clock
        self._calls: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._change = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="rules-delayed", daemon=True)
        self._thread.start()

    def soon(self, call: Callable[[], None]) -> None:
        self.later(0.0, call)

    def later(self, wait_s: float, call: Callable[[], None]) -> None:
        """Calls `call` after `wait_s` seconds."""
        with self._change:
            heapq.heappush(self._calls, (self._clock.monotonic_s() + wait_s, next(self._numbers), call))
            self._change.notify()

    def stop(self) -> bool:
        """Drops calls that are not due yet. False: a call takes longer than two seconds."""
        with self._change:
            self._stopping = True
            self._change.notify()
        return ended(self._thread)

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._stopping:
                    now_s = self._clock.monotonic_s()
                    if self._calls and self._calls[0][0] <= now_s:
                        break
                    self._change.wait(self._calls[0][0] - now_s if self._calls else None)
                if self._stopping:
                    return
                _, _, call = heapq.heappop(self._calls)
            try:
                call()
            except Exception as error:
                self.failures += 1
                log.get(service="rules").exception("delayed_call.failed", error=str(error))
