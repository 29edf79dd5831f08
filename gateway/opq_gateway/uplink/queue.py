"""Queue: every Measurement on disk, with its sequence number, until the cloud acknowledged it.

    put -> number -> one transaction for all that came together -> sent -> acknowledged -> deleted

A Measurement is sent only after it is committed. A Measurement that the cloud has received is on disk here,
or was acknowledged, so that after kill -9 none is lost, duplicated or measured again. While the disk refuses
writes (full, read-only), Measurements wait in memory, bounded and counted. They are held back for HOLD_S, so
that a short fault of the disk does not cause duplicates. Then they are sent, because a live view matters more
than an exact count. (Only a kill in that state causes duplicates.) A file that is no longer a database is
renamed, logged and made again. One thread; `last_end_ns` from any.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import Acknowledging
from opq_gateway.uplink.disk import QueueDisk
from opq_gateway.uplink.queue_file import BoxRow, QueueFile, Stored
from opq_gateway.uplink.sequence_numbers import HeldMeasurements, Queued, ReservationMarker, SequenceNumbers
from opq_proto.errors import FrameError
from opq_proto.kit import log
from opq_proto.measurement.wire import measurement_from_wire, measurement_to_wire
from opq_proto.messages import Measurement

BEYOND_SEQUENCES = 2**62
"""No Box that began at the present time reaches this number; a database holds up to 2**63 - 1."""
HOLD_S = 10.0
MAX_UNSAVED = 20_000
"""Most Measurements of all Boxes in memory while the disk refuses them: about 10 MB."""
TICK_S = 10.0
"""Period at which age and size are checked."""
MAX_PAUSE_NS = 2 * 3600 * 10**9
"""Longest pause between two Measurements that adds to the age of older ones, because the clock of a machine
without a battery jumps by months when it is set. Twice the longest heartbeat of the idle mode."""
FULL_SHARE = 0.05
"""Share of each Box's Measurements that is dropped when the file is too large."""
WITHDRAWN_AT_ONCE = 20
SET_BACK_NS = 60 * 10**9
"""A Measurement that ends this much before the last one shows that the clock was set back; less means that it
came late."""
WRITE_S = 1.0
"""Acknowledgements alone are written at this period."""


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """Rows that were written together, and the places that are handed over with them."""

    rows: list[Measurement]
    places: dict[int, int]
    """File of the ledger -> place after these rows; -1: the file is gone."""


class QueueRows(Protocol):
    """The rows of one Box without a number; in the uplink's thread."""

    def take(self) -> LedgerRecord | None:
        """Returns the next record; None where no record waits."""
        ...

    def put_back(self, record: LedgerRecord) -> None:
        """Puts back a record that could not be stored, as the next one."""
        ...

    def withhold_losses(self, withheld: bool) -> None:
        """Lets lost spans wait, because no cloud that takes them is connected, or not."""
        ...


