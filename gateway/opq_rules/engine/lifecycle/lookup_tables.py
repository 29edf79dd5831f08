"""LookupTables: the open tables, which queries ask for rows."""

from collections.abc import Mapping, Sequence

from opq_plugins.sdk import LookupSource
from opq_rules.engine.types.endpoint_factory import EndpointFactory
from opq_rules.engine.types.operator_context import OperatorContext
from opq_rules.errors import RowError
from opq_rules.query.planning.joins import Lookup
from opq_rules.sources import memory
from opq_rules.streams.definition import StreamDefinition
from opq_rules.values.batch import Row


class LookupTables:
    """The open tables. Called under the engine's lock; `lookup`'s function runs in the engine's thread."""

    def __init__(self, definitions: Mapping[str, StreamDefinition], factory: EndpointFactory) -> None:
        self._definitions, self._factory = definitions, factory
        self._open: dict[str, tuple[LookupSource, OperatorContext]] = {}
        self._lost_by_closed = 0

    @property
    def rows_lost(self) -> int:
        """Rows that full tables of memory have dropped. Callable from any thread."""
        return self._lost_by_closed + sum(_lost(table) for table, _ in list(self._open.values()))

    def lookup(self, name: str) -> Lookup:
        """The lookup function of a table, which is opened where necessary."""
        found = self._open.get(name)
        if found is None:
            made = self._factory.lookup_table(self._definitions[name])
            context = OperatorContext("", f"source_{name}", {"function": f"source_{name}"})
            made.open(context)
            found = self._open[name] = made, context
        table, own = found

        def lookup(columns: Sequence[str], keys: Sequence[str], values: Sequence[object]) -> list[Row]:
            try:
                return table.lookup(own, columns, keys, values)
            except Exception as error:  # a plug-in's table: foreign code, it may raise anything
                raise RowError(f"lookup in {name}: {type(error).__name__}: {error}") from error

        return lookup

    def close_table(self, name: str) -> None:
        """Closes a table that was dropped or redefined."""
        found = self._open.pop(name, None)
        if found is not None:
            self._lost_by_closed += _lost(found[0])
            found[0].close(found[1])

    def close(self) -> None:
        for name in list(self._open):
            self.close_table(name)


def _lost(table: LookupSource) -> int:
    return table.lost if isinstance(table, memory.LookupSource) else 0
