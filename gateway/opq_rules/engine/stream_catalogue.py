"""StreamCatalogue: the defined streams and tables. UsageGraph: who uses what of a definition."""

from collections.abc import Callable
from contextlib import suppress

import msgspec

from opq_proto.kit import log
from opq_rules.engine.definitions.rule_definition import definition
from opq_rules.engine.definitions.rule_store import ObjectStore, RuleStore
from opq_rules.engine.types.endpoint_factory import EndpointFactory
from opq_rules.errors import NOT_FOUND, STREAM, RuleError
from opq_rules.sql.parse import parse, parse_create, parse_select
from opq_rules.sql.syntax import Create, Named, Show
from opq_rules.sql.walk import calls_in
from opq_rules.streams.definition import (
    StreamDefinition,
    as_json,
    as_text,
    check_replacement,
    definition_of,
    detail_json,
    schema_json,
)
from opq_rules.values.batch import JsonObject, JsonValue


class StreamCatalogue:
    """The streams and tables, `definitions` by name; stored unless TEMP. Called under the engine's lock."""

    def __init__(self, store: ObjectStore, factory: EndpointFactory) -> None:
        self.definitions: dict[str, StreamDefinition] = {}
        self._store, self._factory = store, factory
        for name, text in {**store.all("stream"), **store.all("table")}.items():
            try:
                self.definitions[name] = definition_of(parse_create(text))
                self.definitions[name] = factory.with_columns(self.definitions[name])
            except RuleError as error:  # written by another version: rules that use it report it as missing
                log.get(service="rules").error("stream.refused", stream=name, error=str(error))

    def execute(self, sql: str, what: str | None, drop: Callable[[str, str], str]) -> JsonValue:
        statement = parse(sql)
        if not isinstance(statement, Create | Show | Named):
            raise RuleError("want a statement about a stream or table: CREATE, SHOW, DESCRIBE, DROP", STREAM)
        about = statement.what.removesuffix("s")
        if what is not None and about != what:
            raise RuleError(f"this is a statement about a {about}; here are {what}s", STREAM)
        if isinstance(statement, Create):
            return self._made(definition_of(statement))
        if isinstance(statement, Show):
            return list(self.names(about))
        if statement.verb == "drop":
            self.get(statement.name, about)
            return drop(statement.name, about)
        found = self.get(statement.name, about)
        return as_text(found) if statement.verb == "explain" else as_json(found)

    def names(self, what: str, kind: str | None = None) -> list[str]:
        return sorted(each.name for each in self._of(what, kind))

    def details(self, what: str, kind: str | None = None) -> list[dict[str, str]]:
        return [detail_json(each) for each in sorted(self._of(what, kind), key=lambda each: each.name)]

    def described(self, name: str, what: str) -> JsonObject:
        return as_json(self.get(name, what))

    def schema(self, name: str, what: str) -> JsonObject:
        return schema_json(self.get(name, what).fields)

    def statements(self) -> dict[str, dict[str, str]]:
        """The stored statements: `{"streams", "tables"}`, each name -> statement."""
        return {"streams": self._store.all("stream"), "tables": self._store.all("table")}

    def get(self, name: str, what: str) -> StreamDefinition:
        found = self.definitions.get(name)
        if found is None or found.what != what:
            raise RuleError(f"{what} {str(name)[:128]} is not found", NOT_FOUND, 404)
        return found

    def replace(self, name: str, sql: str, what: str, back: bool = False) -> str:
        old = self.get(name, what)
        new = definition_of(parse_create(sql))
        if not back:
            check_replacement(old, new)
        self._factory.check_stream(new)
        new = self._factory.with_columns(new)
        self._store_definition(new)
        self.definitions[name] = new
        return f"{what.capitalize()} {name} is replaced.{self._note(new)}"

    def drop(self, name: str, what: str) -> str:
        self.get(name, what)
        self._store.delete(what, [name])
        del self.definitions[name]
        return f"{what.capitalize()} {name} is dropped."

    def _note(self, new: StreamDefinition) -> str:
        found = self._factory.ignored(new)
        return f" Note: {found}." if found else ""

    def _made(self, new: StreamDefinition) -> str:
        if new.name in self.definitions:
            raise RuleError(f"{self.definitions[new.name].what} {new.name} already exists", STREAM)
        self._factory.check_stream(new)
        new = self._factory.with_columns(new)
        self._store_definition(new)
        self.definitions[new.name] = new
        return f"{new.what.capitalize()} {new.name} is created.{self._note(new)}"

    def _store_definition(self, new: StreamDefinition) -> None:
        if not new.temp:
            self._store.put(new.what, new.name, new.text)

    def _of(self, what: str, kind: str | None) -> list[StreamDefinition]:
        found = [each for each in list(self.definitions.values()) if each.what == what]
        return [each for each in found if each.kind == kind] if kind in ("scan", "lookup") else found


SHOWN_USERS = 5


class UsageGraph:
    """Finds the users of a definition. Callable from any thread; hold the engine's lock for a consistent
    answer."""

    def __init__(self, store: RuleStore, catalogue: StreamCatalogue) -> None:
        self._store, self._catalogue = store, catalogue

    def of_stream(self, name: str) -> list[str]:
        """Ids of the rules whose statement reads the stream."""
        found = []
        with self._store.changing():
            for rule_id, text in self._store.rules().items():
                if name in text:
                    with suppress(RuleError):  # written by another version
                        if name in parse_select(msgspec.json.decode(text)["sql"]).streams:
                            found.append(rule_id)
        return found

    def of_type(self, kind: str, symbol: str) -> list[str]:
        """Ids of the rules with this sink or function; of a source, names of the streams that use it."""
        if kind == "source":
            return [name for name, each in self._catalogue.definitions.items() if each.type == symbol]
        found = []
        with self._store.changing():
            for rule_id, text in self._store.rules().items():
                try:
                    made = definition(msgspec.json.decode(text))
                    uses = any(action.type == symbol for action in made.actions)
                    if kind == "function":
                        called = calls_in(parse_select(made.sql))
                        uses = any(call.name == symbol.lower() for call in called)
                except RuleError:  # written by another version
                    continue
                if uses:
                    found.append(rule_id)
        return found

    def rules_of_type(self, kind: str, symbol: str) -> list[str]:
        """Ids of the rules that use the type; for a source, the rules that read its streams."""
        users = self.of_type(kind, symbol)
        if kind != "source":
            return users
        return list(dict.fromkeys(rule_id for name in users for rule_id in self.of_stream(name)))


def first_users(users: list[str]) -> str:
    """The first SHOWN users as text for people."""
    return ", ".join(users[:SHOWN_USERS]) + (" ..." if len(users) > SHOWN_USERS else "")
