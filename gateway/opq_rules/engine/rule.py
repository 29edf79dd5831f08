"""Rule and Unit: one rule of very many, and what runs it for all that share it. Each knows the other.

Ten thousand rules lie in memory, so a rule has slots and shares what it can. A unit is owned by the engine's
thread, and nothing in it waits: `single.Alone` runs a query as it is, `crowd.Crowd` finds its rules by their
thresholds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from opq_rules.batch import Batch, Emission, Row
from opq_rules.engine.options import Options
from opq_rules.engine.outlet import Outlet
from opq_rules.engine.traces import Traces

LOADED, STARTING, RUNNING, STOPPING, STOPPED = "loaded", "starting", "running", "stopping", "stopped"
FAILED = "stopped by error"
WAITING = "stopped: waiting for next schedule."


@dataclass(slots=True)
class Extra:
    """What few rules have."""

    message: str = ""
    last_stop_ms: int = 0
    next_start_ms: int = 0
    restarts: int = 0
    steady_since_s: float = 0.0
    schedule: int = 0
    """Counts its schedules: an older one has no say any more."""
    trace: Traces | None = None
    missing: tuple[str, ...] = ()
    """Types of plug-ins that were deleted under it, in words."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What rules with the same options and sinks share. `outlets` are open while one of them runs."""

    options: Options
    outlets: tuple[Outlet, ...]
    topics: tuple[Any, ...] = ()
    """Sinks that take in the engine's own thread: `deliver(rule_id, first, emissions)`."""
    users: list[int] = field(default_factory=lambda: [0])
    key: Any = None


class Rule:
    """`unit` None: it does not run. `joined_*`: what its unit had counted when it came, so that a record
    which does not concern a rule costs that rule nothing."""

    __slots__ = (
        "constants", "dropped", "extra", "id", "joined_errors", "joined_in", "out", "sequence", "spec",
        "start_ms", "status", "unit",
    )  # fmt: skip

    def __init__(self, rule_id: str) -> None:
        self.id = rule_id
        self.status = LOADED
        self.unit: Unit | None = None
        self.spec: Spec | None = None
        self.constants: Any = None
        self.sequence = 0
        """Number of its next emission."""
        self.out = 0
        self.dropped = 0
        self.joined_in = 0
        self.joined_errors = 0
        self.start_ms = 0
        self.extra: Extra | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        return () if self.extra is None else self.extra.missing

    @property
    def is_traced(self) -> bool:
        return self.extra is not None and self.extra.trace is not None and self.extra.trace.on

    @property
    def more(self) -> Extra:
        if self.extra is None:
            self.extra = Extra()
        return self.extra


Deliver = Callable[[Rule, Sequence[Emission]], None]


class Follower(Protocol):
    """Stands before a unit and follows its records: `tracing.Tracing`. `rules`: for whom, by id."""

    rules: dict[str, Rule]

    def feed(self, batch: Batch, deliver: Deliver) -> None: ...
    def advance(self, now_ms: int, deliver: Deliver) -> None: ...
    def end(self) -> None: ...


class Trouble(NamedTuple):
    """Of one rule, since it came; `late`: records behind the watermark."""

    errors: int
    last_error: str
    last_error_ms: int
    late: int


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
        """The statement, with its options, of its rules: another one does not go on with its state."""
        self.tracing: Follower | None = None
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

    @abstractmethod
    def rules(self) -> Collection[Rule]: ...

    @abstractmethod
    def shown(self, rule: Rule) -> str:
        """What it shares with whom, for people."""

    def scanned(self) -> dict[str, list[Row]]:
        """Rows that scan tables hold."""
        return {}

    @abstractmethod
    def add(self, rule: Rule) -> None:
        """`rule.constants` is what its `Choice` says."""

    @abstractmethod
    def remove(self, rule: Rule) -> None: ...

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
