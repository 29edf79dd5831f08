"""StreamCatalogue: the streams and tables that are defined, and the statements that change them."""

from collections.abc import Callable

from opq_proto import log
from opq_rules.batch import JsonObject, JsonValue
from opq_rules.engine.endpoints import EndpointFactory
from opq_rules.engine.rule_store import ObjectStore
from opq_rules.errors import NOT_FOUND, STREAM, RuleError
from opq_rules.sql.parse import parse
from opq_rules.sql.syntax import Create, Named, Show
from opq_rules.streams.definition import StreamDefinition, check_replacement, definition_of
from opq_rules.streams.describe import as_json, as_text, detail_json, schema_json


class StreamCatalogue:
    """`definitions` by name, kept in the store but for TEMP ones. Called under the engine's lock."""

    def __init__(self, store: ObjectStore, factory: EndpointFactory) -> None:
        self.definitions: dict[str, StreamDefinition] = {}
        self._store, self._factory = store, factory
        for name, text in {**store.all("stream"), **store.all("table")}.items():
            try:
                self.definitions[name] = definition_of(self._create(text))
            except RuleError as error:  # written by another version: its rules say that it is missing
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
            self.one(statement.name, about)
            return drop(statement.name, about)
        found = self.one(statement.name, about)
        return as_text(found) if statement.verb == "explain" else as_json(found)

    def names(self, what: str, kind: str | None = None) -> list[str]:
        return sorted(each.name for each in self._of(what, kind))

    def details(self, what: str, kind: str | None = None) -> list[dict[str, str]]:
        return [detail_json(each) for each in sorted(self._of(what, kind), key=lambda each: each.name)]

    def described(self, name: str, what: str) -> JsonObject:
        return as_json(self.one(name, what))

    def text(self, name: str, what: str) -> str:
        """For people."""
        return as_text(self.one(name, what))

    def schema(self, name: str, what: str) -> JsonObject:
        return schema_json(self.one(name, what).fields)

    def statements(self) -> dict[str, dict[str, str]]:
        """What is kept: `{"streams", "tables"}`, name -> statement."""
        return {"streams": self._store.all("stream"), "tables": self._store.all("table")}

    def one(self, name: str, what: str) -> StreamDefinition:
        found = self.definitions.get(name)
        if found is None or found.what != what:
            raise RuleError(f"{what} {str(name)[:128]} is not found", NOT_FOUND, 404)
        return found

    def replace(self, name: str, sql: str, what: str) -> str:
        old = self.one(name, what)
        new = definition_of(self._create(sql))
        check_replacement(old, new)
        self._factory.check_stream(new)
        self._keep(new)
        self.definitions[name] = new
        return f"{what.capitalize()} {name} is replaced."

    def drop(self, name: str, what: str) -> str:
        self.one(name, what)
        self._store.delete(what, [name])
        del self.definitions[name]
        return f"{what.capitalize()} {name} is dropped."

    def _made(self, new: StreamDefinition) -> str:
        if new.name in self.definitions:
            raise RuleError(f"{self.definitions[new.name].what} {new.name} already exists", STREAM)
        self._factory.check_stream(new)
        self._keep(new)
        self.definitions[new.name] = new
        return f"{new.what.capitalize()} {new.name} is created."

    def _keep(self, new: StreamDefinition) -> None:
        if not new.temp:
            self._store.put(new.what, new.name, new.text)

    def _of(self, what: str, kind: str | None) -> list[StreamDefinition]:
        found = [each for each in list(self.definitions.values()) if each.what == what]
        return [each for each in found if each.kind == kind] if kind in ("scan", "lookup") else found

    def _create(self, sql: str) -> Create:
        statement = parse(sql)
        if not isinstance(statement, Create):
            raise RuleError("want CREATE STREAM or CREATE TABLE", STREAM)
        return statement
