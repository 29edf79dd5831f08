"""request_waveform: requests the raw waveform of a row's span; it becomes an event, as from any trigger.

A row has `box`, `start_ms` and `end_ms` (a Measurement's row does), or other columns in their place. The sink
works inside Makai, which requests from the Boxes, and inside a gateway, which requests from Makai. A rule
whose condition always holds would request everything: therefore the spans per Box and minute are limited.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from opq_plugins.sdk import Context, SinkContext
from opq_plugins.sdk import Sink as SinkOfSdk
from opq_proto.config.settings import configured
from opq_proto.kit.rate_limit import TokenBuckets
from opq_proto.time_units import NS_PER_MS
from opq_rules.values.sql_values import whole_as_int

LONGEST_MS = 110_000
"""A gateway answers at most 120 s; the server's time before and after has to fit too."""
MAX_MS = 2**62 // NS_PER_MS
"""The year 2116: a span with time around it then fits into 64 bits too."""
MAX_BOX_ID = 2**31 - 1
"""The largest number in opq.proto."""
MAX_VALUE = 1e308
REQUEST_BURST = 150
"""Requests at once where a minute's share is less: half a minute of a rule's findings."""
MAX_KEYS = 10_000
_PAD = {"minimum": 0, "maximum": 60_000, "ms": True}


@dataclass(frozen=True, slots=True)
class Config:
    box: str = field(default="box", metadata={"help": "column with the Box's number"})
    start: str = field(default="start_ms", metadata={"help": "column, Unix ms"})
    end: str = field(default="end_ms", metadata={"help": "column, Unix ms"})
    beforeMs: int = field(default=0, metadata={**_PAD, "help": "more than the server's own pre_ms"})
    afterMs: int = field(default=0, metadata={**_PAD, "help": "more than the server's own post_ms"})
    value: str = field(
        default="", metadata={"help": "column whose value the event reports; without it: the first number"}
    )
    atMostPerMinute: int = field(
        default=6,
        metadata={
            "minimum": 0,
            "maximum": 6_000,
            "help": "requests per minute and Box, after 150 at once; 0: no limit",
        },
    )


@dataclass(frozen=True, slots=True)
class Request:
    """Samples of a Box, [start_ns, end_ns), that a rule requests."""

    rule_id: str
    box_id: str
    start_ns: int
    end_ns: int
    metric: str
    value: float
    """The value of column `metric`, finite; "" and 0.0 where the row has no number."""

    @property
    def because(self) -> str:
        value = f": {self.metric} {self.value:.6g}" if self.metric else ""
        return f"rule {self.rule_id}{value}"


class Sink(SinkOfSdk):
    """`counts`: requests that were not made, shown in the rule's status."""

    wants = "rows"

    def __init__(
        self,
        send_request: Callable[[Request], bool] | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`send_request`: makes a request; returns False where there is no room now."""
        self._send_request, self._now_s = send_request, monotonic_s
        self.counts = {"over_rate": 0}

    def configure(self, properties: Mapping[str, object]) -> None:
        self._config: Config = configured(Config, properties)
        if self._send_request is None:
            raise ValueError(
                "request_waveform works inside Makai ([triggering_service.rules]) or a gateway ([rules])"
            )
        per_minute = self._config.atMostPerMinute
        self._allowance: TokenBuckets | None = None
        if per_minute:
            burst = max(REQUEST_BURST, per_minute)
            self._allowance = TokenBuckets(burst, per_minute / 60, MAX_KEYS, self._now_s)

    def open(self, context: Context) -> None:
        """Nothing to open."""

    def collect(self, context: SinkContext, data: object) -> None:
        rows = data if isinstance(data, list) else [data]
        ids = [*context.row_ids, *[context.row_id] * (len(rows) - len(context.row_ids))]
        made = [
            request_of(row, row_id.rpartition(":")[0], self._config)
            for row, row_id in zip(rows, ids, strict=False)
        ]
        for request in made:
            self._request(request)

    def _request(self, request: Request) -> None:
        """Makes the request. Makai merges overlapping spans, and requests missing parts again."""
        assert self._send_request is not None
        key = request.rule_id, request.box_id
        if self._allowance is not None and not self._allowance.spend(key):
            self.counts["over_rate"] += 1
        elif not self._send_request(request):
            if self._allowance is not None:
                self._allowance.give_back(key)
            raise ConnectionError("too many requests wait for an answer")


def request_of(row: object, rule_id: str, config: Config) -> Request:
    """Makes a request of a row. Raises ValueError: columns that are missing or wrong."""
    if not isinstance(row, Mapping):
        raise ValueError(f"want rows, not {type(row).__name__}; leave dataTemplate and format out")
    missing = [name for name in (config.box, config.start, config.end) if row.get(name) is None]
    if missing:
        raise ValueError(f"a row has no {', '.join(missing)}; it has {', '.join(map(str, row))[:200]}")
    box = str(whole_as_int(row[config.box]))
    times = row[config.start], row[config.end]
    if not (box.isascii() and box.isdigit() and len(box) <= 10 and int(box) <= MAX_BOX_ID):
        raise ValueError(f"{config.box} is {box[:40]!r}; want the number of a Box")
    if not all(
        isinstance(each, int | float) and not isinstance(each, bool) and 0 <= each <= MAX_MS for each in times
    ):
        raise ValueError(f"{config.start}, {config.end} are {times!r}; want Unix ms")
    start_ms, end_ms = round(times[0]) - config.beforeMs, round(times[1]) + config.afterMs
    if not 0 <= start_ms <= end_ms <= min(start_ms + LONGEST_MS, MAX_MS):
        raise ValueError(f"{start_ms} to {end_ms} ms is not a span of at most {LONGEST_MS} ms")
    metric, value = _reported(row, config)
    return Request(rule_id, str(int(box)), start_ms * NS_PER_MS, end_ms * NS_PER_MS, metric, value)


def _reported(row: Mapping[str, object], config: Config) -> tuple[str, float]:
    where = (config.box, config.start, config.end)
    names = [config.value] if config.value else [str(name) for name in row if name not in where]
    for name in names:
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MAX_VALUE:
            return name, float(value)
    return "", 0.0
