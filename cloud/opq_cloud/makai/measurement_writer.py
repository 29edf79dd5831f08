"""Measurements into the store, in batches, and what they say of their Boxes; trends, acknowledgements.

A thread of the triggering service, so that a slow disk delays no trigger. What waits is bounded;
what has no room was never acknowledged, and its Box sends it again.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from opq_cloud.config import TriggeringServiceSection
from opq_cloud.makai.boxes import BoxNominals
from opq_cloud.makai.trends import Trends, trend_of
from opq_cloud.service import ServiceCounters
from opq_cloud.store.store import TREND_MS, CloudStore, Trend
from opq_proto.channel import Channel
from opq_proto.errors import StoreError
from opq_proto.log import Log
from opq_proto.messages import Measurement

RETRY_S = 1.0
CORRECTING_S = 0.1
"""Per `ack_interval_s`, for minutes that came in two parts."""
HALVES_KEPT = 100_000
PRIME_LIMIT = 200_000
"""Stored numbers of a Box that are read after a restart."""
MAX_RANGES = 1000
"""Separate runs kept above the first hole; beyond, the highest is forgotten and will be sent again."""
MAX_HOLES = 50
"""Holes named in one acknowledgement; the rest follow when these are filled."""


class SequenceTracker:
    """What of one Box's numbered measurements is stored: up to where without a hole, and the holes.

    It gets every number that is on disk, in any order. Source: contracts.md, Acknowledgement.
    """

    def __init__(self, stored: Iterable[int] = (), begin: int | None = None) -> None:
        """`begin`: from which number on the Box may hold what is not stored; None: from the first stored."""
        self.upto: int | None = None if begin is None else begin - 1
        """The highest number stored without a hole; None before the first."""
        self.lost = 0
        """Numbers below the Box's oldest that never came."""
        self._runs: list[tuple[int, int]] = []
        for sequence in stored:
            self.add(sequence)

    def add(self, sequence: int, oldest: int | None = None) -> bool:
        """`sequence` is stored; below `oldest` the Box holds nothing any more. True: it was not known."""
        if oldest is not None:
            oldest = min(oldest, sequence)
        if self.upto is None:
            # a new cloud begins where the Box does
            self.upto = (sequence if oldest is None else oldest) - 1
        if oldest is not None and oldest - 1 > self.upto:
            self._give_up(oldest - 1)
        new = sequence > self.upto and self._insert(sequence)
        while self._runs and self._runs[0][0] <= self.upto + 1:
            self.upto = max(self.upto, self._runs.pop(0)[1])
        return new

    def missing(self, limit: int = MAX_HOLES) -> list[tuple[int, int]]:
        """Holes between what is stored, as (first, last), the lowest first."""
        holes: list[tuple[int, int]] = []
        after = self.upto or 0
        for first, last in self._runs[:limit]:
            holes.append((after + 1, first - 1))
            after = last
        return holes

    def message(self) -> str | None:
        """The acknowledgement's text; None before anything was stored.

        After the holes comes one of nothing, `41-40`: 40 is the highest number stored, so that a Box sees
        that what it sent before is lost and not late. Who does not know of it reads no hole.
        """
        if self.upto is None:
            return None
        if not self._runs:
            return str(self.upto)
        highest = self._runs[-1][1]
        holes = [*self.missing(), (highest + 1, highest)]
        return ",".join([str(self.upto), *(f"{first}-{last}" for first, last in holes)])

    def _give_up(self, upto: int) -> None:
        assert self.upto is not None
        there = sum(min(last, upto) - first + 1 for first, last in self._runs if first <= upto)
        self.lost += upto - self.upto - there
        self.upto = upto
        self._runs = [(max(first, upto + 1), last) for first, last in self._runs if last > upto]

    def _insert(self, sequence: int) -> bool:
        """False: it is in a run already."""
        runs = self._runs
        if runs and runs[-1][1] + 1 == sequence:  # nearly always
            runs[-1] = (runs[-1][0], sequence)
            return True
        at = bisect_left(runs, (sequence + 1,)) - 1  # the last run that begins at or before it
        if at >= 0 and runs[at][1] >= sequence:
            return False
        joins_left = at >= 0 and runs[at][1] + 1 == sequence
        joins_right = at + 1 < len(runs) and runs[at + 1][0] == sequence + 1
        first = runs[at][0] if joins_left else sequence
        last = runs[at + 1][1] if joins_right else sequence
        runs[at + (0 if joins_left else 1) : at + (2 if joins_right else 1)] = [(first, last)]
        if len(runs) > MAX_RANGES:
            runs.pop()
        return True


