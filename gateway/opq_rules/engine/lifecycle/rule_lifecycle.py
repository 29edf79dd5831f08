"""RuleLifecycle: how rules start, stop, wait for their schedule, fail and start again.

Called under the engine's lock by one thread at a time; data that belongs to the loop's thread is changed by a
call to the loop. Sources and sinks are started and joined here, so that none of them can block the loop.
"""

import random
import sqlite3
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from opq_proto.kit import log
from opq_rules.engine.clock import RuleClock
from opq_rules.engine.definitions.rule_definition import RestartStrategy, RuleDefinition, no_rule
from opq_rules.engine.definitions.rule_store import RuleStore
from opq_rules.engine.definitions.schedule import NEVER_MS
from opq_rules.engine.lifecycle.delayed_calls import DelayedCalls
from opq_rules.engine.lifecycle.planner import Choice, Planner
from opq_rules.engine.lifecycle.sink_pool import SinkPool
from opq_rules.engine.lifecycle.stream_inputs import StreamInputs
from opq_rules.engine.loop import EngineLoop
from opq_rules.engine.running.rule import FAILED, RUNNING, STOPPED, WAITING, QueryUnit, Rule
from opq_rules.engine.running.stream_input import StreamInput
from opq_rules.errors import IO_ERROR, RuleError

STEADY_S = 60.0
"""After this time without a failure, the count of failures restarts at one."""


class RestartPolicy:
    """Counts each rule's failures in a row, and decides when the rule starts again."""

    def __init__(self, clock: RuleClock) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}
        """Rule -> failures in a row, and time of the last one."""

    def wait_s(self, rule_id: str, strategy: RestartStrategy) -> float | None:
        """Records a failure; returns seconds until the rule starts again, or None where it stays stopped."""
        now_s = self._clock.monotonic_s()
        count, last_s = self._failed.get(rule_id, (0, now_s))
        count = 1 if now_s - last_s > STEADY_S else count + 1
        self._failed[rule_id] = count, now_s
        return strategy.wait_ms(count, random.random) / 1000 if count <= strategy.attempts else None

    def remove(self, rule_id: str) -> None:
        self._failed.pop(rule_id, None)


LONGEST_WAIT_S = 60.0
"""Longest time between two checks (0.3 ms each) of a schedule: the clock or summer time may change."""
SHORTEST_CHECKPOINT_S = 0.02


