"""Sequence numbers of Measurements, rising and never used twice, however the process ends; and the state of a
Box's queue.

Numbers are reserved on the disk itself (synchronous=FULL) in small chunks before they are used. A clean end
returns the rest; a kill or a power cut skips it. A Box begins at the time of its first start (ms since 1970),
so that numbers are not used again even when the file is lost.

A full disk does not accept a new reservation, but allows deleting a file. So while it refuses, the marker
file is deleted and numbers continue into a long stretch after the reserved ones; a start without the marker
begins after that stretch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from opq_gateway.uplink.disk import QueueDisk
from opq_gateway.uplink.queue_file import BoxRow, Stored
from opq_proto.kit.whole_file import PRIVATE_MODE, flush_to_disk
from opq_proto.measurement.wire import sequence_tail
from opq_proto.messages import Measurement
from opq_proto.wire.frames import topic


@dataclass(frozen=True, slots=True)
class Queued:
    """A queued Measurement; `body` and its numbers are sent."""

    box_id: str
    sequence: int | None
    """None: the disk could not reserve a number."""
    body: bytes
    measurement: Measurement


def numbered_frames(
    box_id: str, body: bytes, sequence: int | None, held: tuple[int, int] | None, backfilled: bool
) -> list[bytes]:
    """The frames of a Measurement with its numbers.

    Args:
        sequence: its number; None: it has no number, and the body is sent unchanged.
        held: the oldest sequence that the Box holds, and the one after the newest.
    """
    if sequence is not None:
        oldest = sequence if held is None else min(sequence, held[0])
        body += sequence_tail(sequence, oldest, backfilled)
    return [topic(box_id), body]


@dataclass(slots=True)
class HeldMeasurements:
    """The state of one Box's queue, known without a read of the disk."""

    row: BoxRow
    next: int
    oldest: int | None = None
    new: bool = False
    """The Box's row was made at this start; its earlier history is unknown."""
    unsaved: dict[int, Stored] = field(default_factory=dict)
    changed: bool = False
    """`row` is newer than on disk."""
    at_ns: int | None = None
    """End of the newest Measurement; the next field is its place on the queue's axis of age."""
    aged_ns: int = 0
    upto: int | None = None
    """Number up to which Measurements are acknowledged, but not yet deleted on disk."""

    @property
    def waits(self) -> bool:
        """Whether changes have to be written."""
        return self.changed or self.upto is not None or bool(self.unsaved)

    def age(self, end_ns: int, most_ns: int) -> int:
        """Place of the next Measurement on the axis of age; a setting of the clock adds at most `most_ns`."""
        if self.at_ns is None:
            self.aged_ns = max(end_ns, self.aged_ns)
        else:
            self.aged_ns += min(max(0, end_ns - self.at_ns), most_ns)
        self.at_ns = end_ns
        return self.aged_ns

    def written(self) -> None:
        """Records that everything is on disk."""
        self.changed, self.upto = False, None
        self.unsaved.clear()

    def lowest(self, on_disk: int | None) -> int | None:
        """The oldest sequence in memory or on disk."""
        return min((n for n in (min(self.unsaved, default=None), on_disk) if n is not None), default=None)

    def remove_upto(self, upto: int) -> None:
        """Removes everything up to `upto`."""
        self.upto = max(upto, self.upto or 0)
        for number in [n for n in self.unsaved if n <= upto]:
            del self.unsaved[number]


class ReservationMarker:
    """The marker file of one queue; used by its owner's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_set: bool | None = None  # not known

    def is_set(self) -> bool:
        """Whether the file exists; reads the disk."""
        self._is_set = self._path.exists()
        return self._is_set

    def set(self) -> None:
        """Records that every number in use is reserved. If the disk refuses, the next start skips more
        numbers."""
        if self._is_set:
            return
        try:
            self._path.touch(PRIVATE_MODE)
        except OSError:
            return  # tried again with the next reservation
        self._is_set = True

    def remove(self) -> bool:
        """Deletes the marker so that a power cut does not bring it back; True: numbers beyond the reserved
        ones may be used."""
        if self._is_set is False:
            return True
        try:
            self._path.unlink(missing_ok=True)
            flush_to_disk(self._path.parent)
        except OSError:
            return False
        self._is_set = False
        return True


NUMBERS_PER_CHUNK = 64
"""About a minute of Measurements at the original rate; a kill skips at most this many numbers. The cloud does
not wait for them: each Measurement carries the oldest sequence that the Box holds."""
RESERVED_NUMBERS = 100_000
"""Numbers for a day at the original rate, on a disk that refuses writes."""


class SequenceNumbers:
    """The sequence numbers of all Boxes of one queue."""

    def __init__(self, boxes: Mapping[str, HeldMeasurements], marker: ReservationMarker) -> None:
        self._boxes = boxes
        self._marker = marker

    def start(self, row: BoxRow, newest: int | None, new: bool) -> int:
        """The Box's first number after a start, one that was certainly not used; `new`: the Box has used
        none."""
        reserved = row.reserved if new or self._marker.is_set() else row.reserved + RESERVED_NUMBERS
        return max(reserved, 0 if newest is None else newest + 1)

    def next_number(self, held: HeldMeasurements, disk: QueueDisk) -> int | None:
        """The next number; None: the disk refuses a reservation."""
        if held.next >= held.row.reserved and not self._reserve(disk):
            beyond = held.next - held.row.reserved
            if beyond >= RESERVED_NUMBERS or not self._marker.remove():
                return None
        held.next += 1
        return held.next - 1

    def _reserve(self, disk: QueueDisk) -> bool:
        """Reserves numbers for every Box that soon needs them, with one wait for the disk."""
        low = [
            held for held in self._boxes.values() if held.row.reserved - held.next < NUMBERS_PER_CHUNK // 2
        ]
        numbers = {held.row.box: held.next + NUMBERS_PER_CHUNK for held in low}
        if not disk.query(lambda file: file.reserve(numbers)):
            return False
        for held in low:
            held.row.reserved = held.next + NUMBERS_PER_CHUNK
        self._marker.set()
        return True
