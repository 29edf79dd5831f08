"""Links: connections with the streams and rules that use them. Each user has a client of its own.

A connection is changed only where all of its users take the new properties; those that run then close what
they have and connect anew, and what waits in their queues waits for that.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
from opq_rules.engine.types import Types
from opq_rules.errors import CONFIGURATION, NOT_FOUND, RuleError
from opq_rules.streams.definition import StreamDefinition


class Links:
    """Thread-safe; RuleError 404 where an id is not found, 400 for all else. `reach` tries one for real."""

    def __init__(
        self,
        lock: threading.RLock,
        types: Types,
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
            users = self._users()
            every = self._connections.all()
            return [self._shown(name, *each, users.get(name, _Users())) for name, each in every.items()]

    def one(self, name: str) -> dict[str, Any]:
        with self._lock:
            kind = self._connections.type_of(name)
            return self._shown(name, kind, self._connections.all()[name][1], self._of(name))

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
            users = self.rehearse(rehearsal, kind, name, properties)
            self._connections.put(kind, name, properties)
            for feed in self._feeds_of(users):
                feed.reopen()
            for action in users.actions:
                self._outlets.reopen(action)

    def rehearse(self, rehearsal: Rehearsal, kind: str, name: str, properties: Mapping[str, Any]) -> "_Users":
        """Puts it there, and configures all who have it now. Raises RuleError: one does not take it."""
        with self._lock:
            rehearsal.connections.put(kind, name, properties)
            users = self._of(name)
            for each in users.streams:
                rehearsal.stream(each)
            for action in users.actions:
                rehearsal.action(action)
            return users

    def replace(self, name: str, properties: Mapping[str, Any], kind: str | None = None) -> None:
        """404 where there is none. `kind`: what the user takes its type to be."""
        with self._lock:
            self.put(kind or self._connections.type_of(name), name, properties)

    def delete(self, name: str, kind: str | None = None) -> None:
        """Refused while a stream or rule says that it has it. `kind`: the type that it has to be of."""
        with self._lock:
            if kind not in (None, self._connections.type_of(name)):
                raise RuleError(f"connection {name} of type {kind} is not found", NOT_FOUND, 404)
            if users := self._of(name).names:
                shown = ", ".join(users[:5]) + (" ..." if len(users) > 5 else "")
                raise RuleError(f"connection {name} cannot be deleted: used by {shown}", CONFIGURATION)
            self._connections.delete(name)

    # -- inside

    def _shown(self, name: str, kind: str, properties: Mapping[str, Any], users: "_Users") -> dict[str, Any]:
        status, why = self._status(users)
        return {
            "id": name,
            "typ": kind,
            "props": properties,
            "status": status,
            "err": why,
            "users": users.names,
        }

    def _status(self, users: "_Users") -> tuple[str, str]:
        """Of what runs with it: connected, connecting, disconnected and why; unused where nothing does."""
        told = [(feed.connection, feed.last_exception) for feed in self._feeds_of(users)]
        for outlet in list(self._outlets.by_key.values()):
            if outlet.action in users.actions and outlet.users:
                counters = outlet.pipeline.counters if outlet.pipeline is not None else None
                told.append((counters.connection_status, counters.last_exception) if counters else (0, ""))
        if lost := [why for state, why in told if state == -1]:
            return "disconnected", lost[0]
        if not told:
            return "unused", ""
        return ("connected" if any(state == 1 for state, _ in told) else "connecting"), ""

    def _feeds_of(self, users: "_Users") -> list[Feed]:
        names = {each.name for each in users.streams}
        return [each.feed for each in list(self._feeds.by_key.values()) if each.stream in names]

    def _of(self, name: str) -> "_Users":
        return self._users().get(name, _Users())

    def _users(self) -> dict[str, "_Users"]:
        """By id of the connection, in one pass over all definitions."""
        found: dict[str, _Users] = {}
        for each in self._catalogue.definitions.values():
            selected = self._selected(SOURCES, each.type, each.conf_key, each.extra)
            if selected is not None:
                found.setdefault(selected, _Users()).streams.append(each)
        for rule_id, action in self._actions():
            selected = self._selected(SINKS, action.type, resource(action), action.properties)
            if selected is not None:
                found.setdefault(selected, _Users()).actions.setdefault(action, []).append(rule_id)
        return found

    def _selected(self, kind: str, type_name: str, named: str, own: Mapping[str, Any]) -> str | None:
        try:
            return self._connections.selected(kind, type_name, named, own)
        except RuleError:  # a set of properties that went since
            return None

    def _actions(self) -> Iterator[tuple[str, Action]]:
        """Those of rules that can have a connection at all."""
        for rule_id, text in self._bodies.all().items():
            if SELECTOR in text or "resourceId" in text:
                for action in definition(msgspec.json.decode(text)).actions:
                    yield rule_id, action


@dataclass(slots=True)
class _Users:
    """Of one connection: streams and tables, and actions with the rules that say them."""

    streams: list[StreamDefinition] = field(default_factory=list)
    actions: dict[Action, list[str]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        rules = dict.fromkeys(rule_id for each in self.actions.values() for rule_id in each)
        return [f"{each.what} {each.name}" for each in self.streams] + [f"rule {each}" for each in rules]
