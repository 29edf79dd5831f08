"""An emission: one message or many, and what stands beside them: as many as they are, and of the right kind.

Rules believe it: a meta too few would stop all that read the stream.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

MOST_MS = 253_402_300_800_000
"""The year 10,000, which every time of a record is before. A rule's clock follows what arrives: behind a time
from beyond, all else would be late for ever."""


def check_emission(count: int, meta: Any, arrived_ms: Any) -> None:
    """Raises ValueError: `meta` or `arrived_ms` is none for `count` messages."""
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
    if not whole or not all(0 <= each < MOST_MS for each in times):
        raise ValueError("arrived_ms: want whole milliseconds since 1970, before the year 10,000")


class OneOfMany(ABC):
    """A source's context that takes one message as many of which there is one."""

    @abstractmethod
    def emit_many(
        self,
        messages: Sequence[Mapping[str, Any]],
        meta: Sequence[Mapping[str, Any] | None] | None = None,
        offset: Any = None,
        arrived_ms: int | Sequence[int] | None = None,
    ) -> bool: ...

    def emit(
        self, message: Mapping[str, Any], meta: Mapping[str, Any] | None = None, offset: Any = None
    ) -> bool:
        return self.emit_many([message], None if meta is None else [meta], offset)
