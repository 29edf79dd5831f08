"""An installed analysis as the runner sees it: asked like a built-in one, and left alone while it is ill."""

import time
from collections.abc import Callable
from typing import Any

from opq_proto.messages import Event, Finding
from opq_rules.plugins.analysis import Nominal
from opq_rules.plugins.guard import PAUSES_S
from opq_rules.plugins.judging import PluginAnalysis

PATIENCE = 4.0
"""After a call that ended with its process it rests for so many times what the call took: one that hangs
has a fifth of the runner's time, the other analyses have the rest."""


class InstalledAnalysis:
    """Its state is kept where it runs. Used by the runner's thread; `well` by any."""

    alone = False
    """It may have a memory, to which a part of an event would be another event."""

    def __init__(
        self, name: str, plugin: PluginAnalysis, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._plugin = plugin
        self._now = monotonic_s
        self._ended = 1
        """Times in a row that its process ended, and 1: the first rest gives a new one time to start."""
        self._resting_until_s = 0.0
        self.trouble = ""

    @property
    def rest_s(self) -> float:
        """So long it is not to be asked."""
        return max(0.0, self._resting_until_s - self._now())

    def look(self, event: Event, nominal: Nominal, states: dict[Any, Any]) -> tuple[Finding, ...]:
        """Its findings. Raises ConnectionError while it rests; else whatever it raises."""
        if rest_s := self.rest_s:
            raise ConnectionError(f"not asked for {rest_s:.1f} s more: {self.trouble}")
        began_s = self._now()
        try:
            found = self._plugin.analyse(event, nominal.nominal_v, nominal.nominal_hz)
        except OSError as error:
            now_s = self._now()
            pause_s = max(PAUSES_S[min(self._ended, len(PAUSES_S) - 1)], PATIENCE * (now_s - began_s))
            self._ended += 1
            self._resting_until_s = now_s + pause_s
            self.trouble = str(error)
            raise
        self.well()
        return found

    def well(self) -> None:
        """It has answered, or another version has taken over."""
        self._ended, self._resting_until_s, self.trouble = 1, 0.0, ""

    def close(self) -> None:
        self._plugin.close()
