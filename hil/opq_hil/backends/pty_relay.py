"""A wire between an emulator's pty and a gateway that does not stop the emulator when no gateway is there.

Renode writes to its pty and waits until somebody reads: without a reader, virtual time stops, and the
process no longer ends. A real Box's bytes are lost on the wire instead. So one thread always reads Renode's
end, offers the gateway its own pty, and drops and counts bytes that this does not accept.
"""

import errno
import os
import select
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

READ_BYTES = 65_536
PENDING_BYTES = 4096
"""Limit of bytes that wait for the emulator; beyond it, a faster gateway waits."""
LISTEN_S = 0.05
"""Interval at which it checks whether a gateway has opened its end; data sent until then wait in the pty."""


def set_raw(fd: int) -> None:
    """Makes a pty raw: an emulator without a terminal leaves it with random memory as settings."""
    controls = termios.tcgetattr(fd)[6]
    controls[termios.VMIN], controls[termios.VTIME] = 1, 0
    flags = termios.CREAD | termios.CS8 | termios.CLOCAL
    speed = termios.B38400  # a pty has none
    termios.tcsetattr(fd, termios.TCSANOW, [0, 0, flags, 0, speed, speed, controls])


class PtyRelay:
    """The gateway's pty for the `with` block; `theirs` is the emulator's.

    Attributes:
        path: the device that the gateway opens and closes as it likes.
    """

    def __init__(self, theirs: Path) -> None:
        self._theirs = os.open(theirs, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        set_raw(self._theirs)
        termios.tcflush(self._theirs, termios.TCIOFLUSH)
        self._master, slave = os.openpty()
        set_raw(slave)
        self.path = Path(os.ttyname(slave))
        os.close(slave)  # from here on the master shows whether another process has it open
        os.set_blocking(self._master, False)
        self._wake, self._waker = os.pipe()
        self._from_box = self._to_box = self._dropped = 0
        self._thread = threading.Thread(target=self._carry, name="pty relay", daemon=True)

    def counters(self) -> Mapping[str, int]:
        """Bytes so far. Bytes that a gateway left unread in its pty, some kB, count as taken."""
        return {
            "from_box_bytes": self._from_box,
            "dropped_bytes": self._dropped,
            "to_box_bytes": self._to_box,
        }

    def __enter__(self) -> "PtyRelay":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._waker, b"\0")
        self._thread.join()
        for fd in (self._theirs, self._wake, self._waker):
            os.close(fd)

    def _carry(self) -> None:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        pending = b""
        try:
            while True:
                listening = self._somebody()
                poll.register(self._theirs, select.POLLIN | (select.POLLOUT if pending else 0))
                poll.register(self._master, select.POLLIN if listening and not pending else 0)
                if not listening:
                    poll.unregister(self._master)  # it would report the hang-up without end
                events = dict(poll.poll(LISTEN_S * 1000))
                if self._wake in events:
                    return
                if events.get(self._theirs, 0) & (select.POLLIN | select.POLLHUP):
                    data = os.read(self._theirs, READ_BYTES)
                    if not data:
                        return
                    self._from_box += len(data)
                    self._dropped += len(data) - self._offer(data)
                if events.get(self._master, 0) & select.POLLIN:
                    pending = self._read_gateway()
                if pending:
                    pending = pending[self._send(pending) :]
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: the emulator's end is closed
                raise
        finally:
            os.close(self._master)  # the gateway's port hangs up, as when a plug is pulled

    def _somebody(self) -> bool:
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    def _offer(self, data: bytes) -> int:
        """Writes what the gateway's pty accepts now; returns how much that was."""
        try:
            return os.write(self._master, data) if self._somebody() else 0
        except BlockingIOError:
            return 0

    def _read_gateway(self) -> bytes:
        try:
            return os.read(self._master, PENDING_BYTES)
        except OSError as error:
            if error.errno in (errno.EIO, errno.EAGAIN):  # it has just closed its end
                return b""
            raise

    def _send(self, data: bytes) -> int:
        try:
            sent = os.write(self._theirs, data)
        except BlockingIOError:
            return 0
        self._to_box += sent
        return sent
