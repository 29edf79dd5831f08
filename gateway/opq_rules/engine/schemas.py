"""SchemaAdmin: users' own schemas, in the store, with the streams and sinks that use them.

The descriptor set is stored with its text, so that a start needs no compiler. A replaced schema applies from
the next record on; it is refused where it lacks a message that is in use.
"""

import base64
import binascii

import msgspec

from opq_proto import log
from opq_rules.batch import JsonObject
from opq_rules.engine.catalogue import UsageGraph, first_users
from opq_rules.engine.definition import checked_id
from opq_rules.engine.endpoints import EndpointFactory
from opq_rules.engine.rule_store import ObjectStore, RuleStore
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError
from opq_rules.streams.schemas import BUILT_IN, SchemaContent, Schemas, messages_of, of_kept, of_text

KIND = "schema"
MAX_SCHEMAS = 1000


def schemas_in(store: ObjectStore) -> Schemas:
    """The built-in schemas and the stored ones; an unreadable one is logged and left out."""
    schemas = Schemas()
    for name, body in store.all(KIND).items():
        try:
            schemas.put(name, messages_of(base64.b64decode(msgspec.json.decode(body)["set"])))
        except (ValueError, KeyError) as error:
            log.get(service="rules").error("schema.refused", schema=name, error=str(error))
    return schemas


def kept_as(content: SchemaContent, version: str) -> str:
    """The stored form of a schema."""
    body = {
        "content": content.text,
        "set": base64.b64encode(content.descriptors).decode(),
        "version": version,
    }
    return msgspec.json.encode(body).decode()


def content_of(kept: object) -> tuple[SchemaContent, str]:
    """Reads an exported schema, `{"content", "set", "version"}` with one of the first two. ValueError."""
    if not isinstance(kept, dict) or not all(isinstance(each, str) for each in kept.values()):
        raise ValueError("want an object with content, set and version as texts")
    text, descriptors = kept.get("content", ""), kept.get("set", "")
    try:
        found = of_kept(text, base64.b64decode(descriptors, validate=True)) if descriptors else of_text(text)
    except binascii.Error:
        raise ValueError("set is no base64") from None
    return found, kept.get("version", "")


class SchemaAdmin:
    """Thread-safe. RuleError: 404 where a name is not found, else 400."""

    def __init__(
        self, store: RuleStore, schemas: Schemas, usage: UsageGraph, factory: EndpointFactory
    ) -> None:
        self._store, self._schemas, self._usage, self._factory = store, schemas, usage, factory

    def names(self) -> list[str]:
        """Names of all schemas, also of the built-in ones."""
        return sorted({*BUILT_IN, *self._store.all(KIND)})

    def get(self, name: str) -> JsonObject:
        """`{"type", "name", "content", "version", "messages", "users"}`."""
        with self._store.changing():
            body = self._store.get(KIND, checked_id("schema", name, CONFIGURATION))
            if body is None and name not in BUILT_IN:
                raise RuleError(f"schema {name} is not found", NOT_FOUND, 404)
            kept = msgspec.json.decode(body) if body is not None else {"content": "", "version": ""}
            return {
                "type": "protobuf",
                "name": name,
                "content": kept["content"],
                "version": kept["version"],
                "messages": sorted(each for each in self._schemas if each.startswith(f"{name}.")),
                "users": [user for user, _ in self._usage.of_schema(name)],
            }

    def exported(self) -> dict[str, dict[str, str]]:
        """Name -> `{"content", "set", "version"}` of those that are not built in."""
        return {name: msgspec.json.decode(body) for name, body in self._store.all(KIND).items()}

    def put(self, name: str, content: SchemaContent, version: str, new: bool = False) -> bool:
        """Stores a schema; returns True where there was none. `new`: an existing one is not replaced."""
        with self._store.changing():
            self.fits(name, content)
            old = self._store.get(KIND, name)
            self._check(name, old, version, new)
            self._store_schema(name, content, version)
            return old is None

    def take_over(self, name: str, content: SchemaContent, version: str) -> None:
        """Stores a schema of an import, whatever version exists."""
        with self._store.changing():
            self.fits(name, content)
            self._store_schema(name, content, version)

    def fits(self, name: str, content: SchemaContent, alone: bool = False) -> None:
        """Raises RuleError where the schema cannot be stored. `alone`: its present users will be removed."""
        with self._store.changing():
            checked_id("schema", name, CONFIGURATION)
            _not_built_in(name)
            for user, message in () if alone else self._usage.of_schema(name):
                if message not in content.messages:
                    raise RuleError(
                        f"schema {name}: {user} uses {message}, which the new schema lacks", CONFIGURATION
                    )

    def delete(self, name: str) -> None:
        """Deletes a schema; refused while a stream or sink uses it."""
        with self._store.changing():
            self.get(name)
            _not_built_in(name)
            if users := [user for user, _ in self._usage.of_schema(name)]:
                raise RuleError(
                    f"schema {name} cannot be deleted: used by {first_users(users)}", CONFIGURATION
                )
            self._store.delete(KIND, [name])
            self._schemas.remove(name)
            self._factory.changed()

    # -- inside

    def _store_schema(self, name: str, content: SchemaContent, version: str) -> None:
        self._store.put(KIND, name, kept_as(content, version))
        self._schemas.put(name, content.messages)
        self._factory.changed()

    def _check(self, name: str, old: str | None, version: str, new: bool) -> None:
        if old is None:
            if len(self._store.all(KIND)) >= MAX_SCHEMAS:
                raise RuleError(f"there are {MAX_SCHEMAS} schemas; delete one", CONFIGURATION)
            return
        if new:
            raise RuleError(f"schema {name} already exists", CONFIGURATION)
        before = msgspec.json.decode(old)["version"]
        if before and version <= before:
            wanted = f"version is {version!r}; want a greater one than {before!r}"
            raise RuleError(f"schema {name}: {wanted}", CONFIGURATION)


def _not_built_in(name: str) -> None:
    if name in BUILT_IN:
        raise RuleError(f"schema {name} is built in; take another name", CONFIGURATION)
