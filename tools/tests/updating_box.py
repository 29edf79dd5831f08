"""A Box that takes updates, on a pty: it judges images as device/app/updater.py does, without a chip."""

import base64
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from flash_under_test import key

from opq_proto.firmware.image import Slot, Verdict, judge, read_header, version_number, version_text
from opq_proto.link.frames import Decoder, encode
from opq_proto.link.messages import (
    Acknowledgement,
    Command,
    Hello,
    LinkMessage,
    Log,
    Operation,
    Samples,
    Status,
    UpdateData,
)
from opq_proto.messages import TimeSource
from opq_sim.box.port import PtyPort
from opq_sim.box.wire_faults import LineFaults


@dataclass
class UpdatingBox:
    """A context manager; `path` is the port to open.

    `in_recovery`: its boot loader answers and goes on waiting. `healthy`: whether a new image reports health;
    else it is rolled back. `erase_answers`: pieces that are answered with busy first. `falls_silent_at`:
    offset from which nothing is answered any more. `sampling`: whether it sends samples.
    """

    firmware: str = "1.0.0"
    hardware: str = "opqbox external"
    faults: LineFaults = field(default_factory=LineFaults)
    healthy: bool = True
    in_recovery: bool = False
    erase_answers: int = 2
    on_trial_answers: int = 0
    falls_silent_at: int | None = None
    box_id: int = 5
    sampling: bool = True
    protection: tuple[int, int] | None = (0, 0)
    """Brown-out level and protected sectors; None: its firmware does not know the operation."""
    protects: bool = True
    asked: list[tuple[int, str]] = field(default_factory=list)
    typed: bytes = b""
    """At its prompt."""

    def __enter__(self) -> "UpdatingBox":
        self._port = PtyPort(self.faults)
        self.path = self._port.path
        self.power_up()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(240)
        self._port.close()

    def power_up(self) -> None:
        """Its first start."""
        self._decoder = Decoder()
        self._sequence = 0
        self._boot_id = 7
        self._image = bytearray()
        self._length = 0
        self._sample = 0

    def hear(self, data: bytes) -> None:
        """Answers what came over the line."""
        for _, message in self._decoder.feed(data):
            self._take(message)

    def _serve(self) -> None:
        samples_due = 0.0
        while not self._stop.wait(0.001):
            self.hear(self._port.receive())
            if self.sampling and time.monotonic() > samples_due:
                samples_due = time.monotonic() + 0.02
                self._samples()
            self._port.flush(time.monotonic_ns())

    def _samples(self) -> None:
        counts = np.arange(200, dtype=np.int16)
        self._send(Samples(self._sample, 10**18, 100, TimeSource.GPS, 12_000_000, 0, counts))
        self._sample += 200

    def _send(self, *messages: LinkMessage) -> None:
        for message in messages:
            self._write(encode(message, self._sequence))
            self._sequence += 1

    def _write(self, data: bytes) -> None:
        self._port.send(data)

    def _hello(self) -> None:
        self._send(
            Hello(
                1,
                self.box_id,
                self._boot_id,
                12_000_000,
                0.01,
                120.0,
                60.0,
                14.0,
                200,
                36_000,
                self.hardware,
                self.firmware,
            )
        )

    def _protect(self, command: Command) -> None:
        if self.protection is None:  # firmware of before: not a frame that it knows
            return
        if command.argument and self.protects:
            level, sectors = map(int, command.argument.split(" "))
            self.protection = level, sectors
        status = Status.FAILED if command.argument and not self.protects else Status.DONE
        detail = "not set" if status is Status.FAILED else " ".join(map(str, self.protection))
        self._send(Acknowledgement(command.command_id, status, detail))

    def _take(self, message: LinkMessage) -> None:
        if self.falls_silent_at is not None and len(self._image) >= self.falls_silent_at:
            return
        if isinstance(message, UpdateData):
            self._piece(message)
        elif isinstance(message, Command):
            self.asked.append((message.operation, message.argument))
            if message.operation == Operation.HELLO:
                self._send(Acknowledgement(message.command_id, Status.DONE))
                self._hello()
            elif message.operation == Operation.UPDATE_BEGIN:
                self._begin(message)
            elif message.operation == Operation.PROTECT:
                self._protect(message)
            elif message.operation == Operation.UPDATE_END:
                self._end(message)
            elif message.operation == Operation.PROMPT:
                self._prompt(message)

    def _prompt(self, message: Command) -> None:
        """Takes what is typed, as device/app/prompt_session.py does, and prints nothing."""
        detail = ""
        if message.argument[:1].isdigit():
            place, _, data = message.argument.split(" ")
            self.typed += base64.b64decode(data)[len(self.typed) - int(place) :]
            detail = f"{len(self.typed)} 0 "
        self._send(Acknowledgement(message.command_id, Status.DONE, detail))

    def _begin(self, message: Command) -> None:
        if self.on_trial_answers:
            self.on_trial_answers -= 1
            self._send(Acknowledgement(message.command_id, Status.BUSY, "the running image is on trial"))
            return
        self._length = int(message.argument)
        self._image.clear()
        self._send(Acknowledgement(message.command_id, Status.DONE, "B"))

    def _piece(self, piece: UpdateData) -> None:
        if len(self._image) >= 512 and self.erase_answers:
            self.erase_answers -= 1
            self._send(Acknowledgement(piece.command_id, Status.BUSY, str(len(self._image))))
            return
        if piece.offset == len(self._image):
            self._image += piece.data
        verdict = self._verdict(bytes(self._image)) if len(self._image) >= 512 else Verdict.GOOD
        if verdict not in (Verdict.GOOD, Verdict.TRUNCATED):
            self._send(Acknowledgement(piece.command_id, Status.FAILED, f"verdict {verdict.value}"))
            return
        self._send(Acknowledgement(piece.command_id, Status.DONE, str(len(self._image))))

    def _end(self, message: Command) -> None:
        verdict = self._verdict(bytes(self._image))
        if verdict is not Verdict.GOOD:
            self._send(Acknowledgement(message.command_id, Status.FAILED, f"verdict {verdict.value}"))
            return
        self._send(Acknowledgement(message.command_id, Status.DONE, "B"))
        self._boot_id += 1
        self._sequence = 0
        if self.in_recovery:
            self._hello()
        elif self.healthy:
            self.firmware = version_text(read_header(bytes(self._image)).version)
            self._hello()
            self._send(Log(53, 1, 0, 12))
        else:
            self._hello()
            self._send(Log(55, 0, 0, 12))

    def _verdict(self, image: bytes) -> Verdict:
        return judge(
            image,
            slot=Slot.B,
            hardware=self.hardware.split(" ")[0],
            floor_version=0 if self.in_recovery else version_number(self.firmware),
            check=_by_release,
        )

    @property
    def image(self) -> bytes:
        """What it has."""
        return bytes(self._image)

    @property
    def operations(self) -> Sequence[int]:
        """What it was asked, without hellos."""
        return [operation for operation, _ in self.asked if operation != Operation.HELLO]


def _by_release(signature: bytes, message: bytes) -> bool:
    from opq_proto.keys.signing import public_of

    return public_of(key()).is_signed(signature, message)
