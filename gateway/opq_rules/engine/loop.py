"""EngineLoop: the engine's one thread; takes records from sources, runs units, passes emissions on.

Changes of what runs arrive as calls (`call`), so that nothing here needs a lock.
"""

import contextlib
import heapq
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from opq_proto.kit import log
from opq_rules.engine.clock import RuleClock, ended
from opq_rules.engine.running.rule import QueryUnit, Rule
from opq_rules.engine.running.sink_runner import SinkRunner
from opq_rules.engine.running.source_runner import SourceEntry, SourceRunner
from opq_rules.engine.running.stream_input import MAX_BATCH_RECORDS, StreamInput
from opq_rules.engine.running.taps import RuleTaps
from opq_rules.engine.state.checkpoint import MAX_STAGED, MAX_WAITING, Checkpoint
from opq_rules.values.batch import Batch, Emission

RECORDS_PER_TURN = 4096
"""Records taken from one source before the others have their turn."""
FIRST_ENTRIES = 8
"""Entries taken from one source at first; doubled while time is left."""
MAX_BYTES_AT_ONCE = 1 << 20
"""Bytes taken from one source at once."""
DRAIN_S = 0.1
"""Longest turn, because changes of rules wait for it; a record can be a body of thousands of rows."""
CALLS_PER_CHECK = 64
"""Sources and calls that are handled between two checks of the timers."""
MEMORY_HOPS = 32
"""Most times that memory topics feed each other in a turn; the rest waits for the next turn."""
IDLE_S = 60.0
FEW_ENTRIES = 64
"""With at most so many entries from a source the thread pauses. The source then need not wake it for each of
those that follow at once, and the two threads do not wait for each other at each system call (60 to 100 us a
record)."""
NAP_S = 0.0005
"""Length of this pause."""
T = TypeVar("T")


class UnitTimers:
    """When units need `advance`. Each unit has at most one timer: `QueryUnit.due_ms`."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, QueryUnit]] = []
        """Outdated entries of a unit are skipped."""
        self._numbers = itertools.count()

    @property
    def next_ms(self) -> int | None:
        """Time of the next check; nothing may be due then."""
        return self._heap[0][0] if self._heap else None

    def set(self, unit: QueryUnit) -> None:
        """Sets the unit's timer to its present `next_due_ms`."""
        due_ms = unit.next_due_ms
        if due_ms is not None and due_ms != unit.due_ms:
            heapq.heappush(self._heap, (due_ms, next(self._numbers), unit))
        unit.due_ms = due_ms

    def due(self, now_ms: int) -> Iterator[QueryUnit]:
        """Yields the units that are due, in order, also those set meanwhile, and removes their timers."""
        while self._heap and self._heap[0][0] <= now_ms:
            due_ms, _, unit = heapq.heappop(self._heap)
            if unit.due_ms == due_ms:
                unit.due_ms = None
                yield unit


