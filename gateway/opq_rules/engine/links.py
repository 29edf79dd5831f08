"""Links: connections with the streams and rules that use them. Each user has a client of its own.

A connection is changed only where all of its users take the new properties; those that run then close what
they have and connect anew, and what waits in their queues waits for that.
"""

import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from opq_rules.engine.bodies import Bodies
from opq_rules.engine.catalogue import Catalogue
from opq_rules.engine.configurations import SINKS, SOURCES
from opq_rules.engine.connections import SELECTOR, Connections
from opq_rules.engine.definition import Action, definition
from opq_rules.engine.feed import Feed
from opq_rules.engine.feeds import Feeds
from opq_rules.engine.outlets import Outlets, resource
from opq_rules.engine.reach import Reach
from opq_rules.engine.rehearsal import Rehearsal
from opq_rules.engine.store import Store
from opq_rules.errors import CONFIGURATION, RuleError
from opq_rules.streams.definition import StreamDefinition

if TYPE_CHECKING:
    from opq_rules.engine.engine import Types


class Links:
    """Thread-safe; RuleError 404 where an id is not found, 400 for all else. `reach` tries one for real."""

    def __init__(
        self,
        lock: threading.RLock,
        types: "Types",
        store: Store,
        connections: Connections,
        catalogue: Catalogue,
        bodies: Bodies,
        feeds: Feeds,
        outlets: Outlets,
    ) -> None:
        self.reach = Reach(connections)
        self._lock, self._types, self._store, self._connections = lock, types, store, connections
        self._catalogue, self._bodies, self._feeds, self._outlets = catalogue, bodies, feeds, outlets

    def all(self) -> list[dict[str, Any]]:
        """`[{"id", "typ", "props", "status", "err", "users"}]`, by id; secrets as `******`."""
        with self._lock:
            return [self._shown(name, *each) for name, each in self._connections.all().items()]

    def one(self, name: str) -> dict[str, Any]:
        with self._lock:
            kind = self._connections.type_of(name)
            return self._shown(name, kind, self._connections.all()[name][1])

    def exported(self) -> dict[str, dict[str, Any]]:
        """Type -> id -> properties; with secrets."""
        found: dict[str, dict[str, Any]] = {}
        for name, (kind, properties) in self._connections.all(secrets=True).items():
            found.setdefault(kind, {})[name] = properties
        return found

    def create(self, kind: str, name: str, properties: Mapping[str, Any]) -> None:
        with self._lock:
            if name in self._connections.all():
                raise RuleError(f"connection {name} already exists", CONFIGURATION)
            self._connections.put(kind, name, properties)

    def put(self, kind: str, name: str, properties: Mapping[str, Any]) -> None:
        """New, or other properties of one that is there: its users take them, or nothing has changed."""
        with self._lock:
            rehearsal = Rehearsal(self._types, self._store, self._catalogue.definitions, dict)
            rehearsal.connections.put(kind, name, properties)
            streams, actions = self._users(name)
            for each in streams:
                rehearsal.stream(each)
            for _, action in actions:
                rehearsal.action(action)
            self._connections.put(kind, name, properties)
            for feed in self._running(streams):
                feed.reopen()
            for action in dict.fromkeys(action for _, action in actions):
                self._outlets.reopen(action)

    def replace(self, name: str, properties: Mapping[str, Any], kind: str | None = None) -> None:
        """404 where there is none. `kind`: what the user takes its type to be."""
        with self._lock:
            self.put(kind or self._connections.type_of(name), name, properties)

    def delete(self, name: str) -> None:
        """Refused while a stream or rule says that it has it."""
        with self._lock:
            self._connections.type_of(name)
            if users := self._names(name):
                shown = ", ".join(users[:5]) + (" ..." if len(users) > 5 else "")
                raise RuleError(f"connection {name} cannot be deleted: used by {shown}", CONFIGURATION)
            self._connections.delete(name)

    # -- inside

    def _shown(self, name: str, kind: str, properties: Mapping[str, Any]) -> dict[str, Any]:
        status, why = self._status(name)
        return {
            "id": name,
            "typ": kind,
            "props": properties,
            "status": status,
            "err": why,
            "users": self._names(name),
        }

    def _status(self, name: str) -> tuple[str, str]:
        """Of what runs with it: connected, connecting, disconnected and why; unused where nothing does."""
        streams, actions = self._users(name)
        told = [(feed.connection, feed.last_exception) for feed in self._running(streams)]
        wanted = {action for _, action in actions}
        for outlet in list(self._outlets.by_key.values()):
            if outlet.action in wanted and outlet.users:
                counters = outlet.pipeline.counters if outlet.pipeline is not None else None
                told.append((counters.connection_status, counters.last_exception) if counters else (0, ""))
        if lost := [why for state, why in told if state == -1]:
            return "disconnected", lost[0]
        if not told:
            return "unused", ""
        return ("connected" if any(state == 1 for state, _ in told) else "connecting"), ""

    def _names(self, name: str) -> list[str]:
        streams, actions = self._users(name)
        rules = list(dict.fromkeys(rule_id for rule_id, _ in actions))
        return [f"{each.what} {each.name}" for each in streams] + [f"rule {rule_id}" for rule_id in rules]

    def _running(self, streams: list[StreamDefinition]) -> list[Feed]:
        names = {each.name for each in streams}
        return [each.feed for each in list(self._feeds.by_key.values()) if each.stream in names]

    def _users(self, name: str) -> tuple[list[StreamDefinition], list[tuple[str, Action]]]:
        streams = [
            each
            for each in self._catalogue.definitions.values()
            if self._selects(name, SOURCES, each.type, each.conf_key, each.extra)
        ]
        actions = [
            (rule_id, action)
            for rule_id, action in self._actions()
            if self._selects(name, SINKS, action.type, resource(action), action.properties)
        ]
        return streams, actions

    def _selects(self, name: str, kind: str, type_name: str, named: str, own: Mapping[str, Any]) -> bool:
        try:
            return self._connections.selected(kind, type_name, named, own) == name
        except RuleError:  # a set of properties that went since
            return False

    def _actions(self) -> Iterator[tuple[str, Action]]:
        """Those of rules that can have a connection at all."""
        for rule_id, text in self._bodies.all().items():
            if SELECTOR in text or "resourceId" in text:
                for action in definition(msgspec.json.decode(text)).actions:
                    yield rule_id, action
