"""Groups and their aggregates, which take records one by one, so that windows need not keep them.

A column that is not aggregated has the value of the group's first record. A value that an aggregate cannot
take (a text in a sum) makes its group fail, reported when the window ends, as if the window had kept its
records.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from opq_rules.errors import RowError
from opq_rules.expressions.calls import FUNCTION_ERRORS
from opq_rules.expressions.closures import Evaluate
from opq_rules.functions.registry import Accumulator, AggregateFunction
from opq_rules.query.query_run import QueryContext
from opq_rules.query.window import Record, WindowContent
from opq_rules.values.batch import State, Value

Give = Callable[[Value, Value, QueryContext], None]
"""`give(accumulator, row, context)`: adds the record's arguments to the aggregate."""


Take = Callable[[Value, QueryContext], list[Value] | None]
"""`take(row, context)`: the record's arguments; None where FILTER refuses the record."""


@dataclass(frozen=True, slots=True)
class AggregateCall:
    written: str
    definition: AggregateFunction
    constants: tuple[Value, ...]
    give: Give
    take: Take

    def start(self, context: QueryContext) -> Accumulator:
        start = self.definition.start
        return start(context, *self.constants) if self.definition.context else start(*self.constants)


NO_GROUP = object()


Failing = dict[int, str]
"""Failures of one record: number of the aggregate -> reason."""


class RecordGroup:
    """One group. `failures`: in the order of their records."""

    __slots__ = ("accumulators", "failures", "first")

    def __init__(self, first: Record, accumulators: list[Accumulator]) -> None:
        self.first = first
        self.accumulators = accumulators
        self.failures: Sequence[Failing] = ()

    def failed(self, failing: Failing) -> None:
        """Adds a record's failures; only the first one of each aggregate counts."""
        known = {number for each in self.failures for number in each}
        new = {number: why for number, why in failing.items() if number not in known}
        if new:
            self.failures = (*self.failures, new)


@dataclass(frozen=True, slots=True)
class Grouping:
    """`keys`: GROUP BY; without keys there is one group of all records."""

    keys: tuple[Evaluate, ...]
    calls: Sequence[AggregateCall]

    @property
    def merges(self) -> bool:
        """Whether panes can be merged."""
        return all(call.definition.merge is not None for call in self.calls)

    @property
    def removes(self) -> bool:
        """Whether a record can be removed again."""
        return all(call.definition.remove for call in self.calls)


class RecordGroups:
    """The groups of a window. `report(error)` gets the error of a record that has no group."""

    __slots__ = ("_calls", "_context", "_grouping", "_report", "by_key")

    def __init__(self, grouping: Grouping, context: QueryContext, report: Callable[[RowError], None]) -> None:
        self._grouping = grouping
        self._calls = tuple(enumerate(grouping.calls))
        self._context = context
        self._report = report
        self.by_key: dict[Value, RecordGroup] = {}
        """In the order of their first records."""

    @property
    def is_empty(self) -> bool:
        return not self.by_key

    def add(self, record: Record) -> None:
        key = self.key_of(record)
        if key is NO_GROUP:
            return
        group = self.by_key.get(key)
        if group is None:
            group = RecordGroup(record, self._accumulators())
            self.by_key[key] = group
        row, context, accumulators = record.row, self._context, group.accumulators
        failing: Failing | None = None
        context.row = row
        for number, call in self._calls:
            try:
                call.give(accumulators[number], row, context)
            except FUNCTION_ERRORS as error:
                failing = failing or {}
                failing[number] = error_text(call.written, error)
        if failing is not None:
            group.failed(failing)

    def key_of(self, record: Record) -> Value:
        """The key of the record's group, or NO_GROUP."""
        context = self._context
        context.event_ms = record.ms
        context.meta = record.meta
        keys = self._grouping.keys
        if not keys:
            return ""
        row = record.row
        try:
            if len(keys) == 1:
                value = keys[0](row, context)
                kind = type(value)
                return value if kind is str or kind is float or kind is int else hashable(value)
            return tuple([hashable(key(row, context)) for key in keys])
        except RowError as error:
            self._report(RowError(f"Group By: {error}"))
            return NO_GROUP

    def merge(self, other: "RecordGroups") -> None:
        """Merges `other` into this one; `other` is the later one, and does not change."""
        calls = self._grouping.calls
        for key, theirs in other.by_key.items():
            group = self.by_key.get(key)
            if group is None:
                group = RecordGroup(theirs.first, self._accumulators())
                self.by_key[key] = group
            for failing in theirs.failures:
                group.failed(failing)
            for call, ours, added in zip(calls, group.accumulators, theirs.accumulators, strict=True):
                assert call.definition.merge is not None
                call.definition.merge(ours, added)

    def each(self) -> Iterator[RecordGroup]:
        """The groups, in the order of their first records."""
        return iter(self.by_key.values())

    def values(self, group: RecordGroup) -> list[Value]:
        """Values of the group's aggregates, in their order. Raises RowError where one of them failed."""
        for failing in group.failures:
            raise RowError(next(iter(failing.values())))
        found: list[Value] = []
        for call, accumulator in zip(self._grouping.calls, group.accumulators, strict=True):
            try:
                found.append(accumulator.value())
            except FUNCTION_ERRORS as error:
                raise RowError(f"{call.written}: {error}") from error
        return found

    def state(self) -> State:
        return [
            [
                key,
                list(group.first),
                [accumulator.state() for accumulator in group.accumulators],
                next((why for each in group.failures for why in each.values()), None),
            ]
            for key, group in self.by_key.items()
        ]

    def restore(self, state: State) -> None:
        self.by_key = {}
        for key, (ms, source, row, meta), kept, failure in state:
            first = Record(ms, source, tuple(row) if isinstance(row, list) else row, meta)
            group = RecordGroup(first, self._accumulators())
            if failure is not None:
                group.failures = (dict.fromkeys(range(len(group.accumulators)), failure),)
            for accumulator, each in zip(group.accumulators, kept, strict=True):
                accumulator.restore(each)
            self.by_key[thawed_key(key)] = group

    def _accumulators(self) -> list[Accumulator]:
        """Returns those of a new group."""
        return [call.start(self._context) for call in self._grouping.calls]


