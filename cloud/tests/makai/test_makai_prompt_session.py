"""A session at a Box's prompt over a real broker and gateway, beside somebody who reads all of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from firmware_house import FirmwareHouse
from updating_box import UpdatingBox

from opq_proto.link.prompt import CLOSE, PromptStream
from opq_proto.wire.command_client import BoxRefusedError, CommandClient
from opq_proto.wire.frames import CHALLENGE_PLUGIN, PROMPT_PLUGIN, plugin_command
from opq_proto.wire.prompt_session import SessionKey

ANSWER_S = 60.0


@pytest.fixture
def house(makai: Any) -> Iterator[FirmwareHouse]:
    with UpdatingBox(box_id=1, sampling=False) as box:
        found = FirmwareHouse(makai, box)
        with makai.running(found.brokers.acquisition), found.gateway():
            found.wait_for_gateway()
            yield found


class Typist:
    """The administrator's end of a session; `sent`: its messages, as they are on the wire."""

    def __init__(self, client: CommandClient) -> None:
        self.client = client
        self.sent: list[str] = []
        self._key = SessionKey("1")
        self._stream = PromptStream()
        client.send_order("1", PROMPT_PLUGIN, self._key.opening(), ANSWER_S)

    def type(self, data: bytes) -> None:
        self._stream.put(data)
        self._stream.accept(self.signed(self._stream.argument()))

    def signed(self, argument: str) -> str:
        self.sent.append(self._key.signed(argument))
        return self.client.send_order("1", PROMPT_PLUGIN, self.sent[-1], ANSWER_S, self._key.answer)


def test_a_subscriber_cannot_type_in_a_session(house: FirmwareHouse) -> None:
    """It repeats what it read, types, changes what it read, closes, and opens a session by a copied proof."""
    to, back = house.addresses.commands, house.addresses.answers
    secret: Path = house.brokers.keys.administrator_secret
    with CommandClient(to, back, administrator=secret) as client, CommandClient(to, back) as stranger:
        read = subscriber(back)
        typist = Typist(client)
        typist.type(b"a")
        typist.type(b"b")
        seen = read()
        assert seen and not any(b"PRIVATE" in each for each in seen)
        number, signature, argument = typist.sent[1].split(" ", 2)
        tries = (
            *typist.sent,
            f"3 {signature} {argument}",
            f"{number} {signature} 2 0 eA==",
            SessionKey("1").signed("2 0 eA=="),
            f"3 {signature} {CLOSE}",
        )
        for message in tries:
            with pytest.raises(BoxRefusedError, match=r"not signed by the key|was sent before"):
                stranger.send_order("1", PROMPT_PLUGIN, message, ANSWER_S)
        with pytest.raises(BoxRefusedError, match="needs the administrator's key"):
            stranger.send_order("1", PROMPT_PLUGIN, SessionKey("1").opening(), ANSWER_S)
        assert house.box.typed == b"ab"
        typist.type(b"c")
        assert house.box.typed == b"abc"
        assert typist.signed(CLOSE) == str(len(tries))


def test_a_strangers_refusal_ends_no_session(house: FirmwareHouse) -> None:
    """Its orders bear the identity of the session's client, which gets the answers."""
    to, back = house.addresses.commands, house.addresses.answers
    secret: Path = house.brokers.keys.administrator_secret
    with CommandClient(to, back, administrator=secret) as client, CommandClient(to, back) as stranger:
        typist = Typist(client)
        typist.type(b"a")
        for message in (f"9 {'A' * 86}== {CLOSE}", typist.sent[0]):
            stranger._commands.send(plugin_command("1", PROMPT_PLUGIN, message, client.identity))
        stranger._commands.send(plugin_command("1", CHALLENGE_PLUGIN, "", client.identity))
        assert client._answers.poll(60_000)
        typist.type(b"b")
        typist.type(b"c")
        assert house.box.typed == b"abc" and typist.signed(CLOSE) == "2"


def subscriber(endpoint: str) -> Callable[[], list[bytes]]:
    """Reads all that the broker publishes to its clients; returns what came so far."""
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.linger = 0
    socket.subscribe(b"")
    socket.connect(endpoint)

    def read() -> list[bytes]:
        found = []
        while socket.poll(200):
            found += socket.recv_multipart()
        socket.close()
        return found

    return read
