"""Traces of one rule: what happened to single records, step by step; the last ones, up to a limit.

A trace is of one record (source, steps, sinks), or of one window that ended (window, steps, sinks); that
names the traces of its records. Written by the engine's thread and the sinks' threads, read by any.
"""

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from opq_rules.batch import JsonObject, JsonValue, Row
from opq_rules.engine.definition import RuleDefinition
from opq_rules.secrets import HIDDEN, MASK

MAX_TRACES = 200
MAX_BYTES = 1 << 20
"""Bytes of all traces of one rule."""
MAX_RECORDS = 100
"""Traces of records that the trace of a window lists."""
MAX_ROWS = 5
"""Rows shown of one step."""
_MAX_COLUMNS, _MAX_ITEMS, _MAX_TEXT, _MAX_DEPTH = 30, 8, 200, 3
_SPAN_BYTES = 150


@dataclass(slots=True)
class TraceSpan:
    """One step. Times in Unix ns; `end_ns` None: it has not ended."""

    name: str
    start_ns: int
    end_ns: int | None = None
    taken: int = 0
    given: int = 0
    error: str = ""
    rows: list[JsonValue] = field(default_factory=list)
    is_sink: bool = False

    @property
    def bytes(self) -> int:
        return _SPAN_BYTES + (len(msgspec.json.encode(self.rows)) if self.rows else 0)


@dataclass(slots=True)
class RuleTrace:
    """One trace. `spans` follow each other; the sinks are side by side after the last step."""

    id: str
    rule_id: str
    time_ms: int
    of_window: tuple[int, int] | None = None
    """Start and end of the window that ended, Unix ms; None: this is the trace of a record."""
    records: list[str] = field(default_factory=list)
    """Ids of the traces of the window's records."""
    spans: list[TraceSpan] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(span.bytes for span in self.spans) + sum(map(len, self.records))

    def tree(self) -> JsonObject:
        """The answer of GET /trace/{traceId}: each span with the spans that followed it as `children`."""
        tree: JsonObject = {"traceId": self.id, "rule": self.rule_id, "time": self.time_ms}
        if self.of_window is not None:
            start_ms, end_ms = self.of_window
            tree |= {"window": {"start": start_ms, "end": end_ms}, "records": self.records}
        tree["span"] = None
        parent: JsonObject | None = None
        for number, span in enumerate(list(self.spans), 1):
            node = {
                "spanId": number,
                "parentSpanId": parent["spanId"] if parent else None,
                "name": span.name,
                "start_ns": span.start_ns,
                "end_ns": span.end_ns,
                "in": span.taken,
                "out": span.given,
                "error": span.error,
                "rows": span.rows,
                "children": [],
            }
            if parent is None:
                tree["span"] = node
            else:
                parent["children"].append(node)
            if not span.is_sink:
                parent = node
        return tree


class Traces:
    """The traces of a rule. `on`: it is traced now. `sinks`: names of its sink nodes."""

    def __init__(self, rule_id: str) -> None:
        self.rule_id = rule_id
        self.on = False
        self.each = True
        """False: only the first record of each batch (strategy head)."""
        self.sinks: Sequence[str] = ()
        self._numbers = itertools.count(1)
        self._traces: deque[RuleTrace] = deque()

    def name_sinks(self, definition: RuleDefinition) -> None:
        self.sinks = sink_names([action.type for action in definition.actions])

    def new(self, time_ms: int) -> RuleTrace:
        """Starts a trace; the oldest ones are dropped where there are too many."""
        kept = self._traces
        trace = RuleTrace(f"{self.rule_id}-{next(self._numbers)}", self.rule_id, time_ms)
        if len(kept) >= MAX_TRACES:
            kept.popleft()
        spent = sum(each.bytes for each in kept)
        while kept and spent > MAX_BYTES:
            spent -= kept.popleft().bytes
        kept.append(trace)
        return trace

    def ids(self) -> list[str]:
        """Ids of the traces, the oldest first."""
        return [each.id for each in list(self._traces)]

    def get(self, trace_id: str) -> RuleTrace | None:
        return next((each for each in list(self._traces) if each.id == trace_id), None)


def shown_rows(rows: Sequence[Row]) -> list[JsonValue]:
    """The first rows as they may be shown: JSON, shortened, without secrets."""
    return [traced_value(row) for row in rows[:MAX_ROWS]]


def traced_value(value: object, depth: int = 0) -> JsonValue:
    """A value shortened to fit on a screen; secrets are hidden by the name of their key."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 63 else str(value)[:_MAX_TEXT]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}... {len(value)} in all"
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, dict) and depth < _MAX_DEPTH:
        few: dict[str, JsonValue] = {
            str(key)[:_MAX_TEXT]: MASK if str(key).lower() in HIDDEN else traced_value(each, depth + 1)
            for key, each in itertools.islice(value.items(), _MAX_COLUMNS)
        }
        return few | ({"...": f"{len(value)} in all"} if len(value) > _MAX_COLUMNS else {})
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        first = [traced_value(each, depth + 1) for each in value[:_MAX_ITEMS]]
        return [*first, f"... {len(value)} in all"] if len(value) > _MAX_ITEMS else first
    if isinstance(value, dict | list | tuple):
        return f"{len(value)} in all"
    return str(value)[:_MAX_TEXT]


def operator_names(operators: Sequence[str]) -> list[str]:
    """Names of the operators' nodes: eKuiper's (docs/reference/rules.md, A.3), so that dashboards work."""
    return [f"op_{k}_{name}" for k, name in enumerate(operators, start=2)]


def sink_names(types: Sequence[str]) -> list[str]:
    return [f"sink_{kind}_{k}" for k, kind in enumerate(types)]
