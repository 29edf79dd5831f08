"""Tumbling and mains-cycle windows: [start, end), one after the other, ends by the calendar."""

from collections.abc import Iterable

from opq_rules.batch import State
from opq_rules.query.calendar import Ends
from opq_rules.query.windows.window import MOST_EMPTY, Cut, Fresh, LeftOut, Record, WindowContent, untold


class Tumbling:
    """`empty`: windows without a record are cut as well, from `open` or the first record on."""

    def __init__(self, ends: Ends, fresh: Fresh, empty: bool = False) -> None:
        self._ends = ends
        self._fresh = fresh
        self._empty = empty
        self._content: WindowContent | None = None
        self._start_ms = 0
        self.left_out: LeftOut = untold
        self.next_due_ms: int | None = None

    def open(self, ms: int) -> None:
        """The rule begins."""
        self._start_ms = self._ends.at_or_before(ms)
        self.next_due_ms = self._ends.after(ms)
        self._content = self._fresh()

    def add(self, records: Iterable[Record]) -> list[Cut]:
        for record in records:
            if self._content is None:
                self.open(record.ms)
            assert self._content is not None
            self._content.add(record)
        return []

    def advance(self, ms: int) -> list[Cut]:
        cuts: list[Cut] = []
        while self.next_due_ms is not None and self.next_due_ms <= ms:
            assert self._content is not None
            end_ms = self.next_due_ms
            cuts.append(Cut(self._content, self._start_ms, end_ms))
            self._content, self.next_due_ms = None, None
            if self._empty:
                if len(cuts) > MOST_EMPTY and self._ends.after(end_ms) <= ms:
                    end_ms, silent_ms = self._ends.at_or_before(ms), end_ms
                    self.left_out(silent_ms, end_ms)
                self.open(end_ms)
        return cuts

    def state(self) -> State:
        content = None if self._content is None else self._content.state()
        return {"content": content, "start_ms": self._start_ms, "end_ms": self.next_due_ms}

    def restore(self, state: State) -> None:
        self._start_ms, self.next_due_ms = state["start_ms"], state["end_ms"]
        self._content = None
        if state["content"] is not None:
            self._content = self._fresh()
            self._content.restore(state["content"])
