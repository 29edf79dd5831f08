"""Lives: how rules come to run and end, and what they share while they do.

Called under the engine's lock by one thread at a time; what the loop's thread owns is changed by a call
to it. Sources and sinks are started and joined out here, so that none of them can stop the loop.
"""

import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from opq_proto import log
from opq_rules.engine import tracing
from opq_rules.engine.clock import Clock
from opq_rules.engine.definition import RuleDefinition
from opq_rules.engine.delivery import Delivery
from opq_rules.engine.feeds import Feeds
from opq_rules.engine.joined import Joined
from opq_rules.engine.loop import Loop
from opq_rules.engine.outlets import Outlets
from opq_rules.engine.planning import Choice, Planning
from opq_rules.engine.rule import FAILED, RUNNING, STOPPED, Rule, Unit
from opq_rules.engine.specs import Specs
from opq_rules.engine.staging import Staging
from opq_rules.engine.tables import Tables
from opq_rules.engine.topology import sinks
from opq_rules.engine.traces import Traces
from opq_rules.errors import IO_ERROR, RuleError
from opq_rules.streams.definition import StreamDefinition

STEADY_S = 60.0
"""A rule that ran so long without a fault starts its restarts anew."""


class Lives:
    """Attributes: `units` by key, those that run; `tables` and `specs`, which they share."""

    def __init__(
        self,
        clock: Clock,
        loop: Loop,
        staging: Staging,
        delivery: Delivery,
        feeds: Feeds,
        outlets: Outlets,
        planning: Planning,
        streams: Mapping[str, StreamDefinition],
    ) -> None:
        self.units: dict[Any, Unit] = {}
        self.held = True
        """Sources wait until all rules are loaded, so that none misses a record of a shared stream."""
        self._clock, self._loop, self._staging, self._delivery = clock, loop, staging, delivery
        self._feeds, self._outlets, self._planning = feeds, outlets, planning
        self._streams = streams
        self.specs = Specs(outlets, clock)
        self.tables = Tables(streams, feeds.looked_up)
        self._log = log.get(service="rules")

    # -- before

    def check(self, rule: RuleDefinition) -> Choice:
        """RuleError 400 for all that keeps a rule from running."""
        choice = self._planning.choose(rule, self.tables.lookup)
        for action in rule.actions:
            self._outlets.check(action)
        return choice

    # -- start and stop

    def start(self, rule: Rule, definition: RuleDefinition, choice: Choice | None = None) -> None:
        """Run it; RuleError, and nothing has changed."""
        choice = choice or self.check(definition)
        spec = self.specs.of(definition)
        now_ms = self._clock.now_ms()
        definitions = [self._streams[name] for name in choice.streams]
        keys = {each.name: self._feeds.key(each, definition.id) for each in definitions}
        unit = self.units.get(choice.key)
        if unit is None:
            unit = choice.build(keys, now_ms)
            unit.durable = definition.options.qos > 0
            unit.of = f"{definition.sql} {definition.options.for_query()}"
        joined: list[Joined] = []
        made: list[Joined] = []
        for each in definitions:
            found = self._feeds.by_key.get(keys[each.name])
            if found is None:
                found = self._feeds.make(each, definition.id, definition.options)
                made.append(found)
            joined.append(found)
        new_outlets = [outlet for outlet in dict.fromkeys(spec.outlets) if not outlet.users]
        durable = definition.options.qos > 0
        running = unit

        def begin() -> None:
            kept = self._delivery.state(f"rule {rule.id}") if durable else None
            rule.sequence = max(rule.sequence, now_ms * 1000)
            if kept is not None:
                rule.sequence = max(rule.sequence, kept["sequence"])
            rule.out = rule.dropped = 0
            moved = 0
            if durable and spec.outlets:
                moved = self._delivery.readdress(rule.id, [outlet.key for outlet in spec.outlets])
            for outlet in new_outlets:
                if durable:
                    self._staging.opened(outlet)
            if moved and spec.outlets[0] not in new_outlets:
                self._staging.more(spec.outlets[0], moved)
            rule.constants, rule.unit, rule.spec = choice.constants, running, spec
            rule.start_ms, rule.status = now_ms, RUNNING
            if rule.extra is not None:
                rule.extra.message, rule.extra.missing = "", ()  # why it had stopped
            running.add(rule)
            if kept is not None and running.remembers and kept["of"] == running.of:
                self._resume(rule, kept["query"])
            if rule.extra is not None and rule.extra.trace is not None:
                rule.extra.trace.sinks = sinks([action.type for action in definition.actions])
                if rule.extra.trace.on:
                    tracing.follow(running, rule, self._clock)
            for each in made:
                self._loop.joined[each.feed] = each
            self._loop.join(running, joined, durable, spec.outlets)

        for outlet in new_outlets:
            if outlet.has_cache:
                outlet.start()
        for outlet in spec.outlets:
            outlet.users += 1
        try:
            self._loop.call(begin)
        except sqlite3.Error as error:
            for outlet in spec.outlets:
                outlet.users -= 1
            raise RuleError(f"the rules' database refuses: {error}", IO_ERROR) from error
        spec.users[0] += 1
        self.units[choice.key] = unit
        for new in made:
            self._feeds.by_key[new.kept_as] = new
        if durable:
            interval_s = definition.options.checkpointInterval / 1000
            self._staging.interval_s = min(self._staging.interval_s, max(interval_s, 0.02))
        if not self.held:
            for new in made:
                self._open(new)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """New sources begin when all rules are there: none misses a record of a shared stream."""
        was, self.held = self.held, True
        try:
            yield
        finally:
            if not was:
                self.release()

    def release(self) -> None:
        """All rules are loaded: let the sources begin."""
        self.held = False
        for each in list(self._feeds.by_key.values()):
            if not each.feed.started:
                self._open(each)

    def stop(self, rule: Rule, status: str = STOPPED, message: str = "") -> None:
        """Ends it; its state is kept (qos >= 1). Waits for what ends with it, two seconds each at most."""
        unit, spec = rule.unit, rule.spec
        if unit is None or spec is None:
            rule.status = status
            return
        durable = spec.options.qos > 0
        joined = [self._feeds.by_key[key] for key in unit.feeds.values() if key in self._feeds.by_key]
        if len(unit.rules()) == 1:
            for each in joined:
                if len(each.units) == 1 and not each.pinned:
                    each.feed.stop()
        last: list[bool] = []

        def end() -> None:
            if durable and unit.remembers:
                self._staging.touched(unit, None)
            if durable:
                self._loop.commit()
            tracing.leave(unit, rule)
            unit.remove(rule)
            last.append(not unit.rules())
            self._loop.leave(unit, joined, durable, spec.outlets, last[0])
            rule.more.message = message  # before the status: who sees that asks why
            rule.unit, rule.spec, rule.status = None, None, status

        self._loop.call(end)
        rule.more.last_stop_ms = self._clock.now_ms()
        if last[0]:
            self.units.pop(unit.key, None)
        for each in joined:
            self._end(each)
        self.specs.leave(spec)

    @contextmanager
    def replacing(self, rule: Rule) -> Iterator[None]:
        """Meanwhile its sources run on and their records wait: a new version loses none."""
        keys = rule.unit.feeds.values() if rule.unit is not None else ()
        pinned = [each for key in keys if (each := self._feeds.by_key.get(key)) is not None]

        def pin(count: int) -> None:
            for each in pinned:
                each.pinned += count
            self._loop.look_again()

        self._loop.call(partial(pin, 1))
        try:
            yield
        finally:
            self._loop.call(partial(pin, -1))
            for each in pinned:
                self._end(each)

    def stop_all(self, rules: Sequence[Rule]) -> list[str]:
        """At the server's end: sources, then the loop commits, then sinks. Names of what does not end."""
        feeds = list(self._feeds.by_key.values())
        for each in feeds:
            each.feed.stop()
        late = [f"source {each.feed.name}" for each in feeds if not each.feed.join()]
        for rule in rules:
            if rule.unit is not None and rule.unit.durable and rule.unit.remembers:
                self._loop.call(partial(self._staging.touched, rule.unit, None))
        if not self._loop.stop():
            late.append("engine")
        outlets = list(self._outlets.by_key.values())
        for outlet in outlets:
            outlet.stop()
        late += [f"sink {outlet.kind}" for outlet in outlets if not outlet.join()]
        if "engine" not in late:
            self._loop.commit()  # what the sinks took last
        self.tables.close()
        return late

    def trace(self, rule: Rule, definition: RuleDefinition, strategy: str | None) -> None:
        """`strategy` None: no more; what there is stays."""
        traces = rule.more.trace = rule.more.trace or Traces(rule.id)
        traces.on, traces.each = strategy is not None, strategy != "head"
        traces.sinks = sinks([action.type for action in definition.actions])

        def change() -> None:
            if rule.unit is not None:
                tracing.leave(rule.unit, rule)
                if traces.on:
                    tracing.follow(rule.unit, rule, self._clock)

        self._loop.call(change)

    # -- faults

    def failed(self, rule: Rule, definition: RuleDefinition, error: str) -> float | None:
        """A rule's query raised what it must not. Seconds until it is to be started again; None: it stays."""
        strategy = definition.options.restartStrategy
        more = rule.more
        if self._clock.monotonic_s() - more.steady_since_s > STEADY_S:
            more.restarts = 0
        self.stop(rule, FAILED, error)
        more.steady_since_s = self._clock.monotonic_s()
        more.restarts += 1
        if more.restarts > strategy.attempts:
            return None
        return strategy.wait_ms(more.restarts, random.random) / 1000

    # -- inside

    def _end(self, joined: Joined) -> None:
        """Where nobody takes from it any more."""
        there = self._feeds.by_key.get(joined.kept_as) is joined
        if there and not joined.units and not joined.pinned:
            del self._feeds.by_key[joined.kept_as]
            joined.feed.stop()
            self._loop.call(partial(self._loop.joined.pop, joined.feed, None))
            joined.feed.join()

    def _open(self, joined: Joined) -> None:
        kept = None
        if joined.durable:
            kept = self._loop.call(lambda: self._delivery.state(joined.kept_as))
        if kept is not None:
            joined.feed.state = kept["state"] or {}
        joined.feed.start(kept["offset"] if kept is not None else None)

    def _resume(self, rule: Rule, state: Any) -> None:
        """Goes on with a state; one that is not understood (another version's) is left, and told."""
        assert rule.unit is not None
        try:
            rule.unit.resume(rule, state)
        except Exception as error:
            self._log.error("state.refused", rule_id=rule.id, error=f"{type(error).__name__}: {error}")
