"""Live segment: the one file of a ring that is being written.

It is preallocated, so that the disk cannot become full in the middle of a record and a write does not change
the file's size. Records are written at once, with one `pwrite` for all that come together. The disk itself
has stored them after `sync`.
"""

import contextlib
import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from opq_gateway.blocks import SampleBlock
from opq_gateway.ring import raw, record
from opq_gateway.ring.lost import Lost
from opq_gateway.ring.segment import Segment, StatedFacts
from opq_gateway.ring.time_axes import CLOCK_STEP_NS
from opq_proto.kit.whole_file import open_private

SMALL_SEGMENT_DIVISOR = 16
"""On a disk without room for a whole segment, one with a sixteenth of the records is tried."""
MIN_RECORDS = 128
NO_PREALLOCATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LiveSegment:
    """Writes one file; `write` and `end` from one thread, `sync` from any."""

    def __init__(
        self, path: Path, box_id: str, first: SampleBlock, capacity: int, records: int, lasting_ns: int
    ) -> None:
        """Makes the file with room for `records`, for blocks that state the same facts as `first`.

        It accepts blocks that begin within `lasting_ns` after `first`.

        Raises:
            OSError: the disk refuses; no file is left.
        """
        facts = StatedFacts.of_block(first)
        self.segment = Segment(path, facts, may_seal=True)
        self.capacity = capacity
        self._until_ns = first.t_ns + lasting_ns
        self._stride = record.stride_bytes(capacity)
        self._epoch = int.from_bytes(os.urandom(4), "little")
        self._lock = threading.Lock()
        self._unsynced = True
        self._fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            self.records = self._allocated(records)
            head = raw.head(capacity, self.records, self._epoch, facts, box_id)
            _write(self._fd, head, 0)
            self.segment.file_bytes = raw.HEAD_BYTES + self.records * self._stride
        except OSError:
            os.close(self._fd)
            path.unlink(missing_ok=True)
            raise

    def _allocated(self, records: int) -> int:
        for room in (records, max(MIN_RECORDS, records // SMALL_SEGMENT_DIVISOR)):
            size = raw.HEAD_BYTES + room * self._stride
            try:
                os.posix_fallocate(self._fd, 0, size)
                return room
            except OSError as error:
                if error.errno in NO_PREALLOCATION:  # then the disk may fill up within a file
                    os.ftruncate(self._fd, size)
                    return room
                if error.errno not in NO_ROOM or room <= MIN_RECORDS:
                    raise
                refused = error
        raise refused

    @property
    def room(self) -> int:
        """Records that still fit."""
        return self.records - self.segment.records

    def fits(self, block: SampleBlock) -> bool:
        """Whether the block may follow the written ones: it has the same stated facts and a later index and
        time."""
        segment = self.segment
        return (
            segment.facts == StatedFacts.of_block(block)
            and len(block.counts) <= self.capacity
            and segment.records < self.records
            and (
                not segment.records
                or (
                    segment.end_sample <= block.first_sample
                    and segment.last_ns < block.t_ns < self._until_ns  # readers bisect by time
                )
            )
        )

    def broken_by(self, block: SampleBlock) -> bool:
        """Whether a block that does not fit ends the segment early: other stated facts, or an earlier index
        or time."""
        segment = self.segment
        return (
            segment.facts != StatedFacts.of_block(block)
            or block.first_sample < segment.end_sample
            or block.t_ns <= segment.last_ns
        )

    def set_before(self, block: SampleBlock) -> bool:
        """Whether the clock was set between the written blocks and a block that fits."""
        segment = self.segment
        if not segment.records:
            return False
        since_ns = (block.first_sample - segment.end_sample) * 10**12 // block.rate_millihz
        return not -CLOCK_STEP_NS <= block.t_ns - segment.end_ns - since_ns <= CLOCK_STEP_NS

    def run(self, blocks: Sequence[SampleBlock], most: int) -> int:
        """Number of `blocks`, at most `most`, that follow each other without a hole or a step of the clock;
        the first one fits."""
        count = 1
        last = blocks[0]
        for block in blocks[1:most]:
            if (
                block.first_sample != last.first_sample + len(last.counts)
                or not block.states_as(last)
                or len(block.counts) > self.capacity
                or not last.t_ns < block.t_ns < self._until_ns
                or not -CLOCK_STEP_NS <= block.t_ns - last.end_ns <= CLOCK_STEP_NS
            ):
                break
            count += 1
            last = block
        return count

    def write(self, lost: Sequence[Lost], blocks: Sequence[SampleBlock]) -> None:
        """Writes losses, then blocks that follow each other; there must be room for all.

        Raises:
            OSError: the disk refuses; they do not count as written, and the segment must be ended.
        """
        segment = self.segment
        index = segment.records
        at = raw.HEAD_BYTES + index * self._stride
        parts = []
        for one in lost:
            parts.append(record.of_lost(one, blocks[0].t_ns, self.capacity, self._epoch ^ index))
            index += 1
        for block in blocks:
            parts.append(record.of_block(block, self.capacity, self._epoch ^ index))
            index += 1
        _write(self._fd, parts[0] if len(parts) == 1 else b"".join(parts), at)
        self._unsynced = True
        segment.added(blocks, len(lost))

    def sync(self) -> bool:
        """Makes the disk itself store what was written; False: it had done so already.

        Raises:
            OSError: the disk could not.
        """
        with self._lock:
            if not self._unsynced or self._fd < 0:
                return False
            self._unsynced = False
            fd = os.dup(self._fd)  # the writer may end the segment meanwhile
        try:
            os.fdatasync(fd)
        except OSError:
            self._unsynced = True
            raise
        finally:
            os.close(fd)
        return True

    def end(self) -> None:
        """Frees the room after the last record and closes the file; a file without records is deleted."""
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd < 0:
            return
        self.segment.file_bytes = raw.HEAD_BYTES + self.segment.records * self._stride
        with contextlib.suppress(OSError):  # on a failing disk the rest is skipped as unwritten
            os.ftruncate(fd, self.segment.file_bytes)
        os.close(fd)
        if not self.segment.records:
            self.segment.path.unlink(missing_ok=True)


def _write(fd: int, data: bytes, at: int) -> None:
    done = os.pwrite(fd, data, at)
    if done != len(data):
        raise OSError(errno.ENOSPC, f"{done} of {len(data)} bytes written; is the disk full?")
