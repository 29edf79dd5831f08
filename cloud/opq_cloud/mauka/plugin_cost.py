"""What each plug-in costs: time of its calls, and memory of its process; for `/status` and `opq-tools mauka`.

A plug-in in Mauka's own process has no memory of its own that could be measured.
"""

import threading
from dataclasses import dataclass

from opq_plugins.sandbox.process_tree import resident_bytes

ENOUGH_BYTES = 1 << 62
"""Never asks how much is shared: one process each."""


@dataclass(slots=True)
class _CallTimes:
    calls: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0


class PluginCosts:
    """By plug-in, since the start; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, _CallTimes] = {}

    def add(self, name: str, seconds: float) -> None:
        """One event, or one message, was in its hands for so long; waiting for the processor counts."""
        with self._lock:
            times = self._times.setdefault(name, _CallTimes())
            times.calls += 1
            times.total_s += seconds
            times.longest_s = max(times.longest_s, seconds)

    def row(self, name: str, pid: int = 0) -> dict[str, object]:
        """`handled_ms_mean`, `handled_ms_longest`, `memory_mb`; null: not known."""
        with self._lock:
            known = self._times.get(name, _CallTimes())
            mean_s, longest_s = known.total_s / max(1, known.calls), known.longest_s
        size = resident_bytes([pid], ENOUGH_BYTES) if pid else 0
        return {
            "handled_ms_mean": round(1000 * mean_s, 3) if known.calls else None,
            "handled_ms_longest": round(1000 * longest_s, 3) if known.calls else None,
            "memory_mb": round(size / 2**20, 1) if size else None,
        }
