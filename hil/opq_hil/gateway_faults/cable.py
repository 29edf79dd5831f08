"""Cable: a Box's port that is pulled out, put in again (as another pty), and made noisy."""

from pathlib import Path

from opq_hil.faults import Faults, Line
from opq_hil.port import Port

CLEAN = Faults()


class Cable(Port):
    """A Port behind a stable path, out at first; not for use by several threads.

    Attributes:
        unplugged_bytes: that the Box sent into the air.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        super().close()
        self.plugged = False
        self.unplugged_bytes = 0
        self._path = path
        self._noise = CLEAN
        self._lines: list[Line] = []

    @property
    def corrupted_bytes(self) -> int:
        """Bytes that arrived changed, both ways."""
        return sum(line.corrupted_bytes for line in self._lines)

    def plug(self) -> None:
        """A new pty behind the path."""
        if not self.plugged:
            Port.__init__(self)
            self.link_as(self._path)
            self.plugged = True
            self.disturb(self._noise)

    def unplug(self) -> None:
        """The pty hangs up and its path goes; what was on its way is lost."""
        if self.plugged:
            self.plugged = False
            self.close()

    def disturb(self, noise: Faults) -> None:
        """From now on the wire does this to bytes, both ways."""
        self._noise = noise
        self.out, self.back = Line(noise, 0), Line(noise, 1)
        self._lines += [self.out, self.back]

    def send(self, frame: bytes) -> None:
        if self.plugged:
            super().send(frame)
        else:
            self.unplugged_bytes += len(frame)

    def flush(self, now_ns: int) -> None:
        if self.plugged:
            super().flush(now_ns)

    def receive(self) -> bytes:
        return super().receive() if self.plugged else b""
