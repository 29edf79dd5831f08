"""Orders that give a Box away or change its firmware, without and with the administrator's proof.

A real broker and gateway, and a Box on a pty; a stranger is a client of the broker that may publish commands.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from firmware_house import FirmwareHouse
from flash_under_test import bundle
from updating_box import UpdatingBox

from opq_gateway.commands import order_proofs
from opq_gateway.uplink.connection import Endpoints, UplinkPlace, place_to_text
from opq_proto.firmware.transfer import TransferError, send_firmware
from opq_proto.keys.administrator import create_administrator
from opq_proto.keys.key_files import KeyFolder
from opq_proto.keys.signing import new_key
from opq_proto.wire.command_client import BoxRefusedError, CommandClient
from opq_proto.wire.frames import CHALLENGE_PLUGIN, UPLINK_PLUGIN
from opq_proto.wire.order_proof import STALE, needs_proof, prove
from opq_proto.wire.prompt_session import SessionKey

ELSEWHERE = place_to_text(
    UplinkPlace(Endpoints(*(f"tcp://127.0.0.1:{port}" for port in (9, 10, 11))), b"a" * 40)
)
ANSWER_S = 60.0
BEGIN = f"begin 10 {'0' * 64}"
ORDERS = (
    (UPLINK_PLUGIN, ELSEWHERE),
    ("opq-update", BEGIN),
    ("opq-update", "install"),
    ("opq-update", "cancel"),
    ("opq-update", "look"),
    ("opq-program", "put cGFzcw=="),
    ("opq-program", "remove"),
    ("opq-prompt", SessionKey("1").opening()),
    ("opq-prompt", "open"),
    ("opq-prompt", "0 0 YQ=="),
    ("opq-settings", "box_id=7"),
)
"""Each with an example of its message."""


@pytest.fixture
def house(makai: Any) -> Iterator[FirmwareHouse]:
    with UpdatingBox(box_id=1, sampling=False) as box:
        found = FirmwareHouse(makai, box)
        with makai.running(found.brokers.acquisition), found.gateway():
            found.wait_for_gateway()
            yield found


@contextmanager
def client(house: FirmwareHouse, administrator: Path | None = None) -> Iterator[CommandClient]:
    to, back = house.addresses.commands, house.addresses.answers
    with CommandClient(to, back, administrator=administrator) as found:
        yield found


class Stranger:
    """A client that may publish commands, and sends what it likes."""

    def __init__(self, client: CommandClient) -> None:
        self.client = client

    def send(self, plugin: str, message: str, box_id: str = "1") -> str:
        """The answer: what it did, or why not."""
        try:
            return self.client._send_order(box_id, plugin, message, ANSWER_S)
        except BoxRefusedError as error:
            return f"refused: {error}"

    def challenge(self) -> str:
        return self.send(CHALLENGE_PLUGIN, "")


def state(client: CommandClient) -> str:
    return str(json.loads(client.send_order("1", "opq-update", "status", ANSWER_S))["state"])


def test_no_box_is_given_away_without_proof(house: FirmwareHouse) -> None:
    other = new_key(house.makai.folder / "other.pem").with_suffix("")
    with client(house) as plain:
        stranger = Stranger(plain)
        for plugin, message in ORDERS:
            assert needs_proof(plugin, message)
            assert "needs the administrator's proof" in stranger.send(plugin, message)
            forged = prove(plugin, "1", stranger.challenge(), message, other)
            assert "is not by the administrator's key" in stranger.send(plugin, forged)
            with pytest.raises(BoxRefusedError, match="needs the administrator's key"):
                plain.send_order("1", plugin, message, ANSWER_S)
        assert "printable" in stranger.send("opq-settings", "box_id\0=7")
        assert state(plain) == "idle"
    assert not (house.makai.folder / "gateway/box1/uplink.json").exists()


def test_proof_holds_once_for_one_order(house: FirmwareHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = house.brokers.keys.administrator_secret
    monkeypatch.setattr(order_proofs, "CHALLENGE_S", 600.0)  # for two dozen answers on a slow machine
    with client(house) as plain:
        stranger = Stranger(plain)
        proved = prove("opq-update", "1", stranger.challenge(), BEGIN, secret)
        assert "is not by" in stranger.send("opq-update", proved.replace("begin 10", "begin 11"))
        assert "is not by" in stranger.send(UPLINK_PLUGIN, proved)
        of_another = prove("opq-update", "4", stranger.challenge(), BEGIN, secret)
        assert "is not by" in stranger.send("opq-update", of_another)
        for _ in range(20):
            stranger.challenge()  # who only requests challenges makes no proof stale
        assert stranger.send("opq-update", proved) == "0" and state(plain) == "collecting"
        cancel = prove("opq-update", "1", stranger.challenge(), "cancel", secret)
        assert stranger.send("opq-update", cancel) == "cancelled"
        for replayed in (proved, cancel):
            assert stranger.send("opq-update", replayed).endswith(STALE) and state(plain) == "idle"
        monkeypatch.setattr(order_proofs, "CHALLENGE_S", 0.0)
        late = prove("opq-update", "1", stranger.challenge(), BEGIN, secret)
        assert stranger.send("opq-update", late).endswith(STALE) and state(plain) == "idle"


def test_administrators_order_is_carried_out(house: FirmwareHouse) -> None:
    """Pieces need no proof, and change nothing of what was announced with one."""
    keys: KeyFolder = house.brokers.keys
    with client(house, keys.administrator_secret) as administrator:
        send_firmware(administrator, "1", bundle(size=70_000), ANSWER_S, lambda *_: None)
        house.makai.wait_for(lambda: state(administrator) == "confirmed")
        assert house.box.firmware == "1.2.3"
        wanted = hashlib.sha256(b"good file.").hexdigest()
        administrator.send_order("1", "opq-update", f"begin 10 {wanted}", ANSWER_S)
        with client(house) as plain:
            assert plain.send_order("1", "opq-update", "data 0 YmFkIGZpbGUhIQ==", ANSWER_S) == "10"
        with pytest.raises(BoxRefusedError, match="SHA-256 is not the announced one"):
            administrator.send_order("1", "opq-update", "install", ANSWER_S)
        said = administrator.send_order("1", UPLINK_PLUGIN, ELSEWHERE, ANSWER_S)
        assert said == "tries the other cloud"


def test_administrators_new_key_holds_at_once(house: FirmwareHouse) -> None:
    keys: KeyFolder = house.brokers.keys
    old = keys.administrator_secret.rename(house.makai.folder / "old.pem")
    create_administrator(keys)
    with client(house, old) as former, pytest.raises(TransferError, match="not by the administrator's key"):
        send_firmware(former, "1", bundle(), ANSWER_S, lambda *_: None)
    keys_public = keys.administrator_public
    with client(house, keys.administrator_secret) as administrator:
        assert administrator.send_order("1", "opq-update", BEGIN, ANSWER_S) == "0"
        keys_public.unlink()
        with pytest.raises(BoxRefusedError, match=f"no administrator's key.*copy.*to {keys_public}"):
            administrator.send_order("1", UPLINK_PLUGIN, ELSEWHERE, ANSWER_S)
