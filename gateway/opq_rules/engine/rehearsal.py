"""Rehearsal: whether streams and rules could run with definitions that are not made yet. Nothing runs."""

from collections.abc import Callable, Mapping

from opq_rules.engine.configurations import Configurations
from opq_rules.engine.connections import Connections
from opq_rules.engine.definition import Action, RuleDefinition
from opq_rules.engine.endpoints import EndpointFactory
from opq_rules.engine.planner import Planner
from opq_rules.engine.rule_store import Draft, ObjectStore
from opq_rules.engine.schemas import schemas_in
from opq_rules.engine.topics import Topics
from opq_rules.engine.types import TypeRegistry
from opq_rules.errors import RuleError
from opq_rules.functions.registry import Functions
from opq_rules.query.joins import Lookup
from opq_rules.streams.definition import StreamDefinition


class Rehearsal:
    """Attributes: `configurations`, `connections`, `schemas`, to be changed at will: of those that are there
    nothing is written.

    Each method raises the RuleError with which the engine would refuse it.
    """

    def __init__(
        self,
        types: TypeRegistry,
        below: ObjectStore,
        streams: Mapping[str, StreamDefinition],
        functions: Callable[[], Functions],
    ) -> None:
        """`below`: where the engine keeps things; `streams`: those that are there."""
        self.configurations = Configurations(Draft(below))
        self.connections = Connections(self.configurations)
        self.schemas = schemas_in(below)
        self._streams = dict(streams)
        self._factory = EndpointFactory(types, self.connections, Topics(), self.schemas)
        self._planner = Planner(self._streams, functions, _no_lookup)

    def stream(self, definition: StreamDefinition) -> None:
        """A stream or table, which then is there."""
        self._factory.check_stream(definition)
        self._streams[definition.name] = definition

    def rule(self, definition: RuleDefinition) -> None:
        self._planner.choose(definition)
        for action in definition.actions:
            self.action(action)

    def action(self, action: Action) -> None:
        self._factory.check_sink(action)


def _no_lookup(name: str) -> Lookup:
    raise RuleError(f"table {name} cannot be asked in a rehearsal")
