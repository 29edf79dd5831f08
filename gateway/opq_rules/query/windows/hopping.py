"""Hopping windows: every hop, [end - length, end).

Where aggregates merge, records go into panes that no boundary of any window divides, and a window is the
merger of its panes; else records are kept. A hop above the length is a sample: what falls between is let go.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from opq_rules.batch import State
from opq_rules.query.calendar import Ends
from opq_rules.query.windows.window import (
    MOST_EMPTY,
    Cut,
    Fresh,
    KeptRecords,
    LeftOut,
    Record,
    WindowContent,
    records_of,
    untold,
)


class Hopping:
    """Keeps records. `empty`: windows without a record are cut as well."""

    def __init__(self, ends: Ends, length_ms: int, empty: bool = False) -> None:
        self._ends = ends
        self._length_ms = length_ms
        self._empty = empty
        self._records: deque[Record] = deque()
        self.left_out: LeftOut = untold
        self.next_due_ms: int | None = None

    def open(self, ms: int) -> None:
        """The rule begins."""
        self.next_due_ms = self._ends.after(ms)

    def add(self, records: Iterable[Record]) -> list[Cut]:
        for record in records:
            if self.next_due_ms is None:
                self.open(record.ms)
            if record.ms >= self._ends.after(record.ms) - self._length_ms:
                self._records.append(record)
        return []

    def advance(self, ms: int) -> list[Cut]:
        cuts: list[Cut] = []
        empty = 0
        while self.next_due_ms is not None and self.next_due_ms <= ms:
            end_ms = self.next_due_ms
            start_ms = end_ms - self._length_ms
            while self._records and self._records[0].ms < start_ms:
                self._records.popleft()
            held = [record for record in self._records if record.ms < end_ms]
            empty += not held
            if held or self._empty:
                cuts.append(Cut(KeptRecords(held), start_ms, end_ms))
            too_many = empty > MOST_EMPTY and not self._records
            self.next_due_ms = self._ends.after(end_ms)
            if too_many and self.next_due_ms <= ms:
                self.left_out(end_ms, ms)
                self.next_due_ms = self._ends.after(ms)
            while self._records and self._records[0].ms < self.next_due_ms - self._length_ms:
                self._records.popleft()
            if not self._records and not self._empty:
                self.next_due_ms = None
        return cuts

    def state(self) -> State:
        return {"records": [list(record) for record in self._records], "end_ms": self.next_due_ms}

    def restore(self, state: State) -> None:
        self._records = deque(records_of(state["records"]))
        self.next_due_ms = state["end_ms"]


class Panes:
    """Keeps no record; `merged` gives the content of a window from those of its panes, oldest first."""

    def __init__(
        self,
        ends: Ends,
        length_ms: int,
        fresh: Fresh,
        merged: Callable[[Sequence[WindowContent]], WindowContent],
        empty: bool = False,
    ) -> None:
        self._ends = ends
        self._length_ms = length_ms
        self._fresh = fresh
        self._merged = merged
        self._empty = empty
        self._panes: deque[tuple[int, WindowContent]] = deque()
        """(time of the first record, content)"""
        self._until_ms: int | None = None
        """The boundary after the newest pane; None: the next record begins a pane."""
        self.left_out: LeftOut = untold
        self.next_due_ms: int | None = None

    def open(self, ms: int) -> None:
        """The rule begins."""
        self.next_due_ms = self._ends.after(ms)

    def add(self, records: Iterable[Record]) -> list[Cut]:
        for record in records:
            if self.next_due_ms is None:
                self.open(record.ms)
            if self._until_ms is None or record.ms >= self._until_ms:
                end_ms = self._ends.after(record.ms)
                if record.ms < end_ms - self._length_ms:
                    continue
                self._until_ms = min(end_ms, self._ends.after(record.ms + self._length_ms) - self._length_ms)
                self._panes.append((record.ms, self._fresh()))
            self._panes[-1][1].add(record)
        return []

    def advance(self, ms: int) -> list[Cut]:
        cuts: list[Cut] = []
        empty = 0
        while self.next_due_ms is not None and self.next_due_ms <= ms:
            end_ms = self.next_due_ms
            start_ms = end_ms - self._length_ms
            self._forget_before(start_ms)
            held = [content for first_ms, content in self._panes if first_ms < end_ms]
            empty += not held
            if held or self._empty:
                cuts.append(Cut(self._merged(held), start_ms, end_ms))
            too_many = empty > MOST_EMPTY and not self._panes
            self.next_due_ms = self._ends.after(end_ms)
            if too_many and self.next_due_ms <= ms:
                self.left_out(end_ms, ms)
                self.next_due_ms = self._ends.after(ms)
            self._forget_before(self.next_due_ms - self._length_ms)
            if not self._panes:
                self._until_ms = None
                if not self._empty:
                    self.next_due_ms = None
        return cuts

    def _forget_before(self, ms: int) -> None:
        while self._panes and self._panes[0][0] < ms:
            self._panes.popleft()

    def state(self) -> State:
        panes = [[first_ms, content.state()] for first_ms, content in self._panes]
        return {"panes": panes, "until_ms": self._until_ms, "end_ms": self.next_due_ms}

    def restore(self, state: State) -> None:
        self._panes = deque()
        for first_ms, kept in state["panes"]:
            content = self._fresh()
            content.restore(kept)
            self._panes.append((first_ms, content))
        self._until_ms, self.next_due_ms = state["until_ms"], state["end_ms"]
