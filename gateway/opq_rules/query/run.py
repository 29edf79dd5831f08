"""What an expression may know beside its row: the record's time and metadata, its window, its rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Facts:
    """Of the rule that runs, and those of its options that change what a query gives. Times in ms."""

    rule_id: str = ""
    start_ms: int = 0
    event_time: bool = False
    late_tolerance_ms: int = 1_000
    idle_timeout_ms: int = 0
    send_error: bool = False
    send_nil: bool = False
    send_meta: bool = False
    send_empty_window: bool = False

    @classmethod
    def of(cls, rule_id: str, start_ms: int, options: dict[str, Any]) -> "Facts":
        """From `Options.for_query()`: names as users write them; what is not there has its default."""
        named = {field: options[key] for key, field in _OPTIONS.items() if key in options}
        return cls(rule_id, start_ms, **named)


_OPTIONS = {
    "isEventTime": "event_time",
    "lateTolerance": "late_tolerance_ms",
    "idleTimeout": "idle_timeout_ms",
    "sendError": "send_error",
    "sendNilField": "send_nil",
    "sendMetaToSink": "send_meta",
    "sendEmptyWindow": "send_empty_window",
}


class Run:
    """The context of every closure (functions.registry.RunContext). One per query, set before each call.

    `meta` is the record's; in joins one mapping per name in FROM. `values` are those of a group's aggregates.
    """

    __slots__ = (
        "event_ms",
        "hit_count",
        "hit_ms",
        "kept",
        "keyed_state",
        "late",
        "meta",
        "now_ms",
        "row_number",
        "rule_id",
        "rule_start_ms",
        "values",
        "where_hit_count",
        "where_hit_ms",
        "window_end_ms",
        "window_start_ms",
        "window_trigger_ms",
    )

    def __init__(self, rule_id: str, rule_start_ms: int) -> None:
        self.rule_id = rule_id
        self.rule_start_ms = rule_start_ms
        self.now_ms = rule_start_ms
        self.event_ms = rule_start_ms
        self.window_start_ms = 0
        self.window_end_ms = 0
        self.window_trigger_ms = 0
        """Of a sliding window: the time of the record that triggered it."""
        self.meta: Any = None
        self.values: list[Any] = []
        self.row_number = 1
        self.late: dict[str, Any] = {}
        """Of the group in work: the analytic calls over its aggregates."""
        self.keyed_state: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}
        """Values of volatile aliases for the row in work."""
        self.hit_count = 0
        """Rows put out so far, and the time of the last."""
        self.hit_ms = 0
        self.where_hit_count = 0
        """Records for which WHERE held so far, and the time of the last."""
        self.where_hit_ms = 0

    def cut(self, start_ms: int, end_ms: int, trigger_ms: int | None) -> None:
        """A window ended."""
        self.window_start_ms, self.window_end_ms = start_ms, end_ms
        self.window_trigger_ms = end_ms if trigger_ms is None else trigger_ms

    def hits(self) -> list[int]:
        """How often and when last a row went out and WHERE held: with the time, what outlives a kill."""
        return [self.hit_count, self.hit_ms, self.where_hit_count, self.where_hit_ms]

    def restore_hits(self, hits: Sequence[int]) -> None:
        self.hit_count, self.hit_ms, self.where_hit_count, self.where_hit_ms = hits
