"""Single: a unit of one query, and `Alone`, whose rules all get what it gives."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from opq_rules.batch import Batch, Emission, Row
from opq_rules.engine.rule import Deliver, Rule, Trouble, Unit
from opq_rules.query.plan import Plan


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
    def scanned(self) -> dict[str, list[Row]]: ...


class Single(Unit):
    """One query for all its rules; `made` gives a fresh one."""

    def __init__(
        self, key: object, feeds: Mapping[str, str], made: Callable[[], Running], plan: Plan
    ) -> None:
        super().__init__(key, feeds)
        self.query, self.plan, self._made = made(), plan, made

    @property
    def next_due_ms(self) -> int | None:
        return self.query.next_due_ms

    def operators(self, rule: Rule) -> tuple[str, ...]:
        return self.plan.operators

    def reads(self, stream: str) -> frozenset[str] | None:
        return self.plan.used[stream]

    @property
    def errors(self) -> int:
        return int(self.query.counters.errors)

    @property
    def last_error(self) -> str:
        return str(self.query.counters.last_error or "")

    @property
    def last_error_ms(self) -> int:
        return int(self.query.counters.last_error_ms)

    def trouble(self, rule: Rule) -> Trouble:
        errors, late = self.errors - rule.joined_errors, int(self.query.counters.late)
        return (
            Trouble(errors, self.last_error, self.last_error_ms, late) if errors else Trouble(0, "", 0, late)
        )

    def scanned(self) -> dict[str, list[Row]]:
        return self.query.scanned()

    def state(self, rule: Rule) -> Any:
        return self.query.state()

    def resume(self, rule: Rule, state: Any) -> None:
        try:
            self.query.restore(state)
        except Exception:
            self.query = self._made()
            raise
        rule.joined_errors = self.errors


class Alone(Single):
    """A whole query; more than one rule only where they say the same."""

    def __init__(
        self, key: object, feeds: Mapping[str, str], made: Callable[[], Running], plan: Plan
    ) -> None:
        super().__init__(key, feeds, made, plan)
        self._rules: list[Rule] = []

    def rules(self) -> Sequence[Rule]:
        return self._rules

    def shown(self, rule: Rule) -> str:
        count = len(self._rules)
        return "alone" if count == 1 else f"as one with {count - 1} that say the same"

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
