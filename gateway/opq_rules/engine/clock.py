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
