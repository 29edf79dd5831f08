"""Cost of each plug-in: time of its calls, and memory of its process; for `/status` and `opq-tools mauka`.

The memory of a plug-in in Mauka's own process cannot be measured.
"""

import threading
from dataclasses import dataclass

from opq_plugins.sandbox.process_tree import resident_bytes

ENOUGH_BYTES = 1 << 62
"""Above any size, so that the shared part of memory is never read: each plug-in is one process."""


@dataclass(slots=True)
class _CallTimes:
    calls: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0


class PluginCosts:
    """Costs by plug-in since the start; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, _CallTimes] = {}

    def add(self, name: str, seconds: float) -> None:
        """Adds one call for an event or message and its duration, waiting for the processor included."""
        with self._lock:
            times = self._times.setdefault(name, _CallTimes())
            times.calls += 1
            times.total_s += seconds
            times.longest_s = max(times.longest_s, seconds)

    def calls(self, name: str) -> int:
        """Returns the number of events or messages that it was called for."""
        with self._lock:
            return self._times[name].calls if name in self._times else 0

    def row(self, name: str, pid: int = 0) -> dict[str, object]:
        """Returns `handled_ms_mean`, `handled_ms_longest`, `memory_mb`; null: not known."""
        with self._lock:
            known = self._times.get(name, _CallTimes())
            mean_s, longest_s = known.total_s / max(1, known.calls), known.longest_s
        size = resident_bytes([pid], ENOUGH_BYTES) if pid else 0
        return {
            "handled_ms_mean": round(1000 * mean_s, 3) if known.calls else None,
            "handled_ms_longest": round(1000 * longest_s, 3) if known.calls else None,
            "memory_mb": round(size / 2**20, 1) if size else None,
        }
