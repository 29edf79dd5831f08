"""What a re-analysis is to do, as `opq-tools reanalyse` gives it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MAX_EVENTS = 100_000


@dataclass(frozen=True, slots=True)
class ReanalysisOrder:
    """One order.

    Attributes:
        start_ns, end_ns: events of this span.
        names: only these analyses; empty: all that are built in or installed.
        changed: analysis -> settings that differ from the configuration's.
    """

    start_ns: int
    end_ns: int | None = None
    dry_run: bool = True
    names: tuple[str, ...] = ()
    changed: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
