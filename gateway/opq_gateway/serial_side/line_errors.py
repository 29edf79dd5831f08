"""LineErrors: what the UART and its driver lost before anybody could read it, as the kernel counts it.

Linux TIOCGICOUNT (<linux/serial.h>, serial_icounter_struct): twenty ints; a pty or a socket has none.
"""

import fcntl
import struct

TIOCGICOUNT = 0x545D
_COUNTS = struct.Struct("20i")
FRAME, OVERRUN, PARITY, BREAK, BUFFER_OVERRUN = 6, 7, 8, 9, 10


class LineErrors:
    """Of one open port, since it was opened here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before = self._read()

    def new(self) -> tuple[int, int]:
        """(bytes lost for want of room, bytes with wrong framing or parity) since the last call."""
        before, now = self._before, self._read()
        if before is None or now is None:
            return 0, 0
        self._before = now
        grown = [max(0, after - earlier) for earlier, after in zip(before, now, strict=True)]
        return grown[OVERRUN] + grown[BUFFER_OVERRUN], grown[FRAME] + grown[PARITY] + grown[BREAK]

    def _read(self) -> tuple[int, ...] | None:
        try:
            return _COUNTS.unpack(fcntl.ioctl(self._fd, TIOCGICOUNT, bytes(_COUNTS.size)))
        except OSError:
            return None
