"""TypeRegistry: the available types of sources, lookup tables, sinks and functions."""

from collections.abc import Callable
from typing import Protocol

from opq_plugins.sdk import Function, LookupSource, Sink, Source
from opq_rules.connections.access import Access
from opq_rules.errors import RuleError


class TypeRegistry(Protocol):
    """The available types: `rule_plugins.RulePlugins`."""

    access: Access

    def source(self, type_name: str) -> Callable[[], Source]: ...
    def lookup(self, type_name: str) -> Callable[[], LookupSource]: ...
    def sink(self, type_name: str) -> Callable[[], Sink]: ...
    def function(self, name: str) -> Callable[[], Function] | None: ...
    def functions(self) -> dict[str, str]: ...


def has_type(types: TypeRegistry, kind: str, symbol: str) -> bool:
    """`kind`: source, sink or function."""
    try:
        if kind == "function":
            return types.function(symbol) is not None
        return bool(types.source(symbol) if kind == "source" else types.sink(symbol))
    except RuleError:
        return False
