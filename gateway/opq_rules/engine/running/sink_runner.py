"""SinkRunner: one sink on its own thread, and the bounded queue between the engine and it.

At qos 0, emissions that do not fit are dropped, the oldest first, and counted for their rule. At qos >= 1 an
emission is in the outbox already: the queue holds a part of them, and the rest is read from there later.
MemoryTopicSink: a topic of memory, which needs no thread. RuleSinks: the sinks of a rule.
"""

import threading
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from opq_plugins.sdk import Sink
from opq_rules.delivery.pipeline import Pipeline, RefusedParcels
from opq_rules.delivery.transform import SinkProperties
from opq_rules.engine.clock import RuleClock, ended
from opq_rules.engine.definitions.rule_definition import Action, Options
from opq_rules.engine.types.endpoint_factory import MEMORY
from opq_rules.engine.types.operator_context import OperatorContext
from opq_rules.sinks.memory import Sink as MemorySink
from opq_rules.values.batch import Emission

MAX_DURABLE = 4096
"""Emissions of the outbox that are also held in memory, for each sink."""
MAX_DURABLE_REFUSED = 256
"""Parcels that a sink refused at qos >= 1; with this many it takes nothing from its queue."""
NEVER_DROPPED = 1 << 62
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
        self._holds_at = MAX_DURABLE_REFUSED if durable else NEVER_DROPPED
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
            if (
                self.waiting > self.limit
                and not waits
                and self._queue
                and self._queue[0][_TURN] == NEVER_DROPPED
            ):
                self._drop(sender, len(emissions))
                return
            self._append((sender, first, emissions, (), NEVER_DROPPED if waits else turn))
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
            self._append((_NamedSender(rule_id), first, emissions, rows, NEVER_DROPPED))

    def _append(self, chunk: _Chunk) -> None:
        if self._thread is None:
            self._start()
        if not self._queue:  # with a non-empty queue the thread is not waiting
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


class MemoryTopicSink(OperatorContext):
    """A memory sink: it takes emissions in the engine's thread. It is its own `sdk.SinkContext`."""

    row_id = ""
    row_ids: Sequence[str] = ()

    def __init__(self, sink: Sink, properties: SinkProperties) -> None:
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


@dataclass(slots=True, eq=False)
class RuleSinks:
    """The sinks that rules with equal options and actions share; open while one of these rules runs."""

    key: Hashable
    options: Options
    runners: tuple[SinkRunner, ...]
    topics: tuple[MemoryTopicSink, ...] = ()
    rules: int = 0
