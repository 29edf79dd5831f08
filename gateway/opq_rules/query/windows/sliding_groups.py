"""Sliding windows without delay whose aggregates take a record out again as it leaves."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from opq_rules.query.windows.window import Content, Cut, Record, records_of


class Running(Content, Protocol):
    """query.running.RunningGroups."""

    def put(self, record: Record) -> Any: ...
    def take_out(self, entry: Any) -> None: ...
    def put_in_order(self) -> None: ...


class SlidingGroups:
    """As `Sliding`. A cut holds the running groups themselves: they are to be read before the next record."""

    def __init__(
        self, length_ms: int, triggers: Callable[[Record], bool] | None, fresh: Callable[[], Running]
    ) -> None:
        self._length_ms = length_ms
        self._triggers = triggers
        self._fresh = fresh
        self._running = fresh()
        self._entries: deque[tuple[Record, Any]] = deque()
        self.next_due_ms: int | None = None

    def add(self, records: Sequence[Record]) -> list[Cut]:
        from_ms = records[0].ms - self._length_ms
        while self._entries and self._entries[0][0].ms < from_ms:
            _, entry = self._entries.popleft()
            if entry is not None:
                self._running.take_out(entry)
        self._entries.extend((record, self._running.put(record)) for record in records)
        triggers = self._triggers
        times = [record.ms for record in records if triggers is None or triggers(record)]
        if times:
            self._running.put_in_order()
        return [Cut(self._running, ms - self._length_ms, ms, ms) for ms in times]

    def advance(self, ms: int) -> list[Cut]:
        return []

    def state(self) -> Any:
        return {"records": [list(record) for record, _ in self._entries]}

    def restore(self, state: Any) -> None:
        self._running = self._fresh()
        self._entries = deque((record, self._running.put(record)) for record in records_of(state["records"]))
