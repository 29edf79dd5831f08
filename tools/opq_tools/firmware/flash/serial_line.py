"""A serial port for request and answer: a short read is a LineError, and stale bytes are discarded."""

import termios
import time
from typing import Any

import serial

from opq_proto.kit.open_port import PortNotOpenedError, open_port
from opq_proto.kit.port_trouble import also_open, where_to_look
from opq_tools.firmware.flash.chip import FlashError, LineError

POLL_S = 0.02
TALKING_S = 3.0
"""A chip's longest answer takes 25 ms; a device that sends for longer than this is not a waiting chip."""
COMPARED_BYTES = 512
SHOWN_BYTES = 80
ECHO = "what is sent comes back: look whether TX and RX are joined, or the adapter echoes"


class SerialLine:
    """One open port. `timeout` (seconds for the next bytes) may be set at any time.

    Attributes:
        received: bytes that came.
    """

    def __init__(self, port: str, baud: int, parity: str = serial.PARITY_NONE) -> None:
        self.name = port
        self.timeout = 1.0
        self.received = 0
        self._sent = b""
        self._came = b""
        try:
            self._port: Any = open_port(port, baud, timeout_s=POLL_S, write_timeout_s=5, parity=parity)
        except PortNotOpenedError as error:
            raise FlashError(f"cannot open {port}: {error}. Nothing was written") from error

    def write(self, data: bytes) -> None:
        """Writes all of `data`."""
        try:
            self._port.write(data)
            self._sent = (self._sent + data)[-COMPARED_BYTES:]
        except OSError as error:
            raise LineError(f"{self.name} accepts no bytes: {where_to_look(self.name)}") from error

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
            data = bytes(self._port.read(max(1, min(at_most, waiting))))
            self.received += len(data)
            self._came = (self._came + data)[-COMPARED_BYTES:]
            return data
        except (OSError, TypeError) as error:  # pyserial: TypeError when the port is closed under it
            raise LineError(f"{self.name} is gone{self.said}: {where_to_look(self.name)}") from error

    def drain(self, silent_s: float) -> bytes:
        """Reads until nothing has arrived for `silent_s`; returns the bytes.

        Raises:
            LineError: bytes arrive for TALKING_S without such a pause.
        """
        got = bytearray()
        quiet_from = time.monotonic()
        end = quiet_from + TALKING_S
        while time.monotonic() - quiet_from < silent_s:
            more = self.some()
            if more:
                got += more
                quiet_from = time.monotonic()
                if quiet_from > end:
                    raise LineError(
                        f"{self.name}: bytes come without a pause, so a running Box or another device is "
                        "there: look at port and wiring, and whether BOOT0 is high and reset was pressed"
                    )
        return bytes(got)

    @property
    def said(self) -> str:
        """What came last, where it is text, such as that of a server whose port is taken; else empty."""
        text = self._came[-SHOWN_BYTES:].decode("latin1").strip()
        is_text = bool(text) and all(" " <= each <= "~" or each in "\r\n\t" for each in text)
        return f" (it said '{' '.join(text.split())}')" if is_text else ""

    def set_lines(self, *, dtr: bool, rts: bool) -> None:
        """Sets the modem lines, RTS first.

        Raises:
            FlashError: the port has none.
        """
        if self.name.lower().startswith("socket://"):  # pyserial would ignore it
            raise FlashError(f"{self.name} has no lines DTR and RTS; rfc2217:// has them")
        try:
            self._port.rts, self._port.dtr = rts, dtr
        except (OSError, ValueError) as error:
            raise FlashError(f"{self.name} has no lines DTR and RTS: {error}") from error

    def silence(self, why: str, look: str = "") -> str:
        """Returns why nothing answers: another program that takes bytes of this port comes first, then an
        echo, and else what `look` says."""
        half = len(self._sent) // 2
        echoes = len(self._came) > half and self._came[-half - 1 :] in self._sent
        first = also_open(self.name) or (ECHO if echoes else "")
        if first:
            return f"{self.name}: {first}. {why[0].upper()}{why[1:]}"
        return f"{self.name}: {why}" + (f": {look}" if look else "")

    def skip_waiting(self) -> None:
        """Forgets the bytes that have come and were not read yet."""
        try:
            self._port.reset_input_buffer()
        except (OSError, termios.error) as error:
            raise LineError(f"{self.name} is gone: {where_to_look(self.name)}") from error

    def close(self) -> None:
        self._port.close()
