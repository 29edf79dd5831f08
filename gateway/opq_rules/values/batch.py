"""The data of the engine: batches of records of one stream in, emissions of a rule out.

A record is a plain dict; missing and null are the same. Batches share the cost of queues and locks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Value: TypeAlias = Any
"""A value of SQL: None, bool, int, float, str, bytes, datetime, list, dict, a source's array.

Its type is known only when a record is computed, so functions check it themselves.
"""
State: TypeAlias = Any
"""The state of a window or an aggregate, as JSON; only its writer reads it."""

Row = dict[str, Value]
"""A record: column -> value."""

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
"""Any value of JSON; a reader checks its type first."""
JsonObject = dict[str, Any]
"""A JSON object whose form the reader knows: an answer, a stored body, a state."""

Metas = Sequence[Mapping[str, Any] | None] | None
"""The source's metadata of each record (topic, file); None: no record has any."""

Emission = list[Row]
"""The rows of one window, or of one record, in order; a sink gets them so with sendSingle false."""


@dataclass(slots=True)
class Batch:
    """Records of one stream in the order of arrival.

    `arrived_ms`: Unix ms, one for all or one each. `meta`: one mapping each, or None: no record has any.
    """

    stream: str
    rows: Sequence[Row]
    arrived_ms: int | Sequence[int]
    meta: Metas = None

    def part(self, places: Sequence[int]) -> "Batch":
        """The records at these places."""
        arrived, meta = self.arrived_ms, self.meta
        return Batch(
            self.stream,
            [self.rows[k] for k in places],
            arrived if isinstance(arrived, int) else [arrived[k] for k in places],
            None if meta is None else [meta[k] for k in places],
        )

    def each(self) -> Iterable[tuple[Row, int, Any]]:
        """(row, arrived_ms, meta) of each record."""
        count, arrived = len(self.rows), self.arrived_ms
        times = [arrived] * count if isinstance(arrived, int) else arrived
        metas = [None] * count if self.meta is None else self.meta
        return zip(self.rows, times, metas, strict=True)
