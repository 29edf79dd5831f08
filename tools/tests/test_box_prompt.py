"""`opq-tools box prompt`: what a terminal types reaches the Box once, and what is printed comes back."""

import base64
import os
import threading

from opq_proto.wire.frames import PROMPT_PLUGIN
from opq_tools.boxes.box.prompt import LEAVE, BoxPrompt, relay

KEY = "0" * 32


class Gateway:
    """Answers each order as a gateway with a Box that prints what is typed, in capitals."""

    def __init__(self) -> None:
        self.typed = b""
        self.orders: list[str] = []
        self._printed = b""

    def order(self, plugin: str, message: str) -> str:
        assert plugin == PROMPT_PLUGIN
        self.orders.append(message)
        if message == "open":
            return KEY
        key, _, argument = message.partition(" ")
        assert key == KEY
        if argument == "close":
            return "done"
        place, printed, encoded = argument.split(" ")
        assert int(place) == len(self.typed)
        fresh = base64.b64decode(encoded)[:5]  # a part is taken
        self.typed += fresh
        self._printed += fresh.upper()
        piece = base64.b64encode(self._printed[int(printed) :][:7]).decode()
        return f"{len(self.typed)} {printed} {piece}"


def relayed(data: bytes, leave: bytes = b"", returns: bool = False) -> tuple[Gateway, bytes]:
    gateway = Gateway()
    (theirs, ours), (out, to) = os.pipe(), os.pipe()
    os.write(ours, data)
    os.close(ours)
    with BoxPrompt(gateway.order) as prompt:
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
    assert gateway.orders[0] == "open" and gateway.orders[-1] == f"{KEY} close"


def test_a_newline_is_the_return_key() -> None:
    assert relayed(b"a\nb\n", returns=True)[0].typed == b"a\rb\r"


def test_the_leaving_key_is_not_typed() -> None:
    gateway, _ = relayed(LEAVE, leave=LEAVE)
    assert gateway.typed == b"" and gateway.orders == ["open", f"{KEY} close"]
