"""EndpointFactory makes configured sources, lookup tables and sinks, and starts none of them.

A type's properties come from its named set and its own; properties that all types have (templates, batches)
are handled here. Their names may be in any case of letters. An unknown key is ignored and
reported, so that a rule of eKuiper runs unchanged. The type refuses a key that is close to a known one, with
"did you mean".
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace

import msgspec

from opq_plugins.sdk import LookupSource, Sink, Source
from opq_rules.built_in import module_of
from opq_rules.delivery.pipeline import discard
from opq_rules.delivery.transform import NAMES, SinkProperties, divided, transformer
from opq_rules.engine.definitions.configurations import SINKS, SOURCES, Configurations
from opq_rules.engine.definitions.rule_definition import Action
from opq_rules.engine.types.type_registry import TypeRegistry
from opq_rules.errors import CONFIGURATION, STREAM, RuleError
from opq_rules.feeds.memory_topics import Topics
from opq_rules.streams.columns import KnownColumns, near_column
from opq_rules.streams.decoding import StreamDecoder
from opq_rules.streams.definition import BOX_SOURCES, StreamDefinition
from opq_rules.streams.protobuf import message_class
from opq_rules.values.batch import JsonObject

MEMORY = "memory"
"""The type of sources, tables and sinks that get the engine's topics."""
MAX_CHECKED = 10_000
MISSPELT_LIKENESS = 0.75
"""Likeness, 0 to 1, from which a key is a misspelt one."""


def _spelled(kind: str, type_name: str, given: Mapping[str, object]) -> tuple[JsonObject, list[str]]:
    """The properties under the names of the type, and the ignored keys; plug-ins get all."""
    module = module_of(kind, type_name)
    if module is None:
        return dict(given), []
    own = {each.name for each in fields(module.Config)}
    names = {name.lower(): name for name in (*(NAMES if kind == "sink" else ()), *own)}
    found: JsonObject = {}
    ignored: list[str] = []
    for key, value in given.items():
        name = key if key in own else names.get(key.lower(), key)
        if name.lower() in names or _is_near(key, names):
            found[name] = value
        else:
            ignored.append(key)
    return found, ignored


def _is_near(key: str, names: Mapping[str, str]) -> bool:
    return bool(difflib.get_close_matches(key.lower(), names, n=1, cutoff=MISSPELT_LIKENESS))


