"""The data of a running query: rule and options, the present record, counters, errors, state as JSON."""

from base64 import b64decode, b64encode
from dataclasses import asdict, dataclass, field
from datetime import datetime

import msgspec
import numpy as np

from opq_rules.errors import RowError
from opq_rules.functions.registry import RunContext
from opq_rules.query.window import MAX_EMPTY_WINDOWS
from opq_rules.values.batch import Emission, Value


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """The running rule, and those of its options that affect the result. Times in ms."""

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
    def of(cls, rule_id: str, start_ms: int, options: dict[str, Value]) -> "RuleFacts":
        """From `Options.for_query()`, with names as users write them; missing ones have their default."""
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


@dataclass(slots=True, eq=False)
class QueryContext(RunContext):
    """The context of every closure; one per query, set before each call."""

    window_trigger_ms: int = 0
    """Time of the record that triggered a sliding window; the end of another window."""
    values: list[Value] = field(default_factory=list)
    """Those of a group's aggregates."""
    row_number: int = 1
    late: dict[str, Value] = field(default_factory=dict)
    """Values of the analytic calls over the aggregates of the present group."""
    kept: dict[str, Value] = field(default_factory=dict)
    """Values of volatile aliases for the present row."""
    hits: Value = None
    """The query's HitCounters."""

    def __post_init__(self) -> None:
        self.now_ms = self.event_ms = self.rule_start_ms

    def cut(self, start_ms: int, end_ms: int, trigger_ms: int | None) -> None:
        """Sets the times of a window that has ended."""
        self.window_start_ms, self.window_end_ms = start_ms, end_ms
        self.window_trigger_ms = end_ms if trigger_ms is None else trigger_ms


@dataclass(slots=True)
class QueryCounters:
    """`records_in`: of all streams; `late`: dropped after the watermark; `errors`: records that failed."""

    records_in: int = 0
    emissions: int = 0
    late: int = 0
    errors: int = 0
    last_error: str = ""
    last_error_ms: int = 0

    def state(self) -> dict[str, Value]:
        return asdict(self)

    def restore(self, state: dict[str, Value]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class QueryErrors:
    def __init__(self, counters: QueryCounters, context: QueryContext, send: bool) -> None:
        self._counters = counters
        self._context = context
        self._send = send
        self._waiting: list[Emission] = []

    def report(self, error: RowError, out: list[Emission]) -> None:
        self._counters.errors += 1
        self._counters.last_error = str(error)
        self._counters.last_error_ms = self._context.now_ms
        if self._send:
            out.append([{"error": str(error)}])

    def defer(self, error: RowError) -> None:
        """Keeps an error from inside a window; `flush` emits it before what comes next."""
        self.report(error, self._waiting)

    def keep_left_out(self, start_ms: int, end_ms: int) -> None:
        """Reports the span, Unix ms, of windows without a record that were too many to be cut."""
        span = f"those from {start_ms} to {end_ms} ms"
        text = f"sendEmptyWindow: {MAX_EMPTY_WINDOWS} at once; {span} were left out"
        self.defer(RowError(text))

    def flush(self, out: list[Emission]) -> None:
        if self._waiting:
            out.extend(self._waiting)
            self._waiting.clear()


def placed(error: RowError) -> RowError:
    """An error of a plain rule with its clause: without "Select" it is from WHERE."""
    return error if str(error).startswith("Select ") else RowError(f"Where: {error}")


_MARK = "\0kind"


_MAX_DEPTH = 100
"""Levels that are converted; deeper values are stored as JSON text, because Python's stack is short."""


def frozen(value: Value, level: int = 0) -> Value:
    """The value as JSON; bytes, datetimes and arrays of samples are marked; tuples become lists."""
    kind = type(value)
    if level > _MAX_DEPTH and isinstance(value, dict | list | tuple):
        return {_MARK: "text", "json": msgspec.json.encode(value).decode()}
    if kind is dict:
        return {key: frozen(each, level + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [frozen(each, level + 1) for each in value]
    if kind is bytes:
        return {_MARK: "bytes", "base64": b64encode(value).decode()}
    if isinstance(value, datetime):
        return {_MARK: "datetime", "iso": value.isoformat()}
    if kind.__module__ == "numpy":
        if not hasattr(value, "__len__"):
            return value.item()
        data = b64encode(value.tobytes()).decode()
        return {_MARK: "array", "dtype": value.dtype.str, "shape": list(value.shape), "base64": data}
    return value


def thawed(value: Value) -> Value:
    """The inverse of `frozen`; tuples stay lists."""
    if isinstance(value, list):
        return [thawed(each) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(_MARK)
    if kind == "text":
        return msgspec.json.decode(value["json"])
    if kind == "bytes":
        return b64decode(value["base64"])
    if kind == "datetime":
        return datetime.fromisoformat(value["iso"])
    if kind == "array":
        data = np.frombuffer(b64decode(value["base64"]), value["dtype"])
        return data.reshape(value["shape"]).copy()
    return {key: thawed(each) for key, each in value.items()}
