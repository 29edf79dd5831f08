"""The classes of a plug-in of the rule engine: Source, Sink, Function and their contexts.

The shapes are near those of eKuiper's portable plug-ins (docs/reference/rules.md, E.4). No I/O; importable
without any extra.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from opq_proto.errors import OpqError

API_VERSION = 1
"""The version of the contract between host and plug-in; a plug-in with another major is refused."""
Value: TypeAlias = Any
"""Any value of JSON, or bytes."""
Row: TypeAlias = Mapping[str, Value]
Messages: TypeAlias = Sequence[Row]
Metas: TypeAlias = Sequence[Row | None] | None
"""Metadata of messages, one each: a topic, a time, a key."""
Arrivals: TypeAlias = int | Sequence[int] | None
"""When messages arrived, Unix ms: one time for all, or one each; None: now."""

MAX_MS = 253_402_300_800_000
"""The year 10,000: times of records must be before it. A rule's clock follows the records: after a time
beyond it all other records would be late for ever.
"""


class RowError(OpqError):
    """One record cannot be computed (types clash, division by zero); it is counted, and the rule
    continues."""


class PermanentError(OpqError):
    """A sink can never write these rows (unknown column, a value that does not fit).

    Raised by `collect`, which has then stored none of the rows of this call. Several rows are then given one
    by one, and rows for which it is raised again go to the dead-letter file. An error that passes (no
    connection, a lock) is an OSError: all rows wait and come again.
    """


class Context(Protocol):
    """Identifies the caller. State is JSON, stored with the rule's checkpoint; the next version gets it."""

    @property
    def rule_id(self) -> str: ...
    @property
    def op_id(self) -> str: ...
    @property
    def instance_id(self) -> int: ...
    def log(self, event: str, **facts: Value) -> None: ...
    def get_state(self, key: str) -> Value: ...
    def put_state(self, key: str, value: Value) -> None: ...


class SourceContext(Context, Protocol):
    """`emit*` block while the stream's queue is full; they return False when the source has to end."""

    @property
    def stopped(self) -> bool: ...
    def wait(self, seconds: float) -> bool:
        """Sleeps; returns True at once when the source has to end."""
        ...

    def emit(self, message: Row, meta: Row | None = None, offset: Value = None) -> bool: ...
    def emit_many(
        self, messages: Messages, meta: Metas = None, offset: Value = None, arrived_ms: Arrivals = None
    ) -> bool:
        """`offset`: where to continue after the last; `arrived_ms`: a replay's own times, Unix ms."""
        ...

    def emit_bytes(self, payloads: Sequence[bytes], meta: Metas = None, offset: Value = None) -> bool:
        """Emits payloads as received; the stream's FORMAT decodes them, and counts unreadable ones."""
        ...

    def emit_error(self, text: str) -> None: ...
    def connected(self, up: bool, why: str = "") -> None:
        """Reports the state of the connection, shown as connection_status."""
        ...


class Source(ABC):
    """A source of records. `open` runs in its own thread until `context.stopped`."""

    @abstractmethod
    def configure(self, datasource: str, properties: Row) -> None:
        """Raises ValueError that names each wrong property and what is allowed."""

    def rewind(self, offset: Value) -> None:
        """Called before `open` of a replayable source: continues after `offset`, which it once emitted."""
        raise NotImplementedError

    @abstractmethod
    def open(self, context: SourceContext) -> None: ...

    def close(self, context: Context) -> None:
        """Called after `open` has returned."""
        return


class LookupSource(ABC):
    """A table that is queried for each record: `lookup` returns the rows whose `keys` have these `values`."""

    @abstractmethod
    def configure(self, datasource: str, properties: Row) -> None: ...
    def open(self, context: Context) -> None:
        return

    @abstractmethod
    def lookup(
        self, context: Context, columns: Sequence[str], keys: Sequence[str], values: Sequence[Value]
    ) -> list[dict[str, Value]]: ...
    def close(self, context: Context) -> None:
        return


class SinkContext(Context, Protocol):
    @property
    def row_id(self) -> str:
        """Id of the present emission: the same when it is sent again, so that it can be stored once."""
        ...

    @property
    def row_ids(self) -> Sequence[str]:
        """One equally stable id for each row of `data`; a batch has the rows of several emissions."""
        ...


class Sink(ABC):
    """A receiver of emissions. Calls come one after another from one thread.

    An `open` that fails is tried again. `collect` raises OSError (ConnectionError, TimeoutError ...) for a
    temporary failure: the emission is stored and sent again, in order. Any other exception drops it, counted.
    """

    @abstractmethod
    def configure(self, properties: Row) -> None:
        """Raises ValueError that names each wrong property and what is allowed."""

    def open(self, context: Context) -> None:
        return

    @abstractmethod
    def collect(self, context: SinkContext, data: Value) -> None:
        """`data`: a list of rows; one row with sendSingle; text or bytes with dataTemplate or format."""

    def close(self, context: Context) -> None:
        return


class Function(ABC):
    """A function of SQL."""

    def validate(self, args: Sequence[Value]) -> str:
        """Returns "" when the arguments (constants, or None where unknown) are valid, else what is wrong."""
        return ""

    @abstractmethod
    def exec(self, args: Sequence[Value], context: Context) -> Value:
        """Returns the value; an aggregate gets a list of all rows' values for each argument."""

    def is_aggregate(self) -> bool:
        return False


def check_emission(count: int, meta: object, arrived_ms: Value) -> None:
    """Checks that metadata and times fit `count` messages; rules rely on it. Raises ValueError."""
    if meta is not None:
        if not isinstance(meta, Sequence) or len(meta) != count:
            raise ValueError(f"meta: want a list, one for each of the {count} messages")
        if not all(each is None or isinstance(each, Mapping) for each in meta):
            raise ValueError("meta: want a dict or None for each message")
    if arrived_ms is None:
        return
    times = arrived_ms if isinstance(arrived_ms, Sequence) else [arrived_ms] * bool(count)
    if isinstance(arrived_ms, Sequence) and len(times) != count:
        raise ValueError(f"arrived_ms: want one, or one for each of the {count} messages")
    whole = all(isinstance(each, int) and not isinstance(each, bool) for each in times)
    if not whole or not all(0 <= each < MAX_MS for each in times):
        raise ValueError("arrived_ms: want whole milliseconds since 1970, before the year 10,000")


class BatchEmitter(ABC):
    """A source's context whose `emit` is an `emit_many` of one message."""

    @abstractmethod
    def emit_many(
        self, messages: Messages, meta: Metas = None, offset: Value = None, arrived_ms: Arrivals = None
    ) -> bool: ...

    def emit(self, message: Row, meta: Row | None = None, offset: Value = None) -> bool:
        return self.emit_many([message], None if meta is None else [meta], offset)
