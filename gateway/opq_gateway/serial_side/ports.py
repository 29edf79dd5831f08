"""Serial side: the port of one Box, opened again and again, read in any pieces.

Any pyserial URL: /dev/serial/by-id/..., a pty, socket://host:port. A port that is absent or
unplugged is tried again with back-off, for ever. Bytes go through the link's Decoder to the
Intake; what the Intake has to say to the Box is written here, by the same thread.
"""

import contextlib
import select
import threading
import time

import serial

from opq_gateway.config import BoxPort
from opq_gateway.counters import Counters
from opq_gateway.serial_side.intake import Intake
from opq_gateway.status import Status
from opq_proto import log
from opq_proto.link import Decoder, encode
from opq_proto.link_messages import LinkMessage
from opq_proto.port_trouble import why_not_opened

BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits between tries to open; the last one stays."""
TICK_S = 0.1
COLLECT_S = 0.004
"""After the first byte so long is waited for more: a UART hands out 16 to 64 bytes at a time, 12
wake-ups per block; at 921,600 baud 4 ms are 370 bytes, well below the kernel's 4,096."""
READ_BYTES = 16_384
WRITE_TIMEOUT_S = 0.2


class SerialSide:
    """Serves one Box's port until told to stop; `send` only from the Intake's calls."""

    def __init__(self, box: BoxPort, status: Status, counters: Counters) -> None:
        self._box = box
        self._status = status
        self._counters = counters
        self._log = log.get(service="gateway", box_id=box.id)
        self._decoder = Decoder()
        self._port: serial.SerialBase | None = None
        self._sequence = 0

    def send(self, message: LinkMessage) -> None:
        """Write a message to the Box; one that the port does not take is counted and gone (the
        reassembly and the hello are asked for again)."""
        if self._port is None:
            return
        frame = encode(message, self._sequence)
        self._sequence += 1
        try:
            self._port.write(frame)
        except (serial.SerialException, OSError):
            self._counters.add("serial_write_failed")

    def run(self, intake: Intake, stop: threading.Event) -> None:
        """Open, read until it fails, wait, again; ends within TICK_S of `stop`."""
        tries = 0
        while not stop.is_set():
            port = self._open()
            if port is None:
                stop.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
                tries += 1
                intake.tick()
                continue
            try:
                self._port = port
                intake.opened()
                if self._serve(port, intake, stop):
                    tries = 0
            finally:
                self._port = None
                self._status.serial_open = False
                with contextlib.suppress(serial.SerialException, OSError):
                    port.close()
            stop.wait(BACKOFF_S[min(tries, len(BACKOFF_S) - 1)])
            tries += 1
        intake.close()

    def _open(self) -> serial.SerialBase | None:
        try:
            port: serial.SerialBase = serial.serial_for_url(
                self._box.port,
                baudrate=self._box.baud,
                timeout=0,
                write_timeout=WRITE_TIMEOUT_S,
                exclusive=True,
            )
        except (serial.SerialException, OSError, ValueError) as error:
            problem = why_not_opened(error)
            if problem != self._status.serial_problem:
                self._log.warning("serial.absent", port=self._box.port, reason=problem)
            self._status.serial_problem = problem
            return None
        self._status.serial_open = True
        self._status.serial_problem = ""
        self._counters.add("serial_opened")
        self._log.info("serial.opened", port=self._box.port)
        return port

    def _serve(self, port: serial.SerialBase, intake: Intake, stop: threading.Event) -> bool:
        """Read until the port fails or `stop`; True when it gave anything."""
        got = False
        while not stop.is_set():
            try:
                data = _read(port)
            except (serial.SerialException, OSError, TypeError) as error:  # pyserial: TypeError when closing
                self._status.serial_problem = str(error)
                self._counters.add("serial_lost")
                self._log.warning("serial.lost", port=self._box.port, reason=str(error))
                return got
            if data:
                got = True
                self._counters.add("serial_bytes", len(data))
                for _, message in self._decoder.feed(data):
                    intake.take(message)
                self._count()
            intake.tick()
        return got

    def _count(self) -> None:
        decoder, counters = self._decoder, self._counters
        counters.set("frames", decoder.frames)
        counters.set("frame_crc_errors", decoder.crc_errors)
        counters.set("frame_malformed", decoder.malformed)
        counters.set("frame_oversize", decoder.oversize)
        counters.set("bytes_skipped", decoder.bytes_skipped)
        counters.set("frame_sequence_gaps", decoder.sequence_gaps)


def _read(port: serial.SerialBase) -> bytes:
    """What is there, waiting at most TICK_S for the first byte and COLLECT_S for more."""
    try:
        fd = port.fileno()
    except (AttributeError, OSError):  # rfc2217:// and loop:// have none
        time.sleep(COLLECT_S)
        return bytes(port.read(READ_BYTES))
    ready, _, _ = select.select([fd], [], [], TICK_S)
    if not ready:
        return b""
    time.sleep(COLLECT_S)
    return bytes(port.read(READ_BYTES))
