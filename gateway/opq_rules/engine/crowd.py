"""Crowd: rules that differ in their thresholds alone; a record finds those that it concerns.

Owned by the engine's thread; nothing here waits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opq_rules.batch import Batch, Emission
from opq_rules.engine.rule import Deliver, Rule
from opq_rules.engine.single import Running, Single
from opq_rules.engine.thresholds import HOLDS, Index, Split
from opq_rules.expressions.closures import lookup
from opq_rules.query.plan import Plan

_NUMBERS = frozenset({int, float})


class Crowd(Single):
    """`query` is the rest that its rules share, without memory."""

    remembers = False

    def __init__(
        self, key: object, feeds: Mapping[str, str], made: Callable[[], Running], plan: Plan, split: Split
    ) -> None:
        super().__init__(key, feeds, made, plan)
        self.split = split
        self._index: Index[Rule] = Index(split.free)
        self._rules: dict[str, Rule] = {}
        self._further = [
            (k, each.column, HOLDS[each.operator], each.text) for k, each in enumerate(split.free)
        ][1:]
        self._own_errors = 0
        self._own_last_error, self._own_last_ms = "", 0

    def operators(self, rule: Rule) -> tuple[str, ...]:
        names = super().operators(rule)
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

    def rules(self) -> Sequence[Rule]:
        return tuple(self._rules.values())

    def shown(self, rule: Rule) -> str:
        return f"in a crowd of {len(self._rules)}, found by threshold"

    def add(self, rule: Rule) -> None:
        self._rules[rule.id] = rule
        self._index.add(rule)
        rule.joined_in, rule.joined_errors = self.records_in, self.errors

    def remove(self, rule: Rule) -> None:
        del self._rules[rule.id]
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

    def _hits(self, rows: Sequence[Any]) -> list[int]:
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

    def _of_kind(self, value: Any, text: bool) -> bool:
        if value is None or value != value:  # null, NaN: no comparison holds
            return False
        if type(value) is str if text else type(value) in _NUMBERS:
            return True
        self._own_errors += 1
        wanted = "text" if text else "a number"
        self._own_last_ms = self.last_ms
        self._own_last_error = f"Where: {self.split.free[0].column} is {str(value)[:40]!r}; want {wanted}"
        return False

    def _narrowed(self, row: Any, rules: Sequence[Rule]) -> Sequence[Rule]:
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
