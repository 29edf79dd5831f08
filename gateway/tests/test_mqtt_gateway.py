"""A real gateway with a real mosquitto: what was measured of a simulated Box reaches a subscriber."""

import json
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from free_ports import free_port

from opq_proto.keys.key_files import KeyFolder
from opq_sim.box.box import Box
from opq_sim.box.box_host import BoxHost

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)"
)


def test_values_of_a_box_reach_a_subscriber(tmp_path: Path, keys: KeyFolder) -> None:
    port = free_port()
    seen: dict[str, bytes] = {}
    whole = threading.Event()
    wanted = {"opq/shed/box1/3s", "opq/shed/box1/status", "homeassistant/sensor/opq_shed_box1/rms_v/config"}

    def heard(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        seen[message.topic] = message.payload
        if wanted <= seen.keys() and seen["opq/shed/box1/status"] == b"online":
            whole.set()

    listener = paho.Client(paho.CallbackAPIVersion.VERSION2)
    listener.on_connect = lambda client, *_: client.subscribe("#", qos=1)
    listener.on_message = heard
    with BoxHost([Box("1")]) as host:
        config = tmp_path / "gateway.toml"
        config.write_text(
            f'data_dir = "{tmp_path}"\nhealth_endpoint = "127.0.0.1:0"\n'
            f'[[box]]\nid = "1"\nport = "{host.ports["1"]}"\n'
            f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\nname = "shed"\nevery_s = 1\n'
        )
        command = [sys.executable, "-m", "opq_gateway", "run", "--config", str(config)]
        with (
            subprocess.Popen([str(MOSQUITTO), "-p", str(port)], stderr=subprocess.DEVNULL) as broker,
            subprocess.Popen(command, stderr=subprocess.DEVNULL) as gateway,
        ):
            try:
                listener.connect_async("127.0.0.1", port)
                listener.loop_start()
                assert whole.wait(240), seen.keys()
            finally:
                gateway.send_signal(signal.SIGTERM)
                gateway.wait(240)
                listener.loop_stop()
                broker.kill()
    value = json.loads(seen["opq/shed/box1/3s"])
    assert value["rms_v"] == pytest.approx(120.0, rel=2e-3) and value["f_hz"] == pytest.approx(60, abs=0.02)
    device = json.loads(seen["homeassistant/sensor/opq_shed_box1/rms_v/config"])["device"]
    assert device["name"] == "OPQ Box 1"
