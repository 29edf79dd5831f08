"""Outlets by what rules say: who gives a sink the same properties shares it."""

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from opq_plugins.sdk import Context, Sink
from opq_rules.batch import Emission
from opq_rules.engine.clock import Clock
from opq_rules.engine.definition import Action, RuleDefinition
from opq_rules.engine.outlet import Outlet
from opq_rules.engine.topics import Topics
from opq_rules.errors import CONFIGURATION, RuleError
from opq_rules.sinking.kept import Kept
from opq_rules.sinking.pipeline import Pipeline
from opq_rules.sinking.properties import Properties, divided
from opq_rules.sinking.transform import transformer
from opq_rules.streams.schemas import Schemas

INLINE = "memory"
UNBOUNDED = 1 << 40
"""Of what a sink refused at qos >= 1: the outlet takes no more meanwhile, and nothing may go."""


class TopicSink:
    """A memory sink: takes in the engine's thread."""

    def __init__(self, sink: Any, properties: Properties, topic: str | None, schemas: Schemas) -> None:
        self._sink, self._topic = sink, topic
        self._plain = properties == Properties() and topic is not None
        self.op_id, self.rule_id, self.instance_id = "sink_memory", "", 0
        self._pipeline = Pipeline(sink, self, properties, Kept(None, 1, 0), lambda ids: None, schemas=schemas)

    def deliver(self, rule_id: str, first: int, emissions: Sequence[Emission]) -> None:
        if self._plain:
            rows = emissions[0] if len(emissions) == 1 else [row for each in emissions for row in each]
            self._sink.collect(self, rows)
            return
        for k, emission in enumerate(emissions):
            self._pipeline.take(emission, f"{rule_id}:{first + k}")

    row_id = ""
    row_ids: Sequence[str] = ()

    def log(self, event: str, **facts: Any) -> None:
        return

    def get_state(self, key: str) -> Any:
        return None

    def put_state(self, key: str, value: Any) -> None:
        return


class Outlets:
    """Owned by the engine; `open` and `close` under its lock."""

    def __init__(
        self,
        make: Callable[[str], Callable[[], Sink]],
        resolved: Callable[[str, str, Mapping[str, Any]], dict[str, Any]],
        clock: Clock,
        topics: Topics,
        cache_dir: Path,
        turn: Callable[[], int],
        taken: Callable[[Outlet, list[int]], None],
        drained: Callable[[Outlet], None],
        schemas: Schemas,
    ) -> None:
        """`make(type)` as Plugins.sink; `resolved(type, resourceId, own)`: what a sink gets."""
        self.by_key: dict[str, Outlet] = {}
        self._make, self._resolved, self._clock, self._topics = make, resolved, clock, topics
        self._cache_dir, self._turn, self._taken, self._drained = cache_dir, turn, taken, drained
        self._schemas = schemas
        self._checked: dict[Action, Properties] = {}
        self._lock = threading.Lock()

    def check(self, action: Action) -> Properties:
        """RuleError 400 where the sink is unknown, or does not take these properties."""
        found = self._checked.get(action)
        if found is None:
            found, sink = self._sink(action)
            unused(sink)
            if len(self._checked) < 10_000:
                self._checked[action] = found
        return found

    def changed(self) -> None:
        """Plug-ins or named properties did: check anew."""
        self._checked = {}

    def of(self, rule: RuleDefinition) -> tuple[tuple[Outlet, ...], tuple[TopicSink, ...]]:
        """Of a rule's actions; outlets are not open yet."""
        outlets: list[Outlet] = []
        topics: list[TopicSink] = []
        for action in rule.actions:
            if action.type == INLINE:
                properties, sink = self._sink(action)
                topics.append(TopicSink(sink, properties, getattr(sink, "_topic", None), self._schemas))
            else:
                outlets.append(self._outlet(action, rule))
        return tuple(outlets), tuple(topics)

    def shared(self, action: Action) -> bool:
        """Rules do not share a batch: its rows would be mixed."""
        properties = self.check(action)
        return properties.batchSize <= 1 and not properties.lingerInterval

    def reopen(self, action: Action) -> None:
        """Those that run with it close their sink and go on with one that is configured now."""
        for outlet in list(self.by_key.values()):
            if outlet.action == action:
                outlet.reopen(lambda: self._sink(action)[1])

    def close(self, outlet: Outlet) -> None:
        """After its last rule has left it."""
        self.by_key.pop(outlet.key, None)

    def _outlet(self, action: Action, rule: RuleDefinition) -> Outlet:
        durable = rule.options.qos > 0
        of = "" if self.shared(action) else rule.id
        told = f"{action.type} {durable} {of} {action.properties_json}"
        key = f"{action.type}-{hashlib.sha256(told.encode()).hexdigest()[:24]}"
        found = self.by_key.get(key)
        if found is not None:
            return found
        limit = self.check(action).bufferLength

        def pipeline(outlet: Outlet, done: Callable[[Sequence[str]], None]) -> Pipeline:
            properties, sink = self._sink(action)
            if durable:
                kept = Kept(None, UNBOUNDED, 0)
            else:
                path = self._cache_dir / f"{key}.sqlite3" if properties.enableCache else None
                kept = Kept(path, properties.memoryCacheThreshold, properties.maxDiskCache)
            context: Context = outlet
            return Pipeline(sink, context, properties, kept, done, self._clock.monotonic_s, self._schemas)

        found = Outlet(key, action.type, pipeline, limit, self._clock, self._turn, self._taken, self._drained)
        found.action = action
        found.holds_at = 256 if durable else UNBOUNDED
        found.has_cache = (self._cache_dir / f"{key}.sqlite3").exists()
        self.by_key[key] = found
        return found

    def _sink(self, action: Action) -> tuple[Properties, Sink]:
        given = self._resolved(action.type, resource(action), action.properties)
        factory: Any = self._make(action.type)
        sink: Sink = factory(self._topics) if action.type == INLINE else factory()
        try:
            shared, own = divided(given)
            if shared.schemaId:
                self._schemas.message(shared.schemaId)
            transformer(shared, self._schemas)
            sink.configure(own)
            shared.check_for(getattr(sink, "wants", ""))
        except Exception as error:
            unused(sink)
            if not isinstance(error, ValueError | TypeError | msgspec.ValidationError):
                raise
            raise RuleError(f"sink {action.type!r}: {error}", CONFIGURATION) from error
        return shared, sink


def unused(made: Any) -> None:
    """A source or sink that was made to see whether it can be: what a plug-in's process has of it goes."""
    discard = getattr(made, "discard", None)
    if callable(discard):
        discard()


def resource(action: Action) -> str:
    """Name of the set of properties that an action says it has; "": none."""
    name = action.properties.get("resourceId")
    return name if isinstance(name, str) else ""
