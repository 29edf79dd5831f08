"""Named sets of properties: addresses of servers, our credentials there, and what else users share.

A stream refers to a set by CONF_KEY, a sink by resourceId.
"""

from collections.abc import Callable, Mapping

import msgspec

from opq_rules.connections.secrets import with_secrets, without_secrets
from opq_rules.engine.definitions.rule_definition import checked_id
from opq_rules.engine.definitions.rule_store import ObjectStore
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError
from opq_rules.values.batch import JsonObject

SOURCES = "sources"
SINKS = "sinks"


class Configurations:
    """Named sets; `kind` is SOURCES or SINKS. `changed()` is called after each change.

    Running sources and sinks keep the properties that they started with.
    """

    def __init__(self, store: ObjectStore, changed: Callable[[], None] = lambda: None) -> None:
        self._store, self._changed = store, changed

    def all(self, kind: str, type_name: str, secrets: bool = False) -> dict[str, JsonObject]:
        """Name -> properties; secrets as `******` unless requested."""
        read = {
            name: msgspec.json.decode(body) for name, body in self._store.all(f"{kind} {type_name}").items()
        }
        return read if secrets else {name: without_secrets(properties) for name, properties in read.items()}

    def put(self, kind: str, type_name: str, name: str, properties: Mapping[str, object]) -> None:
        checked_id("configuration", name, CONFIGURATION)
        checked_id("type", type_name, CONFIGURATION)
        try:
            text = msgspec.json.encode(self.kept(kind, type_name, name, properties)).decode()
        except (OverflowError, RecursionError, UnicodeError) as error:
            raise RuleError(f"{kind} {type_name}: configuration {name!r}: {error}", CONFIGURATION) from None
        self._store.put(f"{kind} {type_name}", name, text)
        self._changed()

    def kept(self, kind: str, type_name: str, name: str, properties: Mapping[str, object]) -> JsonObject:
        """`properties` as they will be stored: `******` is replaced by the stored secret."""
        stored = self._store.get(f"{kind} {type_name}", name)
        found: JsonObject = with_secrets(properties, msgspec.json.decode(stored) if stored else None)
        return found

    def has(self, kind: str, type_name: str, name: str) -> bool:
        return self._store.get(f"{kind} {type_name}", name) is not None

    def delete(self, kind: str, type_name: str, name: str) -> None:
        if self._store.get(f"{kind} {type_name}", name) is None:
            raise RuleError(f"{kind} {type_name}: configuration {name!r} is not found", NOT_FOUND, 404)
        self._store.delete(f"{kind} {type_name}", [name])
        self._changed()

    def named(self, kind: str, type_name: str, name: str) -> JsonObject:
        """The set with its secrets. A missing "default" is empty for streams, which name it in any case."""
        body = self._store.get(f"{kind} {type_name}", name)
        if body is None:
            if kind == SINKS or name != "default":
                raise RuleError(f"{kind} {type_name}: configuration {name!r} is not found", CONFIGURATION)
            return {}
        read: JsonObject = msgspec.json.decode(body)
        return read

    def resolved(self, kind: str, type_name: str, name: str, own: Mapping[str, object]) -> JsonObject:
        """The properties of the set `name` ("": no set), overridden by its own."""
        return {**(self.named(kind, type_name, name) if name else {}), **own}
