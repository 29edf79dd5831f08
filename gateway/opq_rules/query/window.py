"""The common part of all windows: records in, cuts out, in a time that only goes forward.

A window has no clock. `advance(ms)` cuts what ends until then; `add(records)` takes records of one time and
cuts what they complete. In processing time these are times of arrival, in event time the records' own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from opq_rules.values.batch import State, Value

MAX_EMPTY_WINDOWS = 10_000
"""Windows without a record that are cut at once; more come from a set clock, or a long silence."""

LeftOut = Callable[[int, int], None]
"""Called with a span, Unix ms, whose windows without a record exceed MAX_EMPTY_WINDOWS, and are not cut."""


class Record(NamedTuple):
    """A record on its way: its time in Unix ms, the number of its source in FROM, its row, its metadata.

    `row` is a dict; in joins a tuple with one dict per source, of which this record fills one.
    """

    ms: int
    source: int
    row: Value
    meta: Value = None


Holds = Callable[[Record], bool]


class WindowContent(Protocol):
    """The content of a window: its records (WindowRecords), or groups of aggregates (RecordGroups)."""

    @property
    def is_empty(self) -> bool: ...
    def add(self, record: Record) -> None: ...
    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


class WindowRecords:
    """Unchanged records."""

    __slots__ = ("records",)

    def __init__(self, records: Sequence[Record] = ()) -> None:
        self.records = list(records)

    @property
    def is_empty(self) -> bool:
        return not self.records

    def add(self, record: Record) -> None:
        self.records.append(record)

    def state(self) -> State:
        return [list(record) for record in self.records]

    def restore(self, state: State) -> None:
        self.records = records_of(state)


Fresh = Callable[[], WindowContent]
"""Makes an empty content."""


def restored(fresh: Fresh, state: State) -> WindowContent:
    """Restores a content from its `state`."""
    content = fresh()
    content.restore(state)
    return content


Merge = Callable[[Sequence[WindowContent]], WindowContent]
"""Merges the contents of a window's parts, oldest first."""


def joined_records(parts: Sequence[WindowContent]) -> WindowRecords:
    """The `Merge` for WindowRecords."""
    return WindowRecords(
        [record for part in parts if isinstance(part, WindowRecords) for record in part.records]
    )


@dataclass(slots=True)
class Cut:
    """A window that has ended. `trigger_ms`: the time that triggered a sliding window."""

    content: WindowContent
    start_ms: int
    end_ms: int
    trigger_ms: int | None = None


class QueryWindow(Protocol):
    def add(self, records: Sequence[Record]) -> list[Cut]: ...
    def advance(self, ms: int) -> list[Cut]: ...
    @property
    def next_due_ms(self) -> int | None:
        """Time at which `advance` may have something to cut."""
        ...

    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


def records_of(state: State) -> list[Record]:
    """Records from their state; tuples of joins, which JSON has turned into lists, become tuples again."""
    return [
        Record(ms, source, tuple(row) if isinstance(row, list) else row, meta)
        for ms, source, row, meta in state
    ]