class Queue:
    """The queue of all Boxes; times are handed in."""

    def __init__(
        self,
        path: Path,
        counters: Mapping[str, BoxCounters],
        hours: float = 168.0,
        most_bytes: int = 10**9,
        now_ms: int | None = None,
        monotonic_s: Callable[[], float] = time.monotonic,
        hold_s: float = HOLD_S,
    ) -> None:
        """Opens the file, or makes a new one if it cannot be read; new numbers begin at `now_ms`, ms since
        1970.

        Raises:
            OtherFormError: the file has another form.
        """
        self._counters = counters
        self._age_ns = round(hours * 3600e9)
        self._pause_ns = min(MAX_PAUSE_NS, self._age_ns // 20)
        self._most_bytes = most_bytes
        self._monotonic_s = monotonic_s
        start = int(time.time() * 1000) if now_ms is None else now_ms
        self._starts = dict.fromkeys(counters, start)
        self._boxes: dict[str, HeldMeasurements] = {}
        self._places: dict[tuple[int, int], int] = {}
        """Places in ledgers that wait for the next transaction."""
        self._upto: dict[int, int] = {}
        """Box -> number up to which the next transaction deletes withdrawn records."""
        self._wrote_s = self._ticked_s = monotonic_s()
        self._hold_s = hold_s
        self._taking = SequenceNumbers(
            self._boxes, ReservationMarker(path.with_name(path.name + ".numbers-reserved"))
        )
        self._disk = QueueDisk(path, counters, self._numbers, self._opened, monotonic_s)

    @property
    def problem(self) -> str:
        """Why the disk refuses writes; empty while it works."""
        return self._disk.problem

    @property
    def holds_back(self) -> bool:
        """Whether Measurements that are not committed are held back now."""
        since_s = self._disk.refused_s
        return since_s is not None and self._monotonic_s() - since_s < self._hold_s

    def last_end_ns(self, box_id: str) -> int | None:
        """UTC up to which the Box's whole windows were queued, where measuring goes on; None: nothing was
        queued."""
        held = self._boxes.get(box_id)
        return None if held is None else held.row.last_end_ns

    def held(self, box_id: str) -> tuple[int, int] | None:
        """The oldest unacknowledged sequence, and the next to be used; None: the queue has no Measurement of
        this Box."""
        held = self._boxes.get(box_id)
        return None if held is None or held.oldest is None else (held.oldest, held.next)

    def next(self, box_id: str) -> int | None:
        held = self._boxes.get(box_id)
        return None if held is None else held.next

    def sending(self, box_id: str) -> BoxRow | None:
        """The stored state of sending of the Box's Measurements."""
        held = self._boxes.get(box_id)
        return None if held is None else held.row

    def remember(
        self, box_id: str, acknowledging: Acknowledging, settled: int, unsent: str, stores: str = ""
    ) -> None:
        """Keeps the state of sending; it is written with the next transaction."""
        held = self._boxes.get(box_id)
        if held is None:
            return
        row = held.row
        new = acknowledging, settled, unsent, stores
        if (row.acknowledging, row.settled, row.unsent, row.stores) != new:
            row.acknowledging, row.settled, row.unsent, row.stores = new
            held.changed = True

    def ledger_places(self, box_id: str) -> dict[int, int]:
        """File of the Box's ledger -> place after the last row that was stored here."""
        held = self._boxes.get(box_id)
        found = None if held is None else self._disk.query(lambda file: file.places(held.row.box))
        return {} if found is None else found

    def store_rows(self, box_id: str, rows: Sequence[Measurement], places: Mapping[int, int]) -> list[Queued]:
        """Numbers and commits rows of a Box's ledger, and in the same transaction the places after them.

        Returns and stores nothing where numbers cannot be reserved.

        Args:
            places: file of the ledger -> place; -1: the file is gone.
        """
        held = self._boxes.get(box_id)
        if held is None or self.problem:
            return []
        by_box = {(held.row.box, number): place for number, place in places.items()}
        return self.store([(box_id, row) for row in rows], by_box)

    def withdraw_intervals(self, box_id: str) -> int:
        """Withdraws the held intervals and disturbances until `store_withdrawn`, because a cloud that refuses
        them would wait for their numbers. Returns how many."""
        held = self._boxes.get(box_id)
        found = (
            None
            if held is None
            else self._disk.query(lambda file: file.intervals(held.row.box, BEYOND_SEQUENCES))
        )
        if held is None or not found:
            return 0
        own = [sequence for sequence, body in found if (row := _readable(body)) and not row.is_window]
        if not own or not self._disk.query(lambda file: file.withdraw(held.row.box, own)):
            return 0
        ends = self._disk.query(lambda file: file.ends(held.row.box, -1 if held.upto is None else held.upto))
        held.oldest = held.lowest(None if ends is None else ends[0])
        return len(own)

    def store_withdrawn(self, box_id: str) -> list[Queued]:
        """Numbers and commits the first withdrawn records; returns nothing without any."""
        held = self._boxes.get(box_id)
        if held is None or self.problem:
            return []
        aside = -held.row.box
        rows = self._disk.query(lambda file: file.read(aside, 0, BEYOND_SEQUENCES, WITHDRAWN_AT_ONCE))
        if not rows:
            return []
        measurements = [(box_id, row) for _, body in rows if (row := _readable(body))]
        return self.store(measurements, upto={aside: rows[-1][0]})

    def store(
        self,
        measurements: list[tuple[str, Measurement]],
        places: Mapping[tuple[int, int], int] | None = None,
        upto: Mapping[int, int] | None = None,
    ) -> list[Queued]:
        """Numbers and commits them together; counts and leaves out those that do not fit the wire format.

        Args:
            places: by box and file of its ledger, written with them where all of them have numbers.
            upto: box -> what it holds up to there is deleted with them, where all of them have numbers.
        """
        queued: list[Queued] = []
        new: list[tuple[HeldMeasurements, Stored]] = []
        for box_id, measurement in measurements:
            try:
                body = measurement_to_wire(measurement)
            except FrameError as error:
                self._counters[box_id].add("measurements_unfit")
                log.get(service="gateway").error("measurement.unfit", box_id=box_id, reason=str(error))
                continue
            held = self._boxes.get(box_id)
            sequence = None if held is None else self._taking.next_number(held, self._disk)
            if held is None or sequence is None:
                self._counters[box_id].add("sequences_failed")
            else:
                end_ns = measurement.end_ns or measurement.timestamp_ms * 1_000_000
                # an interval comes long after its time, so its age counts from now
                window = measurement.is_window
                age = held.age(end_ns, self._pause_ns) if window else held.aged_ns
                new.append((held, Stored(held.row.box, sequence, age, body)))
                if window and not measurement.crossing and _goes_on(held.row.last_end_ns, end_ns):
                    held.row.last_end_ns = end_ns
                held.changed = True
                if held.oldest is None:
                    held.oldest = sequence
            queued.append(Queued(box_id, sequence, body, measurement))
        if all(each.sequence is not None for each in queued):
            self._places.update(places or {})
            self._upto.update(upto or {})
        if not self._write([stored for _, stored in new]):
            for held, stored in new:
                held.unsaved[stored.sequence] = stored
            self._bound_unsaved()
        return queued

    def read(self, box_id: str, first: int, last: int, limit: int) -> list[tuple[int, bytes]]:
        """(sequence, body) of the held Measurements of first .. last, the lowest `limit` of them, in
        order."""
        held = self._boxes[box_id]
        rows = self._disk.query(lambda file: file.read(held.row.box, first, last, limit)) or []
        if held.unsaved:
            rows += [(n, stored.body) for n, stored in held.unsaved.items() if first <= n <= last]
            rows.sort()
        return rows[:limit]

    def acknowledged(self, box_id: str, upto: int) -> None:
        """The cloud has everything up to `upto`, which is deleted with the next transaction."""
        held = self._boxes.get(box_id)
        if held is not None and held.oldest is not None and upto >= held.oldest:
            self._remove_upto(held, min(upto, held.next - 1))

    def skip(self, box_id: str, to: int) -> bool:
        """Continues at `to`, because the cloud reports that lower numbers are used; only for a Box without a
        file, and once.

        A Box that has its file does not skip: those numbers come from another gateway with its key, which
        would use further ones, too.
        """
        held = self._boxes.get(box_id)
        if held is None or not held.new or not held.next < to < BEYOND_SEQUENCES:
            return False
        held.next, held.new = to, False
        return True

    def write(self) -> None:
        """Writes the state of sending, acknowledgements and unsaved Measurements now."""
        if self.problem or self._places or any(held.waits for held in self._boxes.values()):
            self._write([])

    def tick(self) -> None:
        """Does what is due; call it at least once a second."""
        now_s = self._monotonic_s()
        if now_s - self._wrote_s >= WRITE_S:
            self.write()
        if now_s - self._ticked_s >= TICK_S:
            self._ticked_s = now_s
            again = self._disk.query(self._expire)
            if again:
                self.store(again)  # an interval is not lost because the queue is full
            self.write()

    def checkpoint(self) -> None:
        """Moves the write-ahead log to the disk itself; call it from a separate thread, because it may take
        long.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        self._disk.checkpoint()

    def close(self) -> None:
        """Writes the rest and returns unused numbers."""
        self._disk.retry()
        self._write([])
        self._disk.query(lambda file: file.reserve({h.row.box: h.next for h in self._boxes.values()}))
        self._disk.close()

    def _numbers(self) -> dict[str, int]:
        """The first number of each Box outside of the file."""
        known = {box_id: held.next for box_id, held in self._boxes.items()}
        return self._starts | known

    def _opened(self, file: QueueFile) -> None:
        """Takes over the file's content; content in memory is newer."""
        for row in file.boxes():
            if row.box_id not in self._counters:
                continue
            held = self._boxes.get(row.box_id)
            if held is None:
                oldest, newest = file.ends(row.box, -1)
                new = row.reserved == self._starts[row.box_id]
                held = HeldMeasurements(row, self._taking.start(row, newest, new), oldest, new)
                held.aged_ns, held.at_ns = file.newest_ns(row.box), row.last_end_ns
                self._boxes[row.box_id] = held
                continue
            held.row = replace(held.row, box=row.box, reserved=row.reserved)
            held.changed = True
            held.unsaved = {n: replace(stored, box=row.box) for n, stored in held.unsaved.items()}
            held.oldest = held.lowest(file.ends(row.box, -1 if held.upto is None else held.upto)[0])

    def _write(self, rows: list[Stored]) -> bool:
        """Commits `rows`, waiting Measurements and changes; False: they are not on disk."""

        def wrote(file: QueueFile) -> bool:
            boxes = self._boxes.values()
            unsaved = [stored for held in boxes for stored in held.unsaved.values()]
            upto = {held.row.box: held.upto for held in boxes if held.upto is not None} | self._upto
            changed = [held.row for held in boxes if held.changed]
            file.write([*unsaved, *rows], changed, upto, self._places)
            return True

        if not self._disk.query(wrote):
            return False
        self._wrote_s = self._monotonic_s()
        for held in self._boxes.values():
            held.written()
        self._places, self._upto = {}, {}
        self._disk.record_success()
        return True

    def _bound_unsaved(self) -> None:
        waiting = sum(len(held.unsaved) for held in self._boxes.values())
        while waiting > MAX_UNSAVED:
            box_id, held = max(self._boxes.items(), key=lambda item: len(item[1].unsaved))
            del held.unsaved[min(held.unsaved)]
            self._counters[box_id].add("measurements_overflow")
            waiting -= 1

    def _remove_upto(self, held: HeldMeasurements, upto: int) -> None:
        """Removes everything up to `upto` from the Box's queue."""
        held.remove_upto(upto)
        ends = self._disk.query(lambda file: file.ends(held.row.box, upto))
        # without an answer of the disk the next number may still be held, and the cloud must not give it up
        unknown = upto + 1 if upto + 1 < held.next else None
        held.oldest = held.lowest(unknown if ends is None else ends[0])

    def _expire(self, file: QueueFile) -> list[tuple[str, Measurement]]:
        """Drops Measurements that are too old, compared with the Box's newest, or above the size limit.

        Returns the intervals and disturbances among them, which have to be stored again.
        """
        again: list[tuple[str, Measurement]] = []
        share = FULL_SHARE if file.used_bytes() > self._most_bytes else 0.0
        for box_id, held in self._boxes.items():
            if held.oldest is None:
                continue
            upto = file.excess(held.row.box, held.aged_ns - self._age_ns, share)
            if upto is not None and upto >= held.oldest:
                rows = (_readable(body) for _, body in file.intervals(held.row.box, upto))
                kept = [each for each in rows if each is not None and not each.is_window]
                again += ((box_id, each) for each in kept)
                self._counters[box_id].add("measurements_expired", file.count(held.row.box, upto) - len(kept))
                self._remove_upto(held, upto)
        return again


def _readable(body: bytes) -> Measurement | None:
    """Returns a queued Measurement; None where its bytes are damaged."""
    try:
        return measurement_from_wire(body)
    except FrameError:
        return None


def _goes_on(last_ns: int | None, end_ns: int) -> bool:
    """Whether `end_ns` becomes the time from which measuring continues."""
    return last_ns is None or end_ns > last_ns or end_ns < last_ns - SET_BACK_NS
