"""Event time: records wait until the watermark has passed them, and leave in the order of their time.

The watermark is the smallest over the streams of (largest time seen - tolerance) and only rises. A record
older than it is late: dropped and counted; one that is equal is kept. With an idle timeout a stream that
was silent for so long does not hold the others back.
"""

from bisect import insort_right
from typing import Any

from opq_rules.query.windows.window import Record, records_of

_NEVER_MS = -(2**62)

MOST_WAITING = 200_000
"""Records that a stream which is silent can hold back; further ones are refused, and counted as late."""


class Watermark:
    """`arrived_ms` is the time of arrival, which only the idle timeout looks at."""

    def __init__(self, sources: int, tolerance_ms: int, idle_ms: int = 0) -> None:
        self._largest_ms = [_NEVER_MS] * sources
        self._heard_ms: list[int | None] = [None] * sources
        self._tolerance_ms = tolerance_ms
        self._idle_ms = idle_ms
        self._waiting: list[Record] = []
        """In the order of time; equal times in the order of arrival."""
        self.ms: int = _NEVER_MS
        self._looked_ms = _NEVER_MS

    def offer(self, record: Record, arrived_ms: int) -> bool:
        """False: it is late, or too many wait."""
        self._heard_ms[record.source] = arrived_ms
        if record.ms < self.ms or len(self._waiting) >= MOST_WAITING:
            return False
        if record.ms > self._largest_ms[record.source]:
            self._largest_ms[record.source] = record.ms
        waiting = self._waiting
        if not waiting or waiting[-1].ms <= record.ms:
            waiting.append(record)
        else:
            insort_right(waiting, record, key=lambda each: each.ms)
        return True

    def release(self, arrived_ms: int) -> list[Record]:
        """Lets the watermark rise; the records that it has reached, in order."""
        least_ms = min(self._largest_ms)
        self._looked_ms = arrived_ms
        if self._idle_ms and len(self._largest_ms) > 1:
            awake = [
                largest_ms
                for largest_ms, heard_ms in zip(self._largest_ms, self._heard_ms, strict=True)
                if heard_ms is not None and arrived_ms - heard_ms < self._idle_ms
            ]
            least_ms = min(awake) if awake else least_ms
        if least_ms != _NEVER_MS and least_ms - self._tolerance_ms > self.ms:
            self.ms = least_ms - self._tolerance_ms
        count = 0
        for record in self._waiting:
            if record.ms > self.ms:
                break
            count += 1
        released = self._waiting[:count]
        del self._waiting[:count]
        return released

    def next_idle_ms(self) -> int | None:
        """When the next stream becomes idle."""
        if not self._idle_ms or len(self._largest_ms) < 2:
            return None
        dues = (heard + self._idle_ms for heard in self._heard_ms if heard is not None)
        return min((due_ms for due_ms in dues if due_ms > self._looked_ms), default=None)

    def state(self) -> Any:
        return {
            "largest_ms": self._largest_ms,
            "heard_ms": self._heard_ms,
            "waiting": [list(record) for record in self._waiting],
            "ms": self.ms,
        }

    def restore(self, state: Any) -> None:
        self._largest_ms, self._heard_ms = list(state["largest_ms"]), list(state["heard_ms"])
        self._waiting, self.ms = records_of(state["waiting"]), state["ms"]
