"""Groups of a sliding window whose aggregates can take a record out again: no window is computed again."""

from collections import deque
from itertools import pairwise

from opq_rules.batch import Value
from opq_rules.expressions.calls import FUNCTION_ERRORS
from opq_rules.query.groups import NO_GROUP, Failing, RecordGroup, RecordGroups, error_text, number_of
from opq_rules.query.windows.window import Record


class Entry:
    """A record in its group. `given`: per aggregate its arguments, None where it took none."""

    __slots__ = ("failing", "given", "group", "key", "number", "record")

    def __init__(self, number: int, record: Record, key: Value, group: "RunningGroup") -> None:
        self.number = number
        self.record = record
        self.key = key
        self.group = group
        self.given: list[list[Value] | None] = []
        self.failing: Failing = {}


class RunningGroup(RecordGroup):
    __slots__ = ("entries",)
    failures: deque[Failing]

    def __init__(self, first: Record, accumulators: list[Value]) -> None:
        super().__init__(first, accumulators)
        self.entries: deque[Entry] = deque()
        self.failures = deque[Failing]()


class RunningGroups(RecordGroups):
    """First in, first out."""

    __slots__ = ("_count",)

    def __init__(self, *args: Value) -> None:
        super().__init__(*args)
        self._count = 0

    def put(self, record: Record) -> Entry | None:
        """None: the record has no group."""
        key = self.key_of(record)
        if key is NO_GROUP:
            return None
        calls, context = self._grouping.calls, self._context
        group = self.by_key.get(key)
        if not isinstance(group, RunningGroup):
            self.by_key[key] = group = RunningGroup(record, [call.start() for call in calls])
        self._count += 1
        entry = Entry(self._count, record, key, group)
        for call, accumulator in zip(calls, group.accumulators, strict=True):
            given = None
            try:
                given = call.take(record.row, context)
                if given is not None:
                    accumulator.add(*given)
            except FUNCTION_ERRORS as error:
                given = None
                entry.failing[number_of(call, calls)] = error_text(call.written, error)
            entry.given.append(given)
        group.entries.append(entry)
        if entry.failing:
            group.failures.append(entry.failing)
        return entry

    def take_out(self, entry: Entry) -> None:
        """The oldest entry of its group."""
        group = entry.group
        group.entries.popleft()
        if not group.entries:
            del self.by_key[entry.key]
            return
        group.first = group.entries[0].record
        for accumulator, given in zip(group.accumulators, entry.given, strict=True):
            if given is not None:
                accumulator.remove(*given)  # type: ignore[attr-defined]  # Aggregate.remove
        if entry.failing:
            group.failures.popleft()

    def put_in_order(self) -> None:
        """Groups by their first records, as a window computed again would have them."""
        firsts = [
            group.entries[0].number for group in self.by_key.values() if isinstance(group, RunningGroup)
        ]
        if any(a > b for a, b in pairwise(firsts)):
            pairs = zip(firsts, self.by_key.items(), strict=True)
            self.by_key = dict(item for _, item in sorted(pairs, key=lambda pair: pair[0]))
