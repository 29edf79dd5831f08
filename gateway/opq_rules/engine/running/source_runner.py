"""SourceRunner: one running source and the bounded queue between it and the engine.

Where the queue is full, the source waits (`blocks`), or the oldest records are dropped and counted. A source
that ends with an error is opened again after the last record that it gave, with growing waits.
"""

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from opq_plugins.sdk import Arrivals, Messages, Source
from opq_proto.kit.backoff import Backoff, doubling
from opq_rules.engine.clock import RuleClock, ended
from opq_rules.engine.types.operator_context import OperatorContext
from opq_rules.sources.memory import Source as MemorySource
from opq_rules.values.batch import Metas, Row

WAITS_S = doubling(0.5, 30.0)
STEADY_S = 60.0
"""After running for this time a source restarts with the shortest wait."""
MAX_BYTES = 64 << 20
"""Most bytes of all payloads in the queue, because a thousand bodies could have 16 MiB each."""


@dataclass(slots=True)
class SourceEntry:
    """One call of the source: rows, or payloads that still have to be decoded."""

    rows: Sequence[Row] | None
    payloads: Sequence[bytes] | None
    count: int
    meta: Metas
    arrived_ms: int | Sequence[int]
    offset: object
    size: int = 0
    """Bytes of the payloads."""


class RecordTaker(Protocol):
    """The taker of records: `loop.EngineLoop`. Any thread may call `wake`: there is something to take."""

    @property
    def clock(self) -> RuleClock: ...
    def wake(self, runner: "SourceRunner") -> None: ...


