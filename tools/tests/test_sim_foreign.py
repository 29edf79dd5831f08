"""`opq-tools sim N --foreign cur|leg`, and the pytest fixture, at a triggering broker on moved ports."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from free_ports import free_offset
from in_thread import in_thread

from opq_cloud.core.settings.makai_settings import TriggeringBrokerSection
from opq_cloud.makai.triggering_broker import TriggeringBroker
from opq_proto.errors import OpqError
from opq_proto.keys.key_files import KeyFolder
from opq_proto.kit.ports import endpoint
from opq_proto.wire.opqbox3_pb2 import Measurement
from opq_sim.box.control import request_control
from opq_sim.mains.generator import Generator
from opq_tools.sim.sim_command import command

TOOLS = [sys.executable, "-m", "opq_tools.cli", "sim"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[int, KeyFolder, Any]]:
    """A port offset, the keys of the data folder `tmp_path`, a subscriber of what the broker passes on."""
    offset, keys = free_offset(), KeyFolder(tmp_path / "curve")
    keys.create(True, [])
    section = TriggeringBrokerSection(
        box_endpoint=endpoint("triggering_box", offset),
        backend_endpoint=endpoint("triggering_backend", offset),
    )
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with in_thread(TriggeringBroker(section, keys).run, until_ready=True), contextlib.ExitStack() as ended:
        ended.callback(context.destroy, linger=0)
        subscriber = context.socket(zmq.SUB)
        subscriber.subscribe(b"")
        subscriber.connect(section.backend_endpoint)
        yield offset, keys, subscriber


def test_sim_runs_original_boxes_until_ctrl_c(broker: tuple[int, KeyFolder, Any], tmp_path: Path) -> None:
    """The Boxes use the keys in the folder."""
    offset, keys, subscriber = broker
    told = [
        "2",
        "--foreign",
        "cur",
        "--first-id",
        "41",
        "--data-dir",
        str(tmp_path),
        "--port-offset",
        str(offset),
    ]
    process = subprocess.Popen([*TOOLS, *told], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        heard = set()
        while heard != {41, 42}:
            assert subscriber.poll(240_000), process.communicate(timeout=5)
            topic, body = subscriber.recv_multipart()
            found = Measurement.FromString(body)
            assert topic == b"%04d" % found.box_id and not found.HasField("sequence")
            heard.add(found.box_id)
        sag = {"do": "event", "box": "41", "kind": "sag"}
        answer = request_control(tmp_path / "foreign", sag)
        assert answer["words"] == "sag to 0.7 of its voltage for 10 cycles"
        while found.box_id != 41 or found.metrics["rms"].min > 100:
            assert subscriber.poll(240_000)
            found = Measurement.FromString(subscriber.recv_multipart()[1])
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
        process.communicate(timeout=240)
    where = endpoint("triggering_box", offset)
    assert (process.returncode, out, err) == (0, f"box 41 cur {where}\nbox 42 cur {where}\n", "")
    assert keys.box_public("42").exists()


def test_the_fixture_hosts_both_box_generations(
    broker: tuple[int, KeyFolder, Any], foreign_boxes: Any
) -> None:
    offset, keys, subscriber = broker
    foreign_boxes("leg", {"7": Generator(seed=1)}, keys, port_offset=offset)
    foreign_boxes("cur", {"8": Generator(seed=2)}, keys, port_offset=offset)
    heard: dict[bytes, bytes] = {}
    while set(heard) != {b"0007", b"0008"}:  # the C++ generation's TriggerMessage goes on as a Measurement
        assert subscriber.poll(240_000)
        topic, body = subscriber.recv_multipart()
        heard[topic] = body
    for body in heard.values():
        assert Measurement.FromString(body).metrics["rms"].average == pytest.approx(120, rel=0.01)


@pytest.mark.parametrize(
    ("words", "code", "wanted"),
    [
        (("1", "--foreign", "cur"), 1, "opqserver.key is missing, so the brokers"),
        (("1", "--foreign", "leg", "--first-id", "2147483648"), 2, "2147483647"),
        (("2", "--foreign", "leg", "--scenario", "sag_230v_50hz"), 1, "230 V would be clipped"),
        (("2", "--first-id", "5"), 2, "for Boxes of the original; give --foreign"),
    ],
)
def test_an_impossible_request_says_why(
    words: tuple[str, ...], code: int, wanted: str, tmp_path: Path
) -> None:
    if "missing" not in wanted:
        KeyFolder(tmp_path / "curve").create(True, [])
    with pytest.raises(OpqError, match=wanted) as raised:
        command.main([*words, "--data-dir", str(tmp_path)], standalone_mode=False)
    assert raised.value.exit_code == code
