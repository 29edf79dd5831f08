"""Count windows: the last n records, every so many records, once there are n.

WHERE comes after the window was filled: a record that it refuses counts and takes a place, but is no content.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from opq_rules.query.windows.window import Cut, Fresh, Kept, Record, records_of


class Count:
    """`holds(record)`: WHERE. With every = n no record is in two windows, and content need not keep it."""

    def __init__(self, size: int, every: int, fresh: Fresh, holds: Callable[[Record], bool]) -> None:
        self._size = size
        self._every = every
        self._fresh = fresh
        self._holds = holds
        self._seen = 0
        self._content = fresh()
        self._first_ms = 0
        self._overlapping: deque[tuple[Record, bool]] = deque(maxlen=size)
        self.next_due_ms: int | None = None

    def add(self, records: Sequence[Record]) -> list[Cut]:
        add = self._add_once if self._every == self._size else self._add_overlapping
        return [cut for record in records if (cut := add(record)) is not None]

    def _add_once(self, record: Record) -> Cut | None:
        if self._seen == 0:
            self._first_ms = record.ms
        self._seen += 1
        if self._holds(record):
            self._content.add(record)
        if self._seen < self._size:
            return None
        cut = Cut(self._content, self._first_ms, record.ms)
        self._seen, self._content = 0, self._fresh()
        return cut

    def _add_overlapping(self, record: Record) -> Cut | None:
        self._overlapping.append((record, self._holds(record)))
        self._seen += 1
        if self._seen < self._every:
            return None
        self._seen = 0
        if len(self._overlapping) < self._size:
            return None
        held = [each for each, holds in self._overlapping if holds]
        return Cut(Kept(held), self._overlapping[0][0].ms, record.ms)

    def advance(self, ms: int) -> list[Cut]:
        return []

    def state(self) -> Any:
        return {
            "seen": self._seen,
            "first_ms": self._first_ms,
            "content": self._content.state(),
            "records": [list(record) for record, _ in self._overlapping],
            "holds": [holds for _, holds in self._overlapping],
        }

    def restore(self, state: Any) -> None:
        self._seen, self._first_ms = state["seen"], state["first_ms"]
        self._content = self._fresh()
        self._content.restore(state["content"])
        pairs = zip(records_of(state["records"]), state["holds"], strict=True)
        self._overlapping = deque(pairs, maxlen=self._size)
