"""Sequence numbers of Measurements, rising, never used twice, whatever ends the process; what is held of a
Box.

They are reserved on the disk itself (synchronous=FULL) in small chunks before they are used; a clean end
gives the rest back, a kill or a power cut skips it. A Box begins at the time of its first start (ms since
1970), so that even a lost file makes it use no number again.

A disk that is full takes no new reservation, but lets a file go. So while it refuses, numbers go on into a
long stretch after the reserved ones once the marker file is gone; a start that does not find it begins
after that stretch.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from opq_gateway.uplink.disk import QueueDisk
from opq_gateway.uplink.queue_file import BoxRow, Stored
from opq_proto.messages import Measurement


@dataclass(frozen=True, slots=True)
class Queued:
    """A Measurement that is in the queue: what is sent is `body` and its numbers."""

    box_id: str
    sequence: int | None
    """None: the disk could reserve no number."""
    body: bytes
    measurement: Measurement


@dataclass(slots=True)
class HeldMeasurements:
    """What is known of one Box without asking the disk."""

    row: BoxRow
    next: int
    oldest: int | None = None
    new: bool = False
    """It began with this start: what was before is not known here."""
    unsaved: dict[int, Stored] = field(default_factory=dict)
    changed: bool = False
    """`row` is newer than the disk's."""
    at_ns: int | None = None
    """End of the newest Measurement, and where that stands on the queue's own axis of age."""
    aged_ns: int = 0
    upto: int | None = None
    """Acknowledged up to there, and not yet deleted on disk."""

    @property
    def waits(self) -> bool:
        """Something is to be written."""
        return self.changed or self.upto is not None or bool(self.unsaved)

    def age(self, end_ns: int, most_ns: int) -> int:
        """Where a Measurement that follows stands: a clock that was set ages by `most_ns` at most."""
        if self.at_ns is None:
            self.aged_ns = max(end_ns, self.aged_ns)
        else:
            self.aged_ns += min(max(0, end_ns - self.at_ns), most_ns)
        self.at_ns = end_ns
        return self.aged_ns

    def written(self) -> None:
        """The disk has all of it."""
        self.changed, self.upto = False, None
        self.unsaved.clear()

    def lowest(self, on_disk: int | None) -> int | None:
        """The oldest sequence of what is in memory and on disk."""
        return min((n for n in (min(self.unsaved, default=None), on_disk) if n is not None), default=None)

    def forget(self, upto: int) -> None:
        """Up to there nothing is held any more."""
        self.upto = max(upto, self.upto or 0)
        for number in [n for n in self.unsaved if n <= upto]:
            del self.unsaved[number]


class ReservationMarker:
    """The marker of one queue; its owner's thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_set: bool | None = None  # not known

    def is_set(self) -> bool:
        """Ask the disk."""
        self._is_set = self._path.exists()
        return self._is_set

    def set(self) -> None:
        """Every number in use is reserved. Where the disk lets us not say so, a start skips more."""
        if self._is_set:
            return
        try:
            self._path.touch()
        except OSError:
            return  # tried again with the next reservation
        self._is_set = True

    def remove(self) -> bool:
        """True: it is gone, also after a power cut, and numbers beyond may be used."""
        if self._is_set is False:
            return True
        try:
            self._path.unlink(missing_ok=True)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError:
            return False
        self._is_set = False
        return True


CHUNK = 64
"""About a minute of Measurements at the original rate: at most so many numbers are skipped by a kill.
The cloud waits for none of them: each Measurement says the oldest sequence that the Box holds."""
STRETCH = 100_000
"""A day at the original rate, with a disk that takes nothing."""


class SequenceNumbers:
    """The sequence numbers of all Boxes of one queue."""

    def __init__(self, boxes: Mapping[str, HeldMeasurements], marker: ReservationMarker) -> None:
        self._boxes = boxes
        self._marker = marker

    def start(self, row: BoxRow, newest: int | None, new: bool) -> int:
        """The Box's first number after a start: none that may have been used; `new`: it has used none."""
        reserved = row.reserved if new or self._marker.is_set() else row.reserved + STRETCH
        return max(reserved, 0 if newest is None else newest + 1)

    def next_number(self, held: HeldMeasurements, disk: QueueDisk) -> int | None:
        """The next; None: the disk lets us reserve none."""
        if held.next >= held.row.reserved and not self._reserve(disk):
            beyond = held.next - held.row.reserved
            if beyond >= STRETCH or not self._marker.remove():
                return None
        held.next += 1
        return held.next - 1

    def _reserve(self, disk: QueueDisk) -> bool:
        """For every Box that will need it soon: the disk is waited for once."""
        low = [held for held in self._boxes.values() if held.row.reserved - held.next < CHUNK // 2]
        numbers = {held.row.box: held.next + CHUNK for held in low}
        if not disk.query(lambda file: file.reserve(numbers)):
            return False
        for held in low:
            held.row.reserved = held.next + CHUNK
        self._marker.set()
        return True
