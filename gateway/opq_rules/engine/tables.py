"""LookupTables: lookup tables that are open, one for all rules that ask it."""

from collections.abc import Mapping, Sequence

from opq_plugins.sdk import LookupSource
from opq_rules.batch import Row
from opq_rules.engine.endpoints import EndpointFactory
from opq_rules.engine.types import CallContext
from opq_rules.errors import RowError
from opq_rules.query.joins import Lookup
from opq_rules.streams.definition import StreamDefinition


class LookupTables:
    """Called under the engine's lock; what `lookup` gives, in the engine's thread."""

    def __init__(self, definitions: Mapping[str, StreamDefinition], factory: EndpointFactory) -> None:
        self._definitions, self._factory = definitions, factory
        self._open: dict[str, tuple[LookupSource, CallContext]] = {}

    def lookup(self, name: str) -> Lookup:
        """How it is asked; opened where it is not."""
        found = self._open.get(name)
        if found is None:
            made, context = (
                self._factory.lookup_table(self._definitions[name]),
                CallContext("", f"source_{name}"),
            )
            made.open(context)
            found = self._open[name] = made, context
        table, own = found

        def lookup(columns: Sequence[str], keys: Sequence[str], values: Sequence[object]) -> list[Row]:
            try:
                return table.lookup(own, columns, keys, values)
            except Exception as error:  # a plug-in's table: foreign code, it may raise anything
                raise RowError(f"lookup in {name}: {type(error).__name__}: {error}") from error

        return lookup

    def forget(self, name: str) -> None:
        """It was dropped or defined again."""
        found = self._open.pop(name, None)
        if found is not None:
            found[0].close(found[1])

    def close(self) -> None:
        for name in list(self._open):
            self.forget(name)
