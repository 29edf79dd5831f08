"""Keeper: what has to be done at a time, or in the background: schedules, restarts, loading. One thread."""

import heapq
import itertools
import threading
from collections.abc import Callable

from opq_proto import log
from opq_rules.engine.clock import Clock

STOP_S = 2.0


class Keeper:
    """Work is done one after another; what it raises is told and counted."""

    def __init__(self, clock: Clock) -> None:
        self.failures = 0
        self._clock = clock
        self._work: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._change = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="rules-keeper", daemon=True)
        self._thread.start()

    def soon(self, work: Callable[[], None]) -> None:
        self.later(0.0, work)

    def later(self, wait_s: float, work: Callable[[], None]) -> None:
        """After so many seconds."""
        with self._change:
            heapq.heappush(self._work, (self._clock.monotonic_s() + wait_s, next(self._numbers), work))
            self._change.notify()

    def stop(self) -> bool:
        """What is not due yet is left; False: something takes longer than two seconds."""
        with self._change:
            self._stopping = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join(STOP_S)
            return not self._thread.is_alive()
        return True

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._stopping:
                    now_s = self._clock.monotonic_s()
                    if self._work and self._work[0][0] <= now_s:
                        break
                    self._change.wait(self._work[0][0] - now_s if self._work else None)
                if self._stopping:
                    return
                _, _, work = heapq.heappop(self._work)
            try:
                work()
            except Exception as error:
                self.failures += 1
                log.get(service="rules").exception("keeper.failed", error=str(error))
