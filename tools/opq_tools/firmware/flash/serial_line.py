"""A serial port for request and answer: a short read is a LineError, and stale bytes are discarded."""

import errno
import termios
import time
from typing import Any

import serial

from opq_proto.kit.port_trouble import why_not_opened
from opq_tools.firmware.flash.chip import FlashError, LineError

POLL_S = 0.02


class SerialLine:
    """One open port. `timeout` (seconds for the next bytes) may be set at any time."""

    def __init__(self, port: str, baud: int, parity: str = serial.PARITY_NONE) -> None:
        self.name = port
        self.timeout = 1.0
        try:
            self._port: Any = _opened(port, baud, parity)
        except (OSError, ValueError) as error:
            raise FlashError(f"cannot open {port}: {why_not_opened(error)}. Nothing was written") from error

    def write(self, data: bytes) -> None:
        """Writes all of `data`."""
        try:
            self._port.write(data)
        except OSError as error:
            raise LineError(f"{self.name} accepts no bytes: {error}") from error

    def read(self, count: int = 1) -> bytes:
        """Reads exactly `count` bytes.

        Raises:
            LineError: they did not arrive within the time-out.
        """
        got = bytearray()
        end = time.monotonic() + self.timeout
        while len(got) < count:
            got += self.some(count - len(got))
            if len(got) < count and time.monotonic() > end:
                raise LineError(f"{len(got)} of {count} bytes within {self.timeout:g} s")
        return bytes(got)

    def some(self, at_most: int = 4096) -> bytes:
        """Reads the bytes that arrive within a moment; may be empty."""
        try:
            waiting: int = self._port.in_waiting
            return bytes(self._port.read(max(1, min(at_most, waiting))))
        except (OSError, TypeError) as error:  # pyserial: TypeError when the port is closed under it
            raise LineError(f"{self.name} is gone: {error}") from error

    def drain(self, silent_s: float) -> bytes:
        """Reads until nothing has arrived for `silent_s`, at most 5 s; returns the bytes."""
        got = bytearray()
        end = time.monotonic() + 5.0
        quiet_from = time.monotonic()
        while time.monotonic() - quiet_from < silent_s and time.monotonic() < end:
            more = self.some()
            if more:
                got += more
                quiet_from = time.monotonic()
        return bytes(got)

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Sets the modem lines, where the port has them."""
        self._port.dtr, self._port.rts = dtr, rts

    def close(self) -> None:
        self._port.close()


def _opened(port: str, baud: int, parity: str) -> Any:
    def opened(parity: str) -> Any:
        return serial.serial_for_url(
            port, baudrate=baud, parity=parity, timeout=POLL_S, write_timeout=5, exclusive=True
        )

    try:
        return opened(parity)
    except termios.error as error:
        if error.args[0] != errno.EINVAL or parity == serial.PARITY_NONE:
            raise OSError(*error.args) from error
        return opened(serial.PARITY_NONE)  # a pty has no parity; glibc reports it when nothing else changes
