"""The gateway's end of a Box's serial line for manual use: for strategies, boards and live tests.

There is no thread: arriving data is read during a wait. `typed` and `printed` use MicroPython's prompt from a
script.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from opq_hil.world.capture import Capture, TimedMessage
from opq_hil.world.world import NS_PER_S
from opq_proto.errors import OpqError
from opq_proto.kit.open_port import PortNotOpenedError, open_port
from opq_proto.kit.port_trouble import where_to_look
from opq_proto.link import frames as link
from opq_proto.link.messages import (
    LINK_BAUD,
    Acknowledgement,
    Command,
    LinkMessage,
    Operation,
    UpdateData,
)

Kind = TypeVar("Kind")
READ_S = 0.02
PORT_BYTES = 65_536
"""Most bytes that a port holds for a reader who is late."""


class NoAnswerError(OpqError):
    """A Box did not send the awaited message in time, or its port has failed."""


class PortLostError(NoAnswerError):
    """The port of an open line has failed."""


class BenchLine:
    """A port that is open for the `with` block; times are ns of `now_s` since it was opened.

    `now_s` gives the Box's time (`LiveBox.now_s`). All waits use it, since an emulator may be slower than its
    host. `start_s` is that time when the port was opened.
    """

    def __init__(self, port: str | Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self.port = str(port)
        self.now_s = now_s
        self.received: list[TimedMessage] = []
        self.log: list[tuple[int, bytes]] = []
        self._decoder = link.Decoder()
        self._sequence = 0
        self._command_id = 0

    def __enter__(self) -> "BenchLine":
        try:
            self._serial = open_port(self.port, LINK_BAUD, timeout_s=READ_S)
        except PortNotOpenedError as error:
            raise NoAnswerError(f"cannot open {self.port}: {error}") from error
        self.start_s = self.now_s()
        return self

    def __exit__(self, *_: object) -> None:
        self._serial.close()

    def send(self, message: LinkMessage) -> None:
        self.write(b"\0" + link.encode(message, self._sequence))
        self._sequence += 1

    def write(self, data: bytes) -> None:
        """Writes bytes without framing, e.g. broken ones.

        Raises:
            PortLostError: the port has failed.
        """
        try:
            self._serial.write(data)
        except OSError as error:
            raise PortLostError(f"{self.port} accepts no bytes: {where_to_look(self.port)}") from error

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Reads what arrives, for so many seconds or until a condition is true.

        What has come by then is read, too: this process may have stopped for longer than the wait.

        Raises:
            BackendError: the Box's time stops.
            PortLostError: the port has failed.
        """
        end, left_bytes = self.now_s() + seconds, PORT_BYTES
        while not until():
            try:
                waiting = self._serial.in_waiting
                if self.now_s() >= end:
                    if not waiting or left_bytes <= 0:
                        return
                    left_bytes -= waiting
                data = self._serial.read(max(1, waiting))
            except OSError as error:
                raise PortLostError(f"{self.port} is gone: {where_to_look(self.port)}") from error
            if data:
                t_ns = round((self.now_s() - self.start_s) * NS_PER_S)
                self.log.append((t_ns, data))
                self.received += [
                    TimedMessage(t_ns, number, message) for number, message in self._decoder.feed(data)
                ]

    def wait_for(
        self, kind: type[Kind], timeout_s: float, such: Callable[[Kind], bool] = lambda _: True
    ) -> Kind:
        """Returns the first message of a kind that arrives from now on.

        Raises:
            NoAnswerError: none came within the time; the text names what came instead.
        """
        seen = len(self.received)

        def found() -> Kind | None:
            new = (received.message for received in self.received[seen:])
            return next((message for message in new if isinstance(message, kind) and such(message)), None)

        self.read(timeout_s, lambda: found() is not None)
        message = found()
        if message is None:
            names = sorted({type(received.message).__name__ for received in self.received[seen:]})
            raise NoAnswerError(
                f"{self.port}: no {kind.__name__} within {timeout_s:g} s; "
                f"came: {', '.join(names) or 'nothing'}"
            )
        return message

    def request(self, operation: Operation, argument: str = "") -> int:
        """Sends a command; returns its id."""
        self._command_id = self._command_id % 0xFFFF + 1
        self.send(Command(self._command_id, operation, argument))
        return self._command_id

    def send_piece(self, offset: int, data: bytes) -> int:
        """Sends a piece of a firmware image; returns its id."""
        self._command_id = self._command_id % 0xFFFF + 1
        self.send(UpdateData(self._command_id, offset, data))
        return self._command_id

    def send_command(
        self, operation: Operation, argument: str = "", timeout_s: float = 2.0
    ) -> Acknowledgement:
        """Sends a command and returns its acknowledgement."""
        ours = self.request(operation, argument)
        return self.wait_for(Acknowledgement, timeout_s, lambda answer: answer.command_id == ours)

    def capture(self) -> Capture:
        """Everything received so far, for the checks of a whole run."""
        return Capture(self.log)


LINE_NS = NS_PER_S // 20
COMMAND_ID = 900


def typed(start_ns: int, lines: Sequence[str]) -> tuple[tuple[int, LinkMessage | bytes], ...]:
    """For `World.messages`: requests the prompt, then types lines, one each LINE_NS. Only a reset ends it."""
    command = (start_ns, Command(COMMAND_ID, Operation.REPL))
    keys = (
        (start_ns + NS_PER_S // 2 + number * LINE_NS, (line + "\r").encode())
        for number, line in enumerate(lines)
    )
    return (command, *keys)


def printed(capture: Capture, mark: str) -> list[str]:
    """The text that follows `mark` on lines that the prompt printed (not on those that were typed)."""
    lines = capture.data.decode("latin-1").splitlines()
    return [line.removeprefix(mark) for line in lines if line.startswith(mark)]
