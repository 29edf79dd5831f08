"""Rulebook: the rules there are, by id, and what is done to them by hand. `Engine` is its door."""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from opq_proto import log
from opq_rules.engine import rule as states
from opq_rules.engine.bodies import Bodies
from opq_rules.engine.catalogue import Catalogue
from opq_rules.engine.clock import Clock
from opq_rules.engine.definition import RuleDefinition, definition
from opq_rules.engine.delivery import Delivery
from opq_rules.engine.feeds import Feeds
from opq_rules.engine.ids import no_rule
from opq_rules.engine.keeper import Keeper
from opq_rules.engine.lives import Lives
from opq_rules.engine.loop import Loop
from opq_rules.engine.planning import Planning
from opq_rules.engine.rule import Rule
from opq_rules.engine.schedules import Schedules
from opq_rules.engine.setbacks import Setbacks
from opq_rules.engine.single import Alone
from opq_rules.engine.users import Users
from opq_rules.errors import RULE, RuleError
from opq_rules.secrets import with_secrets

MOST_TRACED = 100
"""Rules at a time."""


class Rulebook:
    """Attributes: `rules` that there are; `users` of streams and types. Thread-safe by the engine's lock."""

    def __init__(
        self,
        lock: threading.RLock,
        clock: Clock,
        keeper: Keeper,
        bodies: Bodies,
        catalogue: Catalogue,
        planning: Planning,
        lives: Lives,
        loop: Loop,
        delivery: Delivery,
        feeds: Feeds,
    ) -> None:
        self.rules: dict[str, Rule] = {}
        self.users = Users(lock, self.rules, catalogue.definitions, bodies, planning)
        self._lock, self._bodies, self._catalogue, self._planning = lock, bodies, catalogue, planning
        self._lives, self._loop, self._delivery, self._feeds = lives, loop, delivery, feeds
        self._schedules = Schedules(
            clock, keeper, lives, self._locked, lambda rule: self.rules.get(rule.id) is rule
        )
        self._setbacks = Setbacks(lock, self.rules, bodies, lives, self._schedules, keeper)
        self.unit_failed = self._setbacks.unit_failed
        self._log = log.get(service="rules")

    # -- all of them

    def open(self) -> None:
        """Those that are kept are known; `load` lets them run."""
        with self._lock:
            for rule_id in self._bodies.kept():
                self.rules[rule_id] = Rule(rule_id)

    def load(self) -> None:
        bodies = self._bodies.kept()
        for rule_id, text in bodies.items():
            with self._lock:
                rule = self.rules.get(rule_id)
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
        with self._lock:
            self._lives.release()
        self._log.info("rules.loaded", rules=len(bodies))

    def stream_changed(self, name: str) -> None:
        """It was defined anew: rules that use it go on with that."""
        self._planning.changed()
        self._lives.tables.forget(name)
        for rule_id in self.users.of_stream(name):
            rule = self.rules[rule_id]
            if rule.unit is None:
                continue
            self._lives.stop(rule)
            self._setbacks.begin_again(rule)

    def stream_goes(self, name: str, what: str, force: bool) -> None:
        """It is to be dropped: refused while a rule uses it, unless `force`."""
        users = self.users.of_stream(name)
        if users and not force:
            shown = ", ".join(users[:5]) + (" ..." if len(users) > 5 else "")
            raise RuleError(f"{what} {name} cannot be dropped: {len(users)} rules use it: {shown}", RULE)
        for rule_id in users:
            self._lives.stop(self.rules[rule_id], states.FAILED, f"{what} {name} was dropped")
        self._planning.changed()
        self._lives.tables.forget(name)

    def type_changed(self, kind: str, symbol: str, gone: bool) -> None:
        """Of a plug-in: it came, went, or has a new version. Rules that were stopped for want of it begin."""
        self._planning.changed()
        told = f"{kind} {symbol}: its plug-in is not installed"
        for rule_id in self.users.rules_of_type(kind, symbol):
            rule = self.rules[rule_id]
            if gone or rule.missing:
                others = [each for each in rule.missing if each != told]
                rule.more.missing = (*others, told) if gone else tuple(others)
            if rule.unit is None and rule.status == states.FAILED:
                self._setbacks.begin_again(rule)

    # -- one of them, or many: as the engine says

    def create(self, body: Any) -> str:
        made = definition(body)
        with self._lock:
            self._create(made)
            try:
                self._bodies.put(made)
            except RuleError:
                self._remove(made.id)
                raise
        return made.id

    def create_many(self, bodies: Sequence[Any]) -> dict[str, str]:
        problems: dict[str, str] = {}
        kept: dict[str, RuleDefinition] = {}
        with self._lock, self._lives.holding():
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

    def replace(self, rule_id: str, body: Any) -> str:
        made = definition(body, rule_id)
        with self._lock:
            rule = self.rules.get(rule_id)
            if rule is None:
                return self.create(body if "id" in body else {**body, "id": rule_id})
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

    def delete(self, rule_id: str) -> str:
        with self._lock:
            self._rule(rule_id)
            self._bodies.delete(rule_id)
            self._remove(rule_id)
        return f"Rule {rule_id} is dropped."

    def start(self, rule_id: str) -> str:
        with self._lock:
            rule = self._rule(rule_id)
            if rule.unit is None:
                self._schedules.begin(rule, self._bodies.definition(rule_id))
        return f"Rule {rule_id} was started"

    def stop(self, rule_id: str) -> str:
        with self._lock:
            rule = self._rule(rule_id)
            self._schedules.leave(rule)
            self._lives.stop(rule)
        return f"Rule {rule_id} was stopped."

    def restart(self, rule_id: str) -> str:
        with self._lock:
            self.stop(rule_id)
            self._schedules.begin(self._rule(rule_id), self._bodies.definition(rule_id))
        return f"Rule {rule_id} was restarted"

    def validate(self, body: Any) -> dict[str, Any]:
        try:
            made = definition(body)
            with self._lock:
                self._lives.check(made)
                planned = self._planning.plan(made.sql)
        except RuleError as error:
            error.http = 422
            raise
        return {"sources": [origin.stream for origin in planned.origins], "valid": True}

    def reset_state(self, rule_id: str, stream: str, offset: Any) -> str:
        with self._lock:
            made = self._bodies.definition(rule_id)
            found = self._catalogue.one(stream, "stream")
            read = {origin.stream for origin in self._planning.plan(made.sql).origins}
            if stream not in read:
                raise RuleError(f"rule {rule_id} does not read {stream}, but {', '.join(sorted(read))}", RULE)
            rule = self._rule(rule_id)
            if rule.unit is None and rule.status != states.FAILED:  # what failed begins anew by this
                raise RuleError(f"rule {rule_id} does not run; start it first", RULE)
            key = self._feeds.key(found, rule_id)
            joined = self._feeds.by_key.get(key)
            units = () if joined is None else joined.units
            if any(other is not rule for unit in units for other in unit.rules()):
                raise RuleError(f"stream {stream} feeds other rules too: stop them first", RULE)
            if offset is not None:
                self._feeds.check_offset(found, offset)
            self._lives.stop(self._rule(rule_id))
            kept = {key: {"offset": offset, "state": {}}, f"rule {rule_id}": None}
            self._loop.call(lambda: self._delivery.commit(kept, (), ()))
            self._schedules.begin(self._rule(rule_id), made)
        return "success"

    def set_tags(
        self, rule_id: str, add: Sequence[str], remove: Sequence[str] = (), whole: bool = False
    ) -> None:
        with self._lock:
            body = msgspec.json.decode(self._bodies.text(rule_id))
            tags = [] if whole else [tag for tag in body.get("tags") or [] if tag not in remove]
            body["tags"] = list(dict.fromkeys([*tags, *add]))
            self._bodies.put(definition(body))

    def trace(self, rule_id: str, strategy: str | None = "always") -> None:
        with self._lock:
            rule = self._rule(rule_id)
            traced = [each for each in self.rules.values() if each.is_traced and each is not rule]
            if strategy is not None and len(traced) >= MOST_TRACED:
                raise RuleError(f"{MOST_TRACED} rules are traced; stop one of them", RULE)
            self._lives.trace(rule, self._bodies.definition(rule_id), strategy)

    # -- inside

    def _create(self, made: RuleDefinition) -> None:
        if made.id in self.rules:
            raise RuleError(f"rule {made.id} already exists", RULE)
        choice = self._lives.check(made)
        rule = self.rules[made.id] = Rule(made.id)
        if not made.triggered:
            rule.status = states.STOPPED
            return
        try:
            self._schedules.begin(rule, made, choice)
        except BaseException:
            del self.rules[made.id]
            raise

    def _remove(self, rule_id: str) -> None:
        rule = self.rules.pop(rule_id)
        self._schedules.leave(rule)
        self._lives.stop(rule)
        self._loop.call(lambda: self._delivery.forget(rule_id))

    def _locked(self, work: Callable[[], None]) -> None:
        with self._lock:
            work()

    def _state_to_keep(self, rule: Rule, old: RuleDefinition, made: RuleDefinition) -> Any:
        """What a new version takes over: the memory of the same statement."""
        unit = rule.unit
        if unit is None or old.sql != made.sql or old.options.for_query() != made.options.for_query():
            return None
        if isinstance(unit, Alone) and len(unit.rules()) > 1:
            return None
        return self._loop.call(partial(unit.state, rule))

    def _rule(self, rule_id: str) -> Rule:
        found = self.rules.get(rule_id)
        if found is None:
            raise no_rule(rule_id)
        return found
