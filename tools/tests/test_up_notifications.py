"""The whole way, as people go it: rules made in Chromium, a dip of the simulated mains, each channel once."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import tomli_w
from browser_program import browser_program
from command_in_process import run_in_process
from house_under_test import House, house, until
from mosquitto_of_ones_own import MOSQUITTO, Broker
from notification_scene import HookReceiver, MailSink

sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra's playwright")
CHROMIUM = browser_program()
BOXES = ("1", "2", "3", "4")
PASSWORD = "a horse in a battery"
MAX_S = 2.0
"""From an incident on the live feed to the last of mail, webhook and MQTT."""
DIPS = 3
"""The best of them is held to MAX_S: on a busy machine one may wait for a core."""
LISTEN = """() => {
  window.heard = [];
  new EventSource('/live?values=').addEventListener('incident', event => {
    window.heard.push([Date.now() / 1000, JSON.parse(event.data)]);
  });
}"""


class MqttEar:
    """What is published under `opq/notifications/`, and when it came."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[float, dict]] = []
        subscribed: list[bool] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_message = lambda _, __, message: self.heard.append(
            (time.time(), json.loads(message.payload))
        )
        self._client.on_connect = lambda client, *_: client.subscribe("opq/notifications/#", qos=1)
        self._client.on_subscribe = lambda *_: subscribed.append(True)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        until(lambda: subscribed, 20, "MQTT subscribed")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def chromium_page() -> Iterator["sync_api.Page"]:
    with sync_api.sync_playwright() as playwright:
        options = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
        with closing(playwright.chromium.launch(executable_path=CHROMIUM, args=options)) as browser:
            page = browser.new_page()
            page.set_default_timeout(240_000)
            yield page


def make_account_and_rules(page: "sync_api.Page", up: House, hook_url: str) -> None:
    """The first administrator by the link that `up` prints, and a rule of each channel, by forms."""
    up.wait_for("the page is up")
    page.goto(up.wait_for("/first-admin?code=").rpartition(" ")[2])
    for name, text in (("email", "ada@example.org"), ("name", "Ada")):
        page.fill(f"#{name}", text)
    page.fill("#password", PASSWORD)
    page.fill("#password_again", PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    for channel in ("mail", "webhook", "mqtt"):
        page.goto(f"{up.view}/account/notifications/new?about=incident")
        page.fill("#name", channel)
        page.check(f"#channel-{channel}")
        if channel == "webhook":
            page.fill("#url", hook_url)
        page.get_by_role("button", name="Add the rule").click()
    page.goto(f"{up.view}/account/notifications")
    assert page.locator("section[aria-labelledby=rules] tbody tr").count() == 3


def dip_at_each(up: House) -> None:
    """The same dip at Box 1 and, within what joins, at three more."""
    for box in BOXES:
        where = ["--box", box, "--depth", "0.4", "--cycles", "20", "--data-dir", str(up.data_dir)]
        done = run_in_process("sim", "event", "sag", *where)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt install chromium)")
def test_a_dip_is_notified_once_per_channel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    with MailSink() as mail, HookReceiver() as hook, Broker(tmp_path) as broker, chromium_page() as page:
        ear = MqttEar(broker.port)
        cloud = {
            "view": {"mail": {"server": f"127.0.0.1:{mail.port}", "security": "none"}},
            "notifications": {
                "private_hosts": ["127.0.0.1"],
                "mqtt": {"host": "127.0.0.1", "port": broker.port},
            },
        }
        config = tmp_path / "up.toml"
        config.write_text(tomli_w.dumps({"cloud": cloud}), encoding="utf-8")
        took_s = []
        with house(data, "--sim", str(len(BOXES)), "--config", str(config)) as up:
            make_account_and_rules(page, up, hook.url)
            for box in BOXES:
                up.wait_for(f"Box {box} is sampling")
            page.evaluate(LISTEN)
            for number in range(DIPS):
                dip_at_each(up)
                until(
                    lambda upto=number + 1: min(len(mail.mails), len(hook.requests), len(ear.heard)) >= upto,
                    30,
                    f"mail, webhook and MQTT of dip {number + 1}",
                )
                incident_id = hook.bodies[number]["incident"]["id"]
                heard = page.evaluate("() => window.heard")
                shown_s = min(when for when, incident in heard if incident["id"] == incident_id)
                took_s.append(
                    max(mail.arrived_s[number], hook.arrived_s[number], ear.heard[number][0]) - shown_s
                )
                until(
                    lambda: sorted(page.evaluate("() => window.heard.at(-1)[1].box_ids")) == list(BOXES),
                    30,
                    "all Boxes in the incident",
                )
            # what would come twice comes before the test that is asked for now, channel by channel
            page.goto(f"{up.view}/account/notifications")
            for channel in ("mail", "webhook", "mqtt"):
                page.get_by_role("button", name=f"Send a test of {channel}").click()
            until(
                lambda: min(len(mail.mails), len(hook.requests), len(ear.heard)) > DIPS, 30, "the three tests"
            )
            page.goto(f"{up.view}/account/notifications")
            assert page.locator("section[aria-labelledby=log] tbody tr").count() == 3 * (DIPS + 1)
            up.end()
        ear.close()
    assert [len(mail.mails), len(hook.requests), len(ear.heard)] == [DIPS + 1] * 3
    assert len({body["id"] for body in hook.bodies}) == DIPS + 1
    assert {message["To"] for message in mail.mails} == {"ada@example.org"}
    with capsys.disabled():
        print(
            "\nincident on the live feed -> all three channels:", [f"{each * 1000:.0f} ms" for each in took_s]
        )
    assert min(took_s) <= MAX_S