class EndpointFactory:
    """Raises RuleError 400 where a type is unknown, or refuses its properties."""

    def __init__(self, types: TypeRegistry, configurations: Configurations, topics: Topics) -> None:
        self._types, self._configurations, self._topics = types, configurations, topics
        self._checked: dict[Action, SinkProperties] = {}

    def changed(self) -> None:
        """Plug-ins, or named properties have changed: sinks are checked again."""
        self._checked = {}

    # -- sources and tables

    def check_stream(self, definition: StreamDefinition) -> None:
        if definition.schema_id is not None and definition.format == "protobuf":
            try:
                message_class(definition.schema_id)
            except ValueError as error:
                raise RuleError(f"{definition.what} {definition.name}: {error}", STREAM) from None
        if definition.kind == "lookup":
            self.lookup_table(definition)
        else:
            discard(self.source(definition))

    def with_columns(self, definition: StreamDefinition) -> StreamDefinition:
        """The definition with what is known of its source's columns, where it declares none itself.

        Raises RuleError: they do not have the column of TIMESTAMP.
        """
        if definition.fields is not None or definition.kind != "stream" or definition.type not in BOX_SOURCES:
            return definition
        source = self.source(definition)
        found = getattr(source, "columns", None)
        discard(source)
        known = found if isinstance(found, KnownColumns) else None
        if known is not None and definition.timestamp is not None and not known.has(definition.timestamp):
            hint = near_column(definition.timestamp, known.names)
            raise RuleError(
                f"TIMESTAMP column {definition.timestamp} is not among the columns", STREAM, hint=hint
            )
        return replace(definition, known=known)

    def check_offset(self, definition: StreamDefinition, offset: object) -> None:
        """Raises RuleError where the source cannot go back to `offset`."""
        source = self.source(definition)
        where = f"stream {definition.name}: its source {definition.type!r}"
        try:
            source.rewind(offset)
        except NotImplementedError as error:
            raise RuleError(f"{where} cannot be rewound", STREAM) from error
        except Exception as error:  # may be a plug-in's code
            why = f"{type(error).__name__}: {error}"
            raise RuleError(f"{where} does not take offset {offset!r:.80}: {why}", STREAM) from error
        finally:
            discard(source)

    def source(self, definition: StreamDefinition) -> Source:
        make: Callable[..., Source] = self._types.source(definition.type)
        source = make(self._topics) if definition.type == MEMORY else make()
        self._configure(source, definition)
        return source

    def can_rewind(self, definition: StreamDefinition) -> bool:
        made = self._types.source(definition.type)
        made = getattr(made, "func", made)  # a class with its first arguments
        return getattr(made, "rewind", Source.rewind) is not Source.rewind

    def lookup_table(self, definition: StreamDefinition) -> LookupSource:
        make: Callable[..., LookupSource] = self._types.lookup(definition.type)
        table = make(self._topics) if definition.type == MEMORY else make()
        self._configure(table, definition)
        return table

    def decoder(self, definition: StreamDefinition) -> StreamDecoder:
        return StreamDecoder(definition)

    def _configure(self, source: Source | LookupSource, definition: StreamDefinition) -> None:
        properties = self._resolved(SOURCES, definition.type, definition.conf_key, definition.extra)
        if definition.type == MEMORY and definition.kind == "lookup":
            properties["key"] = definition.key
        try:
            source.configure(definition.datasource, properties)
        except Exception as error:
            discard(source)
            if not isinstance(error, ValueError | TypeError):
                raise
            where = f"{definition.kind} {definition.name!r}, source {definition.type!r}"
            raise RuleError(f"{where}: {error}", CONFIGURATION) from error

    def _resolved(self, kind: str, type_name: str, name: str, own: Mapping[str, object]) -> JsonObject:
        found = self._configurations.resolved(kind, type_name, name, own)
        return _spelled(kind.removesuffix("s"), type_name, found)[0]

    def ignored(self, definition: StreamDefinition | Action) -> str:
        """Names the properties without effect; "" if all have one."""
        kind, name = (SINKS, "resource") if isinstance(definition, Action) else (SOURCES, "conf_key")
        own = definition.properties if isinstance(definition, Action) else definition.extra
        found = self._configurations.resolved(kind, definition.type, getattr(definition, name), own)
        keys = _spelled(kind.removesuffix("s"), definition.type, found)[1]
        one = kind.removesuffix("s")
        return f"{one} {definition.type} ignores the unknown {', '.join(keys)}" if keys else ""

    # -- sinks

    def check_sink(self, action: Action) -> SinkProperties:
        found = self._checked.get(action)
        if found is None:
            found, sink = self.sink(action)
            discard(sink)
            if len(self._checked) < MAX_CHECKED:
                self._checked[action] = found
        return found

    def sink(self, action: Action) -> tuple[SinkProperties, Sink]:
        given = self._resolved(SINKS, action.type, action.resource, action.properties)
        make: Callable[..., Sink] = self._types.sink(action.type)
        sink = make(self._topics) if action.type == MEMORY else make()
        try:
            shared, own = divided(given)
            transformer(shared)
            sink.configure(own)
            shared.check_for(getattr(sink, "wants", ""))
        except Exception as error:
            discard(sink)
            if not isinstance(error, ValueError | TypeError | msgspec.ValidationError):
                raise
            raise RuleError(f"sink {action.type!r}: {error}", CONFIGURATION) from error
        return shared, sink
