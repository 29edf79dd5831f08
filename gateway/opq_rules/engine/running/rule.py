"""Rule and QueryUnit: one of very many rules, its five states, and the query of all rules that share it.

Ten thousand rules are held in memory, so a rule has slots and shares what it can. A unit belongs to the
engine's thread, and nothing in it blocks.
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opq_rules.engine.running.sink_runner import RuleSinks
from opq_rules.query.planning.select_plan import QueryPlan
from opq_rules.query.query import Query
from opq_rules.values.batch import Batch, Emission, JsonObject, Row

LOADED = "loaded"
"""Read from the store, and not started since."""
RUNNING = "running"
STOPPED = "stopped"
"""Stopped by a request."""
FAILED = "stopped by error"
WAITING = "stopped: waiting for next schedule."
_ENDED = frozenset({STOPPED, FAILED, WAITING})
TRANSITIONS: Mapping[str, frozenset[str]] = {
    LOADED: _ENDED | {RUNNING},
    RUNNING: _ENDED,  # by hand; by a fault, or because its stream went; by its schedule
    STOPPED: _ENDED | {RUNNING},
    FAILED: _ENDED | {RUNNING},  # by hand; by its restart strategy; because the missing type was installed
    WAITING: _ENDED | {RUNNING},
}
"""State of a rule -> the states that may follow."""


@dataclass(slots=True)
class RuleDetails:
    """Details that few rules have."""

    message: str = ""
    last_stop_ms: int = 0
    next_start_ms: int = 0
    schedule: int = 0
    """Number of the rule's present schedule: delayed calls of an earlier one are ignored."""
    missing: tuple[str, ...] = ()
    """Types of plug-ins that were removed while the rule ran, as text."""


@dataclass(slots=True, eq=False)
class Rule:
    """One rule. `unit` None: it does not run.

    `joined_*`: the unit's counts when it joined, so that records that do not concern it cost nothing.
    """

    id: str
    status: str = LOADED
    unit: "QueryUnit | None" = None
    sinks: RuleSinks | None = None
    constants: Any = None
    """The constants from `planner.Choice`."""
    sequence: int = 0
    """Number of its next emission."""
    out: int = 0
    dropped: int = 0
    joined_in: int = 0
    joined_errors: int = 0
    start_ms: int = 0
    details: RuleDetails | None = None

    def enter(self, status: str) -> None:
        """Changes the state; a change that TRANSITIONS does not have is an error of this program."""
        assert status in TRANSITIONS[self.status], f"{self.id}: {self.status} -> {status}"
        self.status = status

    @property
    def missing(self) -> tuple[str, ...]:
        return () if self.details is None else self.details.missing

    @property
    def more(self) -> RuleDetails:
        if self.details is None:
            self.details = RuleDetails()
        return self.details


Deliver = Callable[[Rule, Sequence[Emission]], None]


class QueryUnit:
    """One query and the rules that get its result; several rules only where they ask for the same.

    `key`: what these rules have in common. `inputs`: stream -> key of its input. `make` makes a new query.
    """

    remembers = True
    """Whether it has state to store."""

    def __init__(
        self, key: Hashable, inputs: Mapping[str, str], make: Callable[[], Query], plan: QueryPlan
    ) -> None:
        self.key, self.inputs, self.plan = key, dict(inputs), plan
        self.query, self._make = make(), make
        self.records_in = 0
        self.busy_ns = 0
        self.last_ms = 0
        self.due_ms: int | None = None
        """Time for which the loop's timer is set."""
        self.durable = False
        """Whether its rules have qos >= 1."""
        self.statement = ""
        """Statement and options of its rules: state of another statement is not restored."""
        self._rules: dict[str, Rule] = {}

    @property
    def next_due_ms(self) -> int | None:
        """Time at which `advance` is next needed."""
        return self.query.next_due_ms

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators that a record passes."""
        return self.plan.operators

    def reads(self, stream: str) -> frozenset[str] | None:
        """Columns that it reads, in lower case; None: all."""
        return self.plan.used[stream]

    @property
    def errors(self) -> int:
        return self.query.counters.errors

    def rules(self) -> Collection[Rule]:
        return tuple(self._rules.values())

    def explained(self) -> str:
        """With how many rules the query is shared, as text for people."""
        others = len(self._rules) - 1
        return f"as one query with {others} other rule{'s' if others > 1 else ''}" if others else "alone"

    def scanned(self) -> dict[str, list[Row]]:
        """Rows that scan tables hold."""
        return self.query.scanned()

    def add(self, rule: Rule) -> None:
        self._rules[rule.id] = rule
        rule.joined_in, rule.joined_errors = self.records_in, self.errors

    def remove(self, rule: Rule) -> None:
        del self._rules[rule.id]

    def state(self) -> JsonObject:
        """The query's state."""
        state: JsonObject = self.query.state()
        return state

    def resume(self, rule: Rule, state: object) -> None:
        """Restores a state. Raises any exception of an unreadable state; the query is then a new one."""
        try:
            self.query.restore(state)
        except Exception:
            self.query = self._make()
            raise
        rule.joined_errors = self.errors

    def feed(self, batch: Batch, deliver: Deliver) -> None:
        self.records_in += len(batch.rows)
        emissions = self.query.feed(batch)
        if emissions:
            for rule in self._rules.values():
                deliver(rule, emissions)

    def advance(self, now_ms: int, deliver: Deliver) -> None:
        """Runs timers that are due."""
        emissions = self.query.advance(now_ms)
        if emissions:
            for rule in self._rules.values():
                deliver(rule, emissions)
