"""Programs that know the original's messages and nothing of ours, against a whole running house.

The descriptors are built here from docs/reference/opq-interop.md B.1, without one field of ours: what our
services add must stay out of the way of whoever was compiled against the original's .proto.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import zmq
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from house_under_test import ROOT, House, get_json, house, until, with_ports

from opq_proto.kit.ports import PORTS

pytestmark = pytest.mark.timeout(600)

# message -> (number, name, type); a field with an equals sign belongs to that oneof
ORIGINAL = {
    "Metric": "1 min float, 2 max float, 3 average float",
    "Measurement": "1 box_id uint32, 2 timestamp_ms uint64, 3 metrics map",
    "GetInfoCommand": "",
    "GetDataCommand": "1 start_ms uint64, 2 end_ms uint64, 3 wait bool",
    "Command": "1 seq uint32, 2 box_id int32, 3 timestamp_ms uint64, 4 identity string, "
    "5 info_command GetInfoCommand command, 6 data_command GetDataCommand command",
    "GetInfoResponse": "3 ip string, 6 pub_key string, 7 measurement_rate uint32",
    "GetDataResponseHeader": "1 start_ts uint64, 2 end_ts uint64",
    "Response": "1 box_id int32, 2 seq uint32, 3 timestamp_ms uint64, "
    "4 info_response GetInfoResponse response, 6 get_data_response GetDataResponseHeader response",
    "Cycle": "1 datapoints int32s, 2 timestamp_ms uint64",
}
FIELD = descriptor_pb2.FieldDescriptorProto
SCALARS = {
    "float": FIELD.TYPE_FLOAT,
    "uint32": FIELD.TYPE_UINT32,
    "uint64": FIELD.TYPE_UINT64,
    "int32": FIELD.TYPE_INT32,
    "int32s": FIELD.TYPE_INT32,
    "bool": FIELD.TYPE_BOOL,
    "string": FIELD.TYPE_STRING,
}
LINE_HZ = 60.0


def original_messages() -> dict[str, Any]:
    """Message classes of ORIGINAL, in their own pool."""
    file = descriptor_pb2.FileDescriptorProto(name="original.proto", package="original", syntax="proto3")
    for name, fields in ORIGINAL.items():
        message = file.message_type.add(name=name)
        for text in filter(None, fields.split(", ")):
            number, key, kind, *oneof = text.split()
            field = message.field.add(name=key, number=int(number), label=FIELD.LABEL_OPTIONAL)
            if oneof:
                if not message.oneof_decl:
                    message.oneof_decl.add(name=oneof[0])
                field.oneof_index = 0
            if kind == "map":
                entry = message.nested_type.add(name="MetricsEntry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
                value = entry.field.add(name="value", number=2, label=FIELD.LABEL_OPTIONAL)
                value.type, value.type_name = FIELD.TYPE_MESSAGE, ".original.Metric"
                field.type, field.type_name = FIELD.TYPE_MESSAGE, ".original.Measurement.MetricsEntry"
                field.label = FIELD.LABEL_REPEATED
            elif kind in SCALARS:
                field.type = SCALARS[kind]
                if kind == "int32s":  # the original's Boxes write them one by one
                    field.label, field.options.packed = FIELD.LABEL_REPEATED, False
            else:
                field.type, field.type_name = FIELD.TYPE_MESSAGE, f".original.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"original.{name}"))
        for name in ORIGINAL
    }


MESSAGES = original_messages()


class ForeignClient:
    """A program of the cloud: SUB 9881, 9899 and 10000, PUSH 9884, REQ 10001."""

    def __init__(self, up: House) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._offset = up.offset
        self.measurements = self.connect(zmq.SUB, "triggering_backend")
        self.answers = self.connect(zmq.SUB, "response_backend")
        self.events = self.connect(zmq.SUB, "events")
        self.requests = self.connect(zmq.PUSH, "command_backend")
        self.ids = self.connect(zmq.REQ, "event_ids")

    def connect(self, kind: int, port: str) -> "zmq.Socket[bytes]":
        opened = self.context.socket(kind)
        opened.linger = 0
        opened.rcvtimeo = 60_000
        if kind == zmq.SUB:
            opened.subscribe(b"")
        opened.connect(f"tcp://127.0.0.1:{PORTS[port] + self._offset}")
        return opened

    def measurement(self, box_id: int, timeout_s: float = 60.0) -> Any:
        """The next measurement of that Box; None: none came."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if self.measurements.poll(100):
                topic, body = self.measurements.recv_multipart()
                found = MESSAGES["Measurement"].FromString(body)
                assert topic == b"%04d" % found.box_id
                if found.box_id == box_id:
                    return found
        return None

    def ask(self, box_id: int, identity: str, start_ms: int, end_ms: int) -> None:
        command = MESSAGES["Command"](box_id=box_id, timestamp_ms=end_ms, identity=identity)
        command.data_command.start_ms, command.data_command.end_ms = start_ms, end_ms
        self.requests.send(command.SerializeToString())

    def answer(self, identity: str) -> tuple[Any, list[Any]]:
        """The Response to that request, and its Cycles; answers to others are passed over."""
        while True:
            frames = self.answers.recv_multipart()
            if frames[0] == identity.encode():
                cycles = [MESSAGES["Cycle"].FromString(frame) for frame in frames[2:]]
                return MESSAGES["Response"].FromString(frames[1]), cycles

    def close(self) -> None:
        self.context.destroy(linger=0)


