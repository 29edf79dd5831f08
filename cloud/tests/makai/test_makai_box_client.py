"""A Box asked and set from its page of administration, through a real acquisition broker."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import demo
import pytest
from account_scene import FormBrowser, add_people

from opq_cloud.operations import box_client
from opq_cloud.operations.service_addresses import ServiceAddresses
from opq_cloud.view.web.sign_in import SignIn
from opq_proto.wire.opqbox3_pb2 import Command, Response

pytestmark = pytest.mark.usefixtures("cheap_argon2")

LOST = ("3 GPS pulses that found their queue full", "1,234 of tomorrow")


class AnsweringBox:
    """A Box of ours behind its gateway: `most` cycles at most; `mute`: what it does not answer."""

    def __init__(self, plain: Any) -> None:
        self.plain, self.cycles, self.most, self.ours, self.says_rate = plain, 60, 600, True, True
        self.mute: set[str] = set()
        self.settings = {"box_id": "1", "led": "on", "nominal_v": "120"}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(240)

    def _run(self) -> None:
        while not self._stop.is_set():
            command = self.plain.command(timeout_ms=20)
            if command is not None and command.WhichOneof("command") not in self.mute:
                self.plain.push.send_multipart([self._answer(command).SerializeToString()])

    def _answer(self, command: Command) -> Response:
        answer = Response(box_id=command.box_id, seq=command.seq, timestamp_ms=1)
        match command.WhichOneof("command"):
            case "info_command":
                answer.info_response.measurement_rate = self.cycles if self.says_rate else 0
                if self.ours:
                    answer.info_response.firmware = "opqbox 1.4.2"
                    answer.info_response.hardware = "<b>NUCLEO</b>"
                    answer.info_response.software = "0.1.0"
                    answer.info_response.losses.update(
                        {"pps_dropped": 3, "link_noise": 0, "of_tomorrow": 1234}
                    )
            case "sampling_rate_command":
                answer.message_rate_reponse.old_rate_cycles = self.cycles
                wanted = command.sampling_rate_command.measurement_window_cycles
                self.cycles = wanted if wanted <= self.most else self.cycles
            case _:
                answer.command_to_plugin_response.ok = True
                if self.ours:
                    ok, said = self._settings_of(command.send_command_to_plugin.message)
                    answer.command_to_plugin_response.ok, answer.command_to_plugin_response.detail = ok, said
        return answer

    def _settings_of(self, message: str) -> tuple[bool, str]:
        key, assigned, value = message.partition("=")
        if assigned and value not in ("on", "off"):
            return False, f"bad argument: {key}: want on or off"
        self.settings.update({key: value} if assigned else {})
        return True, "" if assigned else json.dumps(self.settings)


@pytest.fixture
def box(makai: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[demo.Scene, AnsweringBox]]:
    monkeypatch.setattr(box_client, "ANSWER_S", 60.0)
    monkeypatch.setattr(box_client, "CONNECT_S", 60.0)
    brokers = makai.brokers()
    acquisition = brokers.acquisition_config
    addresses = ServiceAddresses(commands=acquisition.request_endpoint, answers=acquisition.answer_endpoint)
    with makai.running(brokers.acquisition):
        found = AnsweringBox(makai.box(brokers, "1"))
        try:
            makai.wait_for(lambda: brokers.acquisition.counters.of("boxes_listening", "1"))
            scene = demo.Scene(makai.folder, keys=brokers.keys, addresses=addresses)
            demo.fill(scene.store, time.time_ns(), minutes=1)
            with scene:
                yield scene, found
        finally:
            found.close()


def signed_in(scene: demo.Scene) -> FormBrowser:
    account = scene.store.people.account(add_people(scene, ada="admin")["ada"])
    assert account is not None
    secret = SignIn(scene.store.people).begin_session(account, "127.0.0.1", "test")
    return FormBrowser(scene.url, {"opq_session": secret})


def test_a_box_states_versions_and_takes_a_rate(
    box: tuple[demo.Scene, AnsweringBox], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new rate is logged."""
    scene, answering = box
    ada, page = signed_in(scene), "/admin/boxes/1"
    assert ada.get(page) == 200 and "Ask the Box" in ada.text and "opqbox 1.4.2" not in ada.text
    assert ada.get(f"{page}?ask=1") == 200
    for text in ("opqbox 1.4.2", "<b>NUCLEO</b>", "0.1.0", "one of 60 cycles", "led", "nominal_v", *LOST):
        assert text in ada.text, text
    assert ada.post(f"{page}/rate", page, cycles="12") == 303
    assert answering.cycles == 12
    entry = scene.store.people.changes.entries(limit=1)[0]
    assert (entry.what, entry.subject) == ("set the measurement rate of a Box", "box 1")
    assert (entry.before, entry.after) == ({"measurement_cycles": "60"}, {"measurement_cycles": "12"})
    assert ada.get(f"{page}?ask=1") == 200 and "one of 12 cycles" in ada.text
    for text in ("601", "0", "1e2", "-5", "\u0663", ""):
        assert ada.post(f"{page}/rate", page, cycles=text) == 400, text
        assert "want a whole number of cycles from 1 to 600" in ada.text
    answering.most = 100
    assert ada.post(f"{page}/rate", page, cycles="600") == 409
    assert "refuses 600 cycles and keeps 12" in ada.text
    answering.ours = answering.says_rate = False  # an original one that says no rate
    assert ada.post(f"{page}/rate", page, cycles="30") == 303
    assert scene.store.people.changes.entries(limit=1)[0].after == {
        "measurement_cycles": "30",
        "confirmed": "no",
    }
    assert ada.get(f"{page}?ask=1") == 200 and "is an original Box" in ada.text
    assert ada.get("/boxes/1") == 200 and "Ask the Box" in ada.text and LOST[0] not in ada.text
    answering.ours = True
    assert ada.get("/boxes/1?ask=1") == 200 and f"since its start: {'; '.join(LOST)}." in ada.text
    noise = 'bytes of the gateway with noise or without a stop bit</th><td class="num">0</td>'
    assert noise in ada.text, "what it lost none of is in the table alone"
    answering.ours = False
    assert ada.get("/boxes/1?ask=1") == 200 and "Its firmware does not count every loss." in ada.text
    for _ in range(50):  # three at once, then one in ten seconds
        if "You asked a moment ago" not in ada.text:
            assert ada.get("/boxes/1?ask=1") == 200
    assert "You asked a moment ago" in ada.text
    monkeypatch.setattr(box_client, "ANSWER_S", 5.0)
    answering.mute = {"sampling_rate_command"}
    assert ada.post(f"{page}/rate", page, cycles="40") == 409 and "sent and not confirmed" in ada.text
    monkeypatch.setattr(box_client, "ANSWER_S", 0.3)  # without a service
    assert ada.get("/admin/boxes/2?ask=1") == 200 and "Box 2 does not answer within 0.3 s" in ada.text
    assert FormBrowser(scene.url).post(f"{page}/rate", form_token="x", cycles="3") in (401, 403)
    assert scene.store.people.changes.entries(limit=1)[0].after["measurement_cycles"] == "30"


