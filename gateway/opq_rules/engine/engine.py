"""Engine: the one door to streams and rules that live. REST, CLI and embedding services call nothing else."""

import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from opq_proto import log
from opq_rules.engine.bodies import Bodies
from opq_rules.engine.catalogue import Catalogue
from opq_rules.engine.clock import Clock, SystemClock
from opq_rules.engine.configurations import SINKS, SOURCES, Configurations
from opq_rules.engine.connections import Connections
from opq_rules.engine.delivery import Delivery
from opq_rules.engine.feeds import Feeds
from opq_rules.engine.folder import locked
from opq_rules.engine.keeper import Keeper
from opq_rules.engine.kept_schemas import KeptSchemas, schemas_in
from opq_rules.engine.links import Links
from opq_rules.engine.lives import Lives
from opq_rules.engine.look import Look
from opq_rules.engine.loop import Loop
from opq_rules.engine.outlets import Outlets
from opq_rules.engine.planning import Planning
from opq_rules.engine.rehearsal import Rehearsal
from opq_rules.engine.rule import Unit
from opq_rules.engine.rulebook import Rulebook
from opq_rules.engine.staging import Staging
from opq_rules.engine.store import Store
from opq_rules.engine.topics import Topics
from opq_rules.engine.types import Types, has
from opq_rules.engine.udfs import PluginFunctions


