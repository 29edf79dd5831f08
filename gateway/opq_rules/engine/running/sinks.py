"""SinkPool: the running sinks. Rules that give a sink the same properties share it.

SinkRunner: one sink, with the bounded queue between the engine and it. At qos 0, emissions that do not fit
are dropped, the oldest first, and counted for their rule. At qos >= 1 an emission is in the outbox already:
the queue holds a part of them, and the rest is read from there later.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from opq_plugins.sdk import Sink
from opq_rules.batch import Emission
from opq_rules.delivery.dead_letters import DeadLetters
from opq_rules.delivery.pipeline import Pipeline, RefusedParcels
from opq_rules.delivery.transform import SinkProperties
from opq_rules.engine.clock import STOP_S, RuleClock, ended
from opq_rules.engine.context import OperatorContext
from opq_rules.engine.definitions.definition import Action, Options, RuleDefinition
from opq_rules.engine.definitions.endpoints import MEMORY, EndpointFactory
from opq_rules.sinks.memory import Sink as MemorySink

MAX_DURABLE = 4096
"""Emissions of the outbox that are also held in memory, for each sink."""
MAX_DURABLE_REFUSED = 256
"""Parcels that a sink refused at qos >= 1; with so many it takes nothing from its queue."""
FOREVER = 1 << 62
"""Used as turn: marks emissions that are never dropped."""

Done = Callable[[Sequence[str]], None]
MakePipeline = Callable[["SinkRunner", Done], Pipeline]


class EmissionSender(Protocol):
    """The rule of the emissions: `dropped` counts those that were dropped."""

    id: str
    dropped: int


_Chunk = tuple[EmissionSender, int, Sequence[Emission], Sequence[int], int]
"""The rule, number of its first emission, its emissions, rows of the outbox (qos 0: none), turn of the
engine. A plain tuple, because a named one takes five times as long to make.
"""
_TURN: Final = 4


class EmissionGiver(Protocol):
    """The giver of emissions: `loop.EngineLoop`. Its methods are called by the sink's thread."""

    turns: int

    @property
    def clock(self) -> RuleClock: ...
    def record_sent(self, runner: "SinkRunner", rows: list[int]) -> None:
        """These rows of the outbox have been handled."""
        ...

    def record_room(self, runner: "SinkRunner") -> None:
        """There is room again, or more of the outbox is needed."""
        ...


