"""Outlet: one running sink and the bounded queue between the engine and it.

Rules that give a sink the same properties share it. At qos 0 what does not fit goes, the oldest first,
counted with its rule. At qos >= 1 an emission is in the outbox already: here is a part of it, the rest is
read from there when this has gone.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from opq_plugins.sdk import Sink
from opq_proto import log
from opq_rules.batch import Emission
from opq_rules.engine.clock import Clock
from opq_rules.engine.definition import Action
from opq_rules.sinking.pipeline import Pipeline

STOP_S = 2.0
DURABLE_MOST = 4096
"""Emissions of the outbox that are in memory as well, for each outlet."""
MOST_WATCHED = 1000


KEPT = 1 << 62
"""As a turn: of emissions that never go."""


class Sender(Protocol):
    """Whose emissions they are: `dropped` counts those that went."""

    id: str
    dropped: int


Chunk = tuple[Sender, int, Sequence[Emission], Sequence[int], int]
"""Of one rule: number of the first emission, emissions, their rows in the outbox (qos 0: none), the turn."""


class Outlet:
    """`pipeline(done)` makes the chain to the sink, on the outlet's thread.

    `taken(outlet, rows)`: these rows of the outbox are done. `drained(outlet)`: there is room again, or more
    of the outbox is wanted. Both from the sink's thread.
    """

    def __init__(
        self,
        key: str,
        kind: str,
        pipeline: Callable[["Outlet", Callable[[Sequence[str]], None]], Pipeline],
        limit: int,
        clock: Clock,
        turn: Callable[[], int],
        taken: Callable[["Outlet", list[int]], None],
        drained: Callable[["Outlet"], None],
    ) -> None:
        self.key, self.kind, self.limit = key, kind, max(1, limit)
        self.users = 0
        """Rules that run with it; the engine's count."""
        self.dropped = 0
        self.rule_id, self.op_id, self.instance_id = "", f"sink_{kind}", 0
        self.last_ms = 0
        self.spilled = False
        """More waits in the outbox than here; the engine reads it on when this has gone."""
        self.has_cache = False
        """Something from before the start may wait for the sink."""
        self.holds_at = 1 << 40
        """So many parcels that the sink refused, and nothing more is taken from the queue."""
        self.last_row = 0
        """The last row of the outbox that was brought here."""
        self.action: Action | None = None
        """What rules say of it."""
        self.pipeline: Pipeline | None = None
        self._remake: Callable[[], Sink] | None = None
        self._make, self._clock, self._turn = pipeline, clock, turn
        self._on_taken, self._on_drained = taken, drained
        self._queue: deque[Chunk] = deque()
        self._waiting = 0
        self._rows: dict[str, int] = {}
        self._state: dict[str, Any] = {}
        self._watched: dict[str, tuple[Callable[[str, bool], None], int, int]] = {}
        self._change = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._log = log.get(service="rules", sink=kind)

    # -- the engine's side

    def start(self) -> None:
        """Its thread; without it, the first emission starts it: of very many sinks most may be idle."""
        with self._change:
            self._start()

    def _start(self) -> None:
        if self._thread is None and not self._stopping:
            self._thread = threading.Thread(target=self._run, name=f"sink-{self.kind}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Asks only; what is in the queue is tried once more."""
        with self._change:
            self._stopping = True
            self._change.notify_all()

    def join(self, wait_s: float = STOP_S) -> bool:
        """False: the sink does not end within two seconds; it is left behind."""
        if self._thread is not None:
            self._thread.join(wait_s)
            return not self._thread.is_alive()
        return True

    def reopen(self, make: Callable[[], Sink]) -> None:
        """Another sink in place of the one that is open; what waits, waits for that."""
        with self._change:
            if self._thread is not None:
                self._remake = make
                self._change.notify()

    @property
    def waiting(self) -> int:
        """Emissions that the sink has not got yet."""
        return self._waiting

    @property
    def full(self) -> bool:
        """A source that can wait has to; `drained` says when it may go on."""
        return self._waiting >= self.limit

    def offer(self, sender: Sender, first: int, emissions: Sequence[Emission], waits: bool = False) -> None:
        """At qos 0. `waits`: their source waits for the sink, so that they never go.

        What one turn of the engine gives is never too much: the sink had no chance yet.
        """
        turn = self._turn()
        with self._change:
            if self._waiting > self.limit and not waits and self._queue and self._queue[0][4] == KEPT:
                self._drop(sender, len(emissions))
                return
            self._start()
            self._queue.append((sender, first, emissions, (), KEPT if waits else turn))
            self._waiting += len(emissions)
            while self._waiting > self.limit and self._queue[0][4] < turn:
                gone_of, _, gone, _, _ = self._queue.popleft()
                self._waiting -= len(gone)
                self._drop(gone_of, len(gone))
            self._change.notify()

    def _drop(self, sender: Sender, count: int) -> None:
        self.dropped += count
        sender.dropped += count

    def post(self, rule_id: str, first: int, emissions: Sequence[Emission], rows: Sequence[int]) -> None:
        """At qos >= 1, after the commit; in order of the rows."""
        if self.spilled or self._waiting + len(emissions) > DURABLE_MOST:
            self.spilled = True
            return
        self.last_row = rows[-1]
        with self._change:
            self._start()
            self._queue.append((_Name(rule_id), first, emissions, rows, KEPT))
            self._waiting += len(emissions)
            self._change.notify()

    # -- sdk.Context of the sink

    def log(self, event: str, **facts: Any) -> None:
        self._log.info(event, **facts)

    def get_state(self, key: str) -> Any:
        return self._state.get(key)

    def put_state(self, key: str, value: Any) -> None:
        self._state[key] = value

    # -- the sink's thread

    def _run(self) -> None:
        self.pipeline = pipeline = self._make(self, self._done)
        try:
            while True:
                with self._change:
                    holds = pipeline.waiting >= self.holds_at
                    if (holds or not self._queue) and not self._stopping and self._remake is None:
                        due_s = pipeline.due_s
                        wait_s = None if due_s is None else max(0.0, due_s - self._clock.monotonic_s())
                        self._change.wait(wait_s)
                    stopping = self._stopping
                    remake, self._remake = self._remake, None
                    chunks: deque[Chunk] = deque()
                    if pipeline.waiting < self.holds_at:
                        chunks, self._queue = self._queue, chunks
                if remake is not None:
                    pipeline.exchange(remake)
                while chunks:
                    sender, first, emissions, rows, _ = chunks.popleft()
                    self._send(pipeline, sender.id, first, emissions, rows)
                    if pipeline.waiting >= self.holds_at:
                        with self._change:
                            self._queue.extendleft(reversed(chunks))
                        break
                pipeline.tick()
                if stopping:
                    return
        finally:
            pipeline.close()

    def _send(
        self,
        pipeline: Pipeline,
        name: str,
        first: int,
        emissions: Sequence[Emission],
        rows: Sequence[int],
    ) -> None:
        for k, emission in enumerate(emissions):
            emission_id = f"{name}:{first + k}"
            if rows:
                self._rows[emission_id] = rows[k]
            pipeline.take(emission, emission_id)
        self.last_ms = self._clock.now_ms()
        with self._change:
            was_full = self.full
            self._waiting -= len(emissions)
            tell = was_full or (self._waiting == 0)
        if tell and self._waiting <= self.limit // 2:
            self._on_drained(self)

    def watch(self, emission_id: str, told: Callable[[str, bool], None]) -> None:
        """`told(error, lost)` when an emission needs no more care, on the sink's thread.

        Of the last ones only. `error`: what the sink has raised last since now, "" for nothing.
        """
        counters = self.pipeline.counters if self.pipeline is not None else None
        before = (counters.exceptions_total, counters.lost_total) if counters is not None else (0, 0)
        with self._change:
            self._watched[emission_id] = (told, *before)
            if len(self._watched) > MOST_WATCHED:
                del self._watched[next(iter(self._watched))]

    def _tell(self, ids: Sequence[str]) -> None:
        assert self.pipeline is not None
        counters = self.pipeline.counters
        with self._change:
            found = [each for name in ids if (each := self._watched.pop(name, None)) is not None]
        for told, exceptions, lost in found:
            error = counters.last_exception if counters.exceptions_total > exceptions else ""
            told(error, counters.lost_total > lost)

    def _done(self, ids: Sequence[str]) -> None:
        """Told by the pipeline: these need no more care."""
        if self._watched:
            self._tell(ids)
        if self._rows:
            rows = [row for each in ids if (row := self._rows.pop(each, None)) is not None]
            if rows:
                self._on_taken(self, rows)


class _Name:
    """The rule of an emission that cannot be dropped."""

    __slots__ = ("dropped", "id")

    def __init__(self, rule_id: str) -> None:
        self.id, self.dropped = rule_id, 0
