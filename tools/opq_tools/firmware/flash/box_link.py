"""The gateway's end of a Box's serial link, for commands that use the port themselves."""

import secrets
import time
from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from opq_proto.link.frames import Decoder, encode
from opq_proto.link.messages import Acknowledgement, Command, Hello, LinkMessage, Log, Operation, Status
from opq_tools.firmware.flash.chip import LineError
from opq_tools.firmware.flash.serial_line import SerialLine

ANSWER_S = 1.0
HELLO_S = 8.0
"""A Box that receives commands sends hello every 5 s, even if the request is lost."""
UNANSWERED_S = 10.0
"""A Box that erases its flash is silent for 4 s at most, and else answers that it is busy."""
QUIET_S = 5.0
"""A Box that runs sends samples; one that has been silent for this long is waited for no longer."""

_M = TypeVar("_M", bound=LinkMessage)


class NoHelloError(LineError):
    """No Box answers; the text says what came instead."""


class BoxLink:
    """A Box's link, whose port this program has for itself.

    Attributes:
        resent: commands and pieces that had to be sent again.
        logged: log codes that the Box sent.
    """

    def __init__(self, line: SerialLine) -> None:
        self._line = line
        self._decoder = Decoder()
        self._received: deque[LinkMessage] = deque()
        self._sequence = 0
        self._command_id = secrets.randbelow(0xFFFF)
        self._heard = 0
        self.resent = 0
        self.logged: set[int] = set()

    def hello(self, within_s: float | None = None) -> Hello:
        """Requests the Box's hello message.

        Raises:
            NoHelloError: nothing answers, or nothing that uses our link protocol.
        """
        within_s = HELLO_S if within_s is None else within_s
        answer = self.ask(Operation.HELLO, Hello, within_s)
        if answer is None:
            raise NoHelloError(
                self._line.silence(f"no Box sends Hello within {within_s:g} s", self._what_came())
            )
        return answer

    def ask(self, operation: Operation, wanted: type[_M], within_s: float) -> _M | None:
        """Repeats a question until its message comes; None where it did not."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            self.send(Command(self.next_id(), operation))
            for message in self.messages(ANSWER_S):
                if isinstance(message, wanted):
                    return message
        return None

    def command(self, operation: Operation, argument: str = "", *, within_s: float) -> Acknowledgement:
        """Repeats a command until the Box's answer is not busy; the answer may be a refusal.

        Raises:
            LineError: no answer.
        """
        heard = time.monotonic()
        end = heard + within_s
        command_id = self.next_id()
        last = "no answer"
        while time.monotonic() < min(end, heard + UNANSWERED_S):
            answer = self.exchange(Command(command_id, operation, argument), command_id)
            if answer is None:
                self.resent += 1
                continue
            heard = time.monotonic()
            if answer.status is not Status.BUSY:
                return answer
            last = f"busy ({answer.detail})"
            command_id = self.next_id()
            time.sleep(0.05)
        within_s = min(within_s, UNANSWERED_S) if last == "no answer" else within_s
        raise LineError(f"{operation.name.lower()}: {last} within {within_s:g} s")

    def next_id(self) -> int:
        """The number of a new command."""
        self._command_id = (self._command_id + 1) & 0xFFFF
        return self._command_id

    def send(self, message: LinkMessage) -> None:
        """Writes a frame; before the first one a zero byte ends what the Box may have read before."""
        self._line.write((b"" if self._sequence else b"\0") + encode(message, self._sequence))
        self._sequence += 1

    def exchange(self, message: LinkMessage, command_id: int) -> Acknowledgement | None:
        """The answer to one command or piece, or None."""
        self.send(message)
        for answer in self.messages(ANSWER_S):
            if isinstance(answer, Acknowledgement) and answer.command_id == command_id:
                return answer
        return None

    def messages(self, within_s: float) -> Iterator[LinkMessage]:
        """Yields messages until the time is over, or QUIET_S after the last one; notes log codes."""
        heard = time.monotonic()
        end = heard + within_s
        while time.monotonic() < min(end, heard + QUIET_S):
            if not self._received:
                self._received.extend(message for _, message in self._decoder.feed(self._line.some()))
                if self._received:
                    heard = time.monotonic()
                    self._heard += len(self._received)
            while self._received:
                message = self._received.popleft()
                if isinstance(message, Log):
                    self.logged.add(message.code)
                yield message

    def listen(self, code: int, within_s: float) -> bool:
        """Whether the Box has sent this log code, or sends it within the time."""
        return code in self.logged or any(
            isinstance(message, Log) and message.code == code for message in self.messages(within_s)
        )

    def skip_waiting(self) -> None:
        """Forgets what has come and was not read yet."""
        self._line.skip_waiting()
        self._received.clear()
        self._decoder = Decoder()

    def _what_came(self) -> str:
        if self._heard:
            return f"{self._heard} frames came, so it runs and hears nothing: look at the wire to its RX"
        if self._line.received:
            return (
                f"{self._line.received} bytes came and no frame{self._line.said}, so another device is "
                "there, a chip in its ROM, or a Box of another rate"
            )
        return "nothing came: look at plug, supply and wiring"
