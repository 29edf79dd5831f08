"""The whole way: a dip of the simulated mains to a mail, a webhook and MQTT, each once."""

import sys
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
import tomli_w
from house_under_test import ROOT, house, until

sys.path.append(str(ROOT / "gateway" / "tests"))
sys.path.append(str(ROOT / "cloud" / "tests"))

from mosquitto_of_ones_own import MOSQUITTO, Broker
from notification_scene import SECRET, HookReceiver, MailSink

from opq_cloud.store import opened_people
from opq_cloud.store.notification_records import NotificationRecords, NotificationRule


@pytest.mark.slow
@pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)")
def test_a_dip_is_told_once_by_each_channel(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    with MailSink() as mail, HookReceiver() as hook, Broker(tmp_path) as broker:
        heard: list[bytes] = []
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.on_message = lambda _, __, message: heard.append(message.payload)
        client.on_connect = lambda one, *_: one.subscribe("opq/notifications/#", qos=1)
        client.connect("127.0.0.1", broker.port)
        client.loop_start()
        cloud = {
            "view": {"mail": {"server": f"127.0.0.1:{mail.port}", "security": "none"}},
            "notifications": {
                "private_hosts": ["127.0.0.1"],
                "mqtt": {"host": "127.0.0.1", "port": broker.port},
            },
        }
        config = tmp_path / "up.toml"
        config.write_text(tomli_w.dumps({"cloud": cloud}), encoding="utf-8")
        with opened_people(None, data) as people:
            ada = people.add_account("ada@example.org", "Ada", "admin", "no-hash")
            assert ada is not None
            records = NotificationRecords(people.documents)
            for channel in ("mail", "webhook", "mqtt"):
                rule = NotificationRule(
                    channel, ada.account_id, channel, "incident", channel, 0, url=hook.url, secret=SECRET
                )
                records.put_rule(rule)
            with house(data, "--config", str(config)) as up:
                until(records.entries, 120, "an incident for a notification")
                made_ms = min(each.made_ms for each in records.entries())
                until(lambda: mail.mails and hook.requests and heard, 60, "mail, webhook and MQTT")
                took_s = time.time() - made_ms / 1000
                until(lambda: all(each.state == "sent" for each in records.entries()), 60, "all are sent")
                up.end()
            incidents = {each["incident"]["id"] for each in hook.bodies}
            assert len(hook.requests) == len({each["id"] for each in hook.bodies}) == len(incidents)
        client.disconnect()
        client.loop_stop()
    with capsys.disabled():
        print(f"\nnotification made -> received by all three: {took_s * 1000:.0f} ms")
