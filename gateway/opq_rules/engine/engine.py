"""Engine: the one entry to streams and running rules. REST, CLI and embedding services call nothing else."""

import os
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec

from opq_proto.kit import log
from opq_rules.connections.secrets import with_secrets
from opq_rules.engine.clock import RuleClock, SystemClock
from opq_rules.engine.definitions.configurations import Configurations
from opq_rules.engine.definitions.keyed_values import KeyedValues
from opq_rules.engine.definitions.rule_definition import RuleDefinition, definition
from opq_rules.engine.definitions.rule_store import RuleStore, lock_folder
from opq_rules.engine.lifecycle.delayed_calls import DelayedCalls
from opq_rules.engine.lifecycle.lookup_tables import LookupTables
from opq_rules.engine.lifecycle.planner import Planner
from opq_rules.engine.lifecycle.rule_lifecycle import RuleLifecycle
from opq_rules.engine.lifecycle.sink_pool import SinkPool
from opq_rules.engine.lifecycle.stream_inputs import StreamInputs
from opq_rules.engine.loop import EngineLoop
from opq_rules.engine.rehearsal import Rehearsal
from opq_rules.engine.running.rule import FAILED, Rule
from opq_rules.engine.running.taps import Tap
from opq_rules.engine.state.checkpoint import Checkpoint
from opq_rules.engine.state.outbox import Outbox
from opq_rules.engine.stream_catalogue import StreamCatalogue, UsageGraph, first_users
from opq_rules.engine.types.endpoint_factory import EndpointFactory
from opq_rules.engine.types.plugin_functions import PluginFunctions
from opq_rules.engine.types.type_registry import TypeRegistry, has_type
from opq_rules.engine.views import RuleViews
from opq_rules.errors import RULE, RuleError
from opq_rules.feeds.memory_topics import Topics
from opq_rules.values.batch import JsonObject, JsonValue


