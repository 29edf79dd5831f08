"""last_hit_count() and last_hit_time(): how often a rule has matched before, and when, per partition.

What counts as a match depends on the clause of the call. In WHERE it is a record for which WHERE held, in
OVER (WHEN ...) of a sliding window a record that triggered it, elsewhere a row of the output. With
OVER (PARTITION BY k WHEN c) each k has its own count, and only a match for which c holds is counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from opq_rules.errors import RowError
from opq_rules.expressions.closures import Evaluate
from opq_rules.functions.registry import RunContext
from opq_rules.query.groups import hashable, thawed_key
from opq_rules.values.batch import State, Value

MAX_PARTITIONS = 100_000
"""Partitions of one counter; beyond that the one that matched longest ago is dropped, and counted."""

Match = Literal["where", "trigger", "row"]


@dataclass(frozen=True, slots=True)
class HitCall:
    """The calls that share a counter."""

    match: Match
    partition_by: tuple[Evaluate, ...]
    when: Evaluate | None


class HitCounters:
    """The counters of a running query."""

    def __init__(self, calls: Sequence[HitCall]) -> None:
        self._calls = calls
        self._known: list[dict[Value, tuple[int, int]]] = [{} for _ in calls]
        """For each counter, partition -> (count, Unix ms of the last), the longest ago first."""
        self.forgotten = 0

    def last(self, number: int, row: Value, context: RunContext) -> tuple[int, int]:
        """The count and time (Unix ms) of former matches in this row's partition; zeros where it has none."""
        return self._known[number].get(_key(self._calls[number], row, context), (0, 0))

    def add(self, match: Match, row: Value, context: RunContext, ms: int) -> None:
        """Counts a match at `ms`. Raises RowError where a partition or WHEN cannot be computed."""
        for call, known in zip(self._calls, self._known, strict=True):
            if call.match != match or not (call.when is None or call.when(row, context) is True):
                continue
            key = _key(call, row, context)
            count, _ = known.pop(key, (0, 0))
            if len(known) >= MAX_PARTITIONS:
                del known[next(iter(known))]
                self.forgotten += 1
            known[key] = (count + 1, ms)

    def state(self) -> State:
        return [[[key, *each] for key, each in known.items()] for known in self._known]

    def restore(self, state: State) -> None:
        for known, kept in zip(self._known, state, strict=True):
            known.clear()
            known.update((thawed_key(key), (count, ms)) for key, count, ms in kept)


def _key(call: HitCall, row: Value, context: RunContext) -> Value:
    try:
        return tuple([hashable(each(row, context)) for each in call.partition_by])
    except RowError as error:
        raise RowError(f"Partition By: {error}") from None
