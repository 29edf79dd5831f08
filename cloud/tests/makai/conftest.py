"""Plain pyzmq Boxes and clients that speak the original messages, and services on free ports."""

import importlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import zmq
from engine_token import token_auth
from free_ports import free_endpoint, free_port
from in_thread import in_thread
from waiting import pause
from zmq.utils.monitor import recv_monitor_message

from opq_cloud.core.service import CloudContext, CloudService
from opq_cloud.core.settings.makai_settings import AcquisitionBrokerSection as AcquisitionConfig
from opq_cloud.core.settings.makai_settings import CloudRulesSection
from opq_cloud.core.settings.makai_settings import TriggeringBrokerSection as TriggeringBrokerConfig
from opq_cloud.core.settings.makai_settings import TriggeringServiceSection as TriggeringConfig
from opq_cloud.core.settings.plugin_entry import PluginEntry
from opq_cloud.makai.acquisition_broker import AcquisitionBroker
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_cloud.makai.triggering_service import TriggeringService
from opq_cloud.store import open_store
from opq_plugins.policy_section import PluginRules
from opq_proto.decision import Nominal
from opq_proto.keys.key_files import KeyFolder, KeyPair, generate, read_secret_file
from opq_proto.messages import TimeSource, Waveform
from opq_proto.wire.frames import ACK_PLUGIN, topic, waveform_to_frames
from opq_proto.wire.opqbox3_pb2 import Command, Cycle, Measurement, Response

WAIT_S = 240.0


