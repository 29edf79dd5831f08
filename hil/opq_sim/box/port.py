"""The Box's end of the serial link: the master side of a pty that behaves like a UART.

While no program reads, the oldest bytes are lost and counted. The Box holds the slave side open too, so
that a gateway may disconnect and connect again without a hang-up of the pty.
"""

import contextlib
import os
import tty
from collections import deque
from pathlib import Path

from opq_sim.box.wire_faults import FaultyLine, LineFaults

BUFFER_BYTES = 16_384
"""Limit of bytes that wait for a slow reader: 0.6 s of samples."""
READ_BYTES = 4096
OF_PROCESS = "/proc/{}/fd/{}"
CATCH_UP_NS = 50_000_000
"""A real wire does not stop while this process waits for a core; the data of that time go at once."""


class PortLink:
    """A symbolic link that leads to a pty as long as this process has it, and to no other afterwards.

    A number such as /dev/pts/3 is given to the next terminal as soon as it is free. So the link leads to this
    process's own reference to the device: when the process has ended, however it ended, the link leads
    nowhere, and when the pty has gone, opening the link fails. Without /proc it leads to the number.
    """

    def __init__(self, path: Path, device: Path | str) -> None:
        """Makes the link in one step, whatever was there before."""
        self._path = path
        self._device: int | None = None
        self._target = str(device)
        if Path("/proc/self/fd").is_dir():
            self._device = os.open(device, os.O_PATH | os.O_CLOEXEC)  # the device itself is not opened
            self._target = OF_PROCESS.format(os.getpid(), self._device)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        fresh.symlink_to(self._target)
        fresh.replace(path)

    def close(self) -> None:
        """Removes the link if it is still this one."""
        if self._path.is_symlink() and str(self._path.readlink()) == self._target:
            self._path.unlink(missing_ok=True)
        if self._device is not None:
            os.close(self._device)


class PtyPort:
    """One pty; not for use by several threads.

    Attributes:
        path: device the gateway opens.
        sent_bytes: bytes given to the pty.
        lost_bytes: bytes lost because no program read them in time.
    """

    def __init__(self, faults: LineFaults | None = None) -> None:
        self._faults = faults or LineFaults()
        self.out = FaultyLine(self._faults, 0)
        self.back = FaultyLine(self._faults, 1)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self.sent_bytes = 0
        self.lost_bytes = 0
        self.blocked = False  # the pty is full
        self._frames: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._link: PortLink | None = None
        self._free_ns = 0  # when the wire is free again
        self._idle_ns: int | None = None  # when it last had nothing to carry

    def fileno(self) -> int:
        return self._master

    @property
    def waiting_bytes(self) -> int:
        """Bytes that the pty has not taken yet."""
        return self._waiting_bytes

    @property
    def paced(self) -> bool:
        """True while bytes wait for the wire's speed, not for the reader."""
        return bool(self._frames) and not self.blocked

    def send(self, frame: bytes) -> None:
        """Queues a frame; when the buffer is full, the oldest whole frames are dropped."""
        arriving = self.out.carry(frame)
        if not arriving:
            return
        self._frames.append(arriving)
        self._waiting_bytes += len(arriving)
        while self._waiting_bytes > BUFFER_BYTES and len(self._frames) > 2:
            head = self._frames.popleft()  # may be half sent, so it stays in front
            lost = self._frames.popleft()
            self._frames.appendleft(head)
            self._waiting_bytes -= len(lost)
            self.lost_bytes += len(lost)

    def flush(self, now_ns: int) -> None:
        """Writes what the wire's speed and the pty allow now, in pieces if `chunk_bytes` says so."""
        self.blocked = False
        if self._idle_ns is None:
            self._idle_ns = now_ns
        self._free_ns = max(self._free_ns, self._idle_ns, now_ns - CATCH_UP_NS)
        while self._frames and self._free_ns <= now_ns:
            head = self._frames[0]
            try:
                taken = os.write(self._master, head[: self.out.piece_bytes()])
            except BlockingIOError:
                self.blocked = True
                return
            self._free_ns += self.out.takes_ns(taken)
            self.sent_bytes += taken
            self._waiting_bytes -= taken
            if taken == len(head):
                self._frames.popleft()
            else:
                self._frames[0] = head[taken:]
            if self._faults.chunk_bytes and not self._faults.baud:
                return
        if not self._frames:
            self._idle_ns = now_ns

    def receive(self) -> bytes:
        """Returns the bytes that the gateway sent; empty if there are none."""
        try:
            return self.back.carry(os.read(self._master, READ_BYTES))
        except (BlockingIOError, OSError):
            return b""

    def link_as(self, path: Path) -> None:
        """Makes the symbolic link `path` lead here."""
        self._link = PortLink(path, self.path)

    def close(self) -> None:
        """Closes the pty and removes its link."""
        if self._link is not None:
            self._link.close()
            self._link = None
        os.close(self._master)
        os.close(self._slave)
