"""What the kinds of windows share: records in, cuts out, in one time that only goes forward.

A window knows no clock. `advance(ms)` cuts what ends until then; `add(records)` takes records of one moment
and cuts what they complete. In processing time the moments are those of arrival, in event time those of the
records, which the watermark brings in order.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from opq_rules.batch import State, Value

MOST_EMPTY = 10_000
"""Windows without a record that are cut at once. More are of a clock that was set, or of a long silence."""

LeftOut = Callable[[int, int], None]
"""Told of the span, Unix ms, whose windows without a record are more than MOST_EMPTY, and are not cut."""


class Record(NamedTuple):
    """A record on its way: its time in Unix ms, the number of its source in FROM, its row, its metadata.

    `row` is a dict; in joins a tuple with one dict per source, of which this record fills one.
    """

    ms: int
    source: int
    row: Value
    meta: Value = None


class WindowContent(Protocol):
    """What lies in a window: the records themselves (KeptRecords), or groups of aggregates (RecordGroups)."""

    @property
    def is_empty(self) -> bool: ...
    def add(self, record: Record) -> None: ...
    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


class KeptRecords:
    """Records as they came."""

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
"""Gives a content that is still empty."""


def restored(fresh: Fresh, state: State) -> WindowContent:
    """A content as it was when `state` was taken."""
    content = fresh()
    content.restore(state)
    return content


Merge = Callable[[Sequence[WindowContent]], WindowContent]
"""The content of a window from those of its parts, oldest first."""


def joined_records(parts: Sequence[WindowContent]) -> KeptRecords:
    """`Merge` of kept records."""
    return KeptRecords([record for part in parts if isinstance(part, KeptRecords) for record in part.records])


@dataclass(slots=True)
class Cut:
    """A window that ended: `content` is what it holds. `trigger_ms`: of a sliding one, else its end."""

    content: WindowContent
    start_ms: int
    end_ms: int
    trigger_ms: int | None = None


class QueryWindow(Protocol):
    def add(self, records: Sequence[Record]) -> list[Cut]: ...
    def advance(self, ms: int) -> list[Cut]: ...
    @property
    def next_due_ms(self) -> int | None:
        """When `advance` has something to cut, as far as is known."""
        ...

    def state(self) -> State: ...
    def restore(self, state: State) -> None: ...


def records_of(state: State) -> list[Record]:
    """Records from their state; JSON has made lists of a join's tuples."""
    return [
        Record(ms, source, tuple(row) if isinstance(row, list) else row, meta)
        for ms, source, row, meta in state
    ]
