"""Tables: lookup tables that are open, one for all rules that ask it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opq_plugins.sdk import LookupSource
from opq_rules.batch import Row
from opq_rules.engine.udfs import Asking
from opq_rules.errors import RowError
from opq_rules.query.joins import Lookup
from opq_rules.streams.definition import StreamDefinition


class Tables:
    """`make(definition)` gives one that is configured. Under the engine's lock."""

    def __init__(
        self, definitions: Mapping[str, StreamDefinition], make: Callable[[StreamDefinition], LookupSource]
    ) -> None:
        self._definitions, self._make = definitions, make
        self._open: dict[str, tuple[LookupSource, Asking]] = {}

    def lookup(self, name: str) -> Lookup:
        """How it is asked; opened where it is not."""
        found = self._open.get(name)
        if found is None:
            table = self._make(self._definitions[name])
            asking = Asking("", f"source_{name}")
            table.open(asking)
            found = self._open[name] = (table, asking)
        table, asking = found

        def lookup(columns: Sequence[str], keys: Sequence[str], values: Sequence[Any]) -> list[Row]:
            try:
                return table.lookup(asking, columns, keys, values)
            except Exception as error:  # a plug-in's table: foreign code, it may raise anything
                raise RowError(f"lookup in {name}: {type(error).__name__}: {error}") from error

        return lookup

    def forget(self, name: str) -> None:
        """It was dropped or defined anew."""
        found = self._open.pop(name, None)
        if found is not None:
            found[0].close(found[1])

    def close(self) -> None:
        for name in list(self._open):
            self.forget(name)