class Engine:
    """Streams, tables and rules, stored and running.

    Attributes:
        topics: topics of memory, to which a program may publish.
        configurations: named sets of properties.
        keyed_values: what `get_keyed_state` reads.
        catalogue: streams and tables, for reading.
        views: read-only answers about rules.
        ready: set when all rules are loaded.

    Thread-safe. Methods raise RuleError: 404 where an object is not found, else 400. Nothing runs before
    `start`; `stop` ends everything within seconds.
    """

    def __init__(self, data_dir: Path, types: TypeRegistry, clock: RuleClock | None = None) -> None:
        """Raises RuleError where the folder cannot be used, or another engine uses it."""
        self.clock = clock or SystemClock()
        self.topics = Topics()
        self.ready = threading.Event()
        self._types = types
        self._folder = lock_folder(data_dir)
        self._store = store = RuleStore(data_dir / "rules.sqlite3")
        self._functions = PluginFunctions(types)
        self.configurations = Configurations(store, self._settings_changed)
        self.keyed_values = KeyedValues(store)
        self._factory = factory = EndpointFactory(types, self.configurations, self.topics)
        self.catalogue = catalogue = StreamCatalogue(store, factory)
        self._tables = LookupTables(catalogue.definitions, factory)
        self._planner = planner = Planner(
            catalogue.definitions, self._functions, self._tables.lookup, self.keyed_values.values
        )
        self._usage = UsageGraph(store, catalogue)
        self._checkpoint = Checkpoint(Outbox(data_dir / "delivery.sqlite3"), self.clock)
        self._loop = loop = EngineLoop(self.clock, self._checkpoint)
        self._delayed = DelayedCalls(self.clock)
        streams, sinks = StreamInputs(factory, loop), SinkPool(factory, loop, data_dir / "sink-cache")
        self._lifecycle = RuleLifecycle(store, planner, streams, sinks, loop, self._delayed)
        self.views = RuleViews(store, catalogue, planner, self._tables, self._lifecycle)
        self._log = log.get(service="rules")

    # -- the process

    def start(self) -> None:
        """Returns at once; rules load in the background, and `ready` is set when all have been loaded."""
        self._loop.start()
        self._delayed.start()
        with self._store.changing():
            self._lifecycle.rules.update({rule_id: Rule(rule_id) for rule_id in self._store.stored_rules()})
        self._delayed.soon(self._load)

    def stop(self) -> list[str]:
        """Ends sources, the loop with a last commit, and sinks; returns names of the parts that do not end in
        time."""
        late = [] if self._delayed.stop() else ["delayed calls"]
        with self._store.changing():
            late += self._lifecycle.stop_all()
            self._tables.close()
            self._checkpoint.close()
            self._store.close()
        os.close(self._folder)
        self._log.info("rules.stopped", late=late)
        return late

    def settled(self) -> bool:
        """Whether all work is done: no record waits or is being processed, and no emission waits for a
        sink."""
        return self._loop.call(self._is_settled)  # between records and commits, so that all are counted

    def _is_settled(self) -> bool:
        if any(runner.spilled for runner in list(self._lifecycle.sinks.by_key.values())):
            return False  # more has to be read from the outbox
        totals = self.views.totals()
        return not totals["records_waiting"] and not totals["emissions_waiting"]

    def rehearsal(self) -> Rehearsal:
        return Rehearsal(self._types, self._store, self.catalogue.definitions, self._functions)

    def _load(self) -> None:
        stored = self._store.stored_rules()
        for rule_id, text in stored.items():
            with self._store.changing():
                rule = self._lifecycle.rules.get(rule_id)
                if rule is not None and rule.unit is None:
                    self._load_rule(rule, text)
        with self._store.changing():
            self._lifecycle.streams.release()
        self._log.info("rules.loaded", rules=len(stored))
        self.ready.set()

    def _load_rule(self, rule: Rule, text: str) -> None:
        try:
            made = definition(msgspec.json.decode(text))
            if made.triggered:
                self._lifecycle.begin(rule, made)
            else:
                self._lifecycle.stop(rule)
        except Exception as error:  # the other rules start after any error
            self._lifecycle.fail(rule, str(error))
            self._log.error("rule.refused", rule_id=rule.id, error=str(error))

    # -- streams and tables

    def execute(self, sql: str, what: str | None = None) -> JsonValue:
        """Executes a statement; returns text for CREATE and DROP, JSON for SHOW and DESCRIBE.

        `what`: "stream" or "table" where the statement has to be about one of those.
        """
        with self._store.changing():
            return self.catalogue.execute(sql, what, self._drop_stream)

    def replace_stream(self, name: str, sql: str, what: str = "stream", back: bool = False) -> str:
        """Replaces the definition; rules that use the stream continue with the new one.

        `back`: puts an earlier definition back, whatever its version.
        """
        with self._store.changing():
            answer = self.catalogue.replace(name, sql, what, back)
            self._planner.changed()
            self._tables.close_table(name)
            for rule in self._rules_of(self._usage.of_stream(name)):
                if rule.unit is not None:
                    self._lifecycle.stop(rule)
                    self._lifecycle.begin_again(rule)
            return answer

    def drop_stream(self, name: str, what: str = "stream", force: bool = False) -> str:
        """Drops a stream or table. Refused while a rule uses it; with `force` those rules stop."""
        with self._store.changing():
            self.catalogue.get(name, what)
            return self._drop_stream(name, what, force)

    def _drop_stream(self, name: str, what: str, force: bool = False) -> str:
        users = self._usage.of_stream(name)
        if users and not force:
            raise RuleError(
                f"{what} {name} cannot be dropped, because it is used by {first_users(users)}", RULE
            )
        for rule in self._rules_of(users):
            self._lifecycle.stop(rule, FAILED, f"{what} {name} was dropped")
        self._planner.changed()
        self._tables.close_table(name)
        return self.catalogue.drop(name, what)

    # -- rules

    def create_rule(self, body: object) -> str:
        """Returns the rule's id. The rule is planned at once, and runs unless `triggered` is false."""
        made = definition(body)
        with self._store.changing():
            self._create(made)
            self._store_or_remove([made])
        return made.id

    def create_rules(self, bodies: Sequence[object]) -> dict[str, str]:
        """Creates many rules, each independently; returns the problems by id (or place)."""
        problems: dict[str, str] = {}
        created: list[RuleDefinition] = []
        with self._store.changing(), self._lifecycle.holding():
            for k, body in enumerate(bodies):
                name = str(body.get("id", k)) if isinstance(body, Mapping) else str(k)
                try:
                    made = definition(body)
                    self._create(made)
                    created.append(made)
                except RuleError as error:
                    problems[name] = str(error)
            self._store_or_remove(created)
        return problems

    def replace_rule(self, rule_id: str, body: object) -> str:
        """Creates or replaces a rule; if the new one is refused the old one is not changed."""
        made = definition(body, rule_id)
        with self._store.changing():
            rule = self._lifecycle.rules.get(rule_id)
            if rule is None:
                return self.create_rule(msgspec.json.decode(made.text))
            old = self._store.rule(rule_id)
            made = definition(with_secrets(body, self._store.rule_body(rule_id)), rule_id)
            choice = self._lifecycle.check(made)
            if old.version and made.version and made.version < old.version:
                raise RuleError(f"rule {rule_id!r}: version {made.version} is below {old.version}", RULE)
            ran = rule.unit is not None
            with self._lifecycle.replacing(rule):
                state = self._state_to_keep(rule, old, made)
                self._lifecycle.stop_by_hand(rule)
                try:
                    self._store.put_rules([made])
                    if made.triggered:
                        self._lifecycle.begin(rule, made, choice)
                        if state is not None and rule.unit is not None:
                            self._loop.call(partial(rule.unit.resume, rule, state))
                except RuleError:
                    self._store.put_rules([old])
                    if ran:
                        self._lifecycle.begin(rule, old)
                    raise
        return f"Rule {rule_id} was replaced."

    def delete_rule(self, rule_id: str) -> str:
        """Deletes a rule with its state and unsent emissions."""
        with self._store.changing():
            self._lifecycle.rule(rule_id)
            self._store.delete_rule(rule_id)
            self._lifecycle.remove(rule_id)
        return f"Rule {rule_id} is dropped."

    def start_rule(self, rule_id: str) -> str:
        with self._store.changing():
            rule = self._lifecycle.rule(rule_id)
            if rule.unit is None:
                self._lifecycle.begin(rule, self._store.rule(rule_id))
        return f"Rule {rule_id} was started"

    def stop_rule(self, rule_id: str) -> str:
        """Stops a rule and ends its schedule."""
        with self._store.changing():
            self._lifecycle.stop_by_hand(self._lifecycle.rule(rule_id))
        return f"Rule {rule_id} was stopped."

    def restart_rule(self, rule_id: str) -> str:
        with self._store.changing():
            rule = self._lifecycle.rule(rule_id)
            self._lifecycle.stop_by_hand(rule)
            self._lifecycle.begin(rule, self._store.rule(rule_id))
        return f"Rule {rule_id} was restarted"

    def validate(self, body: object) -> JsonObject:
        """Returns `{"sources", "valid"}`; RuleError 422 for a rule that would be refused."""
        try:
            made = definition(body)
            with self._store.changing():
                self._lifecycle.check(made)
                planned = self._planner.plan(made.sql)
        except RuleError as error:
            error.http = 422
            raise
        return {"sources": [origin.stream for origin in planned.origins], "valid": True}

    def reset_state(self, rule_id: str, stream: str, offset: object) -> str:
        """Restarts the rule after `offset` of a source (None: from its beginning), with its state deleted."""
        with self._store.changing():
            made = self._store.rule(rule_id)
            found = self.catalogue.get(stream, "stream")
            read = {origin.stream for origin in self._planner.plan(made.sql).origins}
            if stream not in read:
                raise RuleError(f"rule {rule_id} does not read {stream}, but {', '.join(sorted(read))}", RULE)
            rule, streams = self._lifecycle.rule(rule_id), self._lifecycle.streams
            if rule.unit is None and rule.status != FAILED:  # a failed rule starts again here
                raise RuleError(f"rule {rule_id} does not run; start it first", RULE)
            key = streams.key(found, rule_id)
            users = [user for each in streams.running([key]) for unit in each.units for user in unit.rules()]
            if any(user is not rule for user in users):
                raise RuleError(f"stream {stream} feeds other rules, too; stop them first", RULE)
            if offset is not None:
                self._factory.check_offset(found, offset)
            self._lifecycle.stop(rule)
            self._loop.call(partial(self._checkpoint.reset, rule_id, key, offset))
            self._lifecycle.begin(rule, made)
        return "success"

    def set_tags(
        self, rule_id: str, add: Sequence[str], remove: Sequence[str] = (), whole: bool = False
    ) -> None:
        """Adds and removes tags; `whole`: `add` replaces all tags."""
        with self._store.changing():
            body = self._store.rule_body(rule_id)
            tags = [] if whole else [tag for tag in body.get("tags") or [] if tag not in remove]
            body["tags"] = list(dict.fromkeys([*tags, *add]))
            self._store.put_rules([definition(body)])

    def tap(self, rule_id: str, tap: Tap) -> None:
        """Calls `tap` with a rule's emissions until `leave`. RuleError: unknown rule, or too many readers."""
        self._lifecycle.rule(rule_id)
        self._loop.taps.enter(rule_id, tap)

    def leave(self, rule_id: str, tap: Tap) -> None:
        self._loop.taps.leave(rule_id, tap)

    def _create(self, made: RuleDefinition) -> None:
        if made.id in self._lifecycle.rules:
            raise RuleError(f"rule {made.id} already exists", RULE)
        choice = self._lifecycle.check(made)
        rule = self._lifecycle.rules[made.id] = Rule(made.id)
        if not made.triggered:
            self._lifecycle.stop(rule)
            return
        try:
            self._lifecycle.begin(rule, made, choice)
        except BaseException:
            del self._lifecycle.rules[made.id]
            raise

    def _store_or_remove(self, created: Sequence[RuleDefinition]) -> None:
        try:
            self._store.put_rules(created)
        except RuleError:
            for made in created:
                self._lifecycle.remove(made.id)
            raise

    def _state_to_keep(self, rule: Rule, old: RuleDefinition, made: RuleDefinition) -> JsonObject | None:
        """The state that a new version continues with: that of the same statement and options, else None."""
        unit = rule.unit
        if unit is None or not unit.remembers or len(unit.rules()) > 1:
            return None
        if old.sql != made.sql or old.options.for_query() != made.options.for_query():
            return None
        return self._loop.call(unit.state)

    def _rules_of(self, ids: Sequence[str]) -> list[Rule]:
        return [found for rule_id in ids if (found := self._lifecycle.rules.get(rule_id)) is not None]

    # -- plug-ins

    def plugin_changed(self, kind: str, symbol: str) -> None:
        """Called when a type was added, removed or replaced; rules that stopped because of it start again."""
        with self._store.changing():
            self._functions.changed()
            self._factory.changed()
            self._planner.changed()
            gone = kind in ("source", "sink", "function") and not has_type(self._types, kind, symbol)
            lack = f"{kind} {symbol}: its plug-in is not installed"
            for rule in self._rules_of(self._usage.rules_of_type(kind, symbol)):
                if gone or rule.missing:
                    others = [each for each in rule.missing if each != lack]
                    rule.more.missing = (*others, lack) if gone else tuple(others)
                if rule.unit is None and rule.status == FAILED:
                    self._lifecycle.begin_again(rule)

    def users_of(self, kind: str, symbol: str) -> list[str]:
        """Rules that use a sink or function, or streams that use a source, of a plug-in."""
        return self._usage.of_type(kind, symbol)

    def _settings_changed(self) -> None:
        with self._store.changing():
            self._factory.changed()
