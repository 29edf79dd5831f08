"""Windows that records begin and end: count, state and session windows.

Count and state windows, and sessions of event time, see every record; WHERE (`holds`) chooses which of them
are content. Before a session of the clock WHERE comes first.

Count: the last n records, each time that `every` records have arrived and there are n.

State: from a record that begins it to one that ends it, per partition. With one condition, each record for
which it holds ends a window and begins the next; with two, both the first and the last record are content.

Session: from the first record until none has arrived for longer than the timeout (the end is last + timeout;
one at that time goes on, as in eKuiper), or until
the first aligned tick at which the window is at least `longest` old; the next window starts at that tick if
the session continues.
"""

from collections import deque
from collections.abc import Callable, Sequence

from opq_rules.query.window import (
    Cut,
    Fresh,
    Holds,
    Record,
    WindowContent,
    WindowRecords,
    records_of,
    restored,
)
from opq_rules.query.windows.by_time import Ends
from opq_rules.values.batch import State


class CountWindow:
    """With every = n no two windows share a record: it need not be kept."""

    def __init__(self, size: int, every: int, fresh: Fresh, holds: Holds | None = None) -> None:
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
        if self._holds is None or self._holds(record):
            self._content.add(record)
        if self._seen < self._size:
            return None
        cut = Cut(self._content, self._first_ms, record.ms)
        self._seen, self._content = 0, self._fresh()
        return cut

    def _add_overlapping(self, record: Record) -> Cut | None:
        self._overlapping.append((record, self._holds is None or self._holds(record)))
        self._seen += 1
        if self._seen < self._every:
            return None
        self._seen = 0
        if len(self._overlapping) < self._size:
            return None
        held = [each for each, holds in self._overlapping if holds]
        return Cut(WindowRecords(held), self._overlapping[0][0].ms, record.ms)

    def advance(self, ms: int) -> list[Cut]:
        return []

    def state(self) -> State:
        return {
            "seen": self._seen,
            "first_ms": self._first_ms,
            "content": self._content.state(),
            "records": [list(record) for record, _ in self._overlapping],
            "holds": [holds for _, holds in self._overlapping],
        }

    def restore(self, state: State) -> None:
        self._seen, self._first_ms = state["seen"], state["first_ms"]
        self._content = restored(self._fresh, state["content"])
        pairs = zip(records_of(state["records"]), state["holds"], strict=True)
        self._overlapping = deque(pairs, maxlen=self._size)


class StateWindow:
    """`end` None: there is only one condition. `partition(record)` returns a text."""

    def __init__(
        self,
        begin: Holds,
        end: Holds | None,
        partition: Callable[[Record], str],
        fresh: Fresh,
        holds: Holds | None = None,
    ) -> None:
        self._begin = begin
        self._end = end
        self._partition = partition
        self._fresh = fresh
        self._holds = holds
        self._open: dict[str, tuple[int, WindowContent]] = {}
        """Partition -> (time of the first record, content)."""
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
                    self._add(content, record)
                continue
            self._add(content, record)
            if self._end(record):
                cuts.append(Cut(content, start_ms, record.ms))
                del self._open[key]
        return cuts

    def _begin_with(self, key: str, record: Record) -> None:
        content = self._fresh()
        self._add(content, record)
        self._open[key] = (record.ms, content)

    def _add(self, content: WindowContent, record: Record) -> None:
        if self._holds is None or self._holds(record):
            content.add(record)

    def advance(self, ms: int) -> list[Cut]:
        return []

    def state(self) -> State:
        return {key: [start_ms, content.state()] for key, (start_ms, content) in self._open.items()}

    def restore(self, state: State) -> None:
        self._open = {key: (start_ms, restored(self._fresh, kept)) for key, (start_ms, kept) in state.items()}


class SessionWindow:
    def __init__(self, ticks: Ends, timeout_ms: int, fresh: Fresh, holds: Holds | None = None) -> None:
        self._ticks, self._holds = ticks, holds
        self._timeout_ms = timeout_ms
        self._fresh = fresh
        self._content: WindowContent | None = None
        self._start_ms = 0
        self._quiet_ms = 0
        """Time at which the session ends unless a record arrives."""
        self._tick_ms = 0
        self._carried_ms: int | None = None
        """The tick that cut a session which may continue."""

    @property
    def next_due_ms(self) -> int | None:
        return None if self._content is None else min(self._quiet_ms + 1, self._tick_ms)

    def add(self, records: Sequence[Record]) -> list[Cut]:
        for record in records:
            if self._content is None:
                goes_on = self._carried_ms is not None and record.ms <= self._quiet_ms
                self._start_ms = self._carried_ms if goes_on and self._carried_ms is not None else record.ms
                self._carried_ms = None
                self._content = self._fresh()
                oldest_ms = self._start_ms + self._ticks.length_ms
                self._tick_ms = self._ticks.after(oldest_ms - 1)
            if self._holds is None or self._holds(record):
                self._content.add(record)
            self._quiet_ms = record.ms + self._timeout_ms
        return []

    def advance(self, ms: int) -> list[Cut]:
        due_ms = self.next_due_ms
        if due_ms is None or due_ms > ms:
            return []
        assert self._content is not None
        end_ms = min(due_ms, self._quiet_ms)
        cut = Cut(self._content, self._start_ms, end_ms)
        self._content = None
        self._carried_ms = end_ms if due_ms <= self._quiet_ms else None
        return [cut]

    def state(self) -> State:
        content = None if self._content is None else self._content.state()
        return {
            "content": content,
            "start_ms": self._start_ms,
            "quiet_ms": self._quiet_ms,
            "tick_ms": self._tick_ms,
            "carried_ms": self._carried_ms,
        }

    def restore(self, state: State) -> None:
        self._start_ms, self._quiet_ms = state["start_ms"], state["quiet_ms"]
        self._tick_ms, self._carried_ms = state["tick_ms"], state["carried_ms"]
        kept = state["content"]
        self._content = None if kept is None else restored(self._fresh, kept)
