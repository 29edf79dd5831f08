"""Lateness of a Box, and the longer silence that it then may have. A separate module, because Makai's health
and View's pages use it.
"""

LATE_MS = 10_000
"""A Measurement whose window ended this long before it arrived is late; usually it is a second or two."""
PATIENCE_MS = 60_000
"""Longest silence of a late Box in addition to its rhythm, because late Measurements come in bursts."""


def late_ms(received_ms: int, timestamp_ms: int) -> int:
    """Returns how late a Measurement is, its arrival minus the end of its window; 0 where it is not late.

    A Box whose clock is behind cannot be told apart from a late one here.
    """
    found_ms = received_ms - timestamp_ms
    return found_ms if found_ms >= LATE_MS else 0
