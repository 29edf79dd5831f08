"""What a worker sends on its own account, and what it has put aside here: bounded, and counted."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

UNASKED_PER_S, TELLS_PER_S = 10.0, 100.0
AT_ONCE = 1_000.0
"""Answers to calls that nobody waits for any more; lines for the log and texts of errors."""
MOST_STATE_BYTES = 16 << 20
"""Of one source, sink or function, by `put_state`."""


class Conduct:
    """Of one process, over all its lives. Not thread-safe: the host's thread of that process calls it."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.dropped = 0
        """Tells that were not passed on."""
        self._unasked, self._tells = _Rate(UNASKED_PER_S, monotonic_s), _Rate(TELLS_PER_S, monotonic_s)
        self._state_bytes: dict[int, dict[str, int]] = {}
        self._encoder = msgspec.msgpack.Encoder()

    def unasked(self) -> None:
        """Raises ValueError: it is no accident any more."""
        if not self._unasked.take():
            raise ValueError("answers to calls that nobody made")

    def may_tell(self) -> bool:
        may = self._tells.take()
        self.dropped += not may
        return may

    def state(self, instance: int, changed: Mapping[str, Any]) -> dict[str, Any]:
        """What it put. Raises ValueError: keys that are no text, or too many bytes in all."""
        held = self._state_bytes.setdefault(instance, {})
        for key, value in changed.items():
            if not isinstance(key, str):
                raise ValueError(f"a state named {str(key)[:40]!r}; want text")
            held[key] = len(key) + len(self._encoder.encode(value))
        if sum(held.values()) > MOST_STATE_BYTES:
            raise ValueError(f"more than {MOST_STATE_BYTES >> 20} MiB of state")
        return dict(changed)

    def forget(self, instance: int) -> None:
        self._state_bytes.pop(instance, None)


class _Rate:
    """So many a second, and AT_ONCE after a quiet time."""

    def __init__(self, per_s: float, monotonic_s: Callable[[], float]) -> None:
        self._per_s, self._now = per_s, monotonic_s
        self._left, self._looked_s = AT_ONCE, monotonic_s()

    def take(self) -> bool:
        now_s = self._now()
        self._left = min(AT_ONCE, self._left + (now_s - self._looked_s) * self._per_s)
        self._looked_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True
