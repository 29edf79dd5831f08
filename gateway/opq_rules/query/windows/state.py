"""State windows: from a record that begins to one that ends, per partition.

With one condition each record for which it holds ends a window and begins the next; with two, both the
first and the last record are content, and a record can end only what another has begun.
"""

from collections.abc import Callable, Sequence
from typing import Any

from opq_rules.query.windows.window import Content, Cut, Fresh, Record


class State:
    """`end` None: one condition. `partition(record)` gives a text."""

    def __init__(
        self,
        begin: Callable[[Record], bool],
        end: Callable[[Record], bool] | None,
        partition: Callable[[Record], str],
        fresh: Fresh,
    ) -> None:
        self._begin = begin
        self._end = end
        self._partition = partition
        self._fresh = fresh
        self._open: dict[str, tuple[int, Content]] = {}
        """Partition: (time of the first record, content)."""
        self.next_due_ms: int | None = None

    def add(self, records: Sequence[Record]) -> list[Cut]:
        cuts: list[Cut] = []
        for record in records:
            key = self._partition(record)
            found = self._open.get(key)
            if found is None:
                if self._begin(record):
                    self._begin_with(key, record)
                continue
            start_ms, content = found
            if self._end is None:
                if self._begin(record):
                    cuts.append(Cut(content, start_ms, record.ms))
                    self._begin_with(key, record)
                else:
                    content.add(record)
                continue
            content.add(record)
            if self._end(record):
                cuts.append(Cut(content, start_ms, record.ms))
                del self._open[key]
        return cuts

    def _begin_with(self, key: str, record: Record) -> None:
        content = self._fresh()
        content.add(record)
        self._open[key] = (record.ms, content)

    def advance(self, ms: int) -> list[Cut]:
        return []

    def state(self) -> Any:
        return {key: [start_ms, content.state()] for key, (start_ms, content) in self._open.items()}

    def restore(self, state: Any) -> None:
        self._open = {}
        for key, (start_ms, kept) in state.items():
            content = self._fresh()
            content.restore(kept)
            self._open[key] = (start_ms, content)
