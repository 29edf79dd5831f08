"""`[backend_keys] enabled = true`: where services meet everybody wants a key, and the whole chain has it.

One `opq-cloud all` for the module, as a process, so that the setting goes the way of an operator's.
"""

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq
from click.testing import CliRunner
from free_ports import free_offset
from zmq.utils.monitor import recv_monitor_message

from opq_cloud.core.backend import peer_watch
from opq_cloud.core.backend.addresses import BOUND, CONNECTED, placed
from opq_cloud.core.original.original_settings import read_config
from opq_cloud.core.settings.config import BackendKeysSection, CloudConfig
from opq_cloud.core.settings.endpoint_ports import with_port_offset
from opq_cloud.makai.acquisition_broker import AcquisitionBroker
from opq_cloud.mauka.bus.broker import event_message, inject
from opq_cloud.store import open_store
from opq_proto.errors import ConfigError, KeyFileError
from opq_proto.keys.backend_keys import BackendAddress, BackendKeyFolder, backend_address
from opq_proto.keys.key_files import KeyFolder, generate, read_secret_file
from opq_proto.keys.register import KeyRegister
from opq_proto.wire.frames import data_command
from opq_tools.mauka import mauka_command as mauka

WAIT_S = 240.0
PORTS = {
    "triggering_broker.backend_endpoint": zmq.SUB,
    "acquisition_broker.request_endpoint": zmq.PUSH,
    "acquisition_broker.answer_endpoint": zmq.SUB,
    "event_service.event_endpoint": zmq.SUB,
    "event_service.event_id_endpoint": zmq.REQ,
    "mauka.bus_sub_endpoint": zmq.PUB,
    "mauka.bus_pub_endpoint": zmq.SUB,
    "mauka.plugin_manager_endpoint": zmq.REQ,
    "mauka.incident_id_endpoint": zmq.REQ,
}
"""Each address that is bound, and what connects to it."""


