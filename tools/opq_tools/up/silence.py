"""Which Boxes have fallen silent, by what the page's live feed brings."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MOST_BOXES = 1000
"""Boxes that are watched: a flood of strange ids must not fill the memory."""


@dataclass(slots=True)
class _BoxSilence:
    """How long one Box has been silent; monotonic nanoseconds."""

    last_ns: int
    silent_after_ns: int
    silent: bool = False


class SilenceWatch:
    """`accept_measurement` comes from the feed's thread, `changes` is asked by the main loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._boxes: dict[str, _BoxSilence] = {}

    def accept_measurement(self, facts: Mapping[str, Any], moment_ns: int) -> None:
        """A `measurement` of the live feed; one without the feed's keys changes nothing."""
        box_id, age_ms = facts.get("box_id"), facts.get("age_ms")
        silent_after_ms = facts.get("silent_after_ms")
        if not (isinstance(box_id, str) and isinstance(age_ms, int) and isinstance(silent_after_ms, int)):
            return
        with self._lock:
            heard = self._boxes.get(box_id)
            if heard is None:
                if len(self._boxes) < MOST_BOXES:
                    self._boxes[box_id] = _BoxSilence(moment_ns - age_ms * 10**6, silent_after_ms * 10**6)
                return
            heard.last_ns = max(heard.last_ns, moment_ns - age_ms * 10**6)
            heard.silent_after_ns = silent_after_ms * 10**6

    def changes(self, now_ns: int) -> list[tuple[str, bool]]:
        """(Box, whether it is silent now) of those that fell silent or report again since the last call."""
        found = []
        with self._lock:
            for box_id, heard in self._boxes.items():
                silent = now_ns - heard.last_ns > heard.silent_after_ns
                if silent != heard.silent:
                    heard.silent = silent
                    found.append((box_id, silent))
        return found
