"""Station: one Box's port at the gateway, which it opens again whenever necessary, and its Intake.

Any pyserial URL: /dev/serial/by-id/..., a pty, socket://host:port. A port that is absent or unplugged is
tried again with back-off, for ever. Bytes go through the link's Decoder to the Intake; messages to the Box
are written here. All of it in the reader's thread.
"""

import os
import select
import time
from pathlib import Path
from typing import Protocol

from opq_gateway.config import BoxSection
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import NO_FRAMES, BoxStatus
from opq_gateway.serial_side.early_ports import EarlyPort, EarlyPorts, in_arrears
from opq_gateway.serial_side.port import (
    DRIVER_BYTES,
    FULL_TTY_BYTES,
    LineErrors,
    Opening,
    SerialPort,
    close_aside,
)
from opq_proto.kit import log
from opq_proto.kit.backoff import Backoff
from opq_proto.link.frames import Decoder, encode
from opq_proto.link.messages import LinkMessage

BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Waits between tries to open; the last one repeats."""
ABSENT_TRIES = BACKOFF_S.index(1.0)
"""An absent path is checked every second, however long the plug is out, because it costs only a stat, and a
Box can send again only samples of the last 3.2 s or more (Hello.ring_samples)."""
SILENT_S = 20.0
"""A Box sends a hello at least every 5 s. This long without a byte means a TCP peer that vanished without
notice, or an adapter that hangs; the port is opened again."""
ARREARS_PER_ROUND = 200
"""Most messages of an early port that are handled at once: 10 ms of CPU. With more the port would not be read
in time."""
UNREADABLE_S = 10.0
"""A port that brings bytes for this long, and no good frame, is reported; a Box sends 60 frames a second."""
QUIET_BYTES_S = 2.0
"""After this long without a byte UNREADABLE_S begins again, so that a noise byte on the line of a Box without
power is not reported."""
CHECK_S = 1.0
"""Period of the check that the path still leads to the open device."""
POLL_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class StationListener(Protocol):
    """The part of an Intake that a Station needs."""

    @property
    def waits(self) -> bool: ...

    def opened(self) -> None: ...

    def accept_messages(self, messages: list[tuple[int, LinkMessage]]) -> None: ...

    def tick(self) -> None: ...

    def stalled(self, seconds: float) -> None: ...

    def lost(self) -> None: ...

    def close(self) -> None: ...


class BoxStation:
    """Serves one Box's port; only the Intake may call `send`."""

    def __init__(
        self, box: BoxSection, status: BoxStatus, counters: BoxCounters, early: EarlyPorts | None = None
    ) -> None:
        self.box = box
        self._early = early
        self._arrears: list[tuple[int, LinkMessage]] = []
        self.counters = counters
        self._status = status
        self._log = log.get(service="gateway", box_id=box.id)
        self._poll: select.poll | None = None
        self._intake: StationListener | None = None
        self._decoder = Decoder()
        self._port: SerialPort | None = None
        self._line_errors: LineErrors | None = None
        self.fd = -1
        """Descriptor of the open port; -1 without an open port."""
        self._opening: Opening | None = None
        self._open_at_s = 0.0
        self._waits = Backoff(BACKOFF_S)
        self._read_s = 0.0
        """When the open port was read last; 0: not yet."""
        self._waited_bytes = 0
        """Most bytes that may still come of those that waited in the open port when it was opened."""
        self._received_s = 0.0
        self._checked_s = 0.0
        self._frame_s = 0.0
        """When the newest good frame was first counted, the port opened, or bytes came after a silence."""
        self._frames = 0
        self._sequence = 0
        self._bytes = 0
        self._bad = 0

    def attach(self, intake: StationListener, poll: select.poll) -> None:
        """Sets the Intake and the poll object for the descriptor, before the first round."""
        self._intake = intake
        self._poll = poll

    def send(self, message: LinkMessage) -> None:
        """Writes a message to the Box; a message that the port refuses is counted and lost (resends and the
        hello are requested again)."""
        if self._port is None:
            return
        frame = encode(message, self._sequence)
        self._sequence += 1
        try:
            taken = self._port.send(frame)
        except OSError:
            taken = False  # the next read gives the reason
        if not taken:
            self.counters.add("serial_write_failed")

    def round(self, events: int, now_s: float) -> None:
        """Does what is due; `events` is what poll reports for `fd`."""
        assert self._intake is not None
        if self._port is None:
            self._read_s = 0.0
            self._try_to_open(now_s)
        else:
            data = self._read(self._port, events, now_s)
            is_full = len(data) >= FULL_TTY_BYTES
            if is_full and self._read_s and not self._waited_bytes:
                self.stalled(now_s - self._read_s)
            self._waited_bytes = max(0, self._waited_bytes - len(data)) if is_full else 0
            self._read_s = now_s
            if data or self._arrears:
                self._accept_data(data, now_s)
        self._intake.tick()

    def stalled(self, seconds: float) -> None:
        """The gateway paused until now, or read so late that the port's buffer was full. Without an open port
        it is the line that loses samples."""
        if self._port is None:
            return
        self.counters.add("stalls")
        if self._intake is not None:
            self._intake.stalled(seconds)

    def failed(self) -> None:
        """The handling of a message raised an exception; closes the port, which is opened again with
        back-off."""
        self._lost("its handling failed; see the log", time.monotonic())

    @property
    def waits(self) -> bool:
        """Whether the Box is sending lost samples again."""
        return self.fd >= 0 and self._intake is not None and self._intake.waits

    def close(self) -> None:
        """Ends the Station with the gateway."""
        if self._opening is not None:
            self._opening.give_up()
        self._release()
        if self._intake is not None:
            self._intake.close()

    def _read(self, port: SerialPort, events: int, now_s: float) -> bytes:
        """The received bytes; closes a port that has gone."""
        data = b""
        try:
            if events & select.POLLIN:
                data = port.read()
            elif events & POLL_GONE:
                raise OSError("hung up")
            port.flush()
            if now_s - self._checked_s >= CHECK_S:
                self._check_silence(now_s)
        except OSError as error:
            self._lost(error.strerror or str(error), now_s)
        return data

    def _accept_data(self, data: bytes, now_s: float) -> None:
        assert self._intake is not None
        if data:
            if now_s - self._received_s > QUIET_BYTES_S:
                self._frame_s = now_s
            self._received_s = now_s
        self._bytes += len(data)
        decoder = self._decoder
        messages = decoder.feed(data)
        if decoder.bytes_skipped + decoder.sequence_gaps != self._bad:
            self._count()
        if self._arrears:
            self._arrears += in_arrears(messages)
            messages = self._arrears[:ARREARS_PER_ROUND]
            del self._arrears[:ARREARS_PER_ROUND]
        if messages:
            self._intake.accept_messages(messages)
            # only here, so that the waits keep growing while handling always fails
            self._waits.record_success()

    def _check_silence(self, now_s: float) -> None:
        """Checks the port once a second; raises OSError where it is no longer the wanted one."""
        self._checked_s = now_s
        self._count()
        if self._line_errors is not None:
            overruns, wrong = self._line_errors.new()
            if overruns or wrong:
                self.counters.add("serial_overruns", overruns)
                self.counters.add("serial_line_errors", wrong)
        if self._decoder.frames != self._frames:
            self._frames, self._frame_s = self._decoder.frames, now_s
            self._status.serial_unreadable = False
        elif self._received_s - self._frame_s > UNREADABLE_S and not self._status.serial_unreadable:
            self._status.serial_unreadable = True
            self.counters.add("serial_unreadable")
            self._log.warning("serial.unreadable", port=self.box.port, reason=NO_FRAMES)
        if now_s - self._received_s > SILENT_S:
            raise OSError(f"no byte for {SILENT_S:g} s")
        path = self.box.port
        if path.startswith("/"):
            try:
                leads_to = Path(path).stat().st_rdev
            except OSError:
                return  # a missing link does not affect the open device
            if leads_to != os.fstat(self.fd).st_rdev:
                raise OSError("the path leads to another device now")

    def _take_over(self, early: EarlyPorts, now_s: float) -> bool:
        """Takes over the port that the start has opened, with its bytes; False if it was not opened."""
        found = early.take_port(self.box.port)
        if found is None:
            return False
        self._opened(SerialPort(found.device), now_s, found)
        self._bytes += len(found.data) + found.dropped_bytes
        self.counters.add("serial_early_dropped", found.dropped_bytes)
        self._arrears = in_arrears(self._decoder.feed(bytes(found.data)))
        return True

    def _try_to_open(self, now_s: float) -> None:
        early, self._early = self._early, None
        if early is not None and self._take_over(early, now_s):
            return
        if self._opening is None:
            if now_s < self._open_at_s:
                return
            self._opening = Opening(self.box)
        found = self._opening.result()
        if found is None:
            return
        if self._opening.absent:
            self._waits.failures = min(self._waits.failures, ABSENT_TRIES)
        self._opening = None
        if isinstance(found, str):
            if found != self._status.serial_problem:
                self._log.warning("serial.absent", port=self.box.port, reason=found)
            self._status.serial_problem = found
            self._open_at_s = now_s + self._waits.record_failure()
            return
        self._opened(found, now_s)

    def _opened(self, port: SerialPort, now_s: float, early: EarlyPort | None = None) -> None:
        """Registers the open port; `early` is its state from the start, with what was requested then."""
        assert self._poll is not None and self._intake is not None
        self._port, self.fd = port, port.fileno()
        self._waited_bytes = 0 if early is not None else DRIVER_BYTES  # of an early port they have been read
        self._poll.register(self.fd, select.POLLIN)
        self._line_errors = LineErrors(self.fd)
        self._received_s = self._checked_s = self._frame_s = now_s
        self._frames = self._decoder.frames
        self._status.serial_open = True
        self._status.serial_problem = ""
        self.counters.add("serial_opened")
        facts: dict[str, float] = {"early_s": 0.0}
        if early is not None and early.requested_s is not None:
            facts = {"early_s": round(now_s - early.requested_s, 3)}
            facts |= {"early_first": early.requested_first, "early_sample": early.requested_end}
        self._log.info("serial.opened", port=self.box.port, **facts)
        self._intake.opened()

    def _lost(self, reason: str, now_s: float) -> None:
        self._release()
        self._status.serial_problem = reason
        self.counters.add("serial_lost")
        self._log.warning("serial.lost", port=self.box.port, reason=reason)
        self._open_at_s = now_s + self._waits.record_failure()
        if self._intake is not None:
            self._intake.lost()

    def _release(self) -> None:
        self._count()
        self._arrears.clear()
        port, self._port = self._port, None
        if port is not None and self._poll is not None:
            self._poll.unregister(self.fd)
            close_aside(port)
        self.fd = -1
        self._status.serial_open = self._status.serial_unreadable = False

    def _count(self) -> None:
        """Updates the counters: received bytes each second, errors at once."""
        decoder, counters = self._decoder, self.counters
        counters.set("serial_bytes", self._bytes)
        counters.set("frames", decoder.frames)
        bad = decoder.bytes_skipped + decoder.sequence_gaps  # one of the two grows with every error
        if bad != self._bad:
            self._bad = bad
            counters.set("frame_crc_errors", decoder.crc_errors)
            counters.set("frame_malformed", decoder.malformed)
            counters.set("frame_oversize", decoder.oversize)
            counters.set("bytes_skipped", decoder.bytes_skipped)
            counters.set("frame_sequence_gaps", decoder.sequence_gaps)
