"""The one clock of the rule engine (wall clock for arrivals, monotonic for waits), and the end of threads."""

import threading
import time
from typing import Protocol

STOP_S = 2.0
"""How long a thread may take to end after it was asked to."""


class RuleClock(Protocol):
    def now_ms(self) -> int:
        """Unix ms."""
        ...

    def monotonic_s(self) -> float: ...


class SystemClock:
    """The machine's clock, which GPS or NTP steers."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()


def ended(thread: threading.Thread | None, wait_s: float | None = None) -> bool:
    """Waits for a thread that was asked to end, by default STOP_S. False: it still runs, and is abandoned."""
    if thread is None:
        return True
    thread.join(STOP_S if wait_s is None else wait_s)
    return not thread.is_alive()