class Engine:
    """Attributes: `topics` of memory, which a program may publish to; `configurations`: named sets of
    properties; `connections` and `schemas` with their users; `look`: what it shows; `ready`: all rules are
    loaded.

    Thread-safe. Methods raise RuleError: 404 where an object is not found, 400 for all else. Nothing
    runs before `start`; `stop` ends everything within seconds.
    """

    def __init__(self, data_dir: Path, types: Types, clock: Clock | None = None) -> None:
        """Raises RuleError where the folder cannot be used, or another engine has it."""
        self.clock = clock or SystemClock()
        self.topics = Topics()
        self.ready = threading.Event()
        self._types = types
        self._admin = threading.RLock()
        self._lock_file = locked(data_dir)
        self._store = Store(data_dir / "rules.sqlite3")
        self._delivery = Delivery(data_dir / "delivery.sqlite3")
        self._staging = Staging(self._delivery, self.clock)
        self._loop = Loop(self.clock, self._staging, self._unit_failed)
        self._keeper = Keeper(self.clock)
        self._functions = PluginFunctions(types)
        self.configurations = Configurations(self._store, self._sinks_changed)
        connections = Connections(self.configurations)
        schemas = schemas_in(self._store)
        self._feeds = Feeds(
            types.source,
            types.lookup,
            partial(connections.resolved, SOURCES),
            self.clock,
            self.topics,
            self._loop.wake,
            schemas,
        )
        self._outlets = Outlets(
            types.sink,
            partial(connections.resolved, SINKS),
            self.clock,
            self.topics,
            data_dir / "sink-cache",
            lambda: self._loop.turns,
            self._staging.taken,
            self._loop.drained,
            schemas,
        )
        bodies, feeds, outlets = Bodies(self._store), self._feeds, self._outlets
        self._catalogue = catalogue = Catalogue(self._store, feeds.check)
        streams = catalogue.definitions
        planning = Planning(streams, self._functions)
        self._lives = Lives(
            self.clock, self._loop, self._staging, self._delivery, feeds, outlets, planning, streams
        )
        self._rulebook = Rulebook(
            self._admin,
            self.clock,
            self._keeper,
            bodies,
            catalogue,
            planning,
            self._lives,
            self._loop,
            self._delivery,
            feeds,
        )
        self.schemas = KeptSchemas(self._admin, self._store, schemas, catalogue, bodies, outlets)
        self.connections = Links(
            self._admin, types, self._store, connections, catalogue, bodies, feeds, outlets
        )
        self.look = Look(
            self._rulebook.rules,
            bodies,
            catalogue,
            planning,
            self._lives,
            self._loop,
            feeds,
            outlets,
            self._staging,
        )
        self._log = log.get(service="rules")

    # -- the process

    def settled(self) -> bool:
        """Nothing is under way: no record waits or is in hand, and every sink has what there was."""
        if any(joined.feed.waiting for joined in list(self._feeds.by_key.values())):
            return False
        self._loop.call(lambda: None)
        if any(outlet.spilled for outlet in list(self._outlets.by_key.values())):
            return False  # more is to be read from the outbox
        totals = self.look.totals()
        return not totals["records_waiting"] and not totals["emissions_waiting"]

    def start(self) -> None:
        """Returns at once; rules load in the background, `ready` tells when all have."""
        self._loop.start()
        self._keeper.start()
        self._rulebook.open()
        self._keeper.soon(self._load)

    def stop(self) -> list[str]:
        """Ends sources, then the loop with a last commit, then sinks. Names of what does not end in time."""
        late = [] if self._keeper.stop() else ["keeper"]
        with self._admin:
            late += self._lives.stop_all(list(self._rulebook.rules.values()))
            self._delivery.close()
            self._store.close()
        os.close(self._lock_file)
        self._log.info("rules.stopped", late=late)
        return late

    def _load(self) -> None:
        self._rulebook.load()
        self.ready.set()

    def rehearsal(self, alone: bool = False) -> Rehearsal:
        """To try definitions before they are made; `alone`: without the streams and tables that are there."""
        streams = {} if alone else self._catalogue.definitions
        return Rehearsal(self._types, self._store, streams, self._functions)

    # -- streams and tables

    def execute(self, sql: str, what: str | None = None) -> Any:
        """A statement about streams or tables: text for CREATE and DROP, JSON for SHOW and DESCRIBE.

        `what`: "stream" or "table", where the statement has to be about those.
        """
        with self._admin:
            return self._catalogue.execute(sql, what, self._dropped)

    def streams(self) -> list[str]:
        return self._catalogue.names("stream")

    def tables(self, kind: str | None = None) -> list[str]:
        """`kind` "scan" or "lookup"; anything else: all."""
        return self._catalogue.names("table", kind)

    def stream_details(self, what: str = "stream", kind: str | None = None) -> list[dict[str, str]]:
        return self._catalogue.details(what, kind)

    def stream(self, name: str, what: str = "stream") -> dict[str, Any]:
        return self._catalogue.described(name, what)

    def stream_schema(self, name: str, what: str = "stream") -> dict[str, Any]:
        return self._catalogue.schema(name, what)

    def replace_stream(self, name: str, sql: str, what: str = "stream") -> str:
        """Rules that use it go on with the new definition."""
        with self._admin:
            answer = self._catalogue.replace(name, sql, what)
            self._rulebook.stream_changed(name)
            return answer

    def drop_stream(self, name: str, what: str = "stream", force: bool = False) -> str:
        """Refused while a rule uses it, unless `force`: those rules stop then."""
        with self._admin:
            self._catalogue.one(name, what)
            return self._dropped(name, what, force)

    def _dropped(self, name: str, what: str, force: bool = False) -> str:
        self._rulebook.stream_goes(name, what, force)
        return self._catalogue.drop(name, what)

    # -- rules

    def create_rule(self, body: Any) -> str:
        """Its id. It is planned at once, and runs unless `triggered` is false."""
        return self._rulebook.create(body)

    def create_rules(self, bodies: Sequence[Any]) -> dict[str, str]:
        """Many at once, each on its own: what is wrong by id (or place), {} when all are there."""
        return self._rulebook.create_many(bodies)

    def replace_rule(self, rule_id: str, body: Any) -> str:
        """Create or replace; when the new one is refused the old one is as it was."""
        return self._rulebook.replace(rule_id, body)

    def delete_rule(self, rule_id: str) -> str:
        """With its state and what it has not sent."""
        return self._rulebook.delete(rule_id)

    def start_rule(self, rule_id: str) -> str:
        return self._rulebook.start(rule_id)

    def stop_rule(self, rule_id: str) -> str:
        """It leaves its schedule, too."""
        return self._rulebook.stop(rule_id)

    def restart_rule(self, rule_id: str) -> str:
        return self._rulebook.restart(rule_id)

    def validate(self, body: Any) -> dict[str, Any]:
        """`{"sources", "valid"}`; RuleError 422 for a rule that would be refused."""
        return self._rulebook.validate(body)

    def reset_state(self, rule_id: str, stream: str, offset: Any) -> str:
        """Go on behind `offset` of a source, None: at its beginning; what the rule remembers is forgotten."""
        return self._rulebook.reset_state(rule_id, stream, offset)

    def set_tags(
        self, rule_id: str, add: Sequence[str], remove: Sequence[str] = (), whole: bool = False
    ) -> None:
        """`whole`: `add` are all there are."""
        self._rulebook.set_tags(rule_id, add, remove, whole)

    def trace(self, rule_id: str, strategy: str | None = "always") -> None:
        """Follow every record ("always") or the first of each batch ("head"); None: no more."""
        self._rulebook.trace(rule_id, strategy)

    # -- plug-ins

    def plugin_changed(self, kind: str, symbol: str) -> None:
        """A type came, went, or has a new version (running ones are swapped by the plug-in host itself).

        Rules that were stopped for want of it begin.
        """
        with self._admin:
            self._functions.changed()
            self._outlets.changed()
            gone = kind in ("source", "sink", "function") and not has(self._types, kind, symbol)
            self._rulebook.type_changed(kind, symbol, gone)

    def users_of(self, kind: str, symbol: str) -> list[str]:
        """Rules (and streams) that use a source, sink or function of a plug-in."""
        return self._rulebook.users.of_type(kind, symbol)

    # -- inside

    def _sinks_changed(self) -> None:
        with self._admin:
            self._outlets.changed()

    def _unit_failed(self, unit: Unit, error: Exception) -> None:
        self._rulebook.unit_failed(unit, error)
