"""`opq-tools box prompt`: what a terminal types reaches the Box once, and what is printed comes back."""

import base64
import os
import pty
import threading
import tty

from opq_proto.wire.command_client import Read, UnansweredError
from opq_proto.wire.frames import PROMPT_PLUGIN
from opq_proto.wire.prompt_session import SessionCheck, opening_key
from opq_tools.boxes.box.prompt import LEAVE, BoxPrompt, relay


class Gateway:
    """Answers each order as a gateway with a Box that prints what is typed, in capitals."""

    def __init__(self) -> None:
        self.typed = b""
        self.orders: list[str] = []
        self.arguments: list[str] = []
        self.lost = 0
        self._printed = b""

    def order(self, plugin: str, message: str, read: Read | None) -> str:
        assert plugin == PROMPT_PLUGIN
        self.orders.append(message)
        answer = self._answer(message)
        if read is None:
            return answer
        assert read(answer) is None and read(f"0 {answer}") is None, "an answer to another message"
        found = read(f"{message.split(' ')[0]} {answer}")
        assert found == answer
        return answer

    def _answer(self, message: str) -> str:
        if (key := opening_key(message)) is not None:
            self.check = SessionCheck("1", key)
            return "opened"
        argument = self.check.argument(message)
        self.arguments.append(argument)
        if argument == "close":
            return "3"
        place, printed, encoded = argument.split(" ")
        known = len(self.typed) - int(place)
        fresh = base64.b64decode(encoded)[known : known + 5]  # a part is taken
        self.typed += fresh
        self._printed += fresh.upper()
        piece = base64.b64encode(self._printed[int(printed) :][:7]).decode()
        if self.lost and len(self.orders) % 3 == 0:
            self.lost -= 1
            raise UnansweredError("no answer")
        return f"{len(self.typed)} {printed} {piece}"


def relayed(data: bytes, leave: bytes = b"", returns: bool = False, lost: int = 0) -> tuple[Gateway, bytes]:
    gateway = Gateway()
    gateway.lost = lost
    (theirs, ours), (out, to) = os.pipe(), os.pipe()
    os.write(ours, data)
    os.close(ours)
    with BoxPrompt(gateway.order, "1") as prompt:
        thread = threading.Thread(target=relay, args=(prompt, theirs, to, leave, returns))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    os.close(to)
    printed = b"".join(iter(lambda: os.read(out, 100), b""))
    os.close(out)
    os.close(theirs)
    return gateway, printed


def test_all_of_a_file_is_typed_and_printed() -> None:
    text = b"print('abc')\n" * 40
    gateway, printed = relayed(text)
    assert gateway.typed == text and printed == text.upper()
    assert gateway.orders[0].startswith("open ") and gateway.orders[-1].endswith(" close")


def test_a_newline_is_the_return_key() -> None:
    assert relayed(b"a\nb\n", returns=True)[0].typed == b"a\rb\r"


def test_the_leaving_key_is_not_typed() -> None:
    gateway, _ = relayed(LEAVE, leave=LEAVE)
    assert gateway.typed == b"" and len(gateway.orders) == 2 and gateway.orders[1].endswith(" close")


def test_a_lost_answer_is_asked_again() -> None:
    gateway, printed = relayed(b"abcdef" * 20, lost=10)
    assert gateway.lost == 0 and printed == b"ABCDEF" * 20 == gateway.typed.upper()


def test_a_session_outlives_an_absent_reader() -> None:
    """The pty is not read; the Box is asked on, and keeps what has no room."""
    gateway, left = Gateway(), threading.Event()
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    text = b"x" * 20_000
    gateway._printed = text
    (source, input_end) = os.pipe()
    with BoxPrompt(gateway.order, "1") as prompt:
        thread = threading.Thread(target=relay, args=(prompt, source, ours, LEAVE))
        thread.start()
        while len(set(gateway.arguments[-2:])) != 1 or len(gateway.arguments) < 2:
            left.wait(0.02)
        assert thread.is_alive()
        read = b""
        while len(read) < len(text):
            read += os.read(theirs, 1000)
        os.write(input_end, LEAVE)
        thread.join(30)
    assert read == text and not thread.is_alive()
    for each in (ours, theirs, source, input_end):
        os.close(each)