class ForeignBox:
    """An original Box in plain pyzmq, with a key pair that it made."""

    def __init__(self, up: House, box_id: int) -> None:
        self.box_id = box_id
        self.public, self._secret = zmq.curve_keypair()
        text = (up.data_dir / "curve" / "public_keys" / "opqserver.key").read_text(encoding="ascii")
        found = re.search(r'public-key\s+=\s+"(.{40})"', text)
        assert found
        self._server = found[1].encode("ascii")
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._offset = up.offset
        self.pub = self._connect(zmq.PUB, "triggering_box")
        self.sub = self._connect(zmq.SUB, "command_box")
        self.sub.subscribe(str(box_id))
        self.push = self._connect(zmq.PUSH, "response_box")
        self.push.sndtimeo = 5_000
        self.answered = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _connect(self, kind: int, port: str) -> "zmq.Socket[bytes]":
        opened = self.context.socket(kind)
        opened.linger = 0
        opened.sndtimeo = 0
        opened.curve_serverkey = self._server
        opened.curve_publickey, opened.curve_secretkey = self.public, self._secret
        opened.connect(f"tcp://127.0.0.1:{PORTS[port] + self._offset}")
        return opened

    def _run(self) -> None:
        """Five measurements a second; every data command is answered with 60 cycles."""
        while not self._stop.is_set():
            now_ms = time.time_ns() // 10**6
            body = MESSAGES["Measurement"](box_id=self.box_id, timestamp_ms=now_ms)
            for key, value in (("rms", 118.5), ("f", 60.01), ("thd", 0.02)):
                metric = body.metrics[key]
                metric.min = metric.max = metric.average = value
            self.pub.send_multipart([b"%04d" % self.box_id, body.SerializeToString()])
            if self.sub.poll(200):
                self._answer(MESSAGES["Command"].FromString(self.sub.recv_multipart()[1]))

    def _answer(self, command: Any) -> None:
        assert command.box_id == self.box_id
        response = MESSAGES["Response"](box_id=self.box_id, seq=command.seq, timestamp_ms=1)
        start_ms = command.data_command.start_ms
        stamps = [start_ms + round(1000 * (k + 1) / LINE_HZ) for k in range(60)]
        response.get_data_response.start_ts, response.get_data_response.end_ts = stamps[0], stamps[-1]
        cycles = [
            MESSAGES["Cycle"](datapoints=[k - 100] * 200, timestamp_ms=ms).SerializeToString()
            for k, ms in enumerate(stamps)
        ]
        self.push.send_multipart([response.SerializeToString(), *cycles])
        self.answered += 1

    def close(self) -> None:
        self._stop.set()
        self._thread.join(240)
        self.context.destroy(linger=0)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("foreign")
    config = folder / "short.toml"
    config.write_text(f"{with_ports()}cloud.event_service.grouping_s = 2.0\n")
    with house(folder / "data", "--sim", "1", "--config", str(config)) as running:
        running.wait_for("Box 1 is sampling")
        running.wait_for("the page is up")
        yield running


