"""Event time: the time of a record from its TIMESTAMP column, and the watermark.

TIMESTAMP is a number of Unix ms, a datetime, or text in a format of format_time (yyyy-MM-dd HH:mm:ss.SSS
XXX); without a format, ISO 8601. No zone means UTC. Records wait until the watermark has reached them, and
leave in the order of their time. The watermark is the smallest value over the streams of (largest time seen -
tolerance), and only rises. A record older than the watermark is late: it is dropped and counted. A record of
equal time is kept. With an idle timeout a stream without records for so long does not hold the others back.
"""

from bisect import insort_right
from collections.abc import Callable, Sequence
from datetime import datetime

from opq_plugins.sdk import MAX_MS
from opq_rules.errors import SQL_PLAN, RowError, RuleError
from opq_rules.expressions.closures import lookup
from opq_rules.query.planning.origin import Origin
from opq_rules.query.window import Record, records_of
from opq_rules.values.batch import State, Value
from opq_rules.values.sql_values import shown, time_of_text, unix_ms
from opq_rules.values.time_pattern import reader

MIN_MS = -62_135_596_800_000
"""The year 1. A number outside it and MAX_MS is probably in microseconds or nanoseconds, and is refused."""


def event_times(
    origins: Sequence[Origin], joined: bool
) -> tuple[dict[int, Callable[[Value], int]], dict[int, int]]:
    """Each stream's function of its time, and its number among those that move the watermark.

    Both by number in FROM. Raises RuleError (SQL_PLAN): no TIMESTAMP, or a wrong format.
    """
    times: dict[int, Callable[[Value], int]] = {}
    numbers: dict[int, int] = {}
    for origin in origins:
        if origin.kind == "stream" or not joined:
            definition = origin.definition
            if definition.timestamp is None:
                raise RuleError(
                    f"isEventTime: stream {origin.stream} has no column of times; set its option TIMESTAMP",
                    SQL_PLAN,
                    hint='create it WITH (TIMESTAMP="column")',
                )
            try:
                times[origin.index] = event_time_of(definition.timestamp, definition.timestamp_format)
            except ValueError as error:
                raise RuleError(f"stream {origin.stream}: {error}", SQL_PLAN) from None
            numbers[origin.index] = len(numbers)
    return times, numbers


def event_time_of(column: str, pattern: str | None) -> Callable[[Value], int]:
    """A function row -> Unix ms that raises RowError for a row without a time. Raises ValueError if `pattern`
    is wrong."""
    try:
        read = reader(pattern) if pattern else None
    except ValueError as error:
        raise ValueError(f"TIMESTAMP_FORMAT: {error}") from None

    def event_time_ms(row: Value) -> int:
        try:
            value = row[column]
        except KeyError:
            value = lookup(row, column)
        kind = type(value)
        if kind is int and MIN_MS <= value < MAX_MS:
            return value  # type: ignore[no-any-return]
        if kind is float and MIN_MS <= value < MAX_MS:
            return int(value)
        if kind is datetime:
            return unix_ms(value)
        if kind is str:
            try:
                return unix_ms(read(value) if read else time_of_text(value))
            except (ValueError, OverflowError) as error:
                raise RowError(f"event time {column}: {error}") from None
        raise RowError(f"event time {column} is {shown(value)}; want Unix ms or a time")

    return event_time_ms


_NEVER_MS = -(2**62)

MAX_WAITING = 200_000
"""Records that may wait for a silent stream; further ones are refused, and counted as late."""


class Watermark:
    """The watermark. `arrived_ms` is the time of arrival, which only the idle timeout uses."""

    def __init__(self, sources: int, tolerance_ms: int, idle_ms: int = 0) -> None:
        self._largest_ms = [_NEVER_MS] * sources
        self._received_ms: list[int | None] = [None] * sources
        self._tolerance_ms = tolerance_ms
        self._idle_ms = idle_ms
        self._waiting: list[Record] = []
        """Sorted by time; equal times in the order of arrival."""
        self.ms: int = _NEVER_MS
        self._looked_ms = _NEVER_MS

    def offer(self, record: Record, arrived_ms: int) -> bool:
        """Adds a record; returns False if it is late or too many records are waiting."""
        self._received_ms[record.source] = arrived_ms
        if record.ms < self.ms or len(self._waiting) >= MAX_WAITING:
            return False
        if record.ms > self._largest_ms[record.source]:
            self._largest_ms[record.source] = record.ms
        waiting = self._waiting
        if not waiting or waiting[-1].ms <= record.ms:
            waiting.append(record)
        else:
            insort_right(waiting, record, key=lambda each: each.ms)
        return True

    def release(self, arrived_ms: int) -> list[Record]:
        """Raises the watermark; returns the records that it has reached, in order."""
        least_ms = min(self._largest_ms)
        self._looked_ms = arrived_ms
        if self._idle_ms and len(self._largest_ms) > 1:
            awake = [
                largest_ms
                for largest_ms, received_ms in zip(self._largest_ms, self._received_ms, strict=True)
                if received_ms is not None and arrived_ms - received_ms < self._idle_ms
            ]
            least_ms = min(awake) if awake else least_ms
        if least_ms != _NEVER_MS and least_ms - self._tolerance_ms > self.ms:
            self.ms = least_ms - self._tolerance_ms
        count = 0
        for record in self._waiting:
            if record.ms > self.ms:
                break
            count += 1
        released = self._waiting[:count]
        del self._waiting[:count]
        return released

    def next_idle_ms(self) -> int | None:
        """Time at which the next stream becomes idle."""
        if not self._idle_ms or len(self._largest_ms) < 2:
            return None
        dues = (received + self._idle_ms for received in self._received_ms if received is not None)
        return min((due_ms for due_ms in dues if due_ms > self._looked_ms), default=None)

    def state(self) -> State:
        return {
            "largest_ms": self._largest_ms,
            "heard_ms": self._received_ms,
            "waiting": [list(record) for record in self._waiting],
            "ms": self.ms,
        }

    def restore(self, state: State) -> None:
        self._largest_ms, self._received_ms = list(state["largest_ms"]), list(state["heard_ms"])
        self._waiting, self.ms = records_of(state["waiting"]), state["ms"]
