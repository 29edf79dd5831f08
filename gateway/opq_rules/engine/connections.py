"""Named sets of properties, and connections: addresses of servers and our credentials there, by id.

A stream refers to a set by CONF_KEY, a sink by resourceId, both to connections by `connectionSelector`.
Connections are a third kind of such sets; /metadata shows them too.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from opq_proto.settings import configured
from opq_rules.batch import JsonObject
from opq_rules.built_in import CONNECTIONS as CONNECTION_TYPES
from opq_rules.built_in import connection_class, types_of
from opq_rules.engine.definition import checked_id
from opq_rules.engine.rule_store import ObjectStore
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError
from opq_rules.secrets import with_secrets, without_secrets

SOURCES, SINKS, CONNECTIONS = "sources", "sinks", "connections"


class Configurations:
    """Named sets; `kind` is one of the three above. `changed()` is called after each change.

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


SELECTOR = "connectionSelector"


class Connections:
    """The connections among the configurations. RuleError: 404 where an id is not found, else 400."""

    def __init__(self, configurations: Configurations) -> None:
        self._configurations = configurations

    def all(self, secrets: bool = False) -> dict[str, tuple[str, JsonObject]]:
        """Id -> type and properties, sorted by id; secrets as `******` unless requested."""
        found = {
            name: (kind, properties)
            for kind in types_of("connection")
            for name, properties in self._configurations.all(CONNECTIONS, kind, secrets).items()
        }
        return dict(sorted(found.items()))

    def type_of(self, name: str) -> str:
        for kind in types_of("connection"):
            if self._configurations.has(CONNECTIONS, kind, name):
                return kind
        raise RuleError(f"connection {str(name)[:128]!r} is not found", NOT_FOUND, 404)

    def put(self, kind: str, name: str, properties: Mapping[str, object]) -> None:
        """Creates a connection, or replaces its properties; the type cannot change."""
        checked_id("connection", name, CONFIGURATION)
        there = next((each for each in types_of("connection") if self._has(each, name)), kind)
        if there != kind:
            raise RuleError(
                f"connection {name!r} is of type {there}, which cannot change to {kind}",
                CONFIGURATION,
                hint="delete it and create it again",
            )
        kept = self._configurations.kept(CONNECTIONS, kind, name, properties)
        check_properties(kind, kept, f"connection {name!r}")
        self._configurations.put(CONNECTIONS, kind, name, kept)

    def delete(self, name: str) -> None:
        self._configurations.delete(CONNECTIONS, self.type_of(name), name)

    def selected(self, kind: str, type_name: str, name: str, own: Mapping[str, object]) -> str | None:
        """Id of the connection that a source or sink names; None where it names none."""
        found = self._merged(kind, type_name, name, own).get(SELECTOR)
        return found if isinstance(found, str) and found and connections_of(kind, type_name) else None

    def resolved(self, kind: str, type_name: str, name: str, own: Mapping[str, object]) -> JsonObject:
        """The properties of a connection, of the set `name` ("": none), and its own; later ones win.

        A plug-in's type also gets its `connectionSelector`.
        """
        found = self._merged(kind, type_name, name, own)
        if SELECTOR not in found or not (fitting := connections_of(kind, type_name)):
            return found
        selected = found.pop(SELECTOR)
        if not isinstance(selected, str):
            raise RuleError(
                f"{SELECTOR}  is {str(selected)[:80]!r}; want the id of a connection", CONFIGURATION
            )
        if not selected:
            return found
        try:
            there = self.type_of(selected)
        except RuleError as error:
            raise RuleError(f"{kind} {type_name}: {error}", CONFIGURATION) from None
        if there not in fitting:
            wanted = " or ".join(fitting)
            raise RuleError(
                f"connection {selected!r} is of type {there}; {type_name} wants {wanted}", CONFIGURATION
            )
        return {**self._configurations.named(CONNECTIONS, there, selected), **found}

    def _merged(self, kind: str, type_name: str, name: str, own: Mapping[str, object]) -> JsonObject:
        return {**(self._configurations.named(kind, type_name, name) if name else {}), **own}

    def _has(self, kind: str, name: str) -> bool:
        return self._configurations.has(CONNECTIONS, kind, name)


def connections_of(kind: str, type_name: str) -> tuple[str, ...]:
    """Types of connections that sources or sinks of this type can use; () for most."""
    return tuple(each for each, (_, users) in CONNECTION_TYPES.items() if (kind, type_name) in users)


def check_properties(kind: str, properties: Mapping[str, object], where: str) -> Any:
    """The connection, not opened. Raises RuleError: unknown type, or properties that it refuses."""
    try:
        return configured(known_connection(kind), properties)
    except ValueError as error:
        raise RuleError(f"{where}: {error}", CONFIGURATION) from error


def known_connection(kind: str) -> Any:
    """`connection_class` of this type; RuleError where there is no such type."""
    found = connection_class(kind)
    if found is None:
        known = ", ".join(types_of("connection"))
        raise RuleError(f"connection type {str(kind)[:80]!r} is not known; there are: {known}", CONFIGURATION)
    return found