class Cloud:
    """`opq-cloud all` with keys on its back end, and what a Box or a client needs of it."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir, self.offset = data_dir, free_offset()
        self.box_keys, self.backend_keys = (
            KeyFolder(data_dir / "curve"),
            BackendKeyFolder(data_dir / "backend"),
        )
        self.box_keys.create(True, ["1"])
        self.backend_keys.create(True, ["cloud", "tool", "gone"])
        moved = with_port_offset(
            CloudConfig(backend_keys=BackendKeysSection(enabled=True, name="tool")), self.offset
        )
        self.config = placed(moved, data_dir)
        self.triggering_config, self.acquisition_config = (
            self.config.triggering_broker,
            self.config.acquisition_broker,
        )
        self.server = read_secret_file(self.box_keys.server_secret)
        file = data_dir / "cloud.toml"
        file.write_text("[backend_keys]\nenabled = true\n[view]\nsign_in = 'never'\n")
        command = [sys.executable, "-m", "opq_cloud", "all", "--config", str(file)]
        arguments = ["--data-dir", str(data_dir), "--port-offset", str(self.offset)]
        with (data_dir / "stderr").open("wb") as log:
            self.child = subprocess.Popen([*command, *arguments], stderr=log, stdout=subprocess.DEVNULL)

    def pair(self, box_id: str) -> Any:
        return read_secret_file(self.box_keys.box_secret(box_id))

    def address(self, key: str) -> BackendAddress:
        section, _, field = key.partition(".")
        return backend_address(getattr(getattr(self.config, section), field))

    def fetch(self, path: str) -> str:
        url = f"http://127.0.0.1:{8911 + self.offset}{path}"
        with urllib.request.urlopen(url, timeout=240) as answer:
            return str(answer.read().decode())

    def count(self, counter: str, of: str) -> float:
        """Over all services, as /metrics has it."""
        line = re.compile(rf'opq_{counter}_total{{of="{re.escape(of)}",service="[^"]*"}} (.*)')
        return sum(float(match[1]) for match in line.finditer(self.fetch("/metrics")))

    def log(self) -> str:
        return (self.data_dir / "stderr").read_text()[-4000:]


def wait_for(condition: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.1)
    return value


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    running = Cloud(tmp_path_factory.mktemp("cloud"))

    def answers() -> bool:
        assert running.child.poll() is None, running.log()
        try:
            return bool(json.loads(running.fetch("/"))["ok"])
        except OSError:
            return False

    try:
        wait_for(answers)
        yield running
    finally:
        running.child.terminate()
        running.child.wait(WAIT_S)


class Client:
    """One socket, and what became of its connection."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> None:
        self.socket = context.socket(kind)
        self.socket.linger = 0
        self.socket.rcvtimeo = round(WAIT_S * 1000)
        if kind == zmq.SUB:
            self.socket.subscribe(b"")
        events = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED
        self._monitor = self.socket.get_monitor_socket(events)

    def joined(self, seconds: float = WAIT_S) -> bool:
        """Whether the next thing that becomes of it is that it is let in."""
        if not self._monitor.poll(round(seconds * 1000)):
            return False
        return bool(recv_monitor_message(self._monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)

    def let_in(self) -> bool:
        """Whether it was let in at any time since; one that is refused is ended and comes again."""
        events = []
        while self._monitor.poll(0):
            events.append(recv_monitor_message(self._monitor)["event"])
        return zmq.EVENT_HANDSHAKE_SUCCEEDED in events

    def changed(self) -> bool:
        """Whether anything became of it since."""
        return bool(self._monitor.poll(0))

    def close(self) -> None:
        self.socket.disable_monitor()
        self._monitor.close(linger=0)
        self.socket.close()


@pytest.fixture
def client() -> Iterator[Callable[[int], Client]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    opened: list[Client] = []

    def made(kind: int) -> Client:
        opened.append(found := Client(context, kind))
        return found

    yield made
    for each in opened:
        each.close()
    context.destroy(linger=0)


def test_every_address_is_for_boxes_or_has_keys() -> None:
    of_boxes = {"triggering_broker.box_endpoint"} | {
        f"acquisition_broker.{key}_endpoint" for key in ("command", "response")
    }
    ours = {
        f"{section}.{key}" for table in (BOUND, CONNECTED) for section, keys in table.items() for key in keys
    }
    config = CloudConfig()
    found = {
        f"{section}.{key}"
        for section in config.__dataclass_fields__
        for key in getattr(getattr(config, section), "__dataclass_fields__", ())
        if str(getattr(getattr(config, section), key)).startswith(("tcp://", "ipc://"))
    }
    assert found == ours | of_boxes
    assert set(PORTS) == {f"{section}.{key}" for section, keys in BOUND.items() for key in keys}
    on = placed(replace(config, backend_keys=BackendKeysSection(enabled=True)), Path("/d/a b"))
    for each in ours:
        section, _, key = each.partition(".")
        address = backend_address(getattr(getattr(on, section), key))
        assert (address.folder, address.name) == (Path("/d/a b/backend"), "cloud"), each
        assert address.endpoint == getattr(getattr(placed(config, Path("/d/a b")), section), key)


@pytest.mark.parametrize(
    "text", ["tcp://h:1?", "tcp://h:1?curve=", "tcp://h:1?curve=/d&name=A", "tcp://h:1?x=1"]
)
def test_an_address_with_ambiguous_keys_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an address"):
        backend_address(text)


def test_a_whole_chain_from_measurement_to_finding(cloud: Cloud, makai: Any, client: Any) -> None:
    """A second client with a key receives what each address publishes."""
    now_ns = time.time_ns() // 10**9 * 10**9
    onset_ns = now_ns - 5 * 10**9
    plain = makai.box(cloud, "1")
    makai.simulated_box(plain, (onset_ns, onset_ns + 200_000_000))
    heard = {key: client(kind) for key, kind in PORTS.items() if kind == zmq.SUB}
    for key, each in heard.items():
        cloud.address(key).connect(each.socket)
        assert each.joined(), f"{key}: {cloud.log()}"
    store = open_store(None, cloud.data_dir)
    try:
        for number, volts in enumerate((120.0, 72.0, 120.0), 1):
            at_ns = onset_ns + (number - 2) * 10**9
            frames = plain.measurement(
                volts,
                at_ns // 10**6 + 1000,
                sequence=number,
                oldest_sequence=1,
                start_ns=at_ns,
                end_ns=at_ns + 10**9,
            )

            def stored(frames: list[bytes] = frames, at_ms: int = at_ns // 10**6 + 1000) -> bool:
                plain.pub.send_multipart(frames)
                time.sleep(0.05)
                return bool(store.measurements("1", at_ms, at_ms + 1))

            wait_for(stored)
        incident = wait_for(lambda: next(iter(store.incidents()), None))
        assert "1" in incident.box_ids
        assert [wave.box_id for wave in store.event(incident.event_ids[0]).waveforms] == ["1"]
    finally:
        store.close()
    for key, each in heard.items():
        assert each.socket.recv_multipart(), key
    asking = client(zmq.REQ)
    cloud.address("event_service.event_id_endpoint").connect(asking.socket)
    asking.socket.send(b"")
    assert int(asking.socket.recv()) > 1
    assert inject([event_message(1)], str(cloud.address("mauka.bus_sub_endpoint")), WAIT_S) == 1


def test_a_command_has_the_keys_of_its_shell(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["list-plugins", "--data-dir", str(cloud.data_dir)]
    for name, code in (("&name=tool", 0), ("", 0), ("&name=unknown", 1)):
        monkeypatch.setenv("OPQ_BACKEND_KEYS", f"{cloud.data_dir / 'backend'}{name}")
        result = CliRunner().invoke(mauka.command, asked)
        assert result.exit_code == code and (code or "AnalysisRunner" in result.output), result.output
    assert "opqpeer_unknown_secret is missing" in str(result.exception)
    monkeypatch.setenv("OPQ_BACKEND_KEYS", f"{cloud.data_dir}&key=tool")
    assert "is not an address" in str(CliRunner().invoke(mauka.command, asked).exception)


@pytest.mark.parametrize("key", PORTS)
def test_a_peer_without_an_admitted_key_is_refused(cloud: Cloud, client: Any, key: str) -> None:
    """A client without a key or with another one is refused and counted."""
    address = cloud.address(key)
    clear, strange, admitted = (client(PORTS[key]) for _ in range(3))
    failed = cloud.count("backend_handshakes_failed", key)
    clear.socket.connect(address.endpoint)
    pair = generate()
    strange.socket.curve_serverkey = read_secret_file(cloud.backend_keys.server_secret).public
    strange.socket.curve_publickey, strange.socket.curve_secretkey = pair.public, pair.secret
    strange.socket.connect(address.endpoint)
    wait_for(lambda: cloud.count("backend_refused", pair.public.decode()))
    wait_for(lambda: cloud.count("backend_handshakes_failed", key) > failed)
    address.connect(admitted.socket)
    assert admitted.joined()
    assert not (clear.let_in() or strange.let_in())


def test_only_the_revoked_key_is_cut_off(cloud: Cloud, client: Any, makai: Any) -> None:
    """A revoked key loses its connection, other keys do not."""
    key = "triggering_broker.backend_endpoint"
    address, box = cloud.address(key), makai.box(cloud, "1")
    gone, kept = client(zmq.SUB), client(zmq.SUB)
    for name, each in (("gone", gone), ("tool", kept)):
        replace(address, name=name).connect(each.socket)
        assert each.joined()

    def hears(each: Client) -> bool:
        box.pub.send_multipart(box.measurement())
        return bool(each.socket.poll(20)) and bool(each.socket.recv_multipart())

    wait_for(lambda: hears(gone))
    wait_for(lambda: hears(kept))
    assert KeyRegister(cloud.backend_keys).revoke("gone")
    wait_for(lambda: cloud.count("backend_ended", f"{key} revoked"))
    public = read_secret_file(cloud.backend_keys.box_secret("gone")).public.decode()
    wait_for(lambda: cloud.count("backend_refused", public))  # it comes again by itself
    wait_for(lambda: hears(kept))
    assert not gone.let_in() and not kept.changed()


def test_a_service_whose_key_was_revoked_says_so(
    cloud: Cloud, client: Any, makai: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_watch, "WAITED_S", 0.3)
    KeyRegister(cloud.backend_keys).revoke("gone")
    key = "triggering_broker.backend_endpoint"
    address, late = cloud.address(key), client(zmq.SUB)
    watch = peer_watch.PeerWatch(late.socket, address.endpoint, key)
    replace(address, name="gone").connect(late.socket)

    def said() -> bool:
        watch.read(time.monotonic())
        return peer_watch.NOT_ADMITTED in (watch.problem or "")

    wait_for(said)
    watch.close()


def test_a_start_without_keys_names_the_missing_ones(tmp_path: Path) -> None:
    config = read_config([], {"data_dir": str(tmp_path)}, None)
    on = placed(replace(config, backend_keys=BackendKeysSection(enabled=True)), tmp_path)
    with pytest.raises(KeyFileError, match="opqserver_secret is missing; make it with opq-tools keys add"):
        backend_address(on.triggering_broker.backend_endpoint).server_keys()
    with pytest.raises(KeyFileError, match=r"opqserver\.key is missing"):
        backend_address(on.view.bus_endpoint).client_keys()


def test_one_of_two_addresses_may_be_in_clear(makai: Any, client: Any, tmp_path: Path) -> None:
    brokers, keys = makai.brokers(), BackendKeyFolder(tmp_path / "backend")
    keys.create(True, ["cloud"])
    config = brokers.acquisition_config
    address = BackendAddress(config.request_endpoint, keys.root)
    broker = AcquisitionBroker(replace(config, request_endpoint=str(address)), brokers.keys)
    with makai.running(broker):
        box, counters = makai.box(brokers, "1"), broker.counters
        reading, sender, clear = client(zmq.SUB), client(zmq.PUSH), client(zmq.PUSH)
        reading.socket.connect(config.answer_endpoint)
        address.connect(sender.socket)
        clear.socket.connect(config.request_endpoint)
        assert reading.joined() and sender.joined()
        wait_for(lambda: counters.total("subscriptions") and counters.of("boxes_listening", "1"))
        wait_for(lambda: counters.total("backend_handshakes_failed"))
        sender.socket.send(data_command("1", 0, 10**9, "asked"))
        assert (command := box.command(timeout_ms=60_000)) is not None and command.identity == "asked"
        assert not clear.let_in() and not counters.total("backend_refused") and not reading.changed()
