"""ResendPace: how fast one Box sends again; new Measurements go first. Pure.

New Measurements are always sent as they are made. If a late cloud drops Measurements, sending them again at
once delays it further, and with more Boxes than it can serve it never catches up. So each acknowledgement
adjusts the rate:

    something was lost since the last one   a quarter of the rate that was used, but at least MIN_PER_S
    nothing was lost                        half as much again; from FREE_PER_S on there is no limit

A lost new Measurement counts like a lost repeated one, because both show that the path is full, and only
repeats can wait. A Measurement sent before the rate was lowered, and found lost afterwards, belongs to the
same loss, because the losses of a cloud's restart are found bit by bit and must not slow the repeats each
time (RFC 6582, `recover`). JITTER_SHARE keeps Boxes with a common loss from repeating together. The simulated
fleet uses the same rule. It works as TCP (RFC 5681), as a background transfer (RFC 6817, LEDBAT).
"""

import random

MIN_PER_S = 1 / 60
"""10,000 Boxes that cannot be served then send 170 repeats a second."""
FREE_PER_S = 500.0
"""The highest rate at which a gateway sends again."""
SLOWER_FACTOR = 0.25
"""Factor on the used rate after a loss."""
FASTER_FACTOR = 1.5
"""Factor without a loss. The rate falls on the whole if more than every fourth acknowledgement has a loss."""
JITTER_SHARE = 0.25


class ResendPace:
    """The pace of one Box; times are monotonic and handed in."""

    __slots__ = ("_at_s", "_credit", "_lowered_s", "_sent", "_since_s", "per_s")

    def __init__(self) -> None:
        self.per_s: float | None = None
        """Measurements a second; None: no limit."""
        self._credit = 0.0
        self._at_s = 0.0
        self._lowered_s: float | None = None
        """When the rate was last lowered."""
        self._sent = 0
        self._since_s: float | None = None
        """Number of Measurements sent again since the last acknowledgement (or the connection after it), and
        the time of that; None: never."""

    def allowed(self, most: int, now_s: float) -> int:
        """Number of Measurements, at most `most`, that may be sent again now."""
        if self.per_s is None:
            return most
        self._credit = min(max(1.0, self.per_s), self._credit + self.per_s * (now_s - self._at_s))
        self._at_s = now_s
        return min(most, max(0, int(self._credit)))

    def note_sent(self, count: int) -> None:
        """Records that `count` were sent again."""
        self._sent += count
        if self.per_s is not None:
            self._credit -= count

    def note_connected(self, now_s: float) -> None:
        """The connection is up; the time before it does not count as credit."""
        if self._since_s is not None:
            self._sent, self._since_s = 0, now_s

    def note_acknowledged(self, lost: int, now_s: float, lost_s: float | None = None) -> None:
        """An acknowledgement arrived; `lost`: Measurements newly reported as missing, of which the newest was
        sent at `lost_s` (None: not known)."""
        if lost and lost_s is not None and self._lowered_s is not None and lost_s <= self._lowered_s:
            self.allowed(0, now_s)
        elif lost:
            self._lowered_s = now_s
            used = self.per_s or FREE_PER_S
            if self._sent and self._since_s is not None:
                used = min(used, self._sent / max(now_s - self._since_s, 0.001))
            slower = max(MIN_PER_S, SLOWER_FACTOR * used)
            if self.per_s is None or slower < self.per_s:  # at the slowest rate the credit stays
                self._credit, self._at_s = random.uniform(-JITTER_SHARE, JITTER_SHARE), now_s
                self.per_s = slower
        elif self.per_s is not None:
            self.allowed(0, now_s)
            faster = FASTER_FACTOR * self.per_s
            self.per_s = None if faster >= FREE_PER_S else faster
        self._sent, self._since_s = 0, now_s
