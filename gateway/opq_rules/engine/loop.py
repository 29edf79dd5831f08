"""Loop: the engine's one thread. Takes records from the feeds, runs the units, hands emissions on.

Whatever changes what runs comes in as a call (`call`), so that nothing here needs a lock.
"""

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from opq_proto import log
from opq_rules.batch import Batch, Emission
from opq_rules.engine.clock import Clock
from opq_rules.engine.feed import Entry, Feed
from opq_rules.engine.joined import MOST, Joined
from opq_rules.engine.outlet import Outlet
from opq_rules.engine.rule import Rule, Unit
from opq_rules.engine.staging import MOST_STAGED, MOST_WAITING, Staging
from opq_rules.engine.timers import Timers

TAKE = 4096
"""Records of one feed before the others have their turn."""
FIRST, MOST_BYTES_AT_ONCE = 8, 1 << 20
"""Of one feed at once, doubled while there is time."""
DRAIN_S = 0.1
"""How long that may take: whoever changes a rule waits. A record can be a body of thousands of rows."""
TURNS = 64
"""Feeds and calls between two looks at the timers."""
HOPS = 32
"""How often memory topics may feed each other before the rest waits for the next turn."""
UNBOUNDED = 1 << 40
"""Of memory feeds at qos >= 1: they are emptied before the engine takes anything else."""
IDLE_S = 60.0
T = TypeVar("T")


