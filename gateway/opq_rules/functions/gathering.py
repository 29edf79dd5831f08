"""Aggregates that return values unchanged. Source: docs/reference/rules.md, D.5, Aggregate."""

from opq_rules.functions.registry import Accumulator, AggregateFunction, Definition, KeepsState, merged
from opq_rules.values.batch import State, Value
from opq_rules.values.sql_values import identity


class Collection(KeepsState):
    """collect: every value that is not null, in order."""

    __slots__ = KEEPS = ("_values",)

    def __init__(self) -> None:
        self._values: list[Value] = []

    def add(self, value: Value) -> None:
        if value is not None:
            self._values.append(value)

    def merge(self, other: "Collection") -> None:
        self._values += other._values

    def value(self) -> list[Value] | None:
        return list(self._values) or None


class Merged(KeepsState):
    """merge_agg: one object with the keys of all; a later one wins. Other values add nothing."""

    __slots__ = KEEPS = ("_found",)

    def __init__(self) -> None:
        self._found: dict[str, Value] | None = None

    def add(self, value: Value) -> None:
        if value is not None:
            self._found = self._found or {}
            if isinstance(value, dict):
                self._found.update(value)

    def merge(self, other: "Merged") -> None:
        self.add(other._found)

    def value(self) -> dict[str, Value] | None:
        return None if self._found is None else dict(self._found)


class OneValue(KeepsState):
    """first_value, last_value: of the group's records in order, null included unless nulls are ignored."""

    __slots__ = ("_first", "_ignore_null", "_seen", "_value")
    KEEPS = ("_seen", "_value")

    def __init__(self, first: bool, ignore_null: bool) -> None:
        self._first, self._ignore_null = first, ignore_null
        self._seen = False
        self._value: Value = None

    def add(self, value: Value) -> None:
        if (value is None and self._ignore_null) or (self._first and self._seen):
            return
        self._seen, self._value = True, value

    def merge(self, other: "OneValue") -> None:
        if other._seen:
            self.add(other._value)

    def value(self) -> Value:
        return self._value


class Distinct:
    """deduplicate: the records whose key had not occurred before; or only the latest, if its key is new."""

    __slots__ = ("_all", "_latest", "_rows")

    def __init__(self, every: bool) -> None:
        self._all = every
        self._rows: dict[Value, Value] = {}
        self._latest: Value = None

    def add(self, row: Value, key: Value) -> None:
        if key is None:
            self._latest = None
            return
        known = identity(key)
        self._latest = None if known in self._rows else row
        self._rows.setdefault(known, (key, row))

    def value(self) -> Value:
        if self._all:
            return [row for _, row in self._rows.values()] or None
        return self._latest

    def state(self) -> State:
        return [[list(pair) for pair in self._rows.values()], self._latest]

    def restore(self, state: State) -> None:
        self._rows = {identity(key): (key, row) for key, row in state[0]}
        self._latest = state[1]


def _one_value(name: str, first: bool) -> AggregateFunction:
    def start(ignore_null: bool = True) -> Accumulator:
        return OneValue(first, ignore_null)

    return AggregateFunction(name, start, 1, 2, 1, merge=merged)


FUNCTIONS: tuple[Definition, ...] = (
    AggregateFunction("collect", Collection, 1, 1, merge=merged, star=True),
    AggregateFunction("merge_agg", Merged, 1, 1, merge=merged, star=True),
    _one_value("last_value", first=False),
    _one_value("first_value", first=True),
    AggregateFunction("deduplicate", Distinct, 2, 2, 1, whole_row=True),
)
