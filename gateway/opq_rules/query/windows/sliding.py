"""Sliding windows: one per record that triggers, [t - length, t]; with a delay [t - length, t + delay).

Aggregates that can remove a record do so when it leaves the window. All others are kept per block of records:
where aggregates merge, a window of n records costs some n / 32 + 32 steps instead of n.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from opq_rules.query.groups import GroupEntry, RunningGroups
from opq_rules.query.window import Cut, Fresh, Holds, Merge, Record, WindowContent, records_of
from opq_rules.values.batch import State

BLOCK_RECORDS = 32
"""Records of one block."""


@dataclass(slots=True, eq=False)
class RecordBlock:
    """Records in order, with their content; records before `begin` have left the window."""

    content: WindowContent
    records: list[Record] = field(default_factory=list)
    begin: int = 0


class Sliding:
    """Records of one time are added together and see each other.

    `triggers`: OVER (WHEN); None: every record, also one that WHERE (`holds`) leaves out of the content.
    `again`: like `fresh`, for records that were in a content before: it does not report their errors again.
    """

    def __init__(
        self,
        length_ms: int,
        delay_ms: int,
        triggers: Holds | None,
        fresh: Fresh,
        again: Fresh,
        merge: Merge,
        holds: Holds | None = None,
    ) -> None:
        self._length_ms, self._delay_ms, self._triggers, self._holds = length_ms, delay_ms, triggers, holds
        self._fresh, self._again, self._merge = fresh, again, merge
        self._blocks: deque[RecordBlock] = deque()
        self._waiting: deque[int] = deque()
        """Times of records that trigger after the delay."""

    @property
    def next_due_ms(self) -> int | None:
        return self._waiting[0] + self._delay_ms if self._waiting else None

    def add(self, records: Sequence[Record]) -> list[Cut]:
        now_ms = records[0].ms
        self._forget_before((self._waiting[0] if self._waiting else now_ms) - self._length_ms)
        holds, triggers = self._holds, self._triggers
        self._append(records if holds is None else [record for record in records if holds(record)])
        times = [record.ms for record in records if triggers is None or triggers(record)]
        if self._delay_ms:
            self._waiting.extend(times)
            return []
        return [Cut(self._content(None), ms - self._length_ms, ms, ms) for ms in times]

    def advance(self, ms: int) -> list[Cut]:
        cuts: list[Cut] = []
        while self._waiting and self._waiting[0] + self._delay_ms <= ms:
            trigger_ms = self._waiting.popleft()
            start_ms, end_ms = trigger_ms - self._length_ms, trigger_ms + self._delay_ms
            self._forget_before(start_ms)
            cuts.append(Cut(self._content(end_ms), start_ms, end_ms, trigger_ms))
        return cuts

    def state(self) -> State:
        kept = [list(record) for block in self._blocks for record in block.records[block.begin :]]
        return {"records": kept, "waiting_ms": list(self._waiting)}

    def restore(self, state: State) -> None:
        self._blocks.clear()
        self._append(records_of(state["records"]))
        self._waiting = deque(state["waiting_ms"])

    def _append(self, records: Sequence[Record]) -> None:
        for record in records:
            if not self._blocks or len(self._blocks[-1].records) >= BLOCK_RECORDS:
                self._blocks.append(RecordBlock(self._fresh()))
            block = self._blocks[-1]
            block.records.append(record)
            block.content.add(record)

    def _content(self, end_ms: int | None) -> WindowContent:
        """The content before `end_ms`; None: all of it."""
        parts: list[WindowContent] = []
        for block in self._blocks:
            whole = end_ms is None or block.records[-1].ms < end_ms
            if whole and block.begin == 0:
                parts.append(block.content)
                continue
            part = self._again()
            for record in block.records[block.begin :]:
                if end_ms is None or record.ms < end_ms:
                    part.add(record)
            parts.append(part)
        return self._merge(parts)

    def _forget_before(self, ms: int) -> None:
        while self._blocks:
            block = self._blocks[0]
            while block.begin < len(block.records) and block.records[block.begin].ms < ms:
                block.begin += 1
            if block.begin < len(block.records):
                return
            self._blocks.popleft()


class SlidingGroups:
    """`Sliding` with running groups; a cut holds these themselves: read them before the next record."""

    def __init__(
        self,
        length_ms: int,
        triggers: Holds | None,
        fresh: Callable[[], RunningGroups],
        holds: Holds | None = None,
    ) -> None:
        self._length_ms, self._triggers, self._fresh, self._holds = length_ms, triggers, fresh, holds
        self._running = fresh()
        self._entries: deque[tuple[Record, GroupEntry | None]] = deque()
        self.next_due_ms: int | None = None

    def add(self, records: Sequence[Record]) -> list[Cut]:
        from_ms = records[0].ms - self._length_ms
        while self._entries and self._entries[0][0].ms < from_ms:
            _, entry = self._entries.popleft()
            if entry is not None:
                self._running.take_out(entry)
        holds, triggers = self._holds, self._triggers
        for record in records:
            if holds is None or holds(record):
                self._entries.append((record, self._running.add_record(record)))
        times = [record.ms for record in records if triggers is None or triggers(record)]
        if times:
            self._running.put_in_order()
        return [Cut(self._running, ms - self._length_ms, ms, ms) for ms in times]

    def advance(self, ms: int) -> list[Cut]:
        return []

    def state(self) -> State:
        return {"records": [list(record) for record, _ in self._entries]}

    def restore(self, state: State) -> None:
        self._running = self._fresh()
        self._entries = deque(
            (record, self._running.add_record(record)) for record in records_of(state["records"])
        )
