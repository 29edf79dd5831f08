"""RateWatch: whether a Box's samples come as fast as it states; a wrong crystal shows here first.

A board with another crystal than its firmware is for (24 MHz instead of 25) samples and counts seconds at
another rate, and never locks to GPS, whose pulses it then refuses. One that is off by more than some 4 %
(8 MHz instead of 25) also sends at another baud, so that no frame arrives (station.py). Pure.
"""

from collections import deque

PERIOD_S = 10.0
PERIODS = 3
"""Periods in a row that must agree: a machine that stands still, or an early backlog, spoils one or two."""
AGREEMENT = 0.005
"""Largest difference of their rates, as a share of the stated one: reads and blocks are within 50 ms."""
WRONG = 0.015
"""A Box on its internal oscillator, which logs that, is off by 0.01."""


class RateWatch:
    """The rate of one start's samples by this machine's monotonic clock."""

    def __init__(self) -> None:
        self._begin: tuple[int, float] | None = None
        self._shares: deque[float] = deque(maxlen=PERIODS)
        self.wrong_share: float | None = None
        """The rate as a share of the stated one; None: right, or not known yet."""

    def add(self, end_sample: int, rate_hz: float, now_s: float) -> bool:
        """Takes the newest sample in order; True where its rate is found wrong for the first time."""
        if self._begin is None:
            self._begin = end_sample, now_s
        lasted_s = now_s - self._begin[1]
        if lasted_s < PERIOD_S:
            return False
        self._shares.append((end_sample - self._begin[0]) / (lasted_s * rate_hz))
        self._begin = end_sample, now_s
        if len(self._shares) < PERIODS or max(self._shares) - min(self._shares) > AGREEMENT:
            return False
        share, before = self._shares[-1], self.wrong_share
        self.wrong_share = share if abs(share - 1) > WRONG else None
        return before is None and self.wrong_share is not None
