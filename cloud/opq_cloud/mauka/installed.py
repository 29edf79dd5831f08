"""An installed analysis as the runner sees it: asked like a built-in one, and left alone while it is ill."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from opq_plugins.host.guard import PAUSES_S
from opq_plugins.host.judging import PluginAnalysis
from opq_proto.decision import Nominal
from opq_proto.errors import PluginError
from opq_proto.messages import Event, Finding, Waveform

PATIENCE = 4.0
"""After a call that ended with its process it rests for so many times what the call took: one that hangs
has a fifth of the runner's time, the other analyses have the rest."""

LARGEST_BYTES = 48 << 20
"""Of counts in one call; a message to a worker has 64 MiB at most."""


class InstalledAnalysis:
    """Its state is kept where it runs. Used by the runner's thread; `well` by any."""

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

    @property
    def alone(self) -> bool:
        """Whether it may be asked of one Box of an event; not while it rests, nor when it does not say."""
        if self.rest_s:
            return False
        try:
            return self._plugin.alone()
        except (OSError, ValueError, PluginError):
            return False

    def look(self, event: Event, nominal: Nominal, states: dict[Any, Any]) -> tuple[Finding, ...]:
        """Its findings. Raises ConnectionError while it rests; else whatever it raises."""
        if rest_s := self.rest_s:
            raise ConnectionError(f"not asked for {rest_s:.1f} s more: {self.trouble}")
        began_s = self._now()
        found: list[Finding] = []
        try:
            for part in self._parts(event):
                found += self._plugin.analyse(part, nominal.volts, nominal.hz)
        except OSError as error:
            now_s = self._now()
            pause_s = max(PAUSES_S[min(self._ended, len(PAUSES_S) - 1)], PATIENCE * (now_s - began_s))
            self._ended += 1
            self._resting_until_s = now_s + pause_s
            self.trouble = str(error)
            raise
        self.well()
        return tuple(found)

    def _parts(self, event: Event) -> list[Event]:
        """The event, or some Boxes at a time where it is too large for one message to a worker."""
        if sum(wave.counts.nbytes for wave in event.waveforms) <= LARGEST_BYTES or not self.alone:
            return [event]
        parts: list[list[Waveform]] = [[]]
        room = LARGEST_BYTES
        for wave in event.waveforms:
            if wave.counts.nbytes > room and parts[-1]:
                parts.append([])
                room = LARGEST_BYTES
            parts[-1].append(wave)
            room -= wave.counts.nbytes
        return [replace(event, waveforms=tuple(some)) for some in parts]

    def well(self) -> None:
        """It has answered, or another version has taken over."""
        self._ended, self._resting_until_s, self.trouble = 1, 0.0, ""

    def close(self) -> None:
        self._plugin.close()