class EngineLoop:
    """The engine's thread. `unit_failed(unit, error)` is called when a unit raises, and stops its rules."""

    def __init__(self, clock: RuleClock, checkpoint: Checkpoint) -> None:
        self.turns = 0
        self.clock, self.checkpoint, self.taps = clock, checkpoint, RuleTaps()
        self.inputs: dict[SourceRunner, StreamInput] = {}
        self.unit_failed: Callable[[QueryUnit, Exception], None] = _raise
        self._inbox: queue.SimpleQueue[SourceRunner | Callable[[], None]] = queue.SimpleQueue()
        self._direct: deque[SourceRunner] = deque()
        self._timers = UnitTimers()
        self._held: set[SourceRunner] = set()
        self._napping: deque[SourceRunner] = deque()
        """Sources that gave a few records; this thread reads them at its next turn, without being woken."""
        self._waits = False
        """The present records come from a source that waits for its sinks."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = log.get(service="rules")

    # -- from other threads

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="rules-engine", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """Ends after the present turn. False: it did not end within two seconds."""
        self._stop.set()
        self._inbox.put(lambda: None)
        return ended(self._thread)

    def wake(self, runner: SourceRunner) -> None:
        """Called when a source has a record."""
        found = self.inputs.get(runner)
        if found is not None and found.direct:
            self._direct.append(runner)
            if threading.current_thread() is self._thread:
                return
        self._inbox.put(runner)

    def call(self, work: Callable[[], T]) -> T:
        """Runs `work` in the engine's thread, between records; returns its result or raises its error."""
        if self._thread is None or threading.current_thread() is self._thread or not self._thread.is_alive():
            return work()
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        self._inbox.put(run)
        while True:
            try:
                return done.result(1.0)
            except TimeoutError:  # also a TimeoutError of the work
                if done.done():
                    return done.result()
                if not self._thread.is_alive():
                    return work()

    def record_sent(self, runner: SinkRunner, rows: list[int]) -> None:
        """Called by a sink's thread: these rows of the outbox have been handled."""
        self.checkpoint.record_sent(runner, rows)

    def record_room(self, runner: SinkRunner) -> None:
        """Called by a sink's thread when it has room again."""
        self._inbox.put(lambda: self._read_on(runner))

    # -- the engine's thread

    def enter(self, rule: Rule, unit: QueryUnit, inputs: Sequence[StreamInput]) -> None:
        """Adds a rule and its sinks to the inputs; the unit may be there already for another rule."""
        assert rule.sinks is not None
        for each in inputs:
            self.inputs[each.runner] = each
            each.enter(unit, rule.sinks.runners, unit.durable)
        self._timers.set(unit)

    def leave(self, rule: Rule, unit: QueryUnit, inputs: Sequence[StreamInput]) -> None:
        """Removes a rule from the inputs; with its last rule the unit is removed too."""
        assert rule.sinks is not None
        for each in inputs:
            each.leave(unit, rule.sinks.runners, unit.durable)
        if not unit.rules():
            unit.due_ms = None

    def deliver(self, rule: Rule, emissions: Sequence[Emission]) -> None:
        """Passes emissions of a rule to its sinks."""
        sinks = rule.sinks
        if sinks is None:
            return
        first = rule.sequence
        count = len(emissions)
        rule.sequence = first + count
        rule.out += count
        if sinks.options.qos:
            self.checkpoint.add(rule, first, emissions)
        else:
            for runner in sinks.runners:
                runner.offer(rule, first, emissions, self._waits)
        for topic in sinks.topics:
            topic.deliver(rule.id, first, emissions)
        if tapped := self.taps.by_rule:
            for tap in tapped.get(rule.id, ()):
                tap(emissions)

    def commit(self) -> bool:
        """Commits waiting emissions, after the records between rules over topics of memory, which would be
        lost."""
        for _ in range(MEMORY_HOPS):
            for _ in range(len(self._direct)):  # each of very many rules may have its own input
                self._drain(self._direct.popleft())
            if not self._direct:
                break
        done = self.checkpoint.commit()
        if self._held:
            self.release_held()
        return done

    def run_once(self, wait_s: float) -> None:
        """Does the waiting work; waits up to `wait_s` for it. Tests call it, too."""
        item: SourceRunner | Callable[[], None] | None = None
        for _ in range(len(self._napping)):  # before calls, which came later than their records
            self._drain(self._napping.popleft())
        if self._direct or self._napping:
            wait_s = 0.0  # rules that feed each other in a ring never end, but calls must have their turn
        with contextlib.suppress(queue.Empty):
            item = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        self.turns += 1
        until_s = self.clock.monotonic_s() + DRAIN_S
        for _ in range(CALLS_PER_CHECK):
            if isinstance(item, SourceRunner):
                self._drain(item)
            elif item is not None:
                item()
            self._pass_on()
            if self._stop.is_set() or self.clock.monotonic_s() >= until_s:
                break
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
        else:
            if item is not None:
                self._inbox.put(item)
        self._advance_due()
        due_s = self.checkpoint.due_in_s
        if due_s is not None and due_s <= 0:
            self.commit()
        if self._napping and self._inbox.empty() and not self._direct:
            time.sleep(NAP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.run_once(self._wait_s())
            except Exception as error:  # a bug of ours; it is logged, and the other rules continue
                self._log.exception("engine.failed", error=str(error))
        self.commit()

    def _wait_s(self) -> float:
        waits = [IDLE_S]
        if (next_ms := self._timers.next_ms) is not None:
            waits.append((next_ms - self.clock.now_ms()) / 1000)
        due_s = self.checkpoint.due_in_s
        if due_s is not None:
            waits.append(due_s)
        return max(0.0, min(waits))

    def _read_on(self, runner: SinkRunner) -> None:
        self.checkpoint.read_on(runner)
        self.release_held()

    def release_held(self) -> None:
        """Takes records again from held sources whose reason for holding is over."""
        for runner in list(self._held):
            found = self.inputs.get(runner)
            if found is None or not (found.pinned or self._is_full(found)):
                self._held.discard(runner)
                runner.release()

    def _is_full(self, found: StreamInput) -> bool:
        if not (found.runner.blocks or found.durable):
            return False
        checkpoint = self.checkpoint
        if found.durable and checkpoint.staged >= MAX_STAGED:
            return True
        return any(sink.full or checkpoint.waiting(sink) >= MAX_WAITING for sink in found.sinks)

    def _drain(self, runner: SourceRunner) -> None:
        found = self.inputs.get(runner)
        if found is None:
            return
        if found.pinned or self._is_full(found):
            runner.held = True
            self._held.add(runner)
            return
        few = False
        try:
            few = self._give_some(found)
        finally:
            if few and not found.direct:
                self._napping.append(runner)
            else:
                runner.rest()

    def _give_some(self, found: StreamInput) -> bool:
        """Passes on what waits, as long as a turn lasts; returns whether only a few records were left."""
        runner = found.runner
        if found.direct:  # topics of memory are always emptied
            self._give(found, runner.take_entries(RECORDS_PER_TURN))
            return False
        until_s, most, left = self.clock.monotonic_s() + DRAIN_S, FIRST_ENTRIES, RECORDS_PER_TURN
        while left > 0 and (entries := runner.take_entries(min(most, left), MAX_BYTES_AT_ONCE)):
            self._give(found, entries)
            count = sum(entry.count for entry in entries)
            if count <= FEW_ENTRIES and len(entries) < most:
                return True
            left -= count
            most = min(2 * most, MAX_BATCH_RECORDS)
            if self.clock.monotonic_s() >= until_s or self._is_full(found):
                break
        return False

    def _give(self, found: StreamInput, entries: list[SourceEntry]) -> None:
        if not entries:
            return
        runner = found.runner
        runner.last_ms = self.clock.now_ms()
        self._waits = runner.blocks
        for batch in found.batches(entries, self._deliver_error):
            for unit in tuple(found.units):
                self._feed(unit, batch)
            if not found.direct:  # a memory topic has room for one batch, not for all of them
                self._pass_on()
                self._waits = runner.blocks  # set again, because records of a topic changed it
        for unit in found.units:
            if unit.due_ms is None:
                self._timers.set(unit)
        if found.durable:
            self.checkpoint.add_input(found)

    def _deliver_error(self, rule: Rule, emissions: Sequence[Emission]) -> None:
        """Delivers an error and saves the unit's state, which the sequence number alone would clear."""
        self.deliver(rule, emissions)
        if rule.unit is not None:
            self.checkpoint.add_unit(rule.unit)

    def _pass_on(self) -> None:
        """Processes the new records of topics of memory for the rules that read them."""
        for _ in range(MEMORY_HOPS):
            if not self._direct:
                return
            self._drain(self._direct.popleft())

    def _feed(self, unit: QueryUnit, batch: Batch) -> None:
        began_ns = time.thread_time_ns()
        try:
            unit.feed(batch, self.deliver)
        except Exception as error:
            self.unit_failed(unit, error)
            return
        unit.busy_ns += time.thread_time_ns() - began_ns
        unit.last_ms = batch.arrived_ms if isinstance(batch.arrived_ms, int) else batch.arrived_ms[-1]
        self.checkpoint.add_unit(unit)
        self._timers.set(unit)

    def _advance_due(self) -> None:
        now_ms = self.clock.now_ms()
        self._waits = False
        for unit in self._timers.due(now_ms):
            inputs = [each for each in self.inputs.values() if unit in each.units]
            if any(each.runner.own_time for each in inputs):
                continue  # it uses the time of its records
            if any(each.runner.waiting for each in inputs):
                continue  # earlier records still wait; `_give` sets the timer again
            try:
                unit.advance(now_ms, self.deliver)
            except Exception as error:
                self.unit_failed(unit, error)
                continue
            self.checkpoint.add_unit(unit)
            self._timers.set(unit)


def _raise(unit: QueryUnit, error: Exception) -> None:
    raise error
