"""Rehearsal checks whether streams and rules could run with definitions that do not exist yet."""

from collections.abc import Callable, Mapping

from opq_rules.engine.definitions.configurations import Configurations
from opq_rules.engine.definitions.rule_definition import RuleDefinition
from opq_rules.engine.definitions.rule_store import Draft, ObjectStore
from opq_rules.engine.lifecycle.planner import Planner
from opq_rules.engine.types.endpoint_factory import EndpointFactory
from opq_rules.engine.types.type_registry import TypeRegistry
from opq_rules.errors import RuleError
from opq_rules.feeds.memory_topics import Topics
from opq_rules.functions.registry import Functions
from opq_rules.query.planning.joins import Lookup
from opq_rules.streams.definition import StreamDefinition


class Rehearsal:
    """Checks definitions before they are made; raises the RuleError that the engine would raise.

    `configurations` is a copy that may be changed freely.
    """

    def __init__(
        self,
        types: TypeRegistry,
        below: ObjectStore,
        streams: Mapping[str, StreamDefinition],
        functions: Callable[[], Functions],
    ) -> None:
        """`below`: the engine's store; `streams`: the existing streams and tables."""
        self.configurations = Configurations(Draft(below))
        self._streams = dict(streams)
        self._factory = EndpointFactory(types, self.configurations, Topics())
        self._planner = Planner(self._streams, functions, _no_lookup, {})

    def stream(self, definition: StreamDefinition) -> None:
        """Checks a stream or table and adds it, so that later rules may use it."""
        self._factory.check_stream(definition)
        self._streams[definition.name] = definition

    def rule(self, definition: RuleDefinition) -> None:
        self._planner.choose(definition)
        for action in definition.actions:
            self._factory.check_sink(action)


def _no_lookup(name: str) -> Lookup:
    raise RuleError(f"table {name} cannot be queried in a trial")
