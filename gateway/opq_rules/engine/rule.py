"""Rule: what one costs in memory. Ten thousand of them lie here, so it has slots and shares what it can."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opq_rules.engine.options import Options
from opq_rules.engine.traces import Traces

if TYPE_CHECKING:
    from opq_rules.engine.outlet import Outlet
    from opq_rules.engine.unit import Unit

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
    outlets: tuple["Outlet", ...]
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
