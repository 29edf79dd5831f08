"""HeldLog: the Measurements of one process that the cloud has not acknowledged yet, on disk.

    append -> newest segment -> acknowledged by all its Boxes -> deleted whole
                             -> too many bytes: the oldest segment is deleted, its unacknowledged rows are
                             counted

The gateway's queue does the same for some hundreds of Boxes, row by row in SQLite; here a minute of ten
thousand Boxes takes a few large writes. A Box's sequence numbers begin at the time of its first start (ms
since 1970). A number is on disk before it is used, so a kill neither loses nor repeats one. One thread.
"""

import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_proto.errors import OpqError
from opq_proto.kit import log
from opq_sim.fleet.log_segment import LogSegment, RowArray, segment_numbers
from opq_sim.mains.profiles import IndexArray

SEGMENT_S = 10.0
SEGMENT_BYTES = 8_000_000
MAX_BYTES = 1_000_000_000
ROWS_AT_ONCE = 2000
NUMBERS = "numbers.json"
FlagArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class HeldRow:
    """One held Measurement."""

    box: int
    """The Box's index."""
    sequence: int
    body: bytes


class HeldLog:
    """Measurements that the Boxes of one process hold, by index.

    Attributes:
        next: (n,) the next sequence of each Box.
        floor: (n,) the lowest sequence that each still holds, or `next`.
        expired: Measurements dropped because the log was too large.
        failed: Measurements that could not be written to disk.
    """

    def __init__(
        self,
        folder: Path,
        box_ids: Sequence[str],
        now_ms: int,
        most_bytes: int = MAX_BYTES,
        segment_s: float = SEGMENT_S,
    ) -> None:
        """
        Raises:
            OpqError: the folder cannot be used.
        """
        self.expired = self.failed = 0
        self._folder, self._most_bytes, self._segment_s = folder, most_bytes, segment_s
        self._numbers = np.array([int(box_id) for box_id in box_ids], np.int64)
        self._places = {number: at for at, number in enumerate(self._numbers.tolist())}
        self._segments: deque[LogSegment] = deque()
        self._began_s = 0.0
        self._wrote: tuple[bytes, bytes] = b"", b""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stored = self._stored()
            start = [stored.get(str(number), (now_ms, now_ms)) for number in self._numbers.tolist()]
            self.next = np.array([each[0] for each in start], np.int64)
            self.floor = np.array([each[1] for each in start], np.int64)
            self.is_new = np.array([str(number) not in stored for number in self._numbers.tolist()])
            self._reopen()
            self._begin_segment()
            self.write_numbers()
        except (OSError, ValueError) as error:
            raise OpqError(f"fleet: {folder} cannot be used: {error}") from error

    @property
    def held(self) -> int:
        """Number of Measurements of all Boxes that are not acknowledged."""
        return int((self.next - self.floor).sum())

    @property
    def file_bytes(self) -> int:
        """The log's size on disk."""
        return sum(segment.file_bytes for segment in self._segments)

    def append(self, which: IndexArray, bodies: Sequence[bytes]) -> IndexArray:
        """Gives sequences to Measurements of different Boxes and stores them; returns the sequences, (n,).

        Those that cannot be written are counted and get their sequences all the same: they are sent once.
        """
        sequences = self.next[which]
        try:
            self._segments[-1].append(which, self._numbers[which], sequences, bodies)
        except OSError as error:
            if not self.failed:
                log.get(service="boxes").error("fleet.not_held", reason=str(error))
            self.failed += len(which)
        self.next[which] += 1
        return sequences

    def acknowledge(self, box: int, upto: int) -> bool:
        """Notes that the cloud has everything up to `upto`; False if that sequence was never used."""
        if upto >= self.next[box]:
            if not self.is_new[box]:
                return False
            self.next[box] = self.floor[box] = upto + 1  # its folder was lost: it continues there, once
        self.is_new[box] = False
        self.floor[box] = max(self.floor[box], upto + 1)
        return True

    def rows(self, first: IndexArray, last: IndexArray, ready: FlagArray) -> Iterator[list[HeldRow]]:
        """Yields held Measurements with first <= sequence <= last of their Box (0 .. 0: none), in the order
        made.

        They come some thousand at a time, and only from Boxes that are `ready`.

        Raises:
            OSError: a segment cannot be read.
        """
        for segment in list(self._segments):
            if segment.is_deleted:  # acknowledged since the last piece
                continue
            wanted = ready & (last >= first) & (segment.newest >= np.maximum(first, self.floor))
            if not wanted.any():
                continue
            rows = segment.read_rows()
            boxes = self._indices(rows)
            rows, boxes = rows[boxes >= 0], boxes[boxes >= 0]
            sequences = rows["sequence"]
            chosen = (
                ready[boxes]
                & (sequences >= np.maximum(first, self.floor)[boxes])
                & (sequences <= last[boxes])
            )
            found = rows[chosen]
            found_boxes = boxes[chosen]
            for at in range(0, len(found), ROWS_AT_ONCE):
                if segment.is_deleted:
                    break
                part = found[at : at + ROWS_AT_ONCE]
                held_by = found_boxes[at : at + ROWS_AT_ONCE].tolist()
                whole = zip(held_by, part["sequence"].tolist(), segment.read_bodies(part), strict=True)
                yield [HeldRow(*each) for each in whole]

    def tick(self, now_s: float) -> None:
        """Begins a new segment, and deletes acknowledged ones and those above the size limit; call it
        regularly (`now_s` monotonic).
        """
        newest = self._segments[-1]
        try:
            if newest.newest.any() and (
                now_s - self._began_s >= self._segment_s or newest.file_bytes >= SEGMENT_BYTES
            ):
                self._begin_segment(now_s)
                self.write_numbers()
            while len(self._segments) > 1 and (self._segments[0].newest < self.floor).all():
                self._segments.popleft().delete()
            while len(self._segments) > 1 and self.file_bytes > self._most_bytes:
                self._expire(self._segments.popleft())
        except OSError as error:
            log.get(service="boxes").error("fleet.log_failed", reason=str(error))

    def write_numbers(self) -> None:
        """Writes the sequence numbers to their own file, so that they survive the deletion of segments.

        Raises:
            OSError: the file cannot be written.
        """
        now = self.next.tobytes(), self.floor.tobytes()
        if now == self._wrote:
            return
        rows = zip(self._numbers.tolist(), self.next.tolist(), self.floor.tolist(), strict=True)
        numbers = {str(number): (following, floor) for number, following, floor in rows}
        beside = self._folder / (NUMBERS + ".new")
        beside.write_text(json.dumps(numbers))
        beside.replace(self._folder / NUMBERS)
        self._wrote = now

    def close(self) -> None:
        """Writes the numbers; held Measurements wait for the next start."""
        try:
            self.write_numbers()
        except OSError as error:
            log.get(service="boxes").error("fleet.log_failed", reason=str(error))
        self._segments[-1].seal()

    def _stored(self) -> dict[str, tuple[int, int]]:
        path = self._folder / NUMBERS
        if not path.exists():
            return {}
        return {
            number: (int(following), int(floor))
            for number, (following, floor) in json.loads(path.read_text()).items()
        }

    def _reopen(self) -> None:
        """Opens the segments that an earlier run left."""
        for number in segment_numbers(self._folder):
            segment = LogSegment(self._folder, number, len(self._numbers), new=False)
            rows = segment.read_rows()
            boxes = self._indices(rows)
            known = boxes >= 0
            np.maximum.at(segment.newest, boxes[known], rows["sequence"][known])
            self._segments.append(segment)
            used = segment.newest > 0
            self.next[used] = np.maximum(self.next[used], segment.newest[used] + 1)
            self.is_new[used] = False

    def _begin_segment(self, now_s: float | None = None) -> None:
        number = self._segments[-1].number + 1 if self._segments else 1
        if self._segments:
            self._segments[-1].seal()
        self._segments.append(LogSegment(self._folder, number, len(self._numbers), new=True))
        self._began_s = time.monotonic() if now_s is None else now_s

    def _expire(self, segment: LogSegment) -> None:
        """Deletes the oldest segment with its Measurements, and counts the unacknowledged ones."""
        rows = segment.read_rows()
        boxes = self._indices(rows)
        self.expired += int((rows["sequence"][boxes >= 0] >= self.floor[boxes[boxes >= 0]]).sum())
        self.floor = np.maximum(self.floor, np.minimum(segment.newest + 1, self.next))
        segment.delete()

    def _indices(self, rows: RowArray) -> IndexArray:
        """(n,) the index of each row's Box; -1: none of these Boxes."""
        numbers, inverse = np.unique(rows["box"], return_inverse=True)
        known = np.array([self._places.get(number, -1) for number in numbers.tolist()], np.int64)
        return known[inverse] if len(known) else np.empty(0, np.int64)
