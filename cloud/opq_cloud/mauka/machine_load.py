"""How busy this machine is: processor, memory, disk, as the original's `laha_stats` has them. Linux.

What the system does not say is None.
"""

import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

STAT, MEMORY = Path("/proc/stat"), Path("/proc/meminfo")
MOST_VALUES = 100_000
"""Values of one statistic; later ones are left out until it begins again."""


@dataclass(slots=True)
class ValueSummary:
    """Values of a span of time."""

    values: list[float] = field(default_factory=list)
    start_s: int = 0
    end_s: int = 0

    def add(self, value: float | None) -> None:
        if value is None or len(self.values) >= MOST_VALUES:
            return
        self.end_s = round(time.time())
        self.start_s = self.start_s or self.end_s
        self.values.append(value)

    def document(self) -> dict[str, float | int | None]:
        """The original's keys (opq-interop, D.7); null where no value came. `var` is of all of them."""
        count = len(self.values)
        mean = math.fsum(self.values) / count if count else None
        variance = None if mean is None else math.fsum((each - mean) ** 2 for each in self.values) / count
        return {
            "min": min(self.values, default=None), "max": max(self.values, default=None),
            "mean": mean, "var": variance, "cnt": count,
            "start_timestamp_s": self.start_s, "end_timestamp_s": self.end_s,
        }  # fmt: skip


class MachineLoad:
    """Looked at now and then; a summary of all looks since the last one."""

    def __init__(self, folder: Path) -> None:
        """`folder`: whose disk counts."""
        self._folder = folder
        self._ticks = _busy_ticks()
        self._summaries: dict[str, ValueSummary] = {}
        self._clear()

    def look(self) -> None:
        """One value more of each."""
        for name, value in (
            ("cpu_load_percent", self._busy_percent()),
            ("memory_use_bytes", _used_memory()),
            ("disk_use_bytes", self._used_disk()),
        ):
            self._summaries[name].add(value)

    def documents(self) -> dict[str, dict[str, float | int | None]]:
        """What was measured since the last call, by the original's names."""
        found = {name: summary.document() for name, summary in self._summaries.items()}
        self._clear()
        return found

    def _clear(self) -> None:
        names = ("cpu_load_percent", "memory_use_bytes", "disk_use_bytes")
        self._summaries = {name: ValueSummary() for name in names}

    def _busy_percent(self) -> float | None:
        """How busy all processors were since the last look, percent."""
        before, self._ticks = self._ticks, _busy_ticks()
        if before is None or self._ticks is None or self._ticks[1] <= before[1]:
            return None
        return 100 * (self._ticks[0] - before[0]) / (self._ticks[1] - before[1])

    def _used_disk(self) -> float | None:
        try:
            return float(shutil.disk_usage(self._folder).used)
        except OSError:
            return None


def _busy_ticks() -> tuple[int, int] | None:
    """(busy, all) ticks of the processors since the start; proc(5)."""
    try:
        ticks = [int(each) for each in STAT.read_text().partition("\n")[0].split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # idle, iowait
    except (OSError, ValueError, IndexError):
        return None


def _used_memory() -> float | None:
    try:
        rows = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines() if ":" in line)
        total, free = (int(rows[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return 1024.0 * (total - free)
    except (OSError, ValueError, KeyError, IndexError):
        return None
