"""Analytic calls: computed for every record before WHERE, each with its state per partition.

A call's value is stored in the record's row under a key that no column can have. A call over aggregates
(lag(avg(v))) is instead computed for every group, before HAVING.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opq_rules.errors import RowError
from opq_rules.expressions.calls import FUNCTION_ERRORS
from opq_rules.expressions.closures import Evaluate
from opq_rules.functions.registry import Analytic, AnalyticState
from opq_rules.query.groups import hashable
from opq_rules.query.query_run import QueryContext
from opq_rules.values.batch import State, Value

MARK = "\0"
"""First character of the keys of values that are not columns."""

MAX_PARTITIONS = 100_000
"""Partitions of one call; beyond that the one that began first is dropped, and counted."""


@dataclass(frozen=True, slots=True)
class AnalyticCall:
    """One analytic call. `late`: over aggregates, computed for every group before HAVING.

    `names`: of a spreading call's last arguments, None for the whole row (`*`); () for other calls.
    """

    key: str
    source: int
    written: str
    definition: Analytic
    arguments: tuple[Evaluate, ...]
    names: tuple[str | None, ...]
    partition_by: tuple[Evaluate, ...]
    when: Evaluate | None
    late: bool = False

    def given(self, row: Value, context: QueryContext) -> list[Value]:
        values = [argument(row, context) for argument in self.arguments]
        if not self.names:
            return values
        plain = len(values) - len(self.names)
        spread: dict[str, Value] = {}
        for name, value in zip(self.names, values[plain:], strict=True):
            if name is None:
                spread.update(value)
            else:
                spread[name] = value
        return [*values[:plain], spread]


class Analyses:
    """The state of the calls of one source."""

    def __init__(self, calls: Sequence[AnalyticCall]) -> None:
        self._calls = calls
        self._partitions: list[dict[Value, AnalyticState]] = [{} for _ in calls]
        self.forgotten = 0

    def compute(self, row: Value, own: dict[str, Value], context: QueryContext) -> None:
        """Puts each call's value into `own`, the dict of this source within `row`. Raises RowError."""
        for call, partitions in zip(self._calls, self._partitions, strict=True):
            try:
                key = tuple([hashable(each(row, context)) for each in call.partition_by])
                given = call.given(row, context)
                analysis = partitions.get(key)
                if analysis is None:
                    if len(partitions) >= MAX_PARTITIONS:
                        del partitions[next(iter(partitions))]
                        self.forgotten += 1
                    partitions[key] = analysis = call.definition.start()
                holds = call.when is None or call.when(row, context)
                own[call.key] = analysis.update(*given) if holds else analysis.last(*given)
            except FUNCTION_ERRORS as error:
                raise RowError(f"{call.written}: {error}") from None

    def state(self) -> State:
        return [
            [[key, analysis.state()] for key, analysis in partitions.items()]
            for partitions in self._partitions
        ]

    def restore(self, state: State) -> None:
        for call, partitions, kept in zip(self._calls, self._partitions, state, strict=True):
            partitions.clear()
            for key, each in kept:
                analysis = call.definition.start()
                analysis.restore(each)
                partitions[tuple(tuple(part) if isinstance(part, list) else part for part in key)] = analysis
