"""Clocks: the engine never asks the time anywhere else.

The wall clock gives the time of arrival; how long to wait is measured by a monotonic one.
"""

import time
from typing import Protocol


class Clock(Protocol):
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


class HandClock:
    """Stands until it is moved; for tests. `monotonic_s` goes on by itself, so that threads can wait."""

    def __init__(self, now_ms: int = 0) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic_s(self) -> float:
        return time.monotonic()

    def move_to(self, now_ms: int) -> None:
        self._now_ms = max(self._now_ms, now_ms)
