"""OwnTypes: sources and sinks of the service that an engine is embedded in, before those of plug-ins."""

from collections.abc import Callable, Mapping
from typing import Any

from opq_plugins.sdk import Sink, Source
from opq_rules.engine.types import Types


class OwnTypes:
    """`own`: ("source" or "sink", type) -> what makes one; everything else is asked of `others`."""

    def __init__(self, own: Mapping[tuple[str, str], Callable[[], Any]], others: Types) -> None:
        self._own, self._others = own, others
        self.lookup, self.function, self.functions = others.lookup, others.function, others.functions

    def source(self, type_name: str) -> Callable[[], Source]:
        return self._own.get(("source", type_name)) or self._others.source(type_name)

    def sink(self, type_name: str) -> Callable[[], Sink]:
        return self._own.get(("sink", type_name)) or self._others.sink(type_name)
