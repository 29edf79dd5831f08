"""Engine: the one door to streams and rules that live. REST, CLI and embedding services call nothing else."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from opq_proto import log
from opq_rules.engine import rule as states
from opq_rules.engine.bodies import Bodies
from opq_rules.engine.catalogue import Catalogue
from opq_rules.engine.clock import Clock, SystemClock
from opq_rules.engine.configurations import SINKS, SOURCES, Configurations
from opq_rules.engine.connections import Connections
from opq_rules.engine.definition import RuleDefinition, definition
from opq_rules.engine.delivery import Delivery
from opq_rules.engine.feeds import Feeds
from opq_rules.engine.folder import locked
from opq_rules.engine.ids import no_rule
from opq_rules.engine.keeper import Keeper
from opq_rules.engine.kept_schemas import KeptSchemas, schemas_in
from opq_rules.engine.links import Links
from opq_rules.engine.lives import Lives
from opq_rules.engine.look import Look
from opq_rules.engine.loop import Loop
from opq_rules.engine.outlets import Outlets
from opq_rules.engine.planning import Planning
from opq_rules.engine.rehearsal import Rehearsal
from opq_rules.engine.rule import Rule, Unit
from opq_rules.engine.schedules import Schedules
from opq_rules.engine.setbacks import Setbacks
from opq_rules.engine.single import Alone
from opq_rules.engine.staging import Staging
from opq_rules.engine.store import Store
from opq_rules.engine.topics import Topics
from opq_rules.engine.types import Types, has
from opq_rules.engine.udfs import with_plugins
from opq_rules.engine.users import Users
from opq_rules.errors import RULE, RuleError
from opq_rules.functions.registry import Functions
from opq_rules.secrets import with_secrets

MOST_TRACED = 100
"""Rules at a time."""


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
        self._bodies = Bodies(self._store)
        self._delivery = Delivery(data_dir / "delivery.sqlite3")
        self._staging = Staging(self._delivery, self.clock)
        self._loop = Loop(self.clock, self._staging, self._unit_failed)
        self._keeper = Keeper(self.clock)
        self._rules: dict[str, Rule] = {}
        self._plugin_functions: Functions | None = None
        self.configurations = Configurations(self._store, self._sinks_changed)
        connections = Connections(self.configurations)
        resolved = connections.resolved
        schemas = schemas_in(self._store)
        self._feeds = Feeds(
            types.source,
            types.lookup,
            partial(resolved, SOURCES),
            self.clock,
            self.topics,
            self._loop.wake,
            schemas,
        )
        self._outlets = Outlets(
            types.sink,
            partial(resolved, SINKS),
            self.clock,
            self.topics,
            data_dir / "sink-cache",
            lambda: self._loop.turns,
            self._staging.taken,
            self._loop.drained,
            schemas,
        )
        self._catalogue = Catalogue(self._store, self._feeds.check)
        self.schemas = KeptSchemas(
            self._admin, self._store, schemas, self._catalogue, self._bodies, self._outlets
        )
        self.connections = Links(
            self._admin,
            types,
            self._store,
            connections,
            self._catalogue,
            self._bodies,
            self._feeds,
            self._outlets,
        )
        self._planning = Planning(self._catalogue.definitions, self._functions)
        self._users = Users(
            self._admin, self._rules, self._catalogue.definitions, self._bodies, self._planning
        )
        self._lives = Lives(
            self.clock,
            self._loop,
            self._staging,
            self._delivery,
            self._feeds,
            self._outlets,
            self._planning,
            self._keeper,
            self._catalogue.definitions,
        )
        self._schedules = Schedules(
            self.clock,
            self._keeper,
            self._lives,
            self._locked,
            lambda rule: self._rules.get(rule.id) is rule,
        )
        self._setbacks = Setbacks(
            self._admin, self._rules, self._bodies, self._lives, self._schedules, self._keeper
        )
        self.look = Look(
            self._rules,
            self._bodies,
            self._catalogue,
            self._planning,
            self._lives,
            self._loop,
            self._feeds,
            self._outlets,
            self._staging,
        )
        self._log = log.get(service="rules")

    # -- the process

    def settled(self) -> bool:
        """Nothing is under way: no record waits or is in hand, and every sink has what there was."""
        if any(joined.feed.waiting for joined in list(self._feeds.by_key.values())):
            return False
        self._loop.call(lambda: None)
        totals = self.look.totals()
        return not totals["records_waiting"] and not totals["emissions_waiting"]

    def start(self) -> None:
        """Returns at once; rules load in the background, `ready` tells when all have."""
        self._loop.start()
        self._keeper.start()
        with self._admin:
            for rule_id in self._bodies.kept():
                self._rules[rule_id] = Rule(rule_id)
        self._keeper.soon(self._load)

    def stop(self) -> list[str]:
        """Ends sources, then the loop with a last commit, then sinks. Names of what does not end in time."""
        late = [] if self._keeper.stop() else ["keeper"]
        with self._admin:
            late += self._lives.stop_all(list(self._rules.values()))
            self._delivery.close()
            self._store.close()
        os.close(self._lock_file)
        self._log.info("rules.stopped", late=late)
        return late

    def _load(self) -> None:
        bodies = self._bodies.kept()
        for rule_id, text in bodies.items():
            with self._admin:
                rule = self._rules.get(rule_id)
                if rule is None or rule.unit is not None:
                    continue
                try:
                    made = definition(msgspec.json.decode(text))
                    if made.triggered:
                        self._schedules.begin(rule, made)
                    else:
                        rule.status = states.STOPPED
                except Exception as error:  # whatever it is, the others start
                    rule.status, rule.more.message = states.FAILED, str(error)
                    self._log.error("rule.refused", rule_id=rule_id, error=str(error))
        with self._admin:
            self._lives.release()
        self.ready.set()
        self._log.info("rules.loaded", rules=len(bodies))

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
            self._planning.changed()
            self._lives.forget_table(name)
            self._again(self._users.of_stream(name))
            return answer

    def drop_stream(self, name: str, what: str = "stream", force: bool = False) -> str:
        """Refused while a rule uses it, unless `force`: those rules stop then."""
        with self._admin:
            self._catalogue.one(name, what)
            return self._dropped(name, what, force)

    def _dropped(self, name: str, what: str, force: bool = False) -> str:
        users = self._users.of_stream(name)
        if users and not force:
            shown = ", ".join(users[:5]) + (" ..." if len(users) > 5 else "")
            raise RuleError(f"{what} {name} cannot be dropped: {len(users)} rules use it: {shown}", RULE)
        for rule_id in users:
            self._lives.stop(self._rules[rule_id], states.FAILED, f"{what} {name} was dropped")
        self._planning.changed()
        self._lives.forget_table(name)
        return self._catalogue.drop(name, what)

    # -- rules

    def create_rule(self, body: Any) -> str:
        """Its id. It is planned at once, and runs unless `triggered` is false."""
        made = definition(body)
        with self._admin:
            self._create(made)
            try:
                self._bodies.put(made)
            except RuleError:
                self._remove(made.id)
                raise
        return made.id

    def create_rules(self, bodies: Sequence[Any]) -> dict[str, str]:
        """Many at once, each on its own: what is wrong by id (or place), {} when all are there."""
        problems: dict[str, str] = {}
        kept: dict[str, RuleDefinition] = {}
        with self._admin, self._lives.holding():
            for k, body in enumerate(bodies):
                name = str(body.get("id", k)) if isinstance(body, Mapping) else str(k)
                try:
                    made = definition(body)
                    self._create(made)
                except RuleError as error:
                    problems[name] = str(error)
                    continue
                kept[made.id] = made
            try:
                self._bodies.put_many(kept)
            except RuleError:
                for rule_id in kept:
                    self._remove(rule_id)
                raise
        return problems

    def replace_rule(self, rule_id: str, body: Any) -> str:
        """Create or replace; when the new one is refused the old one is as it was."""
        made = definition(body, rule_id)
        with self._admin:
            rule = self._rules.get(rule_id)
            if rule is None:
                return self.create_rule(body if "id" in body else {**body, "id": rule_id})
            made = definition(with_secrets(body, self._bodies.body(rule_id)), rule_id)
            choice = self._lives.check(made)
            old, ran = self._bodies.definition(rule_id), rule.unit is not None
            if old.version and made.version and made.version < old.version:
                raise RuleError(f"rule {rule_id!r}: version {made.version} is below {old.version}", RULE)
            with self._lives.replacing(rule):
                state = self._state_to_keep(rule, old, made)
                self._schedules.leave(rule)
                self._lives.stop(rule)
                try:
                    self._bodies.put(made)
                    if made.triggered:
                        self._schedules.begin(rule, made, choice)
                        if state is not None and rule.unit is not None:
                            self._loop.call(partial(rule.unit.resume, rule, state))
                except RuleError:
                    self._bodies.put(old)
                    if ran:
                        self._schedules.begin(rule, old)
                    raise
        return f"Rule {rule_id} was replaced."

    def delete_rule(self, rule_id: str) -> str:
        """With its state and what it has not sent."""
        with self._admin:
            self._rule(rule_id)
            self._bodies.delete(rule_id)
            self._remove(rule_id)
        return f"Rule {rule_id} is dropped."

    def start_rule(self, rule_id: str) -> str:
        with self._admin:
            rule = self._rule(rule_id)
            if rule.unit is None:
                self._schedules.begin(rule, self._bodies.definition(rule_id))
        return f"Rule {rule_id} was started"

    def stop_rule(self, rule_id: str) -> str:
        """It leaves its schedule, too."""
        with self._admin:
            rule = self._rule(rule_id)
            self._schedules.leave(rule)
            self._lives.stop(rule)
        return f"Rule {rule_id} was stopped."

    def restart_rule(self, rule_id: str) -> str:
        with self._admin:
            self.stop_rule(rule_id)
            self._schedules.begin(self._rule(rule_id), self._bodies.definition(rule_id))
        return f"Rule {rule_id} was restarted"

    def validate(self, body: Any) -> dict[str, Any]:
        """`{"sources", "valid"}`; RuleError 422 for a rule that would be refused."""
        try:
            made = definition(body)
            with self._admin:
                self._lives.check(made)
                planned = self._planning.plan(made.sql)
        except RuleError as error:
            error.http = 422
            raise
        return {"sources": [origin.stream for origin in planned.origins], "valid": True}

    def reset_state(self, rule_id: str, stream: str, offset: Any) -> str:
        """Go on behind `offset` of a source; what the rule remembers is forgotten."""
        with self._admin:
            made = self._bodies.definition(rule_id)
            found = self._catalogue.one(stream, "stream")
            key = self._feeds.key(found, rule_id)
            joined = self._feeds.by_key.get(key)
            if joined is not None and sum(len(unit.rules()) for unit in joined.units) > 1:
                raise RuleError(f"stream {stream} feeds other rules too: stop them first", RULE)
            self._lives.stop(self._rule(rule_id))
            kept = {key: {"offset": offset, "state": {}}, f"rule {rule_id}": None}
            self._loop.call(lambda: self._delivery.commit(kept, (), ()))
            self._schedules.begin(self._rule(rule_id), made)
        return "success"

    def set_tags(
        self, rule_id: str, add: Sequence[str], remove: Sequence[str] = (), whole: bool = False
    ) -> None:
        """`whole`: `add` are all there are."""
        with self._admin:
            body = msgspec.json.decode(self._bodies.text(rule_id))
            tags = [] if whole else [tag for tag in body.get("tags") or [] if tag not in remove]
            body["tags"] = list(dict.fromkeys([*tags, *add]))
            self._bodies.put(definition(body))

    def trace(self, rule_id: str, strategy: str | None = "always") -> None:
        """Follow every record ("always") or the first of each batch ("head"); None: no more."""
        with self._admin:
            rule = self._rule(rule_id)
            traced = [each for each in self._rules.values() if each.is_traced and each is not rule]
            if strategy is not None and len(traced) >= MOST_TRACED:
                raise RuleError(f"{MOST_TRACED} rules are traced; stop one of them", RULE)
            self._lives.trace(rule, self._bodies.definition(rule_id), strategy)

    # -- plug-ins

    def plugin_changed(self, kind: str, symbol: str) -> None:
        """A type came, went, or has a new version (running ones are swapped by the plug-in host itself).

        Rules that were stopped for want of it begin.
        """
        with self._admin:
            self._plugin_functions = None
            self._planning.changed()
            self._outlets.changed()
            told = f"{kind} {symbol}: its plug-in is not installed"
            gone = kind in ("source", "sink", "function") and not has(self._types, kind, symbol)
            for rule_id in self._users.rules_of_type(kind, symbol):
                rule = self._rules[rule_id]
                if gone or rule.missing:
                    others = [each for each in rule.missing if each != told]
                    rule.more.missing = (*others, told) if gone else tuple(others)
                if rule.unit is None and rule.status == states.FAILED:
                    self._setbacks.begin_again(rule)

    def users_of(self, kind: str, symbol: str) -> list[str]:
        """Rules (and streams) that use a source, sink or function of a plug-in."""
        return self._users.of_type(kind, symbol)

    # -- inside

    def _functions(self) -> Functions:
        if self._plugin_functions is None:
            self._plugin_functions = with_plugins(list(self._types.functions()), self._types.function)
        return self._plugin_functions

    def _sinks_changed(self) -> None:
        with self._admin:
            self._outlets.changed()

    def _create(self, made: RuleDefinition) -> None:
        if made.id in self._rules:
            raise RuleError(f"rule {made.id} already exists", RULE)
        choice = self._lives.check(made)
        rule = self._rules[made.id] = Rule(made.id)
        if not made.triggered:
            rule.status = states.STOPPED
            return
        try:
            self._schedules.begin(rule, made, choice)
        except BaseException:
            del self._rules[made.id]
            raise

    def _remove(self, rule_id: str) -> None:
        rule = self._rules.pop(rule_id)
        self._schedules.leave(rule)
        self._lives.stop(rule)
        self._loop.call(lambda: self._delivery.forget(rule_id))

    def _locked(self, work: Callable[[], None]) -> None:
        with self._admin:
            work()

    def _again(self, rule_ids: Sequence[str]) -> None:
        """Rules whose stream was defined anew."""
        for rule_id in rule_ids:
            rule = self._rules[rule_id]
            if rule.unit is None:
                continue
            self._lives.stop(rule)
            self._setbacks.begin_again(rule)

    def _unit_failed(self, unit: Unit, error: Exception) -> None:
        self._setbacks.unit_failed(unit, error)

    def _state_to_keep(self, rule: Rule, old: RuleDefinition, made: RuleDefinition) -> Any:
        """What a new version takes over: the memory of the same statement."""
        unit = rule.unit
        if unit is None or old.sql != made.sql or old.options.for_query() != made.options.for_query():
            return None
        if isinstance(unit, Alone) and len(unit.rules()) > 1:
            return None
        return self._loop.call(partial(unit.state, rule))

    def _rule(self, rule_id: str) -> Rule:
        found = self._rules.get(rule_id)
        if found is None:
            raise no_rule(rule_id)
        return found
