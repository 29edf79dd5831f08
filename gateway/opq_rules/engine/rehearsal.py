"""Rehearsal: whether streams and rules could run with definitions that are not made yet. Nothing runs."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from opq_rules.engine.clock import SystemClock
from opq_rules.engine.configurations import SINKS, SOURCES, Configurations, Kept
from opq_rules.engine.connections import Connections
from opq_rules.engine.definition import Action, RuleDefinition
from opq_rules.engine.draft import Draft
from opq_rules.engine.feeds import Feeds
from opq_rules.engine.kept_schemas import schemas_in
from opq_rules.engine.outlets import Outlets
from opq_rules.engine.planning import Planning
from opq_rules.engine.topics import Topics
from opq_rules.engine.types import Types
from opq_rules.errors import RuleError
from opq_rules.query.joins import Lookup
from opq_rules.streams.definition import StreamDefinition


class Rehearsal:
    """Attributes: `configurations`, `connections`, `schemas`, to be changed at will: of those that are there
    nothing is written.

    Each method raises the RuleError with which the engine would refuse it.
    """

    def __init__(
        self,
        types: Types,
        below: Kept,
        streams: Mapping[str, StreamDefinition],
        functions: Callable[[], Any],
    ) -> None:
        """`below`: where the engine keeps things; `streams`: those that are there."""
        self.configurations = Configurations(Draft(below))
        self.connections = Connections(self.configurations)
        self.schemas = schemas_in(below)
        self._streams = dict(streams)
        resolved = self.connections.resolved
        clock, topics = SystemClock(), Topics()
        self._feeds = Feeds(
            types.source,
            types.lookup,
            partial(resolved, SOURCES),
            clock,
            topics,
            lambda feed: None,
            self.schemas,
        )
        self._outlets = Outlets(
            types.sink,
            partial(resolved, SINKS),
            clock,
            topics,
            Path(),
            lambda: 0,
            lambda outlet, rows: None,
            lambda outlet: None,
            self.schemas,
        )
        self._planning = Planning(self._streams, functions)

    def stream(self, definition: StreamDefinition) -> None:
        """A stream or table, which then is there."""
        self._feeds.check(definition)
        self._streams[definition.name] = definition

    def rule(self, definition: RuleDefinition) -> None:
        self._planning.choose(definition, _no_lookup)
        for action in definition.actions:
            self.action(action)

    def action(self, action: Action) -> None:
        self._outlets.check(action)


def _no_lookup(name: str) -> Lookup:
    raise RuleError(f"table {name} is asked of nothing in a rehearsal")
