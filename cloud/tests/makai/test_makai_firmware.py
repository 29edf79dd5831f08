"""Firmware from View's page to a Box: a real broker and gateway, and a Box on a pty that judges images."""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import demo
import pytest
from account_scene import FormBrowser, add_people
from firmware_house import FirmwareHouse
from flash_under_test import bundle, image
from updating_box import UpdatingBox

from opq_cloud.operations import box_client, firmware_jobs
from opq_cloud.view.web.sign_in import SignIn
from opq_gateway.commands import update
from opq_proto.firmware import transfer as firmware_transfer
from opq_proto.firmware.image import Slot, version_number, version_text

pytestmark = pytest.mark.usefixtures("cheap_argon2")
PAGE = "/admin/boxes/1/firmware"
PROBLEM = re.compile(r'role="(?:alert|status)">([^<]*)')


@contextmanager
def view(house: FirmwareHouse) -> Iterator["Ada"]:
    with demo.Scene(Path(house.makai.folder), keys=house.brokers.keys, addresses=house.addresses) as scene:
        yield Ada(scene)


class Ada:
    """An administrator at the page."""

    def __init__(self, scene: demo.Scene) -> None:
        self.scene, people = scene, scene.store.people
        account = people.account_of("ada@example.org")
        if account is None:
            account = people.account(add_people(scene, ada="admin")["ada"])
        assert account is not None
        secret = SignIn(people).begin_session(account, "127.0.0.1", "test")
        self.browser = FormBrowser(scene.url, {"opq_session": secret})

    def choose(self, data: bytes) -> str:
        """What the page says of it, or against it."""
        self.browser.get(PAGE)
        token = re.search(r'name="form_token" value="([^"]*)"', self.browser.text)
        assert token is not None
        parts = (
            f'--b\r\nContent-Disposition: form-data; name="form_token"\r\n\r\n{token[1]}\r\n'
            '--b\r\nContent-Disposition: form-data; name="firmware"; filename="x.opqfw"\r\n\r\n'
            f"{data.decode('latin-1')}\r\n--b--\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        if self.browser.send("POST", PAGE, parts, headers) == 303:
            self.browser.get(PAGE)
        return self.browser.text

    def send(self, data: bytes) -> int:
        """Look at it, then confirm."""
        found = re.search(r'name="sha256" value="([0-9a-f]{64})"', self.choose(data))
        assert found is not None, self.browser.text
        return self.browser.post(f"{PAGE}/send", sha256=found[1])

    def waits_for(self, words: str) -> None:
        """Looks at the page until it says that."""
        until_s = time.monotonic() + 240
        while words not in self.text():
            assert time.monotonic() < until_s, PROBLEM.findall(self.browser.text)
            time.sleep(0.1)

    def text(self) -> str:
        assert self.browser.get(PAGE) == 200
        return self.browser.text

    def last_change(self) -> tuple[str, dict[str, str]]:
        entry = self.scene.store.people.changes.entries(limit=1)[0]
        assert entry.subject == "box 1" and entry.address == "127.0.0.1"
        return entry.what, dict(entry.after)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firmware_transfer, "POLL_S", 0.05)
    monkeypatch.setattr(update, "ERASE_S", 300.0)
    monkeypatch.setattr(firmware_transfer, "SILENT_S", 300.0)
    for client in (box_client, firmware_jobs):
        monkeypatch.setattr(client, "ANSWER_S", 60.0)
        monkeypatch.setattr(client, "CONNECT_S", 60.0)


@pytest.fixture
def house(makai: Any, quick: None) -> Iterator[FirmwareHouse]:
    with UpdatingBox(box_id=1, sampling=False) as box:
        found = FirmwareHouse(makai, box)
        with makai.running(found.brokers.acquisition):
            yield found


