"""Heartbeats: when each thread of the gateway last came round its loop.

A thread's loop asks its stop event at every turn; a Beat is that event, and notes the time. So a
thread that hangs in a call, or died, is late, and no loop needs a line for it.
"""

import threading
import time
from collections.abc import Callable, Collection

STUMBLE_S = 5.0
"""A thread that threw is not taken as well before it ran so long."""


class Beat(threading.Event):
    """A view of a stop event that notes when it was asked."""

    def __init__(self, name: str, stop: threading.Event, monotonic_s: Callable[[], float]) -> None:
        super().__init__()
        self.name = name
        self._stop = stop
        self._monotonic_s = monotonic_s
        self._bad_until_s = 0.0
        self.last_s = monotonic_s()

    def is_set(self) -> bool:
        self._note()
        return self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        self._note()
        stopped = self._stop.wait(timeout)
        self._note()
        return stopped

    def stumbled(self) -> None:
        """The thread threw; for STUMBLE_S its turns count for nothing."""
        self._bad_until_s = self._monotonic_s() + STUMBLE_S

    def _note(self) -> None:
        now_s = self._monotonic_s()
        if now_s >= self._bad_until_s:
            self.last_s = now_s


class Heartbeats:
    """The beats of all threads."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._beats: list[Beat] = []

    def beat(self, name: str, stop: threading.Event) -> Beat:
        """What the thread called `name` gets as its stop event."""
        beat = Beat(name, stop, self._monotonic_s)
        self._beats.append(beat)
        return beat

    def ages_s(self) -> dict[str, float]:
        """Seconds since each thread's last turn."""
        now_s = self._monotonic_s()
        return {beat.name: now_s - beat.last_s for beat in self._beats}

    def late(self, limit_s: float, names: Collection[str]) -> tuple[str, ...]:
        """Those of these threads that did not come round for so long."""
        return tuple(name for name, age_s in self.ages_s().items() if age_s > limit_s and name in names)
