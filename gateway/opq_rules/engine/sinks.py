"""SinkPool: the sinks that run: rules that give a sink the same properties share it."""

import hashlib
from collections.abc import Hashable, Sequence
from pathlib import Path

from opq_plugins.sdk import Sink
from opq_rules.batch import Emission
from opq_rules.delivery.pipeline import Pipeline
from opq_rules.delivery.properties import SinkProperties
from opq_rules.delivery.refused import RefusedParcels
from opq_rules.engine.definition import Action, RuleDefinition
from opq_rules.engine.endpoints import MEMORY, EndpointFactory
from opq_rules.engine.loop import EngineLoop
from opq_rules.engine.rule import RuleSinks
from opq_rules.engine.sink_runner import STOP_S, Done, SinkRunner
from opq_rules.sinks.memory import Sink as MemorySink

UNBOUNDED = 1 << 40
"""Of what a sink refused at qos >= 1: the runner takes no more meanwhile, and nothing may go."""


class SinkPool:
    """Called under the engine's lock; `by_key` is read by any thread."""

    def __init__(self, factory: EndpointFactory, loop: EngineLoop, cache_dir: Path) -> None:
        self.by_key: dict[str, SinkRunner] = {}
        self._factory, self._loop, self._cache_dir = factory, loop, cache_dir
        self._shared: dict[Hashable, RuleSinks] = {}

    def __len__(self) -> int:
        return len(self._shared)

    def check(self, rule: RuleDefinition) -> None:
        """RuleError 400 where a sink is unknown, or does not take its properties."""
        for action in rule.actions:
            self._factory.check_sink(action)

    def of(self, rule: RuleDefinition) -> RuleSinks:
        """One for rules that say the same; those that write into memory, or gather rows, have their own."""
        shares = all(action.type != MEMORY and self._is_shared(action) for action in rule.actions)
        key: Hashable = (rule.options, rule.actions, "" if shares else rule.id)
        found = self._shared.get(key)
        if found is not None:
            return found
        runners = [self._runner(action, rule) for action in rule.actions if action.type != MEMORY]
        topics = [self._topic(action) for action in rule.actions if action.type == MEMORY]
        return RuleSinks(key, rule.options, tuple(runners), tuple(topics))

    def enter(self, sinks: RuleSinks) -> list[SinkRunner]:
        """A rule is about to run with them; those that nobody had before."""
        new = [runner for runner in dict.fromkeys(sinks.runners) if not runner.users]
        for runner in sinks.runners:
            runner.users += 1
        for runner in new:
            self.by_key[runner.key] = runner
            if (self._cache_dir / f"{runner.key}.sqlite3").exists():
                runner.start()  # something from before the start waits for it
        self._shared[sinks.key] = sinks
        sinks.rules += 1
        return new

    def leave(self, sinks: RuleSinks) -> None:
        """A rule has ended; sinks that nobody has any more end within two seconds."""
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

    def reopen(self, action: Action) -> None:
        """Those that run with it close their sink and go on with one that is configured now."""
        for runner in list(self.by_key.values()):
            if runner.action == action:
                runner.reopen(lambda: self._factory.sink(action)[1])

    def stop(self) -> list[str]:
        """All of them; names of those that do not end in time."""
        runners = list(self.by_key.values())
        for runner in runners:
            runner.stop()
        return [f"sink {runner.kind}" for runner in self._join(runners)]

    def _join(self, runners: Sequence[SinkRunner]) -> list[SinkRunner]:
        """Waits two seconds for all of them together; those that did not end."""
        clock = self._loop.clock
        until_s = clock.monotonic_s() + STOP_S
        return [each for each in runners if not each.join(max(0.0, until_s - clock.monotonic_s()))]

    def _is_shared(self, action: Action) -> bool:
        """Rules do not share a batch: its rows would be mixed."""
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
            clock, schemas = self._loop.clock, self._factory.schemas
            return Pipeline(sink, runner, properties, refused, done, schemas, clock.monotonic_s)

        return SinkRunner(key, action, make, limit, self._loop, durable)

    def _topic(self, action: Action) -> "MemoryTopicSink":
        properties, sink = self._factory.sink(action)
        return MemoryTopicSink(sink, properties, self._factory)


class MemoryTopicSink:
    """A memory sink: it takes emissions in the engine's thread. It is its own `sdk.SinkContext`."""

    row_id = ""
    row_ids: Sequence[str] = ()

    def __init__(self, sink: Sink, properties: SinkProperties, factory: EndpointFactory) -> None:
        self._sink = sink
        self._plain = properties == SinkProperties() and isinstance(sink, MemorySink)
        self.op_id, self.rule_id, self.instance_id = "sink_memory", "", 0
        refused = RefusedParcels(None, 1, 0)
        self._pipeline = Pipeline(sink, self, properties, refused, lambda ids: None, factory.schemas)

    def deliver(self, rule_id: str, first: int, emissions: Sequence[Emission]) -> None:
        if self._plain:
            rows = emissions[0] if len(emissions) == 1 else [row for each in emissions for row in each]
            self._sink.collect(self, rows)
            return
        for k, emission in enumerate(emissions):
            self._pipeline.send(emission, f"{rule_id}:{first + k}")

    def log(self, event: str, **facts: object) -> None:
        return

    def get_state(self, key: str) -> object:
        return None

    def put_state(self, key: str, value: object) -> None:
        return
