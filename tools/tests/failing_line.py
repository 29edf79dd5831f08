"""A serial line between the tool and a device that fails at a given byte of their dialogue."""

import os
import random
import select
import tty
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from opq_proto.kit.own_thread import OwnThread

NACK = b"\x1f"


class LineFault(StrEnum):
    UNPLUGGED = "unplugged"
    SILENT = "silent"
    ECHO = "echo"
    """TX and RX of the adapter joined."""
    NACK = "nack"
    """Each write is answered with NACK, also as the ROM of a wrong session would."""
    TALKING = "talking"
    """Another device sends all the time."""


class FailingLine(OwnThread):
    """Carries bytes both ways until `at_byte` of both together have passed; then `fault` begins.

    Attributes:
        path: what the tool opens.
        carried: bytes that have passed.
    """

    _join_s = 10.0

    def __init__(self, device: str, fault: LineFault, at_byte: int) -> None:
        super().__init__("failing-line")
        self.carried = 0
        self._fault, self._left = fault, at_byte
        self._device = os.open(device, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self._device)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self._open = [self._device, self._slave, self._master]
        self._folder = TemporaryDirectory(prefix="opq-line-")
        link = Path(self._folder.name) / "tty"
        link.symlink_to(os.ttyname(self._slave))
        self.path = str(link)
        os.set_blocking(self._master, False)
        self._talk = random.Random(at_byte)

    def close(self) -> None:
        super().close()
        for fd in self._open:
            os.close(fd)
        self._folder.cleanup()

    def _run(self) -> None:
        while not self._stop.is_set() and self._left:
            for fd in select.select([self._master, self._device], [], [], 0.02)[0]:
                with suppress(OSError):  # the tool has not opened the line yet
                    data = os.read(fd, max(1, min(4096, self._left)))
                    os.write(self._device if fd == self._master else self._master, data)
                    self._left -= len(data)
                    self.carried += len(data)
        if self._fault is LineFault.UNPLUGGED and not self._left:
            os.close(
                self._open.pop()
            )  # the other end stays open, so that its name is not given to another line
            return
        while not self._stop.wait(0.002):
            for fd in select.select([self._master, self._device], [], [], 0.02)[0]:
                with suppress(OSError):
                    data = os.read(fd, 4096)
                    if fd == self._master and self._fault in (LineFault.ECHO, LineFault.NACK):
                        os.write(self._master, data if self._fault is LineFault.ECHO else NACK)
            if self._fault is LineFault.TALKING:
                with suppress(OSError):
                    os.write(self._master, self._talk.randbytes(60))
