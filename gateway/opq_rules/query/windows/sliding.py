"""Sliding windows: one per record that triggers, [t - length, t]; with a delay [t - length, t + delay).

Aggregates that take a record out again do so as it leaves. Those that merge are kept per block of records: a
window of n records costs some n / 32 + 32 steps instead of n.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from opq_rules.batch import State, Value
from opq_rules.query.windows.window import Cut, Fresh, KeptRecords, Record, WindowContent, records_of


class Sliding:
    """`triggers(record)`: OVER(WHEN). Records of one moment are handed over together and see each other."""

    def __init__(self, length_ms: int, delay_ms: int, triggers: Callable[[Record], bool] | None) -> None:
        self._length_ms = length_ms
        self._delay_ms = delay_ms
        self._triggers = triggers
        self._records: deque[Record] = deque()
        self._waiting: deque[int] = deque()
        """Times of records that trigger when their delay is over."""

    @property
    def next_due_ms(self) -> int | None:
        return self._waiting[0] + self._delay_ms if self._waiting else None

    def add(self, records: Sequence[Record]) -> list[Cut]:
        now_ms = records[0].ms
        self._forget_before((self._waiting[0] if self._waiting else now_ms) - self._length_ms)
        self._keep(records)
        triggers = self._triggers
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
        return {"records": [list(record) for record in self._kept()], "waiting_ms": list(self._waiting)}

    def restore(self, state: State) -> None:
        self._forget_all()
        self._keep(records_of(state["records"]))
        self._waiting = deque(state["waiting_ms"])

    def _keep(self, records: Sequence[Record]) -> None:
        self._records.extend(records)

    def _kept(self) -> Iterable[Record]:
        return self._records

    def _content(self, end_ms: int | None) -> WindowContent:
        """What lies before `end_ms`; None: all."""
        if end_ms is None:
            return KeptRecords(self._records)
        return KeptRecords([each for each in self._records if each.ms < end_ms])

    def _forget_before(self, ms: int) -> None:
        while self._records and self._records[0].ms < ms:
            self._records.popleft()

    def _forget_all(self) -> None:
        self._records.clear()


class RemovableGroups(WindowContent, Protocol):
    """query.running.RunningGroups."""

    def put(self, record: Record) -> Value: ...
    def take_out(self, entry: Value) -> None: ...
    def put_in_order(self) -> None: ...


class SlidingGroups:
    """As `Sliding`. A cut holds the running groups themselves: they are to be read before the next record."""

    def __init__(
        self, length_ms: int, triggers: Callable[[Record], bool] | None, fresh: Callable[[], RemovableGroups]
    ) -> None:
        self._length_ms = length_ms
        self._triggers = triggers
        self._fresh = fresh
        self._running = fresh()
        self._entries: deque[tuple[Record, Value]] = deque()
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

    def state(self) -> State:
        return {"records": [list(record) for record, _ in self._entries]}

    def restore(self, state: State) -> None:
        self._running = self._fresh()
        self._entries = deque((record, self._running.put(record)) for record in records_of(state["records"]))


BLOCK = 32
"""Records."""


class RecordBlock:
    """Records in order, and what they amount to; `begin`: those before it have left."""

    __slots__ = ("begin", "content", "records")

    def __init__(self, content: WindowContent) -> None:
        self.records: list[Record] = []
        self.begin = 0
        self.content = content


class SlidingBlocks(Sliding):
    """Keeps blocks. `merged` gives the content of a window from those of its parts, oldest first.

    `again`: as `fresh`, for records that were in one already: it tells no error twice.
    """

    def __init__(
        self,
        length_ms: int,
        delay_ms: int,
        triggers: Callable[[Record], bool] | None,
        fresh: Fresh,
        again: Fresh,
        merged: Callable[[Sequence[WindowContent]], WindowContent],
    ) -> None:
        super().__init__(length_ms, delay_ms, triggers)
        self._fresh, self._again, self._merged = fresh, again, merged
        self._blocks: deque[RecordBlock] = deque()

    def _keep(self, records: Sequence[Record]) -> None:
        for record in records:
            if not self._blocks or len(self._blocks[-1].records) >= BLOCK:
                self._blocks.append(RecordBlock(self._fresh()))
            block = self._blocks[-1]
            block.records.append(record)
            block.content.add(record)

    def _kept(self) -> Iterator[Record]:
        for block in self._blocks:
            yield from block.records[block.begin :]

    def _content(self, end_ms: int | None) -> WindowContent:
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
        return self._merged(parts)

    def _forget_before(self, ms: int) -> None:
        while self._blocks:
            block = self._blocks[0]
            while block.begin < len(block.records) and block.records[block.begin].ms < ms:
                block.begin += 1
            if block.begin < len(block.records):
                return
            self._blocks.popleft()

    def _forget_all(self) -> None:
        self._blocks.clear()
