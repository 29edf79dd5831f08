"""Measurements into the store, in batches, with their Boxes' nominal values; trends, acknowledgements.

A thread of the triggering service, so that a slow disk does not delay a trigger. The queue is bounded;
a Measurement without room was never acknowledged, and its Box sends it again.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import merge
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from opq_cloud.core.service import ServiceCounters
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection
from opq_cloud.makai.measurements.box_nominals import BoxNominals
from opq_cloud.makai.measurements.interval_queue import IntervalQueue
from opq_cloud.makai.measurements.measurement_queue import MeasurementQueue
from opq_cloud.makai.measurements.missed_minutes import GatewayLosses, MissedMinutes, lost_between
from opq_cloud.makai.measurements.sequence_tracker import SequenceTracker
from opq_cloud.makai.measurements.trends import NEIGHBOUR_MS, SILENT_S, Trends, trend_of
from opq_cloud.store.store import CloudStore
from opq_proto.errors import StoreError
from opq_proto.kit.log import BoundLogger
from opq_proto.measurement.batch import Measurements, joined
from opq_proto.measurement.invariants import RefusedError
from opq_proto.measurement.wire import NominalOf, batches_of
from opq_proto.messages import TREND_MS, Measurement, Trend

RETRY_S = 1.0
SLOW_STORE_S = 5.0
"""A store that takes longer is reported before it refuses, which SQLite does after 20 s."""
WAIT_S = 0.5
BATCH_ROWS = 1000
"""So many are stored at once, before `batch_ms` are over."""
"""Interval of the checks where nothing arrives."""
CORRECTING_S = 0.1
"""Time per `ack_interval_s` for minutes that came in two parts, or twice, or were open at a kill, and as much
for the spans of what was lost: after an outage each Box of a fleet may have one."""
ENDING_S = 2.0
"""Time for those spans when the service ends."""
HALVES_KEPT = 100_000
PRIME_LIMIT = 200_000
"""Stored numbers of a Box that are read after a restart."""


class MeasurementWriter:
    """Stores Measurements; calls `acknowledge(box_id, message)` in its own thread."""

    def __init__(
        self,
        store: CloudStore,
        config: TriggeringServiceSection,
        counters: ServiceCounters,
        log: BoundLogger,
        acknowledge: Callable[[str, str], None],
    ) -> None:
        self._waiting = MeasurementQueue(config.queue_rows)
        self._intervals = IntervalQueue(counters)
        self._store = store
        self._config = config
        self._counters = counters
        self._log = log
        self._losses = GatewayLosses(store, log)
        self._acknowledge = acknowledge
        self._trackers: dict[str, SequenceTracker] = {}
        self._to_acknowledge: set[str] = set()
        self._nominals = BoxNominals(store)
        self._trends = Trends()
        self._halves: dict[tuple[str, int], None] = {}
        self._missed = MissedMinutes(store)
        self._began_missed_s: float | None = None
        """When `_missed` began, monotonic; None: the store could not be read yet."""
        self._batch: list[Measurements] = []
        self._again: dict[str, int] = {}
        """Boxes that sent stored Measurements again and need an acknowledgement; each with the oldest
        number that it holds. Any thread adds, the writer's takes.
        """
        self._refused_rows: deque[RefusedError] = deque(maxlen=config.queue_rows)
        """Measurements whose numbers are noted next."""
        self._deleted: deque[str] = deque()
        """Deleted Boxes that are not forgotten yet. Any thread adds, the writer's takes."""
        self._refused: str | None = None
        """The reason why the store refuses."""
        self._began_s: float | None = None
        """Since when a batch has been with the store, monotonic."""

    @property
    def problem(self) -> str | None:
        """Why Measurements wait: the store refuses or does not answer. From any thread."""
        began_s = self._began_s
        waited_s = 0.0 if began_s is None else time.monotonic() - began_s
        if self._refused is None and waited_s > SLOW_STORE_S:
            return f"the store has not answered for {waited_s:.0f} s"
        return self._refused

    def accept(self, columns: Measurements) -> None:
        """Accepts a batch of Measurements; never blocks; from any thread."""
        self._waiting.offer(columns)

    def accept_intervals(self, rows: Sequence[Measurement]) -> None:
        """Accepts intervals, disturbances, and what was lost of them; never blocks; from any thread."""
        self._intervals.offer(rows)

    def accept_row(self, row: Measurement, nominal_of: NominalOf) -> None:
        """Accepts one Measurement, as `accept`."""
        self.accept(*batches_of([row], nominal_of))

    def accept_refused(self, refused: Iterable[RefusedError]) -> None:
        """Accepts Measurements that cannot be true and are not stored; from any thread.

        Their numbers count as stored, or their Boxes would send them for ever.
        """
        self._refused_rows.extend(each for each in refused if each.sequence is not None)

    def without_stored(self, columns: Measurements) -> Measurements:
        """Returns rows that were sent again without those that are stored, which need not be judged and are
        counted. From any thread.
        """
        known = self._trackers.get
        rows = zip(columns.ids, columns.sequence.tolist(), strict=True)
        stored = np.array(
            [
                sequence >= 0 and (tracker := known(box_id)) is not None and tracker.has(sequence)
                for box_id, sequence in rows
            ],
            np.bool_,
        )
        if not stored.any():
            return columns
        self._counters.add("measurements_doubled", int(stored.sum()))
        again = columns.part(stored)
        for box_id, sequence, oldest in zip(
            again.ids, again.sequence.tolist(), again.oldest_sequence.tolist(), strict=True
        ):
            self._again[box_id] = max(self._again.get(box_id, 0), min(oldest, sequence))
        return columns.part(~stored)

    def forget(self, box_ids: Iterable[str]) -> None:
        """Forgets what is known of deleted Boxes before the next batch is stored; from any thread."""
        self._deleted.extend(box_ids)

    def run(self, stop: threading.Event) -> None:
        """Runs until `stop`; then stores waiting Measurements and the open minutes too."""
        next_acknowledgement = time.monotonic() + self._config.ack_interval_s
        self._put_trends(time.monotonic())
        while not stop.is_set():
            self._gather(stop)
            self._forget_deleted()
            self._began_s = time.monotonic()
            stored = self._flush() and self._flush_intervals() and self._note_refused()
            now = time.monotonic()
            if now >= next_acknowledgement:
                next_acknowledgement = now + self._config.ack_interval_s
                self._acknowledge_all()
                self._put_trends(now)
                self._counters.set("writer_cpu_seconds", time.thread_time())
            self._began_s = None
            if not stored:
                stop.wait(RETRY_S)
        self._receive(None, 1, 0.0)
        if self._flush() and self._flush_intervals() and self._note_refused():
            self._put_trends(time.monotonic(), everything=True)
            self._acknowledge_all(ends=True)

    def _forget_deleted(self) -> None:
        """Forgets them in the writer's thread: a batch that is being stored needs its Boxes' numbers."""
        while self._deleted:
            box_id = self._deleted.popleft()
            self._trackers.pop(box_id, None)
            self._nominals.forget(box_id)

    def _gather(self, stop: threading.Event) -> None:
        if not self._rows:
            self._receive(BATCH_ROWS, 1, WAIT_S)
        until = time.monotonic() + self._config.batch_ms / 1000
        while 0 < self._rows < BATCH_ROWS and not stop.is_set():
            left = until - time.monotonic()
            if left <= 0:
                return
            self._receive(BATCH_ROWS - self._rows, BATCH_ROWS - self._rows, min(left, WAIT_S))

    @property
    def _rows(self) -> int:
        return sum(map(len, self._batch))

    def _receive(self, most: int | None, least: int, timeout_s: float) -> None:
        self._batch += self._waiting.receive(most, least, timeout_s)

    def _flush(self) -> bool:
        """Stores the batch; False when the store refused it and it is kept."""
        self._counters.set("measurements_dropped", self._waiting.dropped)
        count = self._rows
        if not count:
            return True
        self._batch = joined(self._batch)  # rows of many turns cost as much as those of one
        try:
            self._know_boxes()
            count = self._drop_stored()
            self._counters.add("nominals_stored", sum(map(self._nominals.read, self._batch)))
            new = self._store.append_measurements((), self._batch)
        except StoreError as error:
            self._counters.add("store_errors")
            if self._refused is None:
                self._log.error("store.failing", error=str(error), waiting=count)
            self._refused = str(error)
            return False
        if self._refused is not None:
            self._log.info("store.recovered", stored=count)
        self._refused = None
        now, now_ns = time.monotonic(), time.time_ns()
        self._counters.add("measurements_stored", new)
        self._counters.add("measurements_doubled", count - new)
        for columns in self._batch:
            self._missed.note_heard(columns)
            if not columns.backfilled:
                self._counters.stages.add_array("measurement_stored", (now_ns - columns.end_ns) / 1e9)
            new_rows = self._track(columns)  # one that was sent again counts once in its minute
            self._trends.add(columns if new_rows.all() else columns.part(new_rows), now)
        self._batch = []
        return True

    def _flush_intervals(self) -> bool:
        """Stores waiting intervals and disturbances; False: the store refused them, and they are kept."""
        while rows := self._intervals.first(BATCH_ROWS):
            try:
                self._know((row.box_id, row.sequence, row.oldest_sequence) for row in rows)
                self._note_losses(rows)
                new = self._store.intervals.append(rows)
            except StoreError as error:
                self._counters.add("store_errors")
                if self._refused is None:
                    self._log.error("store.failing", error=str(error), waiting=len(rows))
                self._refused = str(error)
                return False
            self._refused = None
            self._counters.add("intervals_stored", new)
            self._counters.add("intervals_doubled", len(rows) - new)
            self._intervals.remove(len(rows))
            for row in rows:
                if row.sequence is not None:
                    self._trackers[row.box_id].add(row.sequence, row.oldest_sequence)
                    self._to_acknowledge.add(row.box_id)
        return True

    def _note_losses(self, rows: Iterable[Measurement]) -> None:
        """Names what gateways lost of their intervals, in the log and the store. Raises StoreError."""
        trackers = self._trackers
        self._losses.note(
            row for row in rows if row.sequence is None or not trackers[row.box_id].has(row.sequence)
        )  # one that is stored was sent again, and perhaps its loss was seen since

    def _note_refused(self) -> bool:
        """Notes the numbers of refused Measurements; False: the store could not be read."""
        while self._refused_rows:
            each = self._refused_rows[0]
            try:
                self._know([(each.box_id, each.sequence, each.oldest_sequence)])
            except StoreError:
                self._counters.add("store_errors")
                return False
            self._refused_rows.popleft()
            if each.sequence is not None:
                self._trackers[each.box_id].add(each.sequence, each.oldest_sequence)
                self._to_acknowledge.add(each.box_id)
        return True

    def _drop_stored(self) -> int:
        """Drops rows that were sent again and stored while they waited; returns how many rows are left."""
        left = (self.without_stored(each) if each.backfilled else each for each in self._batch)
        self._batch = [each for each in left if len(each)]
        return self._rows

    def _track(self, columns: Measurements) -> NDArray[np.bool_]:
        """Returns (n,) whether each is new."""
        ids, trackers = columns.ids, self._trackers
        numbers = columns.sequence.tolist()
        rows = zip(ids, numbers, columns.oldest_sequence.tolist(), strict=True)
        self._to_acknowledge.update(
            box_id for box_id, number in zip(ids, numbers, strict=True) if number >= 0
        )
        return np.array(
            [
                sequence < 0 or trackers[box_id].add(sequence, None if oldest < 0 else oldest)
                for box_id, sequence, oldest in rows
            ],
            np.bool_,
        )

    def _know_boxes(self) -> None:
        """Reads the stored numbers of the batch's new Boxes. Raises StoreError: they could not be read."""
        for columns in self._batch:
            rows = zip(columns.ids, columns.sequence.tolist(), columns.oldest_sequence.tolist(), strict=True)
            self._know(
                (box_id, None if sequence < 0 else sequence, None if oldest < 0 else oldest)
                for box_id, sequence, oldest in rows
            )

    def _know(self, rows: Iterable[tuple[str, int | None, int | None]]) -> None:
        """Reads the stored numbers of new Boxes: each with its first number, and the oldest that it holds."""
        for box_id, sequence, oldest in rows:
            if box_id not in self._trackers:
                self._trackers[box_id] = self._prime(box_id, sequence, oldest)

    def _prime(self, box_id: str, sequence: int | None, oldest: int | None) -> SequenceTracker:
        """Returns the stored numbers of a Box, from its oldest one on."""
        if sequence is None:
            return SequenceTracker()
        found = self._store.highest_sequence(box_id), self._store.intervals.highest_sequence(box_id)
        highest = max((each for each in found if each is not None), default=None)
        if highest is None:
            return SequenceTracker()
        first = oldest if oldest is not None else highest
        first = max(min(first, highest), highest - PRIME_LIMIT)
        stored = self._store.sequences(box_id, first, highest)
        of_intervals = self._store.intervals.sequences(box_id, first, highest)
        return SequenceTracker(merge(stored, of_intervals), first)

    def _acknowledge_all(self, ends: bool = False) -> None:
        until = time.monotonic() + (ENDING_S if ends else CORRECTING_S)
        while self._again:
            box_id, oldest = self._again.popitem()
            self._to_acknowledge.add(box_id)
            if (tracker := self._trackers.get(box_id)) is not None:
                tracker.note_oldest(oldest)
        for box_id in sorted(self._to_acknowledge):
            tracker = self._trackers.get(box_id)
            message = None if tracker is None else tracker.message()
            if tracker is not None and message is not None:
                self._acknowledge(box_id, message)
                self._counters.set("measurements_lost", tracker.lost, label=box_id)
                if tracker.knows_end_of_lost:
                    self._name_lost(box_id, tracker, until)
        self._to_acknowledge.clear()
        for box_id, tracker in list(self._trackers.items()) if ends else ():
            self._name_lost(box_id, tracker, until)

    def _name_lost(self, box_id: str, tracker: SequenceTracker, until: float) -> None:
        """Writes the span of the lost Measurements of a Box into the store and the log. After `until`
        (monotonic, s), or where the store fails, they stay for the next call."""
        numbers = tracker.unnamed
        if numbers is None or time.monotonic() > until:
            return
        try:
            lost = lost_between(self._store, box_id, numbers)
            self._store.note_lost(box_id, [lost])
        except StoreError:  # it is counted all the same
            self._counters.add("store_errors")
        else:
            tracker.unnamed = None
            self._log.error("measurements.lost", box_id=box_id, lost=lost.words)

    def _put_trends(self, now: float, everything: bool = False) -> None:
        over = self._trends.over(now, everything)
        widened = self._stored_trends([trend for trend, _ in over]) if over else set()
        again = {(trend.box_id, trend.start_ms) for trend, partial in over if partial or widened is None}
        self._note_again(again | (widened or set()))
        if everything or widened is None:
            return
        until = time.monotonic() + CORRECTING_S
        while time.monotonic() < until and (minute := self._next_minute(now)) is not None:
            if not self._correct(*minute):
                self._note_again([minute])
                return

    def _note_again(self, minutes: Collection[tuple[str, int]]) -> None:
        """Notes minutes whose trend is made again from the store; those beyond the limit stay as they are."""
        room = max(0, HALVES_KEPT - len(self._halves))
        self._halves |= dict.fromkeys(islice(minutes, room))

    def _next_minute(self, now: float) -> tuple[str, int] | None:
        """Returns (Box, start) of the next minute whose trend is made again from its stored Measurements.

        None: no such minute is known now, or the store cannot be read.
        """
        if self._halves:
            minute = next(iter(self._halves))  # the oldest: one that cannot be made does not keep the others
            del self._halves[minute]
            return minute
        try:
            if self._began_missed_s is None:
                self._missed.begin()
                self._began_missed_s = now
            elif now - self._began_missed_s > SILENT_S:
                self._missed.note_silent()
            return self._missed.next()
        except StoreError:
            self._counters.add("store_errors")
            return None

    def _correct(self, box_id: str, start_ms: int) -> bool:
        """Makes a minute again that came in two parts, or twice, or was refused: the store has all its
        Measurements. False: the store refuses.
        """
        try:
            around = start_ms - NEIGHBOUR_MS, start_ms + TREND_MS + NEIGHBOUR_MS
            trend, came_twice = trend_of(box_id, start_ms, self._store.measurements(box_id, *around))
        except StoreError:
            self._counters.add("store_errors")
            return False
        put = self._store.replace_trends if came_twice else self._store.put_trends
        if trend.metrics:
            if self._stored_trends([trend], put) is None:
                return False
            self._counters.add("trends_corrected")
        return True

    def _stored_trends(
        self,
        trends: Sequence[Trend],
        put: Callable[[Sequence[Trend]], set[tuple[str, int]] | None] | None = None,
    ) -> set[tuple[str, int]] | None:
        """Stores trends; returns minutes that were stored before. None: the store refused."""
        try:
            widened = (put or self._store.put_trends)(trends)
        except StoreError as error:
            self._counters.add("trends_refused", len(trends))
            if put is None:  # a minute that is made again is refused each time until the store recovers
                first = trends[0]
                facts = {"trends": len(trends), "box_id": first.box_id, "start_ms": first.start_ms}
                self._log.error("trends.refused", error=str(error), **facts)
            return None
        self._counters.add("trends_stored", len(trends))
        return widened or set()
