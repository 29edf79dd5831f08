"""SinkPool: the running sinks. Rules that give a sink the same properties share it."""

import hashlib
from collections.abc import Hashable, Sequence
from pathlib import Path

from opq_rules.delivery.dead_letters import DeadLetters
from opq_rules.delivery.pipeline import Pipeline, RefusedParcels
from opq_rules.engine.clock import STOP_S
from opq_rules.engine.definitions.rule_definition import Action, RuleDefinition
from opq_rules.engine.running.sink_runner import Done, EmissionGiver, MemoryTopicSink, RuleSinks, SinkRunner
from opq_rules.engine.types.endpoint_factory import MEMORY, EndpointFactory

UNBOUNDED = 1 << 40
"""The limit of refused parcels at qos >= 1, where the runner stops taking emissions and parcels must not be
dropped."""


class SinkPool:
    """The running sinks. Called under the engine's lock; any thread may read `by_key`."""

    def __init__(self, factory: EndpointFactory, giver: EmissionGiver, cache_dir: Path) -> None:
        self.by_key: dict[str, SinkRunner] = {}
        self._factory, self._giver, self._cache_dir = factory, giver, cache_dir
        self._shared: dict[Hashable, RuleSinks] = {}

    def __len__(self) -> int:
        return len(self._shared)

    def check(self, rule: RuleDefinition) -> None:
        """Raises RuleError 400 where a sink is unknown, or refuses its properties."""
        for action in rule.actions:
            self._factory.check_sink(action)

    def ignored(self, rule: RuleDefinition) -> list[str]:
        """Says which properties of the rule's sinks have no effect."""
        return [found for action in rule.actions if (found := self._factory.ignored(action))]

    def of(self, rule: RuleDefinition) -> RuleSinks:
        """The sinks of a rule; equal ones are shared, unless they write to memory or collect batches."""
        shares = all(action.type != MEMORY and self._is_shared(action) for action in rule.actions)
        key: Hashable = (rule.options, rule.actions, "" if shares else rule.id)
        found = self._shared.get(key)
        if found is not None:
            return found
        runners = [self._runner(action, rule) for action in rule.actions if action.type != MEMORY]
        topics = [self._topic(action) for action in rule.actions if action.type == MEMORY]
        return RuleSinks(key, rule.options, tuple(runners), tuple(topics))

    def enter(self, sinks: RuleSinks) -> list[SinkRunner]:
        """Registers a rule that is about to run; returns the sinks that no rule used before."""
        new = [runner for runner in dict.fromkeys(sinks.runners) if not runner.users]
        for runner in sinks.runners:
            runner.users += 1
        for runner in new:
            self.by_key[runner.key] = runner
            if (self._cache_dir / f"{runner.key}.sqlite3").exists():
                runner.start()  # the cache holds parcels from before the start
        self._shared[sinks.key] = sinks
        sinks.rules += 1
        return new

    def leave(self, sinks: RuleSinks) -> None:
        """Unregisters a rule; sinks without users end within two seconds."""
        sinks.rules -= 1
        if not sinks.rules:
            self._shared.pop(sinks.key, None)
        for runner in sinks.runners:
            runner.users -= 1
        ending = [runner for runner in dict.fromkeys(sinks.runners) if not runner.users]
        for runner in ending:
            self.by_key.pop(runner.key, None)
            runner.stop()
        self._join(ending)

    def stop(self) -> list[str]:
        """Stops all sinks; returns names of those that do not end in time."""
        runners = list(self.by_key.values())
        for runner in runners:
            runner.stop()
        return [f"sink {runner.kind}" for runner in self._join(runners)]

    def _join(self, runners: Sequence[SinkRunner]) -> list[SinkRunner]:
        """Waits two seconds for all of them together; returns those that did not end."""
        clock = self._giver.clock
        until_s = clock.monotonic_s() + STOP_S
        return [each for each in runners if not each.join(max(0.0, until_s - clock.monotonic_s()))]

    def _is_shared(self, action: Action) -> bool:
        """Whether rules may share the sink: not with batches, which would mix their rows."""
        properties = self._factory.check_sink(action)
        return properties.batchSize <= 1 and not properties.lingerInterval

    def _runner(self, action: Action, rule: RuleDefinition) -> SinkRunner:
        durable = rule.options.qos > 0
        own = "" if self._is_shared(action) else rule.id
        words = f"{action.type} {durable} {own} {action.properties_json}"
        key = f"{action.type}-{hashlib.sha256(words.encode()).hexdigest()[:24]}"
        found = self.by_key.get(key)
        if found is not None:
            return found
        limit = self._factory.check_sink(action).bufferLength

        def make(runner: SinkRunner, done: Done) -> Pipeline:
            properties, sink = self._factory.sink(action)
            if durable:
                refused = RefusedParcels(None, UNBOUNDED, 0)
            else:
                path = self._cache_dir / f"{key}.sqlite3" if properties.enableCache else None
                refused = RefusedParcels(path, properties.memoryCacheThreshold, properties.maxDiskCache)
            clock = self._giver.clock
            dead_letters = DeadLetters(self._cache_dir.parent / "dead-letters", action.type)
            return Pipeline(sink, runner, properties, refused, done, clock.monotonic_s, dead_letters)

        return SinkRunner(key, action, make, limit, self._giver, durable)

    def _topic(self, action: Action) -> MemoryTopicSink:
        properties, sink = self._factory.sink(action)
        return MemoryTopicSink(sink, properties)
