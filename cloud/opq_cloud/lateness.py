"""When a Box is late, and how much longer it may then be quiet before it counts as silent.

A module of its own, because Makai's health and View's pages say the same.
"""

LATE_S = 10.0
"""A Measurement whose window ended this long before it arrived is late; usually it is a second or two."""
PATIENCE_S = 60.0
"""The most that a late Box may be quiet in addition: what is late comes in bursts."""


def late_s(received_ms: int, timestamp_ms: int) -> float:
    """Returns how late a Measurement is, its arrival minus the end of its window; 0.0 where it is not late.

    A Box whose clock is behind cannot be told apart from a late one here.
    """
    found_s = (received_ms - timestamp_ms) / 1000
    return found_s if found_s >= LATE_S else 0.0


def patience_s(late: float) -> float:
    """Returns the seconds in addition to a Box's rhythm after which it is silent; `late` as `late_s`."""
    return min(late, PATIENCE_S)
