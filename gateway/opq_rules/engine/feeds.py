"""Feeds by stream: one for all rules of a SHARED stream, else one per rule."""

from collections.abc import Callable, Mapping
from typing import Any

from opq_plugins.sdk import LookupSource, Source
from opq_rules.engine.clock import Clock
from opq_rules.engine.feed import Feed
from opq_rules.engine.joined import Joined
from opq_rules.engine.options import Options
from opq_rules.engine.outlets import unused
from opq_rules.engine.sampling import Sampled, Sampling, sampling_of
from opq_rules.engine.topics import Topics
from opq_rules.errors import CONFIGURATION, STREAM, RuleError
from opq_rules.streams import payload
from opq_rules.streams.decoding import Decoder
from opq_rules.streams.definition import StreamDefinition
from opq_rules.streams.formats import reader_of
from opq_rules.streams.schemas import Schemas

ATTACHED = "memory"
"""Source types that get the engine's topics."""


class Feeds:
    """Owned by the engine. `resolved(type, CONF_KEY, EXTRA)`: what a source gets."""

    def __init__(
        self,
        source: Callable[[str], Callable[[], Source]],
        lookup: Callable[[str], Callable[[], LookupSource]],
        resolved: Callable[[str, str, Mapping[str, Any]], dict[str, Any]],
        clock: Clock,
        topics: Topics,
        wake: Callable[[Feed], None],
        schemas: Schemas,
    ) -> None:
        self.by_key: dict[str, Joined] = {}
        self._source, self._lookup, self._resolved = source, lookup, resolved
        self._clock, self._topics, self._wake = clock, topics, wake
        self._schemas = schemas

    def key(self, definition: StreamDefinition, rule_id: str) -> str:
        """Also its name in the database."""
        return f"feed {'' if definition.shared else rule_id} {definition.name}"

    def check(self, definition: StreamDefinition) -> None:
        """RuleError 400 where the type or the schema is unknown, or it does not take these properties."""
        if definition.schema_id is not None and definition.format == "protobuf":
            try:
                self._schemas.message(definition.schema_id)
            except ValueError as error:
                raise RuleError(f"{definition.what} {definition.name}: {error}", STREAM) from None
        if definition.kind == "lookup":
            self.looked_up(definition)
        else:
            unused(self._make(definition))

    def check_offset(self, definition: StreamDefinition, offset: Any) -> None:
        """RuleError 400 where the source cannot go back to `offset`."""
        source = self._make(definition)
        told = f"stream {definition.name}: its source {definition.type!r}"
        try:
            source.rewind(offset)
        except NotImplementedError as error:
            raise RuleError(f"{told} cannot be rewound", STREAM) from error
        except Exception as error:  # a plug-in's code too
            why = f"{type(error).__name__}: {error}"
            raise RuleError(f"{told} does not take offset {offset!r:.80}: {why}", STREAM) from error
        finally:
            unused(source)

    def make(self, definition: StreamDefinition, rule_id: str, options: Options) -> Joined:
        """A feed that does not run yet."""
        key = self.key(definition, rule_id)
        direct = definition.type == ATTACHED
        replays = getattr(self._source(definition.type), "rewind", Source.rewind) is not Source.rewind
        waits: bool | None = True if replays or options.disableBufferFullDiscard else None
        if definition.buffer_full_policy is not None:
            waits = definition.buffer_full_policy == "block"
        feed = Feed(
            definition.name,
            "" if definition.shared else rule_id,
            lambda: self._make(definition),
            options.bufferLength,
            bool(waits) and not direct,
            self._clock,
            self._wake,
        )
        return Joined(feed, definition.name, self._decoder(definition), key, direct, waits)

    def looked_up(self, definition: StreamDefinition) -> LookupSource:
        """A lookup table, configured."""
        factory: Any = self._lookup(definition.type)
        table: LookupSource = factory(self._topics) if definition.type == ATTACHED else factory()
        self._configure(table, definition)
        return table

    def _make(self, definition: StreamDefinition) -> Source:
        factory: Any = self._source(definition.type)
        source: Source = factory(self._topics) if definition.type == ATTACHED else factory()
        sampling = self._configure(source, definition)
        if sampling is None:
            return source
        return Sampled(source, sampling, reader_of(definition, self._schemas))

    def _decoder(self, definition: StreamDefinition) -> Decoder:
        properties = self._resolved(definition.type, definition.conf_key, definition.extra)
        said, _ = payload.divided(properties)
        unpack = payload.unpacker(said, self._schemas) if said is not None else None
        return Decoder(definition, schemas=self._schemas, unpack=unpack)

    def _configure(self, source: Source | LookupSource, definition: StreamDefinition) -> Sampling | None:
        """What any source has (payloads, down-sampling) is not the source's own."""
        properties = self._resolved(definition.type, definition.conf_key, definition.extra)
        if definition.type == ATTACHED and definition.kind == "lookup":
            properties["key"] = definition.key
        try:
            sampling = None
            if definition.kind != "lookup":
                said, properties = payload.divided(properties)
                if said is not None:
                    payload.unpacker(said, self._schemas)
                sampling, properties = sampling_of(definition.type, properties)
            source.configure(definition.datasource, properties)
            return sampling
        except Exception as error:
            unused(source)
            if not isinstance(error, ValueError | TypeError):
                raise
            where = f"{definition.kind} {definition.name!r}, source {definition.type!r}"
            raise RuleError(f"{where}: {error}", CONFIGURATION) from error