@pytest.fixture
def client(up: House) -> Iterator[ForeignClient]:
    with closing(ForeignClient(up)) as opened:
        yield opened


def test_the_originals_client_gets_measurements_and_samples(up: House, client: ForeignClient) -> None:
    first = client.measurement(1)
    assert first is not None
    assert first.metrics["rms"].average == pytest.approx(120, rel=0.05)
    assert first.metrics["f"].average == pytest.approx(60, abs=0.1)
    client.measurement(1)  # one more second is in the ring
    end_ms = first.timestamp_ms
    answers = []
    for identity in ("f00d", "box_viewer"):  # the same span, asked twice
        client.ask(1, identity, end_ms - 500, end_ms)
        answers.append(client.answer(identity))
    (response, cycles), (_, again) = answers
    assert response.WhichOneof("response") == "get_data_response" and response.box_id == 1
    assert [list(cycle.datapoints) for cycle in cycles] == [list(cycle.datapoints) for cycle in again]
    assert all(len(cycle.datapoints) == 200 for cycle in cycles)
    stamps = [cycle.timestamp_ms for cycle in cycles]
    steps = [later - sooner for sooner, later in pairwise(stamps)]
    assert set(steps) <= {16, 17}  # 200 samples at 12 kS/s are 16.67 ms
    # A Cycle is stamped with its end: the first ends within one cycle of the start asked for.
    assert stamps[0] == response.get_data_response.start_ts and 0 <= stamps[0] - (end_ms - 500) <= 17
    assert stamps[-1] == response.get_data_response.end_ts and 0 <= end_ms - stamps[-1] <= 17
    counts = [value for cycle in cycles for value in cycle.datapoints]
    steepest = max(abs(later - sooner) for sooner, later in pairwise(counts))
    assert steepest < 0.06 * max(
        counts
    )  # a sine of 200 samples a cycle moves by at most 2 pi / 200 of its peak
    rms = (sum(value * value for value in counts) / len(counts)) ** 0.5
    assert max(counts) / rms == pytest.approx(2**0.5, abs=0.05)


def test_event_ids_rise_and_exit_is_ordinary(up: House, client: ForeignClient) -> None:
    given = []
    for text in (b"", b"exit", b"", b"\xff\xfe", b"x" * 100_000):
        client.ids.send(text)
        given.append(int(client.ids.recv()))
    assert given == sorted(set(given))


def test_the_originals_makai_request_becomes_an_event(up: House, client: ForeignClient) -> None:
    measured = client.measurement(1)
    identity = "data_" + "A" * 30 + "_elsewhere"
    client.ask(1, identity, measured.timestamp_ms - 300, measured.timestamp_ms)
    client.answer(identity)
    instance, event_id = client.events.recv_multipart()
    assert instance == b"elsewhere"
    assert get_json(f"{up.view}/api/v1/events/{int(event_id)}")["received"] == ["1"]


