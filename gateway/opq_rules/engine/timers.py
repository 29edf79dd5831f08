"""Timers: when units want to be told that time has passed. Owned by the engine's thread."""

import heapq
import itertools
from collections.abc import Iterator

from opq_rules.engine.rule import Unit


class Timers:
    """Each unit has one at most: `Unit.due_ms`, None where it has none; older entries are passed over."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Unit]] = []
        self._numbers = itertools.count()

    @property
    def next_ms(self) -> int | None:
        """When to look again; it may turn out that nothing is due then."""
        return self._heap[0][0] if self._heap else None

    def set(self, unit: Unit) -> None:
        """For when the unit wants it now."""
        due_ms = unit.next_due_ms
        if due_ms is not None and due_ms != unit.due_ms:
            heapq.heappush(self._heap, (due_ms, next(self._numbers), unit))
        unit.due_ms = due_ms

    def due(self, now_ms: int) -> Iterator[Unit]:
        """Those whose time has come, in order, also of what is set meanwhile. Their timers are gone."""
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, _, unit = heapq.heappop(self._heap)
            if unit.due_ms == due_ms:
                unit.due_ms = None
                yield unit
