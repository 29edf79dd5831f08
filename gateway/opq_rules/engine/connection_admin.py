"""ConnectionAdmin: connections with the streams and rules that use them. Each user has a client of its own.

A connection is changed only if all of its users accept the new properties; the running ones then disconnect
and connect again. Meanwhile their queues wait.

Rehearsal checks whether streams and rules could run with definitions that do not exist yet.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from opq_rules.batch import JsonObject
from opq_rules.built_in import module_of
from opq_rules.delivery.transform import NAMES
from opq_rules.engine.catalogue import ConnectionUsers, UsageGraph, first_users
from opq_rules.engine.connections import (
    CONNECTIONS,
    SINKS,
    Configurations,
    Connections,
    check_properties,
    connections_of,
    known_connection,
)
from opq_rules.engine.definition import Action, RuleDefinition
from opq_rules.engine.endpoints import EndpointFactory, TypeRegistry
from opq_rules.engine.planner import Planner
from opq_rules.engine.rule_store import Draft, ObjectStore, RuleStore
from opq_rules.engine.schemas import schemas_in
from opq_rules.engine.sinks import SinkPool
from opq_rules.engine.streams import StreamInputs
from opq_rules.errors import CONFIGURATION, IO_ERROR, NOT_FOUND, RuleError
from opq_rules.functions.registry import Functions
from opq_rules.query.joins import Lookup
from opq_rules.secrets import without_password
from opq_rules.sources.memory import Topics
from opq_rules.streams.definition import StreamDefinition


class Rehearsal:
    """Checks definitions before they are made; raises the RuleError that the engine would raise.

    `configurations`, `connections`, `schemas` are copies that may be changed freely.
    """

    def __init__(
        self,
        types: TypeRegistry,
        below: ObjectStore,
        streams: Mapping[str, StreamDefinition],
        functions: Callable[[], Functions],
    ) -> None:
        """`below`: the engine's store; `streams`: the existing streams and tables."""
        self.access = types.access
        self.configurations = Configurations(Draft(below))
        self.connections = Connections(self.configurations)
        self.schemas = schemas_in(below)
        self._streams = dict(streams)
        self._factory = EndpointFactory(types, self.connections, Topics(), self.schemas)
        self._planner = Planner(self._streams, functions, _no_lookup, {})

    def stream(self, definition: StreamDefinition) -> None:
        """Checks a stream or table and adds it, so that later rules may use it."""
        self._factory.check_stream(definition)
        self._streams[definition.name] = definition

    def rule(self, definition: RuleDefinition) -> None:
        self._planner.choose(definition)
        for action in definition.actions:
            self.action(action)

    def action(self, action: Action) -> None:
        self._factory.check_sink(action)


def _no_lookup(name: str) -> Lookup:
    raise RuleError(f"table {name} cannot be queried in a trial")


TRIAL_S = 5.0
MAX_TRIALS = 10
"""Trials at a time; one whose peer hangs keeps its place until it ends."""


