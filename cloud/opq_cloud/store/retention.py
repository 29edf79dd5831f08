"""How long things are kept: the original's `laha_config.ttls`, and trends for ever by default."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ttls:
    """Seconds from storing to `expire_at`. Source: opq-interop D.7."""

    measurements: int = 86_400
    trends: int | None = None
    """None: for ever (minutes for 90 days, then hours)."""
    events: int = 2_592_000
    incidents: int = 31_536_000


MINUTE_TRENDS_S = 90 * 86_400
"""Trends of one minute become trends of one hour when they are older."""