@dataclass(slots=True, eq=False)
class GroupEntry:
    """A record of a sliding window in its group. `given`: its arguments per aggregate, or None."""

    number: int
    record: Record
    key: Value
    group: "RunningGroup"
    given: list[list[Value] | None] = field(default_factory=list)
    failing: Failing = field(default_factory=dict)


class RunningGroup(RecordGroup):
    __slots__ = ("entries",)
    failures: deque[Failing]

    def __init__(self, first: Record, accumulators: list[Value]) -> None:
        super().__init__(first, accumulators)
        self.entries: deque[GroupEntry] = deque()
        self.failures = deque[Failing]()


class RunningGroups(RecordGroups):
    """Groups of a sliding window whose aggregates can remove a record again: first in, first out."""

    __slots__ = ("_count",)

    def __init__(self, *args: Value) -> None:
        super().__init__(*args)
        self._count = 0

    def add_record(self, record: Record) -> GroupEntry | None:
        """Adds a record. None: it has no group."""
        key = self.key_of(record)
        if key is NO_GROUP:
            return None
        calls, context = self._grouping.calls, self._context
        group = self.by_key.get(key)
        if not isinstance(group, RunningGroup):
            self.by_key[key] = group = RunningGroup(record, self._accumulators())
        self._count += 1
        entry = GroupEntry(self._count, record, key, group)
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

    def take_out(self, entry: GroupEntry) -> None:
        """Removes an entry, which is the oldest of its group."""
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
        """Sorts the groups by their first records, as a newly computed window would have them."""
        firsts = [
            group.entries[0].number for group in self.by_key.values() if isinstance(group, RunningGroup)
        ]
        if any(a > b for a, b in pairwise(firsts)):
            pairs = zip(firsts, self.by_key.items(), strict=True)
            self.by_key = dict(item for _, item in sorted(pairs, key=lambda pair: pair[0]))


def number_of(call: AggregateCall, calls: Sequence[AggregateCall]) -> int:
    return next(number for number, each in enumerate(calls) if each is call)


def merged_panes(contents: Sequence[WindowContent], fresh: Callable[[], RecordGroups]) -> RecordGroups:
    """The groups of all panes merged, oldest first."""
    whole = fresh()
    for content in contents:
        assert isinstance(content, RecordGroups)
        whole.merge(content)
    return whole


def error_text(written: str, error: BaseException) -> str:
    text = str(error)
    return text if text.startswith(written) else f"{written}: {text}"


def hashable(value: Value) -> Value:
    """A key that a dict distinguishes as SQL does: `value` itself, or a pair in its place (true is not 1)."""
    kind = type(value)
    if kind is str or kind is int or kind is float or value is None:
        return value
    if kind is bool:
        return ("bool", value)
    try:
        hash(value)
    except TypeError:
        shown = value.tolist() if hasattr(value, "tolist") else value
        try:
            return ("json", json.dumps(shown, sort_keys=True, default=str))
        except RecursionError:
            raise RowError("nested too deep to be a key") from None
    return value


def thawed_key(key: Value) -> Value:
    """A key of `hashable` values from its JSON."""
    return tuple(thawed_key(each) for each in key) if isinstance(key, list) else key
