"""MQTT against a real mosquitto: what a house's automation sees, restarts and stalls of the broker."""

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import paho.mqtt.client as paho
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from free_ports import free_port
from waiting import wait_for

from opq_gateway.config import MqttSection as Section
from opq_gateway.counters import BoxCounters
from opq_gateway.gateway_status import BoxStatus
from opq_gateway.measured_shares import MeasuredShares
from opq_gateway.measuring.feed import DisturbanceNotice, MeasuredFeed, Values
from opq_gateway.mqtt import mqtt_feed
from opq_gateway.mqtt.mqtt_feed import MqttPublisher
from opq_proto.messages import TimeSource
from opq_sim.box.box import Box

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
pytestmark = pytest.mark.skipif(
    MOSQUITTO is None, reason="mosquitto is not installed (apt install mosquitto)"
)
START_NS = 1_800_000_000 * 10**9


class Broker:
    """One's own mosquitto; it may be stopped and started again on the same port."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._config = folder / "mosquitto.conf"
        user = "user root\n" if os.getuid() == 0 else ""
        anonymous = "" if any("password_file" in line for line in lines) else "allow_anonymous true\n"
        self._config.write_text(
            f"{user}listener {self.port} 127.0.0.1\n{anonymous}persistence false\n" + "\n".join(lines) + "\n"
        )
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Broker":
        assert MOSQUITTO is not None
        command = [MOSQUITTO, "-c", str(self._config)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._listens)
        return self

    def _listens(self) -> bool:
        assert self.process is not None and self.process.poll() is None, "mosquitto ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


class Listener:
    """What a subscriber of everything sees."""

    def __init__(self, port: int) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.newest: dict[str, bytes] = {}
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _on_message(self, _client: object, _data: object, message: paho.MQTTMessage) -> None:
        self.messages.append((message.topic, message.payload))
        self.newest[message.topic] = message.payload

    def json(self, topic: str) -> dict[str, object]:
        wait_for(lambda: topic in self.newest)
        found: dict[str, object] = json.loads(self.newest[topic])
        return found

    def say(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1).wait_for_publish(60)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


class House:
    """The gateway's MQTT side with one Box and a group, and what it is fed from."""

    def __init__(
        self,
        section: Section,
        timeout_s: float = 30.0,
        box_id: str = "3",
        groups: tuple[str, ...] = ("home",),
        topics_file: Path | None = None,
    ) -> None:
        self.feed, self.counters = MeasuredFeed(), BoxCounters()
        self.box_counters = BoxCounters()
        self.status = BoxStatus(box_id, 60, hello=Box(box_id).hello(), sample_monotonic_s=math.inf)
        self.mqtt = MqttPublisher(
            section,
            {box_id: self.status},
            groups,
            self.feed,
            self.counters,
            MeasuredShares({box_id: self.box_counters}),
            topics_file=topics_file,
            waits_s=(0.1, 0.3),
            timeout_s=timeout_s,
        )
        self.stop = threading.Event()
        self.failed: list[BaseException] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.mqtt.run(self.stop)
        except BaseException as error:
            self.failed.append(error)

    def values(self, kind: str, number: int, box_id: str = "3", **values: float) -> None:
        start_ns = START_NS + number * 3 * 10**9
        clock = (100, TimeSource.GPS, False)
        self.feed.offer(Values(box_id, kind, start_ns, start_ns + 3 * 10**9, *clock, values))

    def told(self, entering: bool, kind: str = "dip") -> None:
        self.feed.offer(DisturbanceNotice("3", kind, START_NS, 100, TimeSource.GPS, entering, 80.0))

    def end(self) -> float:
        began_s = time.monotonic()
        self.stop.set()
        self.thread.join(240)
        assert not self.thread.is_alive() and not self.failed, self.failed
        return time.monotonic() - began_s


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path).start()
    yield broker
    broker.stop()


@contextmanager
def listening(broker: Broker) -> Iterator[Listener]:
    listener = Listener(broker.port)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def living(section: Section, timeout_s: float = 240, **more: Any) -> Iterator[House]:
    house = House(section, timeout_s, **more)
    try:
        yield house
    finally:
        house.end()


