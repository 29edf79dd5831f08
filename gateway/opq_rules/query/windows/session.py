"""Session windows: from the first record until none has come for the timeout, or until a tick of the longest.

The end is last + timeout; or the first aligned tick at which the window is at least `longest` old, and the
next window starts at that tick if the session goes on.
"""

from collections.abc import Sequence
from typing import Any

from opq_rules.query.calendar import Ends
from opq_rules.query.windows.window import Content, Cut, Fresh, Record


class Session:
    def __init__(self, ticks: Ends, timeout_ms: int, fresh: Fresh) -> None:
        self._ticks = ticks
        self._timeout_ms = timeout_ms
        self._fresh = fresh
        self._content: Content | None = None
        self._start_ms = 0
        self._quiet_ms = 0
        """When the session ends unless a record comes."""
        self._tick_ms = 0
        self._carried_ms: int | None = None
        """The tick that cut a session which may go on."""

    @property
    def next_due_ms(self) -> int | None:
        return None if self._content is None else min(self._quiet_ms, self._tick_ms)

    def add(self, records: Sequence[Record]) -> list[Cut]:
        for record in records:
            if self._content is None:
                goes_on = self._carried_ms is not None and record.ms < self._quiet_ms
                self._start_ms = self._carried_ms if goes_on and self._carried_ms is not None else record.ms
                self._carried_ms = None
                self._content = self._fresh()
                oldest_ms = self._start_ms + self._ticks.length_ms
                self._tick_ms = self._ticks.after(oldest_ms - 1)
            self._content.add(record)
            self._quiet_ms = record.ms + self._timeout_ms
        return []

    def advance(self, ms: int) -> list[Cut]:
        due_ms = self.next_due_ms
        if due_ms is None or due_ms > ms:
            return []
        assert self._content is not None
        cut = Cut(self._content, self._start_ms, due_ms)
        self._content = None
        self._carried_ms = due_ms if due_ms < self._quiet_ms else None
        return [cut]

    def state(self) -> Any:
        content = None if self._content is None else self._content.state()
        return {
            "content": content,
            "start_ms": self._start_ms,
            "quiet_ms": self._quiet_ms,
            "tick_ms": self._tick_ms,
            "carried_ms": self._carried_ms,
        }

    def restore(self, state: Any) -> None:
        self._start_ms, self._quiet_ms = state["start_ms"], state["quiet_ms"]
        self._tick_ms, self._carried_ms = state["tick_ms"], state["carried_ms"]
        self._content = None
        if state["content"] is not None:
            self._content = self._fresh()
            self._content.restore(state["content"])