class SinkRunner(OperatorContext):
    """One running sink and its `sdk.Context`. `make(runner, done)` makes the pipeline on its thread."""

    def __init__(
        self, key: str, action: Action, make: MakePipeline, limit: int, giver: EmissionGiver, durable: bool
    ) -> None:
        super().__init__("", f"sink_{action.type}", {"sink": action.type})
        self.key, self.kind, self.limit = key, action.type, max(1, limit)
        self.users = 0
        """Running rules that use it, counted by the engine."""
        self.dropped = 0
        self.last_ms = 0
        self.spilled = False
        """More emissions wait in the outbox; the engine reads them when these have been sent."""
        self.last_row = 0
        """The last row of the outbox that was read into the queue."""
        self.pipeline: Pipeline | None = None
        self._holds_at = MAX_DURABLE_REFUSED if durable else FOREVER
        self._make, self._giver = make, giver
        self._queue: deque[_Chunk] = deque()
        self.waiting = 0
        """Emissions that the sink has not received yet."""
        self._rows: dict[str, int] = {}
        self._lock = threading.RLock()
        """The lock of `_change`: for each emission it is entered directly, without a call."""
        self._change = threading.Condition(self._lock)
        self._stopping = False
        self._thread: threading.Thread | None = None

    # -- the engine's side

    def start(self) -> None:
        """Starts its thread. Otherwise the first emission starts it: of very many sinks most may be idle."""
        with self._change:
            self._start()

    def _start(self) -> None:
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name=f"sink-{self.kind}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Requests the end and returns; what is in the queue is tried once more."""
        with self._change:
            self._stopping = True
            self._change.notify_all()

    def join(self, wait_s: float) -> bool:
        """False: the sink does not end within `wait_s`, and is abandoned."""
        return ended(self._thread, wait_s)

    @property
    def full(self) -> bool:
        """Whether sources that can wait have to wait."""
        return self.waiting >= self.limit

    def offer(self, sender: EmissionSender, first: int, emissions: Sequence[Emission], waits: bool) -> None:
        """Queues emissions at qos 0. `waits`: their source waits for the sink, so none is ever dropped.

        Emissions of the present turn are not dropped: the sink had no chance to take them yet.
        """
        turn = self._giver.turns
        with self._lock:
            if self.waiting > self.limit and not waits and self._queue and self._queue[0][_TURN] == FOREVER:
                self._drop(sender, len(emissions))
                return
            self._append((sender, first, emissions, (), FOREVER if waits else turn))
            while self.waiting > self.limit and self._queue[0][_TURN] < turn:
                gone_sender, _, gone, _, _ = self._queue.popleft()
                self.waiting -= len(gone)
                self._drop(gone_sender, len(gone))

    def post(self, rule_id: str, first: int, emissions: Sequence[Emission], rows: Sequence[int]) -> None:
        """Queues emissions at qos >= 1, after their commit, in order of the rows."""
        if self.spilled or self.waiting + len(emissions) > MAX_DURABLE:
            self.spilled = True
            return
        self.last_row = rows[-1]
        with self._lock:
            self._append((_NamedSender(rule_id), first, emissions, rows, FOREVER))

    def _append(self, chunk: _Chunk) -> None:
        if self._thread is None:
            self._start()
        if not self._queue:  # with something in it the thread is not waiting
            self._change.notify()
        self._queue.append(chunk)
        self.waiting += len(chunk[2])

    def _drop(self, sender: EmissionSender, count: int) -> None:
        self.dropped += count
        sender.dropped += count

    # -- the sink's thread

    def _run(self) -> None:
        self.pipeline = pipeline = self._make(self, self._record_done)
        clock = self._giver.clock
        try:
            while True:
                with self._change:
                    holds = pipeline.waiting >= self._holds_at
                    if (holds or not self._queue) and not self._stopping:
                        due_s = pipeline.due_s
                        self._change.wait(None if due_s is None else max(0.0, due_s - clock.monotonic_s()))
                    stopping = self._stopping
                    chunks: deque[_Chunk] = deque()
                    if pipeline.waiting < self._holds_at:
                        chunks, self._queue = self._queue, chunks
                while chunks:
                    self._send(pipeline, chunks.popleft())
                    if pipeline.waiting >= self._holds_at:
                        with self._change:
                            self._queue.extendleft(reversed(chunks))
                        break
                pipeline.tick()
                if stopping:
                    return
        finally:
            pipeline.close()

    def _send(self, pipeline: Pipeline, chunk: _Chunk) -> None:
        sender, first, emissions, rows, _ = chunk
        for k, emission in enumerate(emissions):
            emission_id = f"{sender.id}:{first + k}"
            if rows:
                self._rows[emission_id] = rows[k]
            pipeline.send(emission, emission_id)
        self.last_ms = self._giver.clock.now_ms()
        with self._lock:
            was_full = self.full
            self.waiting -= len(emissions)
            has_room = (was_full or not self.waiting) and self.waiting <= self.limit // 2
        if has_room:
            self._giver.record_room(self)

    def _record_done(self, ids: Sequence[str]) -> None:
        """Called by the pipeline: these emissions have been handled."""
        if self._rows:
            rows = [row for each in ids if (row := self._rows.pop(each, None)) is not None]
            if rows:
                self._giver.record_sent(self, rows)


class _NamedSender:
    """The rule of emissions that are never dropped, by its id alone."""

    __slots__ = ("dropped", "id")

    def __init__(self, rule_id: str) -> None:
        self.id, self.dropped = rule_id, 0


UNBOUNDED = 1 << 40
"""The limit of refused parcels at qos >= 1: the runner then takes no more, and none may be dropped."""


@dataclass(slots=True, eq=False)
class RuleSinks:
    """The sinks that rules with equal options and actions share; open while one of these rules runs."""

    key: Hashable
    options: Options
    runners: tuple[SinkRunner, ...]
    topics: tuple["MemoryTopicSink", ...] = ()
    rules: int = 0


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

    def passed_over(self, rule: RuleDefinition) -> list[str]:
        """Says which properties of the rule's sinks have no effect."""
        return [found for action in rule.actions if (found := self._factory.passed_over(action))]

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

    def _topic(self, action: Action) -> "MemoryTopicSink":
        properties, sink = self._factory.sink(action)
        return MemoryTopicSink(sink, properties, self._factory)


class MemoryTopicSink(OperatorContext):
    """A memory sink: it takes emissions in the engine's thread. It is its own `sdk.SinkContext`."""

    row_id = ""
    row_ids: Sequence[str] = ()

    def __init__(self, sink: Sink, properties: SinkProperties, factory: EndpointFactory) -> None:
        self._sink = sink
        self._plain = properties == SinkProperties() and isinstance(sink, MemorySink)
        super().__init__("", "sink_memory", {"sink": MEMORY})
        refused = RefusedParcels(None, 1, 0)
        self._pipeline = Pipeline(sink, self, properties, refused, lambda ids: None)

    def deliver(self, rule_id: str, first: int, emissions: Sequence[Emission]) -> None:
        if self._plain:
            rows = emissions[0] if len(emissions) == 1 else [row for each in emissions for row in each]
            self._sink.collect(self, rows)
            return
        for k, emission in enumerate(emissions):
            self._pipeline.send(emission, f"{rule_id}:{first + k}")