def test_a_plain_box_is_admitted_and_cut_off(up: House, client: ForeignClient) -> None:
    """It is admitted while the cloud runs, answers, and is cut off when its key goes."""

    def shown() -> dict[str, Any] | None:
        boxes = {box["box_id"]: box for box in get_json(f"{up.view}/api/v1/boxes")["items"]}
        return boxes.get("77")

    with closing(ForeignBox(up, 77)) as box:
        up.wait_for(f"refused a peer: key {box.public.decode()}")
        assert client.measurement(77, timeout_s=0.5) is None
        key = up.data_dir / "curve" / "public_keys" / "opqbox77.key"
        fresh = key.with_suffix(".new")
        fresh.write_bytes(b'metadata\ncurve\n    public-key = "%s"\n' % box.public)
        fresh.rename(key)
        up.wait_for("Box 77 is admitted", timeout_s=30)
        measured = client.measurement(77)
        assert measured is not None and measured.metrics["rms"].average == 118.5
        assert until(shown, 30, "Box 77 on the page's list")["measurement"]["rms_v"] == 118.5
        for _ in range(120):  # its three connections come back one by one; a command before its own is lost
            client.ask(77, "viewer", measured.timestamp_ms, measured.timestamp_ms + 1000)
            if client.answers.poll(500):
                break
        response, cycles = client.answer("viewer")
        assert response.box_id == 77
        assert until(lambda: box.answered, 30, "the Box counts its answer: after it was sent")
        assert [set(cycle.datapoints) for cycle in cycles] == [{k - 100} for k in range(60)]

        key.unlink()
        up.wait_for("Box 77 is revoked", timeout_s=30)
        while client.measurement(77, timeout_s=0.3):
            pass  # what was under way
        began = time.monotonic()
        assert client.measurement(1, timeout_s=30) is not None  # others flow on
        assert client.measurement(77, timeout_s=max(0.0, 2 - (time.monotonic() - began))) is None


def test_garbage_connections_delay_no_other(up: House, client: ForeignClient) -> None:
    opened = []
    for name in ("triggering_box", "command_box", "response_box", "command_backend", "mauka_in", "view"):
        for data in (b"", os.urandom(4096)):
            peer = socket.create_connection(("127.0.0.1", PORTS[name] + up.offset), 5)
            opened.append(peer)
            peer.sendall(data)
    try:
        assert client.measurement(1) is not None
        assert get_json(f"{up.view}/api/v1/boxes")["items"]
    finally:
        for peer in opened:
            peer.close()


EXAMPLES = ROOT / "docs" / "examples" / "wire"


def example(name: str, up: House, folder: Path) -> list[str]:
    """The words that run an example of the docs at this system."""
    address = f"tcp://127.0.0.1:{PORTS['triggering_backend'] + up.offset}"
    if name == "live.mjs":
        node = shutil.which("node")
        if not node:
            pytest.skip("needs node: apt install nodejs")
        return [node, str(EXAMPLES / name), up.view]
    if name == "measurements.c":
        if not shutil.which("gcc") or not Path("/usr/include/zmq.h").is_file():
            pytest.skip("needs gcc and libzmq's header: apt install gcc libzmq3-dev")
        words = (
            "gcc",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            folder / "measurements",
            EXAMPLES / name,
            "-lzmq",
        )
        subprocess.run(words, check=True)
        return [str(folder / "measurements"), address]
    made = ("-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", "opqbox3.proto")
    subprocess.run((sys.executable, *made), check=True)
    shutil.copy(EXAMPLES / name, folder)
    return [sys.executable, str(folder / name), address]


@pytest.mark.parametrize("name", ["measurements.py", "measurements.c", "live.mjs"])
def test_an_example_prints_live_measurements(name: str, up: House, tmp_path: Path) -> None:
    running = subprocess.Popen(example(name, up, tmp_path), stdout=subprocess.PIPE, text=True)
    limit = threading.Timer(60, running.kill)
    limit.start()
    try:
        assert running.stdout
        shown = next((line for line in running.stdout if line.startswith("Box 1: ")), "")
    finally:
        limit.cancel()
        running.kill()
        running.communicate()
    values = re.fullmatch(r"Box 1: ([\d.]+) V until (\d+)\n", shown)
    assert values, shown or "nothing within 60 s"
    assert float(values[1]) == pytest.approx(120, rel=0.05)
    assert abs(int(values[2]) - time.time() * 1000) < 60_000
