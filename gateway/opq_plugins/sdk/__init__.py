"""What a plug-in of the rule engine is written against: Source, Sink, Function and their contexts.

The shapes are those of eKuiper's portable plug-ins (reference/rules.md, E.4): a plug-in written
for them comes over with a change of import. Types only: no I/O, importable without any extra.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opq_proto.errors import OpqError


class RowError(OpqError):
    """One record cannot be computed (types clash, division by zero): it is counted, the rule goes on."""


class Context(Protocol):
    """Whose call it is. State is JSON, kept with the rule's checkpoint, handed to the next version."""

    @property
    def rule_id(self) -> str: ...
    @property
    def op_id(self) -> str: ...
    @property
    def instance_id(self) -> int: ...
    def log(self, event: str, **facts: Any) -> None: ...
    def get_state(self, key: str) -> Any: ...
    def put_state(self, key: str, value: Any) -> None: ...


class SourceContext(Context, Protocol):
    """`emit*` block while the stream's queue is full (back pressure); False: the source has to end."""

    @property
    def stopped(self) -> bool: ...
    def wait(self, seconds: float) -> bool:
        """Sleep, or True at once when the source has to end."""
        ...

    def emit(
        self, message: Mapping[str, Any], meta: Mapping[str, Any] | None = None, offset: Any = None
    ) -> bool: ...
    def emit_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
        arrived_ms: int | Sequence[int] | None = None,
    ) -> bool:
        """Many at once; `offset`: where to go on after the last; `arrived_ms`: Unix ms, a replay's own."""
        ...

    def emit_bytes(
        self,
        payloads: Sequence[bytes],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
    ) -> bool:
        """As they came over the wire; decoded by the stream's FORMAT, what does not decode is counted."""
        ...

    def emit_error(self, text: str) -> None: ...
    def connected(self, up: bool, why: str = "") -> None:
        """Shown as connection_status."""
        ...


class Source(ABC):
    """Records into a stream. `open` runs in a thread of its own until `context.stopped`."""

    @abstractmethod
    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None:
        """Raises ValueError naming each wrong property and what is allowed."""

    def rewind(self, offset: Any) -> None:
        """Before `open`: go on behind `offset`, which this source once emitted. For replayable sources."""
        raise NotImplementedError

    @abstractmethod
    def open(self, context: SourceContext) -> None: ...

    def close(self, context: Context) -> None:
        """After `open` has returned."""
        return


class LookupSource(ABC):
    """A table that is asked per record: `lookup` gives the rows whose `keys` have these `values`."""

    @abstractmethod
    def configure(self, datasource: str, properties: Mapping[str, Any]) -> None: ...
    def open(self, context: Context) -> None:
        return

    @abstractmethod
    def lookup(
        self, context: Context, columns: Sequence[str], keys: Sequence[str], values: Sequence[Any]
    ) -> list[dict[str, Any]]: ...
    def close(self, context: Context) -> None:
        return


class SinkContext(Context, Protocol):
    @property
    def row_id(self) -> str:
        """Of the emission being collected: the same when it is sent again, so that it can be stored once."""
        ...

    @property
    def row_ids(self) -> Sequence[str]:
        """One for each row of `data`, as stable; a batch holds the rows of several emissions."""
        ...


class Sink(ABC):
    """Emissions out. Calls come one after another from one thread.

    An `open` that fails is tried again. `collect` raises OSError (ConnectionError, TimeoutError ...) for what
    may pass: it is kept and sent again, in order. Any other exception drops this emission, counted.
    """

    @abstractmethod
    def configure(self, properties: Mapping[str, Any]) -> None:
        """Raises ValueError naming each wrong property and what is allowed."""

    def open(self, context: Context) -> None:
        return

    @abstractmethod
    def collect(self, context: SinkContext, data: Any) -> None:
        """`data`: a list of rows; one row with sendSingle; text or bytes with dataTemplate or format."""

    def close(self, context: Context) -> None:
        return


class Function(ABC):
    """A function of SQL."""

    def validate(self, args: Sequence[Any]) -> str:
        """ "" when the arguments (constants, or None where unknown) are fine, else what is wrong."""
        return ""

    @abstractmethod
    def exec(self, args: Sequence[Any], context: Context) -> Any:
        """The value; an aggregate gets a list of all rows' values for each argument."""

    def is_aggregate(self) -> bool:
        return False
