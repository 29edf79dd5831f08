"""Sliding windows: one per record that triggers, [t - length, t]; with a delay [t - length, t + delay)."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from opq_rules.query.windows.window import Cut, Kept, Record, records_of


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
        self._records.extend(records)
        triggers = self._triggers
        times = [record.ms for record in records if triggers is None or triggers(record)]
        if self._delay_ms:
            self._waiting.extend(times)
            return []
        return [Cut(Kept(self._records), ms - self._length_ms, ms, ms) for ms in times]

    def advance(self, ms: int) -> list[Cut]:
        cuts: list[Cut] = []
        while self._waiting and self._waiting[0] + self._delay_ms <= ms:
            trigger_ms = self._waiting.popleft()
            start_ms, end_ms = trigger_ms - self._length_ms, trigger_ms + self._delay_ms
            self._forget_before(start_ms)
            held = Kept([each for each in self._records if each.ms < end_ms])
            cuts.append(Cut(held, start_ms, end_ms, trigger_ms))
        return cuts

    def _forget_before(self, ms: int) -> None:
        while self._records and self._records[0].ms < ms:
            self._records.popleft()

    def state(self) -> Any:
        return {"records": [list(record) for record in self._records], "waiting_ms": list(self._waiting)}

    def restore(self, state: Any) -> None:
        self._records = deque(records_of(state["records"]))
        self._waiting = deque(state["waiting_ms"])
