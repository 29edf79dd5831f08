"""ThresholdIndex: rules that differ in their thresholds alone; a record finds those that it concerns.

Their constants lie sorted (= in a dict): a bisect finds those that hold, and only they are touched. Further
constants of the same kind are compared rule by rule, among those that the first one found. Owned by the
engine's thread; nothing here waits.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from opq_rules.batch import Batch, Emission, Row
from opq_rules.engine.rule import Deliver, QueryUnit, Rule
from opq_rules.engine.thresholds import HOLDS, Comparison, SplitStatement
from opq_rules.expressions.closures import lookup
from opq_rules.query.plan import QueryPlan
from opq_rules.query.query import Query

_NUMBERS = frozenset({int, float})


class ThresholdRule(Protocol):
    """A rule in an index; `constants` in the order of `SplitStatement.free`, one alone as itself."""

    constants: Any


M = TypeVar("M", bound=ThresholdRule)


class SortedThresholds(Generic[M]):
    """Members by their constants. `first` answers for a record's value; O(log n) and the members found."""

    def __init__(self, free: Sequence[Comparison]) -> None:
        self.free = tuple(free)
        self._sign = free[0].operator
        self._keys: list[Any] = []
        self._members: list[M] = []
        self._equal: dict[Any, list[M]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def _constant(self, member: M) -> Any:
        return member.constants if len(self.free) == 1 else member.constants[0]

    def add(self, member: M) -> None:
        self._count += 1
        key = self._constant(member)
        if self._sign == "=":
            self._equal.setdefault(key, []).append(member)
            return
        at = bisect_right(self._keys, key)
        self._keys.insert(at, key)
        self._members.insert(at, member)

    def remove(self, member: M) -> None:
        key = self._constant(member)
        if self._sign == "=":
            members = self._equal[key]
            members.remove(member)
            if not members:
                del self._equal[key]
        else:
            at = bisect_left(self._keys, key)
            while self._members[at] is not member:
                at += 1
            del self._keys[at], self._members[at]
        self._count -= 1

    def first(self, value: object) -> Sequence[M]:
        """Members whose first comparison holds; the value is of the constants' kind."""
        if self._sign == "=":
            return self._equal.get(value, ())
        if self._sign == ">":
            return self._members[: bisect_left(self._keys, value)]
        if self._sign == ">=":
            return self._members[: bisect_right(self._keys, value)]
        if self._sign == "<":
            return self._members[bisect_right(self._keys, value) :]
        return self._members[bisect_left(self._keys, value) :]

    @property
    def edge(self) -> Any:
        """The constant that the most values pass, or None for =: most records end here."""
        if self._sign == "=" or not self._keys:
            return None
        return self._keys[0] if self._sign in (">", ">=") else self._keys[-1]

    @property
    def keys(self) -> Any:
        """For =: what to look in."""
        return self._equal


class ThresholdIndex(QueryUnit):
    """`query` is the rest that its rules share, without memory."""

    remembers = False

    def __init__(
        self,
        key: Hashable,
        inputs: Mapping[str, str],
        make: Callable[[], Query],
        plan: QueryPlan,
        split: SplitStatement,
    ) -> None:
        super().__init__(key, inputs, make, plan)
        self.split = split
        self._index: SortedThresholds[Rule] = SortedThresholds(split.free)
        self._further = [
            (k, each.column, HOLDS[each.operator], each.text) for k, each in enumerate(split.free)
        ][1:]
        self._own_errors = 0
        self._own_last_error, self._own_last_ms = "", 0

    @property
    def operators(self) -> tuple[str, ...]:
        names = super().operators
        return names if "filter" in names else ("filter", *names)

    def reads(self, stream: str) -> frozenset[str] | None:
        read = super().reads(stream)
        return None if read is None else read | {each.column.lower() for each in self.split.free}

    @property
    def errors(self) -> int:
        return self._own_errors + super().errors

    @property
    def last_error(self) -> str:
        return super().last_error or self._own_last_error

    @property
    def last_error_ms(self) -> int:
        return max(super().last_error_ms, self._own_last_ms)

    def explained(self) -> str:
        return f"in a crowd of {len(self._rules)}, found by threshold"

    def add(self, rule: Rule) -> None:
        super().add(rule)
        self._index.add(rule)

    def remove(self, rule: Rule) -> None:
        super().remove(rule)
        self._index.remove(rule)

    def feed(self, batch: Batch, deliver: Deliver) -> None:
        rows = batch.rows
        self.records_in += len(rows)
        hits = self._hits(rows)
        if not hits:
            return
        concerned: list[tuple[int, Sequence[Rule]]] = []
        for k in hits:
            row = rows[k]
            rules = self._index.first(lookup(row, self.split.free[0].column))
            if self._further and rules:
                rules = self._narrowed(row, rules)
            if rules:
                concerned.append((k, rules))
        if not concerned:
            return
        if len(self._rules) == 1:
            emissions = self._fed(batch, [k for k, _ in concerned])
            if emissions:
                deliver(concerned[0][1][0], emissions)
            return
        whole = self._fed(batch, [k for k, _ in concerned]) if self.split.rest.where is None else ()
        if len(whole) == len(concerned):
            for emission, (_, rules) in zip(whole, concerned, strict=True):
                for rule in rules:
                    deliver(rule, (emission,))
            return
        for k, rules in concerned:
            emissions = self._fed(batch, [k])
            if emissions:
                for rule in rules:
                    deliver(rule, emissions)

    def _hits(self, rows: Sequence[Row]) -> list[int]:
        """Records that some rule's first comparison may hold for; those of a wrong kind are counted."""
        free, edge = self.split.free[0], self._index.edge
        column, kinds = free.column, {str} if free.text else _NUMBERS
        if free.operator == "=":
            equal = self._index.keys
            found = [
                k
                for k, row in enumerate(rows)
                if (value := row.get(column)).__class__ not in kinds or value in equal
            ]
        elif free.operator == ">":
            found = [
                k
                for k, row in enumerate(rows)
                if (value := row.get(column)).__class__ not in kinds or value > edge
            ]
        elif free.operator == "<":
            found = [
                k
                for k, row in enumerate(rows)
                if (value := row.get(column)).__class__ not in kinds or value < edge
            ]
        else:
            holds = HOLDS[free.operator]
            found = [
                k
                for k, row in enumerate(rows)
                if (value := row.get(column)).__class__ not in kinds or holds(value, edge)
            ]
        return [k for k in found if self._of_kind(lookup(rows[k], column), free.text)]

    def _of_kind(self, value: object, text: bool) -> bool:
        if value is None or value != value:  # null, NaN: no comparison holds
            return False
        if type(value) is str if text else type(value) in _NUMBERS:
            return True
        self._own_errors += 1
        wanted = "text" if text else "a number"
        self._own_last_ms = self.last_ms
        self._own_last_error = f"Where: {self.split.free[0].column} is {str(value)[:40]!r}; want {wanted}"
        return False

    def _narrowed(self, row: Row, rules: Sequence[Rule]) -> Sequence[Rule]:
        for k, column, holds, text in self._further:
            value = lookup(row, column)
            if not self._of_kind(value, text):
                return ()
            rules = [rule for rule in rules if holds(value, rule.constants[k])]
        return rules

    def _fed(self, batch: Batch, picked: list[int]) -> list[Emission]:
        arrived = batch.arrived_ms
        return self.query.feed(
            Batch(
                batch.stream,
                [batch.rows[k] for k in picked],
                arrived if isinstance(arrived, int) else [arrived[k] for k in picked],
                None if batch.meta is None else [batch.meta[k] for k in picked],
            )
        )