def test_file_is_checked_sent_and_its_trial_reported(
    house: FirmwareHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Box reports how its trial of the firmware ended."""
    with house.gateway(), view(house) as ada:
        house.wait_for_gateway()
        house.makai.wait_for(lambda: "the Box runs" in ada.choose(bundle()))
        for words in ("newer than 1.0.0, which the Box runs", "<td>opqbox", "signed<span>", "slots A and B"):
            assert words in ada.browser.text
        for data, why in (
            (b"PK\3\4", "not a firmware file"),
            (bundle()[:-9], "the firmware file is cut"),
            (image(Slot.A)[:-9], "image A is shorter than its header says"),
            (bundle(signed_by=None), "image A is not signed"),
        ):
            assert why in ada.choose(data) and ada.browser.status == 400
        assert "It is for pyboard_f405, and the Box is opqbox" in ada.choose(bundle(hardware="pyboard_f405"))
        assert ada.send(bundle(hardware="pyboard_f405")) == 409
        assert house.box.operations.count(7) == 0, "nothing was sent yet"

        assert ada.send(bundle(size=70_000)) == 303
        ada.waits_for("It runs 1.2.3, and has confirmed it.")
        assert house.box.image == image(Slot.B, size=70_000)
        what, after = ada.last_change()
        assert what == firmware_jobs.DONE and (after["from"], after["to"]) == ("1.0.0", "1.2.3")
        assert len(after["sha256"]) == 64 and after["outcome"] == "It runs 1.2.3, and has confirmed it."
        assert "the same version as 1.2.3" in ada.choose(bundle())
        assert "older than 1.2.3" in ada.choose(bundle("1.2.2"))

        assert ada.send(bundle("1.3.0", signed_by="somebody")) == 303
        ada.waits_for("Box 1: signed by another key, or its header was changed; it runs 1.2.3")
        house.box.healthy = False
        assert ada.send(bundle("1.3.0")) == 303
        ada.waits_for("1.3.0 showed no health, and the Box went back to the firmware before; it runs 1.2.3")
        assert ada.last_change()[0] == firmware_jobs.FAILED
        monkeypatch.setattr(update, "ANSWER_S", 0.3)
        monkeypatch.setattr(update, "SENDING_TRIES", 2)
        house.box.falls_silent_at = 30_000
        assert ada.send(bundle("1.3.0", size=70_000)) == 303
        ada.waits_for("Box 1: no answer, 2 times, at byte")
        assert house.box.firmware == "1.2.3" and "data-waiting" not in ada.browser.text


def test_one_transfer_runs_at_a_time(house: FirmwareHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be stopped, goes on without View, and is lost with its gateway."""
    with house.gateway() as end_gateway:
        house.wait_for_gateway()
        with view(house) as ada:
            house.box.erase_answers = 10**9  # it makes room until it is ended
            assert ada.send(bundle()) == 303
            ada.waits_for("Its gateway sends it to the Box")
            assert "waiting.js" in ada.browser.text and "<progress" in ada.browser.text
            assert "1.2.3, while the Box runs 1.0.0" in ada.browser.text
            assert ada.browser.get("/admin/boxes/1") == 200
            assert "Firmware 1.2.3 is on its way to it." in ada.browser.text
            sent = ada.browser
            assert sent.post(f"{PAGE}/send", sha256="0" * 64) == 409 and "is not held here" in sent.text
            assert "Firmware is on its way to this Box" in ada.choose(bundle()) and sent.status == 409
            assert sent.post(f"{PAGE}/stop", PAGE) == 303
            ada.waits_for("Stopped by a person (sending)")
            house.box.erase_answers = 10**9
            assert ada.send(bundle()) == 303
            ada.waits_for("Its gateway sends it to the Box")
        with view(house) as ada:  # another process, for all that it knows
            assert "Its result is not known" in ada.text() and ada.last_change()[0] == firmware_jobs.BEGUN
            sha256 = hashlib.sha256(bundle()).hexdigest()
            assert "Look at it" not in ada.choose(bundle()) and ada.browser.status == 200
            assert ada.browser.post(f"{PAGE}/send", sha256=sha256) == 409
            assert "ask for it first" in ada.browser.text
            assert ada.browser.post(f"{PAGE}/follow", PAGE) == 303
            ada.waits_for("Its gateway sends it to the Box")
            assert ada.browser.post(f"{PAGE}/follow") == 409
            house.box.erase_answers = 0
            ada.waits_for("It runs 1.2.3, and has confirmed it.")
            assert ada.browser.post(f"{PAGE}/follow", PAGE) == 409 and "was interrupted" in ada.browser.text
            assert ada.browser.post(f"{PAGE}/stop", PAGE) == 409 and "cannot be stopped" in ada.browser.text
            begun = {"to": "1.9.0", "sha256": "0" * 64}  # by a View that was killed before it sent anything
            ada.scene.store.people.changes.add("", "", firmware_jobs.BEGUN, "box 1", None, begun)
            assert ada.browser.post(f"{PAGE}/follow", PAGE) == 303
            ada.waits_for("1.9.0 did not come to its gateway; it runs 1.2.3")
            house.box.erase_answers = 10**9
            monkeypatch.setattr(firmware_jobs, "ANSWER_S", 2.0)  # of each question, which is repeated
            assert ada.send(bundle("1.3.0")) == 303
            ada.waits_for("Its gateway sends it to the Box")
            end_gateway()
            monkeypatch.setattr(firmware_transfer, "SILENT_S", 0.5)
            monkeypatch.setattr(box_client, "ANSWER_S", 0.3)
            ada.waits_for("Whether it runs the new firmware is not known")
            assert ada.send(bundle("1.3.0")) == 303 and "the Box's firmware is not known" not in ada.text()
            ada.waits_for("It keeps its firmware")
    assert version_text(version_number(house.box.firmware)) == "1.2.3"