class ConnectionAdmin:
    """Thread-safe. RuleError: 404 where an id is not found, else 400. `rehearsal` makes a Rehearsal."""

    def __init__(
        self,
        store: RuleStore,
        connections: Connections,
        usage: UsageGraph,
        streams: StreamInputs,
        sinks: SinkPool,
        rehearsal: Callable[[], Rehearsal],
    ) -> None:
        self._store, self._connections, self._usage = store, connections, usage
        self._streams, self._sinks, self._rehearsal = streams, sinks, rehearsal
        self._trials = threading.BoundedSemaphore(MAX_TRIALS)

    def all(self) -> list[JsonObject]:
        """Connections by id: `[{"id", "typ", "props", "status", "err", "users"}]`; secrets as `******`."""
        with self._store.changing():
            users = self._usage.of_connections()
            every = self._connections.all()
            return [
                self._shown(name, *each, users.get(name, ConnectionUsers())) for name, each in every.items()
            ]

    def get(self, name: str) -> JsonObject:
        with self._store.changing():
            kind = self._connections.type_of(name)
            return self._shown(name, kind, self._connections.all()[name][1], self._users(name))

    def create(self, kind: str, name: str, properties: Mapping[str, object]) -> None:
        with self._store.changing():
            if name in self._connections.all():
                raise RuleError(f"connection {name} already exists", CONFIGURATION)
            self._connections.put(kind, name, properties)

    def put(self, kind: str, name: str, properties: Mapping[str, object]) -> None:
        """Creates or changes a connection. RuleError: a user refuses it, and nothing has changed."""
        with self._store.changing():
            users = self.dry_run(self._rehearsal(), kind, name, properties)
            self._connections.put(kind, name, properties)
            for runner in self._streams.runners_of({each.name for each in users.streams}):
                runner.reopen()
            for action in users.actions:
                self._sinks.reopen(action)

    def dry_run(
        self, rehearsal: Rehearsal, kind: str, name: str, properties: Mapping[str, object]
    ) -> ConnectionUsers:
        """Puts the connection into the rehearsal, with its present users. RuleError: one refuses it."""
        with self._store.changing():
            rehearsal.connections.put(kind, name, properties)
            users = self._users(name)
            for each in users.streams:
                rehearsal.stream(each)
            for action in users.actions:
                rehearsal.action(action)
            return users

    def replace(self, name: str, properties: Mapping[str, object], kind: str | None = None) -> None:
        """Raises RuleError 404 if there is no such connection. `kind`: the type that the caller expects."""
        with self._store.changing():
            self.put(kind or self._connections.type_of(name), name, properties)

    def delete(self, name: str, kind: str | None = None) -> None:
        """Deletes a connection that no stream or rule names. `kind`: the type that it must have."""
        with self._store.changing():
            if kind not in (None, self._connections.type_of(name)):
                raise RuleError(f"connection {name} of type {kind} is not found", NOT_FOUND, 404)
            if users := self._users(name).names:
                raise RuleError(
                    f"connection {name} cannot be deleted: used by {first_users(users)}", CONFIGURATION
                )
            self._connections.delete(name)

    def try_out(self, kind: str, type_name: str, properties: Mapping[str, object]) -> None:
        """Connects for real, then disconnects. RuleError 400 with the reason, within five seconds."""
        name = properties.get("resourceId") if kind == SINKS else ""
        given = self._connections.resolved(kind, type_name, name if isinstance(name, str) else "", properties)
        fitting = (type_name,) if kind == CONNECTIONS else connections_of(kind, type_name)
        if not fitting:
            raise RuleError(f"{kind} {type_name[:80]}: has no connection to test", CONFIGURATION)
        access = self._rehearsal().access
        own = _own_of_connection(known_connection(fitting[0]), kind, type_name, given)
        connection = check_properties(fitting[0], own, f"{kind} {type_name}")
        if not self._trials.acquire(blocking=False):
            raise RuleError(f"{MAX_TRIALS} connections are being tested; wait for them", CONFIGURATION)
        wrong: list[str] = []

        def run() -> None:
            try:
                connection.check(TRIAL_S, access)
            except Exception as error:  # libraries raise anything where a peer behaves strangely
                wrong.append(without_password(str(error) or type(error).__name__))
            finally:
                self._trials.release()

        thread = threading.Thread(target=run, name=f"try-{type_name}", daemon=True)
        thread.start()
        thread.join(TRIAL_S)
        if thread.is_alive():
            wrong.append(f"no answer within {TRIAL_S:g} s")
        if wrong:
            raise RuleError(f"{kind} {type_name}: {wrong[0]}", IO_ERROR)

    # -- inside

    def _shown(self, name: str, kind: str, properties: JsonObject, users: ConnectionUsers) -> JsonObject:
        status, why = self._status(users)
        return {
            "id": name,
            "typ": kind,
            "props": properties,
            "status": status,
            "err": why,
            "users": users.names,
        }

    def _status(self, users: ConnectionUsers) -> tuple[str, str]:
        """The state of its users, with the reason of a disconnection; unused: none of them runs."""
        runners = self._streams.runners_of({each.name for each in users.streams})
        states = [(runner.connection, runner.last_exception) for runner in runners]
        for sink in list(self._sinks.by_key.values()):
            if sink.action in users.actions:
                counters = sink.pipeline.counters if sink.pipeline is not None else None
                states.append((counters.connection_status, counters.last_exception) if counters else (0, ""))
        if lost := [why for state, why in states if state == -1]:
            return "disconnected", lost[0]
        if not states:
            return "unused", ""
        return ("connected" if any(state == 1 for state, _ in states) else "connecting"), ""

    def _users(self, name: str) -> ConnectionUsers:
        return self._usage.of_connections().get(name, ConnectionUsers())


def _own_of_connection(connection: Any, kind: str, type_name: str, given: Mapping[str, object]) -> JsonObject:
    """`given` without the properties that belong to the source or sink and not to the connection."""
    of_connection = {each.name for each in fields(connection)}
    own = getattr(module_of(kind.removesuffix("s"), type_name), "Config", connection)
    other = {each.name for each in fields(own)} | ({"datasource"} if kind != SINKS else NAMES)
    return {key: value for key, value in given.items() if key in of_connection or key not in other}
