"""Unit: what runs, with the rules that share it. Owned by the engine's thread; nothing here waits.

`Alone` runs a query as it is, `crowd.Crowd` finds its rules by their thresholds, those of `together.Together`
share a window.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opq_rules.batch import Batch, Emission, Row
from opq_rules.engine.rule import Rule
from opq_rules.query.plan import Plan

if TYPE_CHECKING:
    from opq_rules.engine.tracing import Tracing

Deliver = Callable[[Rule, Sequence[Emission]], None]


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


class Trouble(NamedTuple):
    """Of one rule, since it came; `late`: records behind the watermark."""

    errors: int
    last_error: str
    last_error_ms: int
    late: int


class PartError(Exception):
    """Rules of a unit raised what they must not; the others have what is theirs."""

    def __init__(self, failed: Sequence[tuple[Rule, Exception]]) -> None:
        super().__init__(f"{len(failed)} rules")
        self.failed = failed


class Unit(ABC):
    """`key`: what rules have to agree in to share it. `feeds`: stream -> key of the feed."""

    remembers = True
    """It has state to keep."""

    def __init__(self, key: object, feeds: Mapping[str, str]) -> None:
        self.key, self.feeds = key, dict(feeds)
        self.records_in = 0
        self.busy_ns = 0
        self.last_ms = 0
        self.due_ms: int | None = None
        """For when the loop's timer is set."""
        self.durable = False
        """Its rules have qos >= 1."""
        self.of = ""
        """The statement, with its options, of the rule that came first."""
        self.tracing: Tracing | None = None
        """Stands before it while one of its rules is traced."""

    @property
    @abstractmethod
    def next_due_ms(self) -> int | None:
        """When `advance` is wanted next."""

    @abstractmethod
    def operators(self, rule: Rule) -> tuple[str, ...]:
        """What a record passes, by name."""

    @abstractmethod
    def reads(self, stream: str) -> frozenset[str] | None:
        """Columns, in lower case; None: all."""

    @abstractmethod
    def trouble(self, rule: Rule) -> Trouble: ...

    def memory_of(self, rule: Rule) -> str:
        """What its state belongs to: another statement does not go on with it."""
        return self.of

    @abstractmethod
    def rules(self) -> Collection[Rule]: ...

    @abstractmethod
    def shown(self, rule: Rule) -> str:
        """What it shares with whom, for people."""

    def scanned(self) -> dict[str, list[Row]]:
        """Rows that scan tables hold."""
        return {}

    @abstractmethod
    def add(self, rule: Rule, waiting: bool = False) -> None:
        """`rule.constants` is what its `Choice` says. `waiting`: records older than the rule are to come."""

    @abstractmethod
    def remove(self, rule: Rule) -> None: ...

    @abstractmethod
    def apart(self, rule: Rule) -> "Single":
        """What can be followed for this rule; where it takes the rule out of what it shares, `in_again` ends
        that."""

    @abstractmethod
    def followed(self, rule: Rule) -> "Single | None":
        """What `apart` gave."""

    def in_again(self, rule: Rule) -> None:
        return

    @abstractmethod
    def state(self, rule: Rule) -> Any:
        """JSON, of what the rule alone would remember."""

    @abstractmethod
    def resume(self, rule: Rule, state: Any) -> None:
        """The rule goes on with a state. Raises whatever one that is not understood makes it raise; then
        nothing has changed."""

    @abstractmethod
    def feed(self, batch: Batch, deliver: Deliver) -> None: ...

    def advance(self, now_ms: int, deliver: Deliver) -> None:
        """Timers that fall due."""
        return


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

    def apart(self, rule: Rule) -> "Single":
        return self

    def followed(self, rule: Rule) -> "Single":
        return self

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

    def add(self, rule: Rule, waiting: bool = False) -> None:
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
