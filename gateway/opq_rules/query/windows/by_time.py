"""Windows that the calendar ends: tumbling, mains-cycle and hopping windows, [start, end)."""

from collections import deque
from collections.abc import Iterable

from opq_rules.batch import State
from opq_rules.query.calendar import Ends
from opq_rules.query.windows.window import (
    MOST_EMPTY,
    Cut,
    Fresh,
    LeftOut,
    Merge,
    Record,
    WindowContent,
    records_of,
)


class Tumbling:
    """`empty`: windows without a record are cut as well, from `open` or the first record on."""

    def __init__(self, ends: Ends, fresh: Fresh, empty: bool, left_out: LeftOut) -> None:
        self._ends, self._fresh, self._empty, self._left_out = ends, fresh, empty, left_out
        self._content: WindowContent | None = None
        self._start_ms = 0
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
                    self._left_out(silent_ms, end_ms)
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


class Hopping:
    """Every hop, [end - length, end). A hop above the length is a sample: what falls between is let go.

    Records go into panes that no boundary of any window divides; a window is the merger of its panes.
    """

    def __init__(
        self, ends: Ends, length_ms: int, fresh: Fresh, merge: Merge, empty: bool, left_out: LeftOut
    ) -> None:
        self._ends, self._length_ms = ends, length_ms
        self._fresh, self._merge = fresh, merge
        self._empty, self._left_out = empty, left_out
        self._panes: deque[tuple[int, WindowContent]] = deque()
        """(time of the first record, content)"""
        self._until_ms: int | None = None
        """The boundary after the newest pane; None: the next record begins a pane."""
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
                cuts.append(Cut(self._merge(held), start_ms, end_ms))
            too_many = empty > MOST_EMPTY and not self._panes
            self.next_due_ms = self._ends.after(end_ms)
            if too_many and self.next_due_ms <= ms:
                self._left_out(end_ms, ms)
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
        self._panes, self._until_ms, self.next_due_ms = deque(), None, state["end_ms"]
        if "records" in state:  # of a version that kept records without panes
            self.add(records_of(state["records"]))
            return
        for first_ms, kept in state["panes"]:
            content = self._fresh()
            content.restore(kept)
            self._panes.append((first_ms, content))
        self._until_ms = state["until_ms"]
