"""Port: one open port of a Box, with reads and writes that never wait; how it is opened; its errors.

A tty (also a pty) and `socket://` are read by their file descriptor. Other ports of pyserial (rfc2217://,
loop://) have no descriptor for their data. Two threads carry their bytes to and from a pair of sockets
(`Pump`), so that the reader handles only descriptors. Opening may take seconds (a TCP peer that does not
answer) or for ever (a driver that hangs), so each try has a separate thread (`Opening`).
"""

import contextlib
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import serial

from opq_gateway.config import BoxSection
from opq_proto.kit.open_port import PortNotOpenedError, open_port
from opq_proto.kit.port_trouble import why_not_opened

READ_BYTES = 4096
"""Most that a tty returns at once."""
MAX_BYTES = 4 * READ_BYTES
"""Most bytes of one Box per round: twice the bytes of its line, so that a flood still leaves time for other
Boxes."""
FULL_TTY_BYTES = 4095
"""Capacity of a tty (Linux's N_TTY_BUF_SIZE minus one); a read of this many bytes may have come too late."""
DRIVER_BYTES = 65_536
"""Capacity of a serial driver's buffer before the tty's. A Box on a pty of ours holds 16 KB."""
OUT_BYTES = 8192
"""Most bytes that wait for a blocked line: 90 ms at 921,600 baud."""
PUMP_S = 0.1


class SerialPort:
    """Owned by the reader's thread; another thread may call `close` after the reader has released it."""

    def __init__(self, device: serial.SerialBase) -> None:
        """Takes over an open pyserial port.

        Raises:
            OSError: it has no usable descriptor.
        """
        self._device = device
        self._pump = None if _is_direct(device) else Pump(device)
        self._fd = device.fileno() if self._pump is None else self._pump.fileno()
        os.set_blocking(self._fd, False)
        self._out = bytearray()

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._fd

    def read(self) -> bytes:
        """The received bytes, at most MAX_BYTES; call it when poll reports data.

        Raises:
            OSError: the port went away.
        """
        data = os.read(self._fd, READ_BYTES)
        if not data:
            raise OSError(f"hung up{'' if self._pump is None else self._pump.reason}")
        if len(data) < READ_BYTES:
            return data
        parts = [data]
        while len(data) == READ_BYTES and len(parts) * READ_BYTES < MAX_BYTES:
            try:
                data = os.read(self._fd, READ_BYTES)
            except BlockingIOError:
                break
            parts.append(data)
        return b"".join(parts)

    def send(self, frame: bytes) -> bool:
        """Hands over a frame; False: too many bytes wait already.

        Raises:
            OSError: the port went away.
        """
        if len(self._out) + len(frame) > OUT_BYTES:
            return False
        self._out += frame
        self.flush()
        return True

    def flush(self) -> None:
        """Writes as many waiting bytes as the line accepts now.

        Raises:
            OSError: the port went away.
        """
        if self._out:
            try:
                del self._out[: os.write(self._fd, self._out)]
            except BlockingIOError:
                return

    def close(self) -> None:
        """Closes the port; may take a third of a second (pyserial), or until the driver has drained."""
        if self._pump is not None:
            self._pump.close()
        with contextlib.suppress(serial.SerialException, OSError):
            self._device.close()


class Pump:
    """Two threads that carry a pyserial port's bytes to and from a socket."""

    def __init__(self, device: serial.SerialBase) -> None:
        device.timeout = PUMP_S
        self.reason = ""
        self._device = device
        self._near, self._far = socket.socketpair()
        self._ended = threading.Event()
        for name, carry in (("pump in", self._inward), ("pump out", self._outward)):
            threading.Thread(target=self._until_it_fails, args=(carry,), name=name, daemon=True).start()

    def fileno(self) -> int:
        """The descriptor of the reader's end."""
        return self._near.fileno()

    def close(self) -> None:
        """Ends both threads."""
        self._ended.set()
        for end in (self._near, self._far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _until_it_fails(self, carry: Callable[[], None]) -> None:
        try:
            while not self._ended.is_set():
                carry()
        except (serial.SerialException, OSError, TypeError, AttributeError) as error:
            self.reason = f": {error}"  # pyserial raises TypeError or AttributeError when closed under a read
        finally:
            self._ended.set()
            with contextlib.suppress(OSError):
                self._far.shutdown(socket.SHUT_RDWR)

    def _inward(self) -> None:
        waiting = int(getattr(self._device, "in_waiting", 1))
        data = self._device.read(max(1, min(READ_BYTES, waiting)))
        if data:
            self._far.sendall(data)

    def _outward(self) -> None:
        data = self._far.recv(READ_BYTES)
        if not data:
            raise OSError("closed")
        self._device.write(data)


def _is_direct(device: serial.SerialBase) -> bool:
    """Whether the port's descriptor delivers its data."""
    url = str(device.portstr)
    return "://" not in url or url.startswith("socket://")


TIOCGICOUNT = 0x545D
_COUNTS = struct.Struct("20i")
FRAME = 6
"""Place of a counter in _COUNTS, like the next four (linux/serial.h, serial_icounter_struct)."""
OVERRUN = 7
PARITY = 8
BREAK = 9
BUFFER_OVERRUN = 10


class LineErrors:
    """Errors that the kernel counted on one port since it was opened here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._before = self._read()

    def new(self) -> tuple[int, int]:
        """(bytes lost because the buffer was full, bytes with wrong framing or parity) since the last
        call."""
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


class Opening:
    """One try to open a port; call `result` until it is not None.

    Attributes:
        absent: the path does not exist; no driver was called.
    """

    def __init__(self, box: BoxSection) -> None:
        self._box = box
        self._lock = threading.Lock()
        self._given_up = False
        self._result: SerialPort | str | None = None
        # usually the plug is out; this check does not need a thread
        self.absent = box.port.startswith("/") and not Path(box.port).exists()
        if self.absent:
            self._result = why_not_opened(FileNotFoundError(2, "no such file"))
            return
        threading.Thread(target=self._open, name=f"open box {box.id}", daemon=True).start()

    def result(self) -> SerialPort | str | None:
        """The open port, or why it could not be opened; None: not yet known."""
        with self._lock:
            return self._result

    def give_up(self) -> None:
        """Gives the try up; a port that opens later is closed at once."""
        with self._lock:
            self._given_up = True
            port, self._result = self._result, None
        if isinstance(port, SerialPort):
            close_aside(port)

    def _open(self) -> None:
        found: SerialPort | str
        try:
            found = SerialPort(open_port(self._box.port, self._box.baud, timeout_s=0, write_timeout_s=1.0))
        except PortNotOpenedError as error:
            found = str(error)
        except Exception as error:  # of a port without a usable descriptor; it affects only this port
            found = f"{type(error).__name__}: {error}"
        with self._lock:
            self._result = found
            given_up = self._given_up
        if given_up and isinstance(found, SerialPort):
            found.close()


def close_aside(port: SerialPort) -> None:
    """Closes in a separate thread, because a driver may drain for seconds."""
    threading.Thread(target=port.close, name="close port", daemon=True).start()
