"""Unit: one running query with the rules that share it.

`Alone` runs a query as it is, `Crowd` finds its rules by their thresholds. Owned by the engine's thread;
nothing here waits.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from opq_rules.batch import Batch, Emission
from opq_rules.engine.rule import Rule
from opq_rules.engine.thresholds import HOLDS, Index, Split
from opq_rules.expressions.closures import lookup

if TYPE_CHECKING:
    from opq_rules.engine.tracing import Tracing

Deliver = Callable[[Rule, Sequence[Emission]], None]
_NUMBERS = frozenset({int, float})


class Running(Protocol):
    """A query that runs: `query.query.Query`."""

    @property
    def next_due_ms(self) -> int | None: ...
    @property
    def counters(self) -> Any: ...
    def feed(self, batch: Batch) -> list[Emission]: ...
    def advance(self, now_ms: int) -> list[Emission]: ...
    def state(self) -> Any: ...
    def restore(self, state: Any) -> None: ...


class Unit:
    """`key`: what rules have to agree in to share it. `feeds`: stream -> key of the feed."""

    def __init__(self, key: object, feeds: Mapping[str, str], query: Running, plan: Any) -> None:
        self.key, self.feeds, self.query, self.plan = key, dict(feeds), query, plan
        self.records_in = 0
        self.busy_ns = 0
        self.last_ms = 0
        self.due_ms: int | None = None
        """For when the loop's timer is set."""
        self.durable = False
        """Its rules have qos >= 1."""
        self.of = ""
        """What its state belongs to: another statement does not go on with it."""
        self.tracing: Tracing | None = None
        """Stands before it while one of its rules is traced."""

    @property
    def operators(self) -> tuple[str, ...]:
        """What a record passes, by name."""
        names: tuple[str, ...] = self.plan.operators
        return names

    def reads(self, stream: str) -> frozenset[str] | None:
        """Columns, in lower case; None: all."""
        read: frozenset[str] | None = self.plan.used[stream]
        return read

    @property
    def errors(self) -> int:
        return int(self.query.counters.errors)

    @property
    def last_error(self) -> str:
        return str(self.query.counters.last_error or "")

    @property
    def last_error_ms(self) -> int:
        return int(self.query.counters.last_error_ms)

    @property
    def late(self) -> int:
        return int(self.query.counters.late)

    def rules(self) -> Sequence[Rule]:
        raise NotImplementedError

    def add(self, rule: Rule) -> None:
        raise NotImplementedError

    def remove(self, rule: Rule) -> None:
        raise NotImplementedError

    def feed(self, batch: Batch, deliver: Deliver) -> None:
        raise NotImplementedError

    def advance(self, now_ms: int, deliver: Deliver) -> None:
        """Timers that fall due."""


class Alone(Unit):
    """A whole query; more than one rule only where they say the same."""

    def __init__(self, key: object, feeds: Mapping[str, str], query: Running, plan: Any) -> None:
        super().__init__(key, feeds, query, plan)
        self._rules: list[Rule] = []

    def rules(self) -> Sequence[Rule]:
        return self._rules

    def add(self, rule: Rule) -> None:
        self._rules.append(rule)
        rule.joined_in, rule.joined_errors = self.records_in, self.errors

    def remove(self, rule: Rule) -> None:
        self._rules.remove(rule)

    def feed(self, batch: Batch, deliver: Deliver) -> None:
        self.records_in += len(batch.rows)
        emissions = self.query.feed(batch)
        if emissions:
            for rule in self._rules:
                deliver(rule, emissions)

    def advance(self, now_ms: int, deliver: Deliver) -> None:
        emissions = self.query.advance(now_ms)
        if emissions:
            for rule in self._rules:
                deliver(rule, emissions)


class Crowd(Unit):
    """Rules that differ in their thresholds alone; `query` is the rest that they share, without memory."""

    def __init__(
        self, key: object, feeds: Mapping[str, str], query: Running, plan: Any, split: Split
    ) -> None:
        super().__init__(key, feeds, query, plan)
        self.split = split
        self._index: Index[Rule] = Index(split.free)
        self._rules: dict[str, Rule] = {}
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

    def rules(self) -> Sequence[Rule]:
        return tuple(self._rules.values())

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