class Loop:
    """`failed(unit, error)`: a unit raised what it must not; the engine stops its rules."""

    def __init__(self, clock: Clock, staging: Staging, failed: Callable[[Unit, Exception], None]) -> None:
        self.turns = 0
        self.joined: dict[Feed, Joined] = {}
        self._clock, self._staging, self._failed = clock, staging, failed
        self._inbox: queue.SimpleQueue[Feed | Callable[[], None]] = queue.SimpleQueue()
        self._direct: deque[Feed] = deque()
        self._timers = Timers()
        self._held: set[Feed] = set()
        self._waits = False
        """What is being given comes from a source that waits for its sinks."""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._log = log.get(service="rules")

    # -- from other threads

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="rules-engine", daemon=True)
        self._thread.start()

    def stop(self) -> bool:
        """Ends after what it has in hand; False: it did not within two seconds."""
        self._stop.set()
        self._inbox.put(lambda: None)
        if self._thread is not None:
            self._thread.join(2.0)
            return not self._thread.is_alive()
        return True

    def wake(self, feed: Feed) -> None:
        joined = self.joined.get(feed)
        if joined is not None and joined.direct:
            self._direct.append(feed)
            if threading.current_thread() is self._thread:
                return
        self._inbox.put(feed)

    def call(self, work: Callable[[], T]) -> T:
        """`work` done by the engine's thread, between records; what it raises is raised here."""
        if self._thread is None or threading.current_thread() is self._thread or not self._thread.is_alive():
            return work()
        done = threading.Event()
        answer: list[T] = []
        wrong: list[BaseException] = []

        def run() -> None:
            try:
                answer.append(work())
            except BaseException as error:
                wrong.append(error)
            finally:
                done.set()

        self._inbox.put(run)
        while not done.wait(1.0):
            if not self._thread.is_alive():
                return work()
        if wrong:
            raise wrong[0]
        return answer[0]

    def drained(self, outlet: Outlet) -> None:
        """From a sink's thread: there is room."""
        self._inbox.put(lambda: self._room(outlet))

    # -- the engine's thread

    def join(self, unit: Unit, feeds: Sequence[Joined], durable: bool, outlets: Sequence[Outlet]) -> None:
        """A rule comes; its unit is there already when it shares one."""
        for joined in feeds:
            if unit not in joined.units:
                joined.units.append(unit)
            joined.units_changed()
            self._count_durable(joined, durable)
            for outlet in outlets:
                joined.outlets[outlet] = joined.outlets.get(outlet, 0) + 1
        self._timers.set(unit)

    def _count_durable(self, joined: Joined, change: int) -> None:
        joined.durable += change
        if joined.direct:  # the engine's own thread cannot wait, and nothing may go
            joined.feed.limit = UNBOUNDED if joined.durable else joined.limit
        elif joined.waits is None:
            joined.feed.blocks = joined.durable > 0

    def leave(
        self, unit: Unit, feeds: Sequence[Joined], durable: bool, outlets: Sequence[Outlet], last: bool
    ) -> None:
        """A rule goes; with the `last` its unit as well."""
        for joined in feeds:
            self._count_durable(joined, -durable)
            for outlet in outlets:
                joined.outlets[outlet] -= 1
                if not joined.outlets[outlet]:
                    del joined.outlets[outlet]
            if last and unit in joined.units:
                joined.units.remove(unit)
            joined.units_changed()
        if last:
            unit.due_ms = None

    def deliver(self, rule: Rule, emissions: Sequence[Emission]) -> None:
        """What a rule gives, to its sinks."""
        spec = rule.spec
        if spec is None:
            return
        first = rule.sequence
        count = len(emissions)
        rule.sequence = first + count
        rule.out += count
        if spec.options.qos:
            self._staging.add(rule, first, emissions)
        else:
            for outlet in spec.outlets:
                outlet.offer(rule, first, emissions, self._waits)
        for topic in spec.topics:
            topic.deliver(rule.id, first, emissions)

    def commit(self) -> bool:
        """All that waits. What rules gave each other over topics is done first, or it would be lost."""
        for _ in range(HOPS):
            for _ in range(len(self._direct)):  # of very many rules each has a feed of its own
                self._drain(self._direct.popleft())
            if not self._direct:
                break
        names = {joined.feed: joined.kept_as for joined in self.joined.values() if joined.durable}
        done = self._staging.commit(names)
        if self._held:
            self.look_again()
        return done

    def turn(self, wait_s: float) -> None:
        """What there is to do; waits so long when there is nothing. The thread's work, and a test's."""
        item: Feed | Callable[[], None] | None = None
        if self._direct:
            wait_s = 0.0  # rules that feed each other in a ring never end: whoever calls has a turn too
        with contextlib.suppress(queue.Empty):
            item = self._inbox.get(timeout=wait_s) if wait_s > 0 else self._inbox.get_nowait()
        self.turns += 1
        until_s = self._clock.monotonic_s() + DRAIN_S
        for _ in range(TURNS):
            if isinstance(item, Feed):
                self._drain(item)
            elif item is not None:
                item()
            self._pass_on()
            if self._stop.is_set() or self._clock.monotonic_s() >= until_s:
                break
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
        else:
            if item is not None:
                self._inbox.put(item)
        self._timers_due()
        due_s = self._staging.due_in_s
        if due_s is not None and due_s <= 0:
            self.commit()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.turn(self._wait_s())
            except Exception as error:  # a fault of ours: told, and the other rules go on
                self._log.exception("engine.failed", error=str(error))
        self.commit()

    def _wait_s(self) -> float:
        waits = [IDLE_S]
        if (next_ms := self._timers.next_ms) is not None:
            waits.append((next_ms - self._clock.now_ms()) / 1000)
        due_s = self._staging.due_in_s
        if due_s is not None:
            waits.append(due_s)
        return max(0.0, min(waits))

    def _room(self, outlet: Outlet) -> None:
        self._staging.read_on(outlet)
        self.look_again()

    def look_again(self) -> None:
        """At the feeds that were held, where nothing holds them any more."""
        for feed in list(self._held):
            joined = self.joined.get(feed)
            if joined is None or not (joined.pinned or self._is_full(joined)):
                self._held.discard(feed)
                feed.look_again()

    def _is_full(self, joined: Joined | None) -> bool:
        if joined is None or not (joined.feed.blocks or joined.durable):
            return False
        if joined.durable and self._staging.staged >= MOST_STAGED:
            return True
        return any(outlet.full or self._staging.waiting(outlet) >= MOST_WAITING for outlet in joined.outlets)

    def _drain(self, feed: Feed) -> None:
        joined = self.joined.get(feed)
        if joined is None:
            return
        if joined.pinned or self._is_full(joined):
            feed.held = True
            self._held.add(feed)
            return
        try:
            self._give_some(joined)
        finally:
            feed.rest()

    def _give_some(self, joined: Joined) -> None:
        feed = joined.feed
        if joined.direct:  # these are emptied
            self._give(joined, feed.take(TAKE))
            return
        until_s, most, left = self._clock.monotonic_s() + DRAIN_S, FIRST, TAKE
        while left > 0 and (entries := feed.take(min(most, left), MOST_BYTES_AT_ONCE)):
            self._give(joined, entries)
            left -= sum(entry.count for entry in entries)
            most = min(2 * most, MOST)
            if self._clock.monotonic_s() >= until_s or self._is_full(joined):
                return

    def _give(self, joined: Joined, entries: list[Entry]) -> None:
        if not entries:
            return
        feed = joined.feed
        feed.last_ms = self._clock.now_ms()
        self._waits = feed.blocks
        for batch in joined.batches(entries, self._tell_error):
            for unit in tuple(joined.units):
                self._feed(unit, batch)
            if not joined.direct:  # a feed of memory that is behind has room for a batch, not for all of them
                self._pass_on()
                self._waits = feed.blocks  # again: those behind a topic had their own
        for unit in joined.units:
            if unit.due_ms is None:
                self._timers.set(unit)
        if joined.durable:
            self._staging.touched(None, feed)

    def _tell_error(self, rule: Rule, emissions: Sequence[Emission]) -> None:
        """What it remembers is kept with its number: a commit of the number alone would forget it."""
        self.deliver(rule, emissions)
        unit = rule.unit
        if unit is not None and unit.durable and unit.remembers:
            self._staging.touched(unit, None)

    def _pass_on(self) -> None:
        """To rules behind topics of memory what has just been given to these."""
        for _ in range(HOPS):
            if not self._direct:
                return
            self._drain(self._direct.popleft())

    def _feed(self, unit: Unit, batch: Batch) -> None:
        began_ns = time.thread_time_ns()
        try:
            (unit.tracing or unit).feed(batch, self.deliver)
        except Exception as error:
            self._failed(unit, error)
            return
        unit.busy_ns += time.thread_time_ns() - began_ns
        unit.last_ms = batch.arrived_ms if isinstance(batch.arrived_ms, int) else batch.arrived_ms[-1]
        if unit.durable and unit.remembers:
            self._staging.touched(unit, None)
        self._timers.set(unit)

    def _timers_due(self) -> None:
        now_ms = self._clock.now_ms()
        self._waits = False
        for unit in self._timers.due(now_ms):
            feeds = [joined for joined in self.joined.values() if unit in joined.units]
            if any(joined.feed.own_time for joined in feeds):
                continue  # its time is that of its records
            if any(joined.feed.waiting for joined in feeds):
                continue  # records that arrived before it are still to come: `_drain` sets it again
            try:
                (unit.tracing or unit).advance(now_ms, self.deliver)
            except Exception as error:
                self._failed(unit, error)
                continue
            if unit.durable:
                self._staging.touched(unit, None)
            self._timers.set(unit)
