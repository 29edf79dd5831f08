"""Calls into triggers and analyses: what they throw is contained here, counted, and answered with a pause.

A plug-in is foreign code and may raise anything.
"""

import time
from collections.abc import Callable
from typing import Any

PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""After the first, second, ... crash in a row; the last one stays."""
STEADY_S = 60.0
"""So long after a crash without another, the pauses start anew."""


class Guard:
    """One plug-in's calls. `on_crash(error, pause_s)` is told of each crash."""

    def __init__(
        self,
        on_crash: Callable[[Exception, float], None],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.crashes = 0
        self.skipped = 0
        """Calls not made because the plug-in is paused."""
        self._on_crash = on_crash
        self._now = monotonic_s
        self._in_row = 0
        self._paused_until = 0.0
        self._last_crash = 0.0

    @property
    def paused(self) -> bool:
        return self._in_row > 0 and self._now() < self._paused_until

    def call(self, function: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
        """(True, what `function` returned), or (False, None): it crashed or is paused."""
        if self._in_row:
            now = self._now()
            if now < self._paused_until:
                self.skipped += 1
                return False, None
            if now - self._last_crash > STEADY_S:
                self._in_row = 0
        try:
            return True, function(*arguments)
        except Exception as error:
            self.crashes += 1
            now = self._now()
            pause_s = PAUSES_S[min(self._in_row, len(PAUSES_S) - 1)]
            self._in_row += 1
            self._last_crash = now
            self._paused_until = now + pause_s
            self._on_crash(error, pause_s)
            return False, None