class SourceRunner(OperatorContext):
    """One running source; also its `sdk.SourceContext`.

    Attributes: counters of the status, which other threads read without a lock. `make` makes a configured
    source; it is called again for each attempt.
    """

    def __init__(
        self,
        name: str,
        rule_id: str,
        make: Callable[[], Source],
        limit: int,
        blocks: bool,
        taker: RecordTaker,
    ) -> None:
        super().__init__(rule_id, f"source_{name}", {"stream": name, "rule_id": rule_id})
        self.name = name
        self.blocks, self.limit = blocks, max(1, limit)
        self.records_in, self.dropped, self.errors = 0, 0, 0
        self.last_exception, self.last_exception_ms, self.last_ms = "", 0, 0
        self.connection = 0
        """1 connected, 0 connecting, -1 lost."""
        self.started = False
        self.own_time = False
        """Records have their own times of arrival: a replay."""
        self.offset: object = None
        """Offset after the last record that the engine has taken."""
        self.held = False
        """The engine does not take from it because one of its sinks is full."""
        self._make, self._taker = make, taker
        self._queue: deque[SourceEntry] = deque()
        self.waiting = self._bytes = 0
        """Records in the queue, and the bytes of their payloads."""
        self._reported = False
        """The taker has been woken for the records in the queue."""
        self._emitted_offset: object = None
        self._room = threading.Condition()
        self._stop = threading.Event()
        """The open source has to end; with `_ending` the runner too."""
        self._ending = False
        self._thread: threading.Thread | None = None
        self._attached: MemorySource | None = None

    # -- the engine's side

    def start(self, offset: object = None) -> None:
        """Runs the source in its own thread; where it can be rewound it begins after `offset`."""
        self.started = True
        self.offset = self._emitted_offset = offset
        source = self._make()
        if isinstance(source, MemorySource):  # without a thread: records arrive on the publisher's thread
            self._attached = source
            source.attach(self)
            return
        self._thread = threading.Thread(target=self._run, name=f"source-{self.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Requests the end of the source and returns; `join` waits."""
        self._ending = True
        self._stop.set()
        if self._attached is not None:
            self._attached.detach()
        with self._room:
            self._room.notify_all()

    def join(self) -> bool:
        """False: the source does not end within two seconds, and is abandoned."""
        return ended(self._thread)

    def take_entries(self, most: int, most_bytes: int = MAX_BYTES) -> list[SourceEntry]:
        """Takes the oldest entries, of about `most` records. The caller calls `rest` afterwards."""
        taken: list[SourceEntry] = []
        count = size = 0
        with self._room:
            while self._queue and count < most and size < most_bytes:
                entry = self._queue.popleft()
                count += entry.count
                size += entry.size
                taken.append(entry)
            self.waiting -= count
            self._bytes -= size
            self._room.notify_all()
        if taken and taken[-1].offset is not None:
            self.offset = taken[-1].offset
        elif taken:
            self.offset = next((e.offset for e in reversed(taken) if e.offset is not None), self.offset)
        return taken

    def rest(self) -> None:
        """Called when the engine has taken what it can; wakes it again if records are left."""
        with self._room:
            self._reported = bool(self._queue)
            if self._reported:
                self._taker.wake(self)

    def release(self) -> None:
        """Called when the engine takes from it again after it was held."""
        self.held = False
        self.rest()  # else the next record of a source held with an empty queue would not wake the engine

    # -- sdk.SourceContext

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def wait(self, seconds: float) -> bool:
        return self._stop.wait(seconds)

    def emit(
        self, message: Mapping[str, object], meta: Mapping[str, object] | None = None, offset: object = None
    ) -> bool:
        row = message if isinstance(message, dict) else dict(message)
        return self._append(SourceEntry((row,), None, 1, None if meta is None else (meta,), 0, offset), None)

    def emit_many(
        self, messages: Messages, meta: Metas = None, offset: object = None, arrived_ms: Arrivals = None
    ) -> bool:
        rows: Any = messages
        return self._append(SourceEntry(rows, None, len(messages), meta, 0, offset), arrived_ms)

    def emit_bytes(self, payloads: Sequence[bytes], meta: Metas = None, offset: object = None) -> bool:
        return self._append(SourceEntry(None, payloads, len(payloads), meta, 0, offset), None)

    def emit_error(self, text: str) -> None:
        self.count_failed(text)

    def connected(self, up: bool, why: str = "") -> None:
        was, self.connection = self.connection, 1 if up else -1
        if why and not up:
            self.count_failed(why)
        if was != self.connection:
            self._log.info("source.connected" if up else "source.lost", why=why)

    def count_failed(self, text: str, count: int = 1) -> None:
        """Counts records that could not be read, with the reason."""
        self.errors += count
        self.last_exception, self.last_exception_ms = text[:500], self._taker.clock.now_ms()

    # -- inside

    def _append(self, entry: SourceEntry, arrived_ms: int | Sequence[int] | None) -> bool:
        if self._ending:
            return False
        if not entry.count and entry.offset is None:
            return True
        size = 0
        if entry.payloads is not None:
            size = len(entry.payloads[0]) if entry.count == 1 else sum(map(len, entry.payloads))
            entry.size = size
        with self._room:
            if self.blocks:
                while self.waiting and not self._has_room(entry.count, size):
                    self._room.wait(1.0)
                    if self._ending:
                        return False
            if arrived_ms is None:
                entry.arrived_ms = self._taker.clock.now_ms()
            else:
                entry.arrived_ms, self.own_time = arrived_ms, True
            self._queue.append(entry)
            self.waiting += entry.count
            self._bytes += size
            self.records_in += entry.count
            while (
                (self.waiting > self.limit or self._bytes > MAX_BYTES)
                and not self.blocks
                and len(self._queue) > 1
            ):
                oldest = self._queue.popleft()
                self.waiting -= oldest.count
                self._bytes -= oldest.size
                self.dropped += oldest.count
            self._emitted_offset = entry.offset if entry.offset is not None else self._emitted_offset
            if not self._reported:
                self._reported = True
                self._taker.wake(self)
        return True

    def has_room(self, count: int, size: int) -> bool:
        """Whether `emit_bytes` of so many records and bytes would not wait."""
        return not self.blocks or not self.waiting or self._has_room(count, size)

    def _has_room(self, count: int, size: int) -> bool:
        return self.waiting + count <= self.limit and self._bytes + size <= MAX_BYTES

    def _run(self) -> None:
        clock, backoff = self._taker.clock, Backoff(WAITS_S, steady_s=STEADY_S, jitter=0.2)
        while not self._ending:
            began_s = clock.monotonic_s()
            try:
                self._run_once()
                return
            except Exception as error:  # a plug-in's source: foreign code, it may raise anything
                self.connection = -1
                wait_s = backoff.record_failure(clock.monotonic_s() - began_s)
                self.count_failed(f"{type(error).__name__}: {error}")
                self._log.warning(
                    "source.failed", error=str(error), again_s=round(wait_s, 3), failed=backoff.failures
                )
            self._stop.wait(wait_s)

    def _run_once(self) -> None:
        source = self._make()
        if self._emitted_offset is not None:
            source.rewind(self._emitted_offset)
        try:
            self.connection = 0
            source.open(self)
        finally:
            source.close(self)
