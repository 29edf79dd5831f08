"""Named sets of properties: a stream refers to one by CONF_KEY, a sink by resourceId."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from opq_rules.engine.ids import checked_id
from opq_rules.engine.store import Store
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError
from opq_rules.secrets import with_secrets, without_secrets

SOURCES, SINKS = "sources", "sinks"


class Configurations:
    """`kind` is "sources" or "sinks". `changed()` is told of each change; what runs keeps what it has."""

    def __init__(self, store: Store, changed: Callable[[], None]) -> None:
        self._store, self._changed = store, changed

    def all(self, kind: str, type_name: str, secrets: bool = False) -> dict[str, Any]:
        """Name -> properties, secrets as `******` unless asked for."""
        read = {
            name: msgspec.json.decode(body) for name, body in self._store.all(f"{kind} {type_name}").items()
        }
        return read if secrets else {name: without_secrets(properties) for name, properties in read.items()}

    def put(self, kind: str, type_name: str, name: str, properties: Mapping[str, Any]) -> None:
        checked_id("configuration", name, CONFIGURATION)
        checked_id("type", type_name, CONFIGURATION)
        stored = self._store.get(f"{kind} {type_name}", name)
        kept = with_secrets(properties, msgspec.json.decode(stored) if stored else None)
        try:
            text = msgspec.json.encode(kept).decode()
        except UnicodeError as error:
            raise RuleError(f"{kind} {type_name}: configuration {name!r}: {error}", CONFIGURATION) from None
        self._store.put(f"{kind} {type_name}", name, text)
        self._changed()

    def delete(self, kind: str, type_name: str, name: str) -> None:
        if self._store.get(f"{kind} {type_name}", name) is None:
            raise RuleError(f"{kind} {type_name}: configuration {name!r} is not found", NOT_FOUND, 404)
        self._store.delete(f"{kind} {type_name}", [name])
        self._changed()

    def named(self, kind: str, type_name: str, name: str) -> dict[str, Any]:
        """For use. Streams have CONF_KEY "default" without one: nothing then."""
        body = self._store.get(f"{kind} {type_name}", name)
        if body is None:
            if kind == SINKS or name != "default":
                raise RuleError(f"{kind} {type_name}: configuration {name!r} is not found", CONFIGURATION)
            return {}
        read: dict[str, Any] = msgspec.json.decode(body)
        return read
