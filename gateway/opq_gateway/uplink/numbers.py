"""Numbers: sequence numbers of Measurements, rising, never used twice, whatever ends the process.

They are reserved on the disk itself (synchronous=FULL) in small chunks before they are used; a clean
end gives the rest back, a kill or a power cut skips it. While the disk refuses, a long stretch behind
what is reserved is used, and the marker is gone. A Box begins at the time of its first start (ms
since 1970), so that even a lost file makes it use no number again.
"""

from collections.abc import Mapping

from opq_gateway.uplink.disk import Disk
from opq_gateway.uplink.held import Held
from opq_gateway.uplink.marker import Marker
from opq_gateway.uplink.queue_file import BoxRow

CHUNK = 64
"""About a minute of Measurements at the original rate: at most so many numbers are skipped by a kill.
The cloud waits for none of them: each Measurement says the oldest sequence that the Box holds."""
STRETCH = 100_000
"""A day at the original rate, with a disk that takes nothing."""


class Numbers:
    """Of all Boxes of one queue."""

    def __init__(self, boxes: Mapping[str, Held], marker: Marker) -> None:
        self._boxes = boxes
        self._marker = marker

    def start(self, row: BoxRow, newest: int | None, new: bool) -> int:
        """The Box's first number after a start: none that may have been used; `new`: it has used none."""
        reserved = row.reserved if new or self._marker.is_set() else row.reserved + STRETCH
        return max(reserved, 0 if newest is None else newest + 1)

    def take(self, held: Held, disk: Disk) -> int | None:
        """The next; None: the disk lets us reserve none."""
        if held.next >= held.row.reserved and not self._reserve(disk):
            beyond = held.next - held.row.reserved
            if beyond >= STRETCH or not self._marker.remove():
                return None
        held.next += 1
        return held.next - 1

    def _reserve(self, disk: Disk) -> bool:
        """For every Box that will need it soon: the disk is waited for once."""
        low = [held for held in self._boxes.values() if held.row.reserved - held.next < CHUNK // 2]
        numbers = {held.row.box: held.next + CHUNK for held in low}
        if not disk.ask(lambda file: file.reserve(numbers)):
            return False
        for held in low:
            held.row.reserved = held.next + CHUNK
        self._marker.set()
        return True