class MeasurementWriter:
    """Stores what it accepts; calls `acknowledge(box_id, message)` in its own thread."""

    def __init__(
        self,
        store: CloudStore,
        config: TriggeringServiceSection,
        counters: ServiceCounters,
        log: Log,
        acknowledge: Callable[[str, str], None],
    ) -> None:
        self._channel: Channel[Measurement] = Channel("measurements", config.queue_rows)
        self._store = store
        self._config = config
        self._counters = counters
        self._log = log
        self._acknowledge = acknowledge
        self._trackers: dict[str, SequenceTracker] = {}
        self._to_acknowledge: set[str] = set()
        self._nominals = BoxNominals(store)
        self._trends = Trends()
        self._halves: dict[tuple[str, int], None] = {}
        self._batch: list[Measurement] = []
        self.problem: str | None = None
        """Why the store takes nothing; what comes waits meanwhile."""

    def accept_measurement(self, measurement: Measurement) -> None:
        """Never blocks; from any thread."""
        self._channel.offer(measurement)

    def run(self, stop: threading.Event) -> None:
        """Until `stop`; then what waits is stored and the open minutes too."""
        next_acknowledgement = time.monotonic() + self._config.ack_interval_s
        while not stop.is_set():
            self._gather(stop)
            stored = self._flush()
            now = time.monotonic()
            if now >= next_acknowledgement:
                next_acknowledgement = now + self._config.ack_interval_s
                self._acknowledge_all()
                self._put_trends(now)
            if not stored:
                stop.wait(RETRY_S)
        self._batch += self._channel.take_all()
        if self._flush():
            self._put_trends(time.monotonic(), everything=True)
            self._acknowledge_all()

    def _gather(self, stop: threading.Event) -> None:
        until = time.monotonic() + self._config.batch_ms / 1000
        while len(self._batch) < self._config.batch_rows and not stop.is_set():
            left = until - time.monotonic()
            if left <= 0:
                return
            self._batch += self._channel.take_all(self._config.batch_rows - len(self._batch), min(left, 0.1))

    def _flush(self) -> bool:
        """Store the batch; False when the store refused it and it is kept."""
        self._counters.set("measurements_dropped", self._channel.dropped)
        if not self._batch:
            return True
        try:
            new_boxes = {row.box_id: row for row in reversed(self._batch) if row.box_id not in self._trackers}
            for row in new_boxes.values():
                self._trackers[row.box_id] = self._prime(row)
            self._counters.add("nominals_stored", self._nominals.read_measurements(self._batch))
            new = self._store.append_measurements(self._batch)
        except StoreError as error:
            self._counters.add("store_errors")
            if self.problem is None:
                self._log.error("store.failing", error=str(error), waiting=len(self._batch))
            self.problem = str(error)
            return False
        if self.problem is not None:
            self._log.info("store.recovered", stored=len(self._batch))
        self.problem = None
        now = time.monotonic()
        self._counters.add("measurements_stored", new)
        self._counters.add("measurements_doubled", len(self._batch) - new)
        for row in self._batch:
            new = True
            if row.sequence is not None:
                new = self._trackers[row.box_id].add(row.sequence, row.oldest_sequence)
                self._to_acknowledge.add(row.box_id)
            if new:  # one that was sent again counts once in its minute
                self._trends.add(row, now)
        self._batch = []
        return True

    def _prime(self, row: Measurement) -> SequenceTracker:
        """What is stored already of a Box, from its oldest number on."""
        if row.sequence is None:
            return SequenceTracker()
        highest = self._store.highest_sequence(row.box_id)
        if highest is None:
            return SequenceTracker()
        first = row.oldest_sequence if row.oldest_sequence is not None else highest
        first = max(min(first, highest), highest - PRIME_LIMIT)
        return SequenceTracker(self._store.sequences(row.box_id, first, highest), first)

    def _acknowledge_all(self) -> None:
        for box_id in sorted(self._to_acknowledge):
            tracker = self._trackers[box_id]
            message = tracker.message()
            if message is not None:
                self._acknowledge(box_id, message)
                self._counters.set("measurements_lost", tracker.lost, label=box_id)
        self._to_acknowledge.clear()

    def _put_trends(self, now: float, everything: bool = False) -> None:
        over = self._trends.over(now, everything)
        if over and self._stored_trends([trend for trend, _ in over]):
            halves = ((trend.box_id, trend.start_ms) for trend, partial in over if partial)
            self._halves |= dict.fromkeys(islice(halves, max(0, HALVES_KEPT - len(self._halves))))
        until = time.monotonic() + CORRECTING_S
        while self._halves and not everything and time.monotonic() < until:
            self._correct(*self._halves.popitem()[0])

    def _correct(self, box_id: str, start_ms: int) -> None:
        """A minute that came in two parts: the store has both."""
        try:
            rows = self._store.measurements(box_id, start_ms, start_ms + TREND_MS)
        except StoreError:  # what was put stands: the limits are right, the mean is of one part
            self._counters.add("store_errors")
            return
        if self._stored_trends([trend_of(box_id, start_ms, rows)]):
            self._counters.add("trends_corrected")

    def _stored_trends(self, trends: Sequence[Trend]) -> bool:
        """False: the store did not take them, and they are lost."""
        try:
            self._store.put_trends(trends)
        except StoreError as error:
            self._counters.add("trends_lost", len(trends))
            first = trends[0]
            self._log.error(
                "trends.lost",
                trends=len(trends),
                box_id=first.box_id,
                start_ms=first.start_ms,
                error=str(error),
            )
            return False
        self._counters.add("trends_stored", len(trends))
        return True
