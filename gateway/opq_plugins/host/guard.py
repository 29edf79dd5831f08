"""Pauses after failures: of a trigger or analysis that raises, and of a function whose process fails."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from opq_proto.kit.backoff import Backoff

PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Pause after the first, second, ... failure in a row; the last one repeats."""
STEADY_S = 60.0
"""After this time without a crash, the pauses start from the first again."""
Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


class CrashGuard:
    """Catches and counts what one plug-in's calls raise; `on_crash(error, pause_s)` is called each time."""

    def __init__(
        self, on_crash: Callable[[Exception, float], None], monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.crashes = 0
        self.skipped = 0
        """Calls not made because the plug-in is paused."""
        self._on_crash = on_crash
        self._now = monotonic_s
        self._backoff = Backoff(PAUSES_S, steady_s=STEADY_S)
        self._paused_until_s = self._last_crash_s = float("-inf")

    @property
    def paused(self) -> bool:
        return self._now() < self._paused_until_s

    def call(
        self, function: Callable[Arguments, Answer], *arguments: Arguments.args, **named: Arguments.kwargs
    ) -> tuple[bool, Answer | None]:
        """Returns (True, the result of `function`), or (False, None) if it crashed or is paused."""
        if self.crashes and self.paused:
            self.skipped += 1
            return False, None
        try:
            return True, function(*arguments, **named)
        except Exception as error:  # foreign code
            self.record_crash(error)
            return False, None

    def record_crash(self, error: Exception) -> None:
        """Records an exception of a call that was made without `call`."""
        self.crashes += 1
        now_s = self._now()
        pause_s = self._backoff.record_failure(now_s - self._last_crash_s)
        self._last_crash_s, self._paused_until_s = now_s, now_s + pause_s
        self._on_crash(error, pause_s)


class Circuit:
    """After the second failure in a row calls fail at once, for longer each time. Then one call may try.

    It protects the engine's thread, because each failing call may take a second in which all rules stop.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.refused = 0
        """Calls that failed at once."""
        self._now = monotonic_s
        self._backoff = Backoff(PAUSES_S)
        self._until_s = 0.0

    @property
    def tripped(self) -> bool:
        """Whether the next failure refuses calls again; a call should then not wait for a new process."""
        return self._backoff.failures >= 2

    def wait_s(self) -> float:
        """How long calls still fail at once; 0.0: one may be made. Counts the refused calls."""
        left_s = self._until_s - self._now() if self.tripped else 0.0
        self.refused += left_s > 0
        return max(0.0, left_s)

    def record_success(self) -> None:
        self._backoff.record_success()

    def record_failure(self) -> None:
        self._until_s = self._now() + self._backoff.record_failure()