def section(broker: Broker, **more: object) -> Section:
    facts = {"host": "127.0.0.1", "port": broker.port, "name": "attic", "every_s": 1.0}
    return Section(**{**facts, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("later", "of_it"),
    [
        ({"box_id": "4", "groups": ("home",)}, "box3"),
        ({"box_id": "3", "groups": ()}, "group_home"),
        ({"name": "cellar"}, "attic"),
        ({"topic": "power"}, "opq/"),
        ({"discovery": ""}, "homeassistant/"),
    ],
    ids=["box", "group", "name", "topic", "discovery"],
)
def test_an_unconfigured_topic_leaves_the_broker(
    broker: Broker, tmp_path: Path, later: dict[str, Any], of_it: str
) -> None:
    file = tmp_path / "mqtt_topics.json"
    with living(section(broker), topics_file=file) as house:
        house.values("3s", 0, rms_v=120.5)
        house.values("3s", 0, "home", u2_ratio=0.011)
        house.told(entering=True)
        wait_for(lambda: house.counters["mqtt_published"] >= 14)
    with listening(broker) as listener:
        wait_for(lambda: any(of_it in topic for topic in listener.newest))
    of_house = {key: later[key] for key in ("box_id", "groups") if key in later}
    changed = {key: value for key, value in later.items() if key not in of_house}
    with living(section(broker, **changed), topics_file=file, **of_house) as house:
        wait_for(lambda: not [topic for topic in json.loads(file.read_text()).popitem()[1] if of_it in topic])
        house.values("3s", 1, of_house.get("box_id", "3"), rms_v=119.5)
        with listening(broker) as listener:
            base = f"{later.get('topic', 'opq')}/{later.get('name', 'attic')}"
            value = listener.json(f"{base}/box{of_house.get('box_id', '3')}/3s")
            assert value["uncertainty_ns"] == 100
            wait_for(lambda: listener.newest.get(f"{base}/status") == b"online")
            assert not [topic for topic in listener.newest if of_it in topic]


def test_a_late_subscriber_gets_values_and_presence(broker: Broker) -> None:
    with living(section(broker)) as house:
        house.values("3s", 0, rms_v=120.5, thd_ratio=0.021, f_hz=float("nan"))
        house.values("10min", 0, pst=0.31)
        house.values("3s", 0, "home", u2_ratio=0.011)
        house.values("window", 0, rms_v=1.0)
        house.told(entering=True)
        wait_for(lambda: house.counters["mqtt_published"] >= 15)
        with listening(broker) as listener:
            value = listener.json("opq/attic/box3/3s")
            assert value["rms_v"] == 120.5 and "f_hz" not in value
            assert value["end_ns"] == START_NS + 3 * 10**9 and value["source"] == "gps"
            assert value["time"] == "2027-01-15T08:00:03.000+00:00"
            assert listener.json("opq/attic/box3/10min_flicker")["pst"] == 0.31
            assert listener.json("opq/attic/group_home/3s")["u2_ratio"] == 0.011
            told = listener.json("opq/attic/box3/disturbance")
            assert (told["kind"], told["entering"], told["ongoing"]) == ("dip", True, ["dip"])
            wait_for(lambda: listener.newest.get("opq/attic/status") == b"online")
            wait_for(lambda: listener.newest.get("opq/attic/box3/status") == b"online")
            assert not [topic for topic in listener.newest if topic.endswith("/window")]
            house.told(entering=False)
            wait_for(lambda: listener.json("opq/attic/box3/disturbance")["ongoing"] == [])
            house.status.sample_monotonic_s = time.monotonic() - 60
            wait_for(lambda: listener.newest.get("opq/attic/box3/status") == b"offline")
            assert house.end() < 20  # within 2 s on an idle machine; a time-out would take 30
            wait_for(lambda: listener.newest["opq/attic/status"] == b"offline")


def test_the_measured_share_is_published(broker: Broker) -> None:
    with listening(broker) as listener, living(section(broker)) as house:
        assert listener.json("opq/attic/box3/measured") == {}, "nothing was counted yet"
        house.box_counters.add("samples", 16_000)
        house.box_counters.add("missing_samples", 84_000)
        house.mqtt._board._shares_due_s = 0.0  # it is looked at twice a minute
        wait_for(lambda: listener.json("opq/attic/box3/measured") == {"hour": 0.16, "day": 0.16})


def test_home_assistant_finds_each_box(broker: Broker) -> None:
    with listening(broker) as listener, living(section(broker)) as house:
        topic = "homeassistant/sensor/opq_attic_box3/rms_v/config"
        voltage = listener.json(topic)
        assert voltage["device_class"] == "voltage" and voltage["unit_of_measurement"] == "V"
        assert voltage["state_class"] == "measurement" and voltage["unique_id"] == "opq_attic_box3_rms_v"
        assert voltage["state_topic"] == "opq/attic/box3/3s"
        assert voltage["availability"] == [{"topic": "opq/attic/status"}, {"topic": "opq/attic/box3/status"}]
        device = voltage["device"]
        assert isinstance(device, dict) and device["model"] == "opq-hil simulated"
        hertz = listener.json("homeassistant/sensor/opq_attic_box3/f_hz/config")
        assert (hertz["device_class"], hertz["unit_of_measurement"]) == ("frequency", "Hz")
        problem = listener.json("homeassistant/binary_sensor/opq_attic_box3/disturbance/config")
        assert problem["device_class"] == "problem"
        assert (
            listener.json("homeassistant/sensor/opq_attic_group_home/u2/config")["unit_of_measurement"] == "%"
        )
        told = len(listener.messages)
        listener.say("homeassistant/status", "online")  # a Home Assistant that has just started
        wait_for(lambda: [t for t, _ in listener.messages[told:]].count(topic) == 1)
        assert house.status.hello is not None
        house.status.hello = replace(house.status.hello, firmware="new")
        wait_for(lambda: b'"sw_version":"new"' in listener.newest[topic])


def test_a_value_is_published_once_per_interval(broker: Broker) -> None:
    """The newest one."""
    with listening(broker) as listener, living(section(broker)) as house:
        wait_for(lambda: "opq/attic/status" in listener.newest)
        began_s = time.monotonic()
        house.values("3s", 0, rms_v=0.0)
        wait_for(lambda: "opq/attic/box3/3s" in listener.newest)
        for number in range(1, 30):
            house.values("3s", number, rms_v=float(number))
            time.sleep(0.02)
        wait_for(lambda: listener.json("opq/attic/box3/3s")["rms_v"] == 29.0)
        seconds = time.monotonic() - began_s
        assert 2 <= [topic for topic, _ in listener.messages].count("opq/attic/box3/3s") <= 3 + seconds


def test_a_restarted_broker_gets_everything_again(broker: Broker) -> None:
    with living(section(broker)) as house:
        wait_for(lambda: house.counters["mqtt_published"] >= 10)
        broker.stop()
        wait_for(lambda: house.counters["mqtt_failed"] >= 2)
        assert house.counters["mqtt_dropped"] == 0
        for number in range(3):
            house.values("10s", number, f_hz=60.0 + number)
        house.told(entering=True)
        wait_for(lambda: house.counters["mqtt_dropped"] == 2)  # two of the three 10 s values were not sent
        broker.start()
        with listening(broker) as listener:
            assert listener.json("opq/attic/box3/10s")["f_hz"] == 62.0
            wait_for(lambda: listener.json("opq/attic/box3/disturbance")["ongoing"] == ["dip"])
            wait_for(lambda: listener.newest.get("opq/attic/status") == b"online")
            wait_for(lambda: "homeassistant/sensor/opq_attic_box3/rms_v/config" in listener.newest)
        assert house.counters["mqtt_connected"] == 2


def test_when_the_gateway_dies_the_broker_says_so(broker: Broker) -> None:
    program = (
        "import threading, sys\n"
        "from opq_gateway.config import MqttSection as Section\n"
        "from opq_gateway.counters import BoxCounters\n"
        "from opq_gateway.mqtt.mqtt_feed import MqttPublisher\n"
        "from opq_gateway.measured_shares import MeasuredShares\n"
        "from opq_gateway.measuring.feed import MeasuredFeed\n"
        f"section = Section(host='127.0.0.1', port={broker.port}, name='attic')\n"
        "shares = MeasuredShares({})\n"
        "MqttPublisher(section, {}, [], MeasuredFeed(), BoxCounters(), shares).run(threading.Event())\n"
    )

    with listening(broker) as listener, subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            wait_for(lambda: listener.newest.get("opq/attic/status") == b"online")
        finally:
            process.kill()
        wait_for(lambda: listener.newest.get("opq/attic/status") == b"offline")


def test_a_mute_broker_delays_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        house = House(Section(host="127.0.0.1", port=mute.getsockname()[1], name="attic"), timeout_s=30)
        for number in range(6000):
            house.values("3s", number, rms_v=1.0)
        wait_for(lambda: house.counters["mqtt_dropped"] >= 5000)
        assert house.end() < 20  # within 2 s on an idle machine; a time-out would take 30


def test_closed_while_it_connects_it_begins_no_loop() -> None:
    """Nothing would end it: it would keep the gateway's name at the broker."""
    connects, called = threading.Event(), list[str]()
    client = SimpleNamespace(
        connect=lambda *_: connects.wait(240),
        loop_start=lambda: called.append("loop_start"),
        disconnect=lambda: called.append("disconnect"),
    )
    connection = mqtt_feed._Broker(cast(paho.Client, client), "broker", 1883)
    connection.close()
    connects.set()
    wait_for(lambda: len(called) == 2)
    assert called == ["disconnect", "disconnect"]


def test_a_stalled_broker_is_left_and_found(broker: Broker) -> None:
    assert broker.process is not None
    with living(section(broker), timeout_s=0.3) as house:
        wait_for(lambda: house.counters["mqtt_published"] >= 10)
        broker.process.send_signal(signal.SIGSTOP)
        try:
            house.told(entering=True)
            wait_for(lambda: house.counters["mqtt_failed"] >= 1)
        finally:
            broker.process.send_signal(signal.SIGCONT)
        with listening(broker) as listener:  # first it may hear what was retained before
            wait_for(lambda: listener.json("opq/attic/box3/disturbance")["ongoing"] == ["dip"])
        broker.process.send_signal(signal.SIGSTOP)
        try:
            assert house.end() < 20  # within 2 s on an idle machine; a time-out would take 30
        finally:
            broker.process.send_signal(signal.SIGCONT)


def test_a_broker_with_tls_is_authenticated(tmp_path: Path) -> None:
    """A wrong broker is not believed; ours has a password."""
    _certificate(tmp_path / "ca.pem", tmp_path / "key.pem")
    (tmp_path / "users").write_text("opq:secret\n")
    (tmp_path / "users").chmod(0o700)
    assert MOSQUITTO is not None
    maker = shutil.which("mosquitto_passwd") or "/usr/bin/mosquitto_passwd"
    subprocess.run([maker, "-U", str(tmp_path / "users")], check=True)
    (tmp_path / "password").write_text("secret\n")
    files = (f"certfile {tmp_path / 'ca.pem'}", f"keyfile {tmp_path / 'key.pem'}")
    broker = Broker(tmp_path, *files, f"password_file {tmp_path / 'users'}").start()
    try:
        asked = {"user": "opq", "password_file": tmp_path / "password", "tls": True}
        with living(section(broker, **asked, ca_file=tmp_path / "ca.pem")) as house:
            wait_for(lambda: house.counters["mqtt_published"] >= 5)
        with living(section(broker, **asked)) as house:  # the system's certificates do not vouch for it
            wait_for(lambda: house.counters["mqtt_failed"] >= 2)
            assert house.counters["mqtt_connected"] == 0
        (tmp_path / "password").write_text("wrong")
        with living(section(broker, **asked, ca_file=tmp_path / "ca.pem")) as house:
            wait_for(lambda: house.counters["mqtt_failed"] >= 2)
            (tmp_path / "password").unlink()
            failed = house.counters["mqtt_failed"]
            wait_for(lambda: house.counters["mqtt_failed"] >= failed + 2)
            assert house.counters["mqtt_connected"] == 0
    finally:
        broker.stop()


def _certificate(certificate_path: Path, key_path: Path) -> None:
    """Makes a certificate of 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def test_two_gateways_of_a_host_stay_connected(broker: Broker, tmp_path: Path) -> None:
    files = [tmp_path / each / "mqtt_topics.json" for each in "ab"]
    with (
        listening(broker) as listener,
        living(section(broker, name=None), topics_file=files[0]) as a,
        living(section(broker, name=None), topics_file=files[1]) as b,
    ):
        assert a.mqtt.name != b.mqtt.name and a.mqtt.name[:-7] == b.mqtt.name[:-7]
        a.values("3s", 0, rms_v=230.0)
        b.values("3s", 0, rms_v=120.0)
        for house, volts in ((a, 230.0), (b, 120.0)):
            assert listener.json(f"opq/{house.mqtt.name}/box3/3s")["rms_v"] == volts
        assert (a.counters["mqtt_connected"], b.counters["mqtt_connected"]) == (1, 1)


def test_a_take_over_by_another_client_is_said(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    said = "another client has the name opq-gateway-attic: give this gateway its own name, [mqtt] name"
    heard: list[str] = []

    def is_said() -> bool:
        heard.append("".join(capsys.readouterr()))
        return said in "".join(heard)

    with living(section(broker)), living(section(broker)):
        wait_for(is_said)
