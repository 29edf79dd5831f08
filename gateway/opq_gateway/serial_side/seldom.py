"""Seldom: a line about the same trouble at most once per TELL_S; the counters have them all."""

from collections.abc import Callable

TELL_S = 10.0


class Seldom:
    """Says whether it is time to tell of something again; one owner."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._told_s: dict[str, float] = {}

    def __call__(self, event: str) -> bool:
        """True when nothing was said of `event` for TELL_S."""
        now_s = self._monotonic_s()
        if now_s - self._told_s.get(event, -TELL_S) < TELL_S:
            return False
        self._told_s[event] = now_s
        return True