def test_setting_is_changed_and_checked_by_the_box(
    box: tuple[demo.Scene, AnsweringBox],
) -> None:
    scene, answering = box
    ada, page = signed_in(scene), "/admin/boxes/1"
    assert ada.get(f"{page}?ask=1") == 200 and "<option>led" in ada.text and "<option>box_id" not in ada.text
    assert ada.post(f"{page}/settings", key="led", value="off") == 303 and answering.settings["led"] == "off"
    entry = scene.store.people.changes.entries(limit=1)[0]
    assert (entry.what, entry.before, entry.after) == (
        "changed a setting in a Box",
        {"led": "on"},
        {"led": "off"},
    )
    for key, value, why in (
        ("led", "maybe", "bad argument: led: want on or off"),
        ("led=on", "off", "Box 1 has no setting led=on"),
        ("", "off", "Box 1 has no setting without a name"),
        ("box_id", "2", "its gateway would not recognise it as this Box"),
    ):
        assert ada.post(f"{page}/settings", page, key=key, value=value) == 409 and why in ada.text, key
    answering.ours = False
    assert ada.post(f"{page}/settings", page, key="led", value="on") == 409
    assert "is an original Box" in ada.text and answering.settings["led"] == "off"
    assert scene.store.people.changes.entries(limit=1)[0].key == entry.key, "nothing else was changed"


def test_no_words_of_a_box_fail_its_pages(box: tuple[demo.Scene, AnsweringBox]) -> None:
    """Control characters, halves of a character and endless texts, in settings and losses."""
    scene, answering = box
    ada = signed_in(scene)
    answering.settings = {"led": "\ud800", "\x1b[31m": "a\0b", "x" * 10_000: "y" * 10_000}
    for page in ("/admin/boxes/1?ask=1", "/boxes/1?ask=1"):
        assert ada.get(page) == 200 and "\x1b" not in ada.text and "\0" not in ada.text
    answering.settings = {"led": "\x1b[31mred"}
    assert ada.get("/admin/boxes/1?ask=1") == 200 and "[31mred" in ada.text and "\x1b" not in ada.text