class RuleLifecycle:
    """Attributes: `rules`: all rules by id; `units`: the running units by key; `streams`, `sinks`, `loop`."""

    def __init__(
        self,
        store: RuleStore,
        planner: Planner,
        streams: StreamInputs,
        sinks: SinkPool,
        loop: EngineLoop,
        delayed: DelayedCalls,
    ) -> None:
        self.rules: dict[str, Rule] = {}
        self.units: dict[Hashable, QueryUnit] = {}
        self._store, self._planner, self._delayed = store, planner, delayed
        self.streams, self.sinks, self.loop, self._clock = streams, sinks, loop, loop.clock
        self._policy = RestartPolicy(loop.clock)
        self._log = log.get(service="rules")
        loop.unit_failed = self.record_unit_failed

    def rule(self, rule_id: str) -> Rule:
        """Returns the rule. Raises RuleError 404 if it does not exist."""
        found = self.rules.get(rule_id)
        if found is None:
            raise no_rule(rule_id)
        return found

    def check(self, definition: RuleDefinition) -> Choice:
        """Plans the rule. Raises RuleError 400 for anything that would keep it from running."""
        choice = self._planner.choose(definition)
        self.sinks.check(definition)
        return choice

    # -- start

    def begin(self, rule: Rule, definition: RuleDefinition, choice: Choice | None = None) -> None:
        """Starts the rule, or its schedule where it has one. On RuleError nothing has changed."""
        if definition.options.schedule is None:
            self.start(rule, definition, choice)
            return
        rule.more.schedule += 1
        self._follow_schedule(rule, definition, rule.more.schedule, None)

    def begin_again(self, rule: Rule) -> None:
        """Starts the rule again; an error is shown in its status."""
        try:
            self.begin(rule, self._store.rule(rule.id))
        except RuleError as error:
            self.fail(rule, str(error))

    def start(self, rule: Rule, definition: RuleDefinition, choice: Choice | None = None) -> None:
        """Starts the rule now. On RuleError nothing has changed."""
        chosen = choice or self.check(definition)
        sinks = self.sinks.of(definition)
        now_ms = self._clock.now_ms()
        inputs = self.streams.of([self._planner.streams[name] for name in chosen.streams], definition)
        unit = self.units.get(chosen.key) or self._unit(definition, chosen, inputs, now_ms)
        new, checkpoint = self.sinks.enter(sinks), self.loop.checkpoint

        def run() -> None:
            """Runs in the loop's thread."""
            stored = checkpoint.stored(f"rule {rule.id}") if unit.durable else None
            rule.sequence = max(rule.sequence, now_ms * 1000, stored["sequence"] if stored else 0)
            rule.out = rule.dropped = 0
            if unit.durable:
                checkpoint.open_sinks(rule.id, sinks.runners, new)
            rule.constants, rule.unit, rule.sinks, rule.start_ms = chosen.constants, unit, sinks, now_ms
            rule.enter(RUNNING)
            if rule.details is not None:
                rule.details.message, rule.details.missing = "", ()  # the reason why it had stopped
            unit.add(rule)
            if stored is not None and unit.remembers and stored["of"] == unit.statement:
                self._resume(rule, unit, stored["query"])
            self.loop.enter(rule, unit, inputs)

        try:
            self.loop.call(run)
        except sqlite3.Error as error:
            self.sinks.leave(sinks)
            raise RuleError(f"the rules' database cannot be written: {error}", IO_ERROR) from error
        self.units[chosen.key] = unit
        if unit.durable:
            interval_s = max(definition.options.checkpointInterval / 1000, SHORTEST_CHECKPOINT_S)
            checkpoint.interval_s = min(checkpoint.interval_s, interval_s)
        self.streams.open(inputs)

    @staticmethod
    def _unit(
        definition: RuleDefinition, choice: Choice, inputs: Sequence[StreamInput], now_ms: int
    ) -> QueryUnit:
        unit = choice.build({each.stream: each.key for each in inputs}, now_ms)
        unit.durable = definition.options.qos > 0
        unit.statement = f"{definition.sql} {definition.options.for_query()}"
        return unit

    def _resume(self, rule: Rule, unit: QueryUnit, state: object) -> None:
        """Restores a state; one that cannot be read (from another version) is logged and ignored."""
        try:
            unit.resume(rule, state)
        except Exception as error:
            self._log.error("state.refused", rule_id=rule.id, error=f"{type(error).__name__}: {error}")

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Holds new sources until all rules are created, so that none misses a record of a shared stream."""
        was = self.streams.hold()
        try:
            yield
        finally:
            if not was:
                self.streams.release()

    # -- stop

    def stop(self, rule: Rule, status: str = STOPPED, message: str = "") -> None:
        """Stops a rule; its state is stored (qos >= 1). Waits up to 2 s each for its sources and sinks."""
        unit, sinks = rule.unit, rule.sinks
        if unit is None or sinks is None:
            if message:
                rule.more.message = message
            rule.enter(status)
            return
        inputs = self.streams.running(list(unit.inputs.values()))
        if len(unit.rules()) == 1:
            for each in inputs:
                if len(each.units) == 1 and not each.pinned:
                    each.runner.stop()

        def end() -> None:
            if unit.durable:
                self.loop.checkpoint.add_unit(unit)
                self.loop.commit()
            unit.remove(rule)
            self.loop.leave(rule, unit, inputs)
            rule.more.message = message  # before the status, because a reader of the status needs the reason
            rule.unit = rule.sinks = None
            rule.enter(status)

        self.loop.call(end)
        rule.more.last_stop_ms = self._clock.now_ms()
        if not unit.rules():
            self.units.pop(unit.key, None)
        self.streams.close_unused(inputs)
        self.sinks.leave(sinks)

    def stop_by_hand(self, rule: Rule) -> None:
        """Stops a rule and ends its schedule."""
        if rule.details is not None:
            rule.details.schedule += 1
            rule.details.next_start_ms = 0
        self.stop(rule)

    def remove(self, rule_id: str) -> None:
        """Stops and forgets a rule, with its state and unsent emissions."""
        rule = self.rules.pop(rule_id)
        self._policy.remove(rule_id)
        self.stop_by_hand(rule)
        self.loop.call(partial(self.loop.checkpoint.delete_rule, rule_id))

    @contextmanager
    def replacing(self, rule: Rule) -> Iterator[None]:
        """Keeps the sources running while a rule is replaced: records wait, and none is lost."""
        pinned = self.streams.running(list(rule.unit.inputs.values())) if rule.unit is not None else []
        self.streams.pin(pinned, 1)
        try:
            yield
        finally:
            self.streams.pin(pinned, -1)
            self.streams.close_unused(pinned)

    def stop_all(self) -> list[str]:
        """Stops sources, the loop with its commit, and sinks; returns names of the parts that do not end."""
        late = self.streams.stop()
        for unit in self.units.values():
            self.loop.call(partial(self.loop.checkpoint.add_unit, unit))
        ended = self.loop.stop()
        late += [] if ended else ["engine"]
        late += self.sinks.stop()
        if ended:
            self.loop.commit()  # records the last emissions that the sinks took
        return late

    # -- faults

    def record_unit_failed(self, unit: QueryUnit, error: Exception) -> None:
        """Called by the loop's thread after a bug here or in a plug-in's function: stops the unit's rules."""
        text, rules = f"{type(error).__name__}: {error}", tuple(unit.rules())
        self._log.error("unit.failed", error=text, rules=[rule.id for rule in rules[:5]], exc_info=error)
        for rule in rules:
            self._delayed.soon(partial(self._stop_failed, rule, unit, text))

    def _stop_failed(self, rule: Rule, unit: QueryUnit, text: str) -> None:
        with self._store.changing():
            if rule.unit is not unit:
                return
            self.stop(rule, FAILED, text)
            wait_s = self._policy.wait_s(rule.id, self._store.rule(rule.id).options.restartStrategy)
            if wait_s is not None:
                self._delayed.later(wait_s, partial(self._restart, rule))

    def _restart(self, rule: Rule) -> None:
        with self._store.changing():
            if self.rules.get(rule.id) is rule and rule.status == FAILED:
                self.begin_again(rule)

    def fail(self, rule: Rule, message: str) -> None:
        """Marks a rule as failed; `message` is the reason."""
        rule.more.message = message
        rule.enter(FAILED)

    # -- schedules

    def _follow_schedule(self, rule: Rule, made: RuleDefinition, turn: int, ran: bool | None) -> None:
        """Starts or stops a rule as its schedule requires. `ran`: what the last check found.

        Between two changes of the schedule a rule is not touched, even if it failed.
        """
        schedule = made.options.schedule
        if schedule is None or rule.more.schedule != turn or self.rules.get(rule.id) is not rule:
            return
        now_ms = self._clock.now_ms()
        runs = schedule.runs_at(now_ms)
        rule.more.next_start_ms = 0 if runs else schedule.next_start_ms(now_ms) or 0
        if runs and not ran and rule.unit is None:
            try:
                self.start(rule, made)
            except RuleError as error:  # its stream was dropped; it is tried again at its next start
                self.fail(rule, str(error))
        elif not runs and ran is not False:
            self.stop(rule, WAITING)
        change_ms = schedule.next_change_ms(now_ms)
        if change_ms < NEVER_MS:
            spread_s = LONGEST_WAIT_S * random.uniform(0.5, 1.0)  # spreads the checks of thousands of rules
            wait_s = min((change_ms - now_ms) / 1000, spread_s)
            self._delayed.later(wait_s, partial(self._follow_later, rule, made, turn, runs))

    def _follow_later(self, rule: Rule, made: RuleDefinition, turn: int, ran: bool) -> None:
        with self._store.changing():
            self._follow_schedule(rule, made, turn, ran)