def wait_for(condition: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    """The condition's value once it is true; fails after `seconds`."""
    began = time.monotonic()
    while time.monotonic() < began + seconds:
        value = condition()
        if value:
            return value
        pause(began, 0.01)
    pytest.fail(f"not within {seconds} s")


@contextmanager
def running(service: CloudService) -> Iterator[CloudService]:
    """The service in a thread, ended at the end; its exception is the test's."""
    with in_thread(service.run, until_ready=True):
        yield service


def ends(watched: "zmq.Socket[bytes]") -> int:
    """How often the watched socket's connection ended since the last call."""
    count = 0
    while watched.poll(0):
        count += recv_monitor_message(watched)["event"] == zmq.EVENT_DISCONNECTED
    return count


def watch(opened: "zmq.Socket[bytes]") -> "zmq.Socket[bytes]":
    return opened.get_monitor_socket(zmq.EVENT_DISCONNECTED)


class Peer:
    """Sockets of one foreign program, in a context of its own."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def connect(
        self, kind: int, endpoint: str, pair: KeyPair | None = None, server: KeyPair | None = None
    ) -> "zmq.Socket[bytes]":
        opened = self.context.socket(kind)
        opened.linger = 0
        if pair is not None and server is not None:
            opened.curve_serverkey = server.public
            opened.curve_publickey = pair.public
            assert pair.secret is not None
            opened.curve_secretkey = pair.secret
        if kind == zmq.SUB:
            opened.subscribe(b"")
        opened.connect(endpoint)
        return opened

    def close(self) -> None:
        self.context.destroy(linger=0)


class Brokers:
    """Both brokers on free ports, with the keys of Boxes 1, 4 and 10."""

    def __init__(self, folder: Path) -> None:
        self.keys = KeyFolder(folder / "curve")
        self.keys.create(True, ["1", "4", "10"])
        self.server = read_secret_file(self.keys.server_secret)
        self.triggering_config = TriggeringBrokerConfig(
            box_endpoint=free_endpoint(), backend_endpoint=free_endpoint()
        )
        self.acquisition_config = AcquisitionConfig(
            command_endpoint=free_endpoint(),
            response_endpoint=free_endpoint(),
            request_endpoint=free_endpoint(),
            answer_endpoint=free_endpoint(),
        )
        self.triggering = TriggeringBroker(self.triggering_config, self.keys)
        self.acquisition = AcquisitionBroker(self.acquisition_config, self.keys)

    def pair(self, box_id: str) -> KeyPair:
        return read_secret_file(self.keys.box_secret(box_id))


class PlainBox(Peer):
    """A Box in plain pyzmq, as the original: PUB 9880, SUB 8194 on its own id, PUSH 8196."""

    def __init__(
        self, brokers: Brokers, box_id: str, pair: KeyPair | None = None, topic: str | None = None
    ) -> None:
        """`topic`: what it subscribes to instead of its id."""
        super().__init__()
        self.box_id = box_id
        self.pair = pair or brokers.pair(box_id)
        server = KeyPair(brokers.server.public)
        self.pub = self.connect(zmq.PUB, brokers.triggering_config.box_endpoint, self.pair, server)
        self.push = self.connect(zmq.PUSH, brokers.acquisition_config.response_endpoint, self.pair, server)
        self.sub = self.context.socket(zmq.SUB)
        self.sub.linger = 0
        self.sub.curve_serverkey = server.public
        self.sub.curve_publickey = self.pair.public
        self.sub.curve_secretkey = self.pair.secret
        self.sub.subscribe(box_id if topic is None else topic)
        self.sub.connect(brokers.acquisition_config.command_endpoint)

    def measurement(self, rms: float = 120.0, timestamp_ms: int = 1_000, **fields: Any) -> list[bytes]:
        body = Measurement(box_id=int(fields.pop("box_id", self.box_id)), timestamp_ms=timestamp_ms, **fields)
        metric = body.metrics["rms"]
        metric.min, metric.max, metric.average = rms, rms, rms
        return [b"%04d" % body.box_id, body.SerializeToString()]

    def command(self, timeout_ms: int = 60_000) -> Command | None:
        if not self.sub.poll(timeout_ms):
            return None
        _, body = self.sub.recv_multipart()
        return Command.FromString(body)

    def answer(self, command: Command, cycles: int | None = None, **fields: Any) -> list[bytes]:
        """As an original Box: cycles with a time stamp of their end, nothing of ours; all of the span."""
        start_ms = command.data_command.start_ms
        if cycles is None:
            cycles = (command.data_command.end_ms - start_ms) * 12 // 200 + 1
        frames = [
            Cycle(datapoints=[k] * 200, timestamp_ms=start_ms + 17 * (k + 1)).SerializeToString()
            for k in range(cycles)
        ]
        response = Response(box_id=int(fields.get("box_id", self.box_id)), seq=command.seq, timestamp_ms=1)
        response.get_data_response.start_ts = start_ms + 17 if cycles else 0
        response.get_data_response.end_ts = start_ms + 17 * cycles if cycles else 0
        return [response.SerializeToString(), *frames]


def dipped_wave(box_id: str, dip_ns: tuple[int, int] | None, start_ns: int, end_ns: int) -> Waveform:
    """120 V of 60 Hz with one dip to 60 %."""
    first = -(-start_ns * 12 // 10**6)
    number = first + np.arange(end_ns * 12 // 10**6 - first)
    volts = 120 * np.sqrt(2) * np.sin(2 * np.pi * 60 / 12_000 * (number % 12_000))
    if dip_ns is not None:
        volts[(number >= dip_ns[0] * 12 // 10**6) & (number < dip_ns[1] * 12 // 10**6)] *= 0.6
    counts = np.round(volts / 0.0068).astype(np.int16)
    begin_ns = first * 10**6 // 12
    return Waveform(box_id, begin_ns, 1000, TimeSource.GPS, 12_000_000, 0.0068, first, counts)


class SimulatedBox:
    """A Box of ours on real sockets: 120 V with one dip, and answers that are cut out of it."""

    def __init__(self, plain: Any, dip_ns: tuple[int, int] | None) -> None:
        self.plain, self._dip_ns = plain, dip_ns
        self.asked: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(240)

    def wave(self, start_ns: int, end_ns: int) -> Waveform:
        return dipped_wave(self.plain.box_id, self._dip_ns, start_ns, end_ns)

    def _serve(self) -> None:
        while not self._stop.is_set():
            command = self.plain.command(timeout_ms=20)
            if command is None or command.WhichOneof("command") != "data_command":
                continue
            start_ns, end_ns = (
                ms * 10**6 for ms in (command.data_command.start_ms, command.data_command.end_ms)
            )
            frames = waveform_to_frames(
                self.wave(start_ns, end_ns), self.plain.box_id, command.seq, time.time_ns() // 10**6
            )
            self.plain.push.send_multipart(frames)
            self.asked.append((start_ns, end_ns))


class HoldingBox:
    """A Box of ours: it keeps a Measurement until it is acknowledged, and sends it again."""

    def __init__(self, plain: Any) -> None:
        self.plain, self.box_id = plain, plain.box_id
        self.sequence = self.upto = 0
        self.dip_ns: tuple[int, int] | None = None
        """Once set, it answers with samples of ours."""
        self.commands: list[Command] = []
        self._held: dict[int, list[bytes]] = {}
        self._again_s = time.monotonic()

    def send(self, rms: float = 120.0, least: float | None = None, end_ns: int | None = None) -> None:
        """The second that ends now."""
        end_ns = time.time_ns() if end_ns is None else end_ns
        self.sequence += 1
        _, data = self.plain.measurement(
            rms,
            end_ns // 10**6,
            start_ns=end_ns - 10**9,
            end_ns=end_ns,
            uncertainty_ns=1000,
            sequence=self.sequence,
            oldest_sequence=min([*self._held, self.sequence]),
        )
        body = Measurement.FromString(data)
        if least is not None:
            body.metrics["rms"].min = least
        self._held[self.sequence] = [topic(self.box_id), body.SerializeToString()]
        self.plain.pub.send_multipart(self._held[self.sequence])

    def serve(self) -> None:
        """Read what has come; send again what is missing, or not acknowledged for two seconds."""
        while (command := self.plain.command(timeout_ms=0)) is not None:
            if command.WhichOneof("command") == "data_command":
                self.commands.append(command)
                self.plain.push.send_multipart(self._answer(command))
                continue
            if command.send_command_to_plugin.plugin_name != ACK_PLUGIN:
                continue
            upto, *holes = command.send_command_to_plugin.message.split(",")
            self.upto = max(self.upto, int(upto))
            self._held = {number: each for number, each in self._held.items() if number > self.upto}
            self._again_s = time.monotonic()
            for first, last in (map(int, hole.split("-")) for hole in holes):
                self._send_again(range(first, last + 1))
        if self._held and time.monotonic() > self._again_s + 2.0:
            self._again_s = time.monotonic()
            self._send_again(tuple(self._held))

    def _answer(self, command: Command) -> list[bytes]:
        if self.dip_ns is None:
            return list(self.plain.answer(command))
        span = command.data_command.start_ms * 10**6, command.data_command.end_ms * 10**6
        wave = dipped_wave(self.box_id, self.dip_ns, *span)
        return waveform_to_frames(wave, self.box_id, command.seq, time.time_ns() // 10**6)

    def _send_again(self, numbers: Any) -> None:
        for number in numbers:
            if number in self._held:
                name, data = self._held[number]
                body = Measurement.FromString(data)
                body.backfilled = True
                self.plain.pub.send_multipart([name, body.SerializeToString()])


class Client(Peer):
    """A program of the cloud in plain pyzmq: SUB 9881, PUSH 9884, SUB 9899."""

    def __init__(self, brokers: Brokers) -> None:
        super().__init__()
        acquisition = getattr(brokers, "acquisition", None)  # None: in another process
        self._counters = None if acquisition is None else acquisition.counters
        self._others = 0 if self._counters is None else self._counters.total("subscriptions")
        self.measurements = self.connect(zmq.SUB, brokers.triggering_config.backend_endpoint)
        self.requests = self.connect(zmq.PUSH, brokers.acquisition_config.request_endpoint)
        self.answers = self.connect(zmq.SUB, brokers.acquisition_config.answer_endpoint)

    def ask(self, box_id: str, identity: str, start_ms: int = 1000, end_ms: int = 2000) -> None:
        """Once the broker would send it the answer: one of before is lost."""
        counters = self._counters
        if counters is not None:
            wait_for(lambda: counters.total("subscriptions") > self._others)
        command = Command(box_id=int(box_id), timestamp_ms=5, identity=identity)
        command.data_command.start_ms, command.data_command.end_ms = start_ms, end_ms
        self.requests.send(command.SerializeToString())


def arrives(sender: PlainBox, client: Client, seconds: float = WAIT_S, **fields: Any) -> bool:
    """Whether measurements of that Box come out at 9881 within `seconds`; then none is under way."""
    until, timestamp_ms = time.monotonic() + seconds, 1_000
    while time.monotonic() < until:
        timestamp_ms += 1
        frames = sender.measurement(**{"timestamp_ms": timestamp_ms, **fields})
        sender.pub.send_multipart(frames)
        while client.measurements.poll(20):
            if client.measurements.recv_multipart() == frames:
                return True
    return False


class Harness:
    """What tests use of this file."""

    wait_for = staticmethod(wait_for)
    free_port = staticmethod(free_port)
    free_endpoint = staticmethod(free_endpoint)
    running = staticmethod(running)
    arrives = staticmethod(arrives)
    ends = staticmethod(ends)
    watch = staticmethod(watch)
    generate = staticmethod(generate)

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: list[Peer] = []
        self._answering: list[SimulatedBox] = []

    def brokers(self) -> Brokers:
        return Brokers(self.folder)

    def box(
        self, brokers: Brokers, box_id: str, pair: KeyPair | None = None, topic: str | None = None
    ) -> PlainBox:
        self._opened.append(box := PlainBox(brokers, box_id, pair, topic))
        return box

    def holding_box(self, brokers: Brokers, box_id: str) -> HoldingBox:
        return HoldingBox(self.box(brokers, box_id))

    def client(self, brokers: Brokers) -> Client:
        self._opened.append(client := Client(brokers))
        return client

    def peer(self) -> Peer:
        self._opened.append(peer := Peer())
        return peer

    def simulated_box(self, plain: PlainBox, dip_ns: tuple[int, int] | None) -> SimulatedBox:
        """One that answers; it ends before its sockets do."""
        self._answering.append(box := SimulatedBox(plain, dip_ns))
        return box

    def close(self) -> None:
        for box in self._answering:
            box.close()
        for peer in self._opened:
            peer.close()


@pytest.fixture
def makai(tmp_path: Path) -> Iterator[Harness]:
    harness = Harness(tmp_path)
    yield harness
    harness.close()


class House:
    """Brokers, a plain Box and the triggering service with rules."""

    def __init__(
        self, harness: Any, folder: Path, plugins: tuple[PluginEntry, ...], host: dict[str, Any]
    ) -> None:
        self.harness, self.brokers = harness, harness.brokers()
        self.shared = CloudContext(lambda: open_store(None, folder / "store"))
        self.port = harness.free_port()
        config = TriggeringConfig(
            measurement_endpoint=self.brokers.triggering_config.backend_endpoint,
            request_endpoint=self.brokers.acquisition_config.request_endpoint,
            plugins=plugins,
            rules=CloudRulesSection(
                enabled=True, http_endpoint=f"127.0.0.1:{self.port}", plugins=PluginRules(**host)
            ),
            batch_ms=20,
        )
        self.service = TriggeringService(config, self.shared, Nominal(120.0, 60.0), folder)
        self.uploads = folder / "rules/uploads"
        url, auth = f"http://127.0.0.1:{self.port}", token_auth(folder)
        self.http = httpx.Client(base_url=url, timeout=240, trust_env=False, verify=False, auth=auth)

    def ask(self, method: str, path: str, body: Any = None, code: int = 200) -> Any:
        answer = self.http.request(method, path, json=body)
        assert answer.status_code == code, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def box(self, box_id: str) -> Any:
        box = self.harness.box(self.brokers, box_id)
        self.wait_for(lambda: self.brokers.acquisition.counters.of("boxes_listening", box_id))
        return box

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        return self.harness.wait_for(condition)


@pytest.fixture
def makai_with(makai: Any, tmp_path: Path) -> Iterator[Callable[..., House]]:
    importlib.import_module("opq_cloud.makai.judging.judging_rules")  # slow to import
    with ExitStack() as running:

        def made(*plugins: PluginEntry, **host: Any) -> House:
            """`host`: [triggering_service.rules.plugins]."""
            house = House(makai, tmp_path, plugins, host)
            running.callback(house.shared.close)
            running.callback(house.http.close)
            for service in (house.brokers.triggering, house.brokers.acquisition, house.service):
                running.enter_context(makai.running(service))
            return house

        yield made
