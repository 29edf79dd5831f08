"""Frames of foreign Boxes, held to texts that were written by hand from the reference, field by field.

With a copy of the original's .proto files in the folder OPQ_ORIGINAL_PROTO they are read with those, too.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from opq_proto.wire import opq_pb2, opqbox3_pb2
from opq_sim.foreign import cur_frames as cur
from opq_sim.foreign import leg_frames as leg
from opq_sim.foreign.cur_box import CurBox
from opq_sim.foreign.leg_box import LegBox
from opq_sim.foreign.protobuf_bytes import ProtobufError, read_fields, varint, varint_field

GOLDEN = Path(__file__).resolve().parents[2] / "proto" / "golden" / "foreign"
T, T17, T34 = 1_700_000_000_000, 1_700_000_000_017, 1_700_000_000_034
TEST_KEY = b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
Pool = descriptor_pool.DescriptorPool
ORIGINAL = os.environ.get("OPQ_ORIGINAL_PROTO", "")
NS = 10**6


def golden(name: str) -> list[bytes]:
    """The frames of a file: hex and "text" up to two blanks, `AA*n` n times; the rest of a line is a note."""
    frames: list[bytes] = []
    for line in (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("frame "):
            frames.append(b"")
            line = line.removeprefix("frame ")
        for token in line.partition("  ")[0].split():
            if token.startswith('"'):
                frames[-1] += token[1:-1].encode("ascii")
            else:
                digits, _, times = token.partition("*")
                frames[-1] += bytes.fromhex(digits) * int(times or 1)
    return frames


def cur_cycle_counts() -> list[int]:
    return [0, 1, -1, 127, 128, 32767, -32768, *[0] * 193]


def made() -> dict[str, list[bytes]]:
    """What our foreign Boxes write, under the golden files' names."""
    metrics = {
        "rms": cur.CurMetric(119.5, 120.5, 120.0),
        "f": cur.CurMetric(60.0, 60.0, 60.0),
        "thd": cur.CurMetric(0.0, 0.03125, 0.015625),
    }
    ones = [1] * 140 + [-1] * 58 + [16383, 1000]
    info = cur.cur_info_answer(["127.0.0.1"], 5, TEST_KEY, 60)
    return {
        "cur_measurement": [cur.cur_topic(42), cur.cur_measurement(42, T, metrics)],
        "cur_topics": [cur.cur_topic(box) for box in (1, 42, 1001, 12345)],
        "cur_cycle": [cur.cur_cycle(cur_cycle_counts(), T17)],
        "cur_answer_data": [cur.cur_response(1, 7, T, cur.DATA_RESPONSE, cur.cur_data_header(T17, T34))],
        "cur_answer_nothing": [cur.cur_response(1, 7, T, cur.DATA_RESPONSE, cur.cur_data_header(0, 0))],
        "cur_answer_rate": [cur.cur_response(1, 7, T, cur.RATE_RESPONSE, cur.cur_rate_answer(60))],
        "cur_answer_plugin": [cur.cur_response(1, 7, T, cur.PLUGIN_RESPONSE, cur.cur_plugin_answer())],
        "cur_answer_info": [cur.cur_response(1, 7, T, cur.INFO_RESPONSE, info)],
        "leg_trigger": [leg.leg_topic(3), leg.leg_trigger(3, T, 59.96875, 120.5, 0.03125)],
        "leg_trigger_start": [leg.leg_topic(3), leg.leg_trigger(3, T, 0.0, 120.5)],
        "leg_answers": [
            leg.leg_answer(leg.PONG, 7, 3, T),
            leg.leg_answer(leg.RESP, 7, 3, T, 2),
            leg.leg_answer(leg.ERROR, 7, 3, T),
        ],
        "leg_data": [leg.leg_data(3, [leg.leg_cycle(T, [0] * 200), leg.leg_cycle(T17, ones)])],
    }


READ = {"cur_commands", "leg_requests"}
"""What a Box reads; the others it writes."""


@pytest.mark.parametrize("name", sorted({path.stem for path in GOLDEN.iterdir()} - READ))
def test_a_frame_is_what_the_reference_says(name: str) -> None:
    assert made()[name] == golden(name)


def test_every_golden_file_has_its_test() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(made()) | READ


def test_commands_are_read_as_the_reference_says() -> None:
    data, info, rate, plugin = map(cur.read_cur_command, golden("cur_commands"))
    assert data == cur.CurCommand(3, 10, cur.DATA, start_ms=T, end_ms=T + 1000)
    assert info == cur.CurCommand(3, -1, cur.INFO)
    assert rate == cur.CurCommand(3, 1, cur.RATE, cycles=10)
    assert plugin == cur.CurCommand(0, 1, cur.PLUGIN, plugin_name="abc")
    ping, read = map(leg.read_leg_request, golden("leg_requests"))
    assert ping == leg.LegRequest(leg.PING, 7)
    assert read == leg.LegRequest(leg.READ, 7, T, T34)


MESSAGES = {
    "cur_measurement": "opqbox3.Measurement",
    "cur_cycle": "opqbox3.Cycle",
    "cur_commands": "opqbox3.Command",
    "cur_answer_data": "opqbox3.Response",
    "cur_answer_nothing": "opqbox3.Response",
    "cur_answer_rate": "opqbox3.Response",
    "cur_answer_plugin": "opqbox3.Response",
    "cur_answer_info": "opqbox3.Response",
    "leg_trigger": "proto.TriggerMessage",
    "leg_trigger_start": "proto.TriggerMessage",
    "leg_requests": "proto.RequestDataMessage",
    "leg_answers": "proto.RequestDataMessage",
    "leg_data": "proto.DataMessage",
}


def bodies(name: str) -> list[bytes]:
    return (
        golden(name)[1:] if name in ("cur_measurement", "leg_trigger", "leg_trigger_start") else golden(name)
    )


def check_with(message: type[Any], name: str, package: str) -> None:
    """Every byte is known to that .proto, and means what the notes say; written again it is as long."""
    for body in bodies(name):
        found = message.FromString(body)
        assert len(found.SerializeToString()) == len(body) or name == "cur_cycle" or name == "leg_data"
        again = message()
        again.CopyFrom(found)
        again.DiscardUnknownFields()
        assert again == found, f"{name}: fields that {package} does not know"
    if name == "cur_cycle":
        assert list(found.datapoints) == cur_cycle_counts() and found.timestamp_ms == T17
    if name == "cur_measurement":
        assert (found.box_id, found.timestamp_ms, sorted(found.metrics)) == (42, T, ["f", "rms", "thd"])
        assert (found.metrics["rms"].min, found.metrics["thd"].max, found.metrics["thd"].min) == (
            119.5,
            0.03125,
            0,
        )
    if name == "cur_answer_info":
        info = found.info_response
        assert (info.ip, info.uptime, info.pub_key) == ("127.0.0.1:0\n", 5, TEST_KEY.decode())
    if name == "cur_answer_data":
        assert (found.get_data_response.start_ts, found.get_data_response.end_ts) == (T17, T34)
    if name == "leg_trigger":
        assert (found.id, found.time, found.frequency, found.rms, found.thd) == (
            3,
            T,
            59.96875,
            120.5,
            0.03125,
        )
    if name == "leg_data":
        assert [len(cycle.data) for cycle in found.cycles] == [200, 200]
        assert found.cycles[1].data[139:] == [1, *[-1] * 58, 16383, 1000]


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_our_generated_classes_read_the_golden_frames(name: str) -> None:
    kind, _, message = MESSAGES[name].partition(".")
    check_with(getattr(opqbox3_pb2 if kind == "opqbox3" else opq_pb2, message), name, "our .proto")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    if not ORIGINAL:
        pytest.skip("no copy of the original's .proto files; name its folder in OPQ_ORIGINAL_PROTO")
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed (extra dev)")
    out = tmp_path_factory.mktemp("original") / "set"
    include = Path(__import__("grpc_tools").__file__).parent / "_proto"
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I",
        ORIGINAL,
        "-I",
        str(include),
        "--include_imports",
    ]
    subprocess.run(
        [*command, f"--descriptor_set_out={out}", "opqbox3.proto", "opq.proto"], check=True, timeout=240
    )
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file:
        pool.Add(file)
    return pool


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_the_originals_own_proto_reads_them_alike(name: str, original: Pool) -> None:
    descriptor = original.FindMessageTypeByName(f"opq.{MESSAGES[name]}")
    check_with(message_factory.GetMessageClass(descriptor), name, "the original's .proto")


def test_no_field_of_ours_is_ever_written() -> None:
    """Whatever a Box sends, at every level: no field number from 1000 on."""

    def numbers(data: bytes, depth: int = 0) -> set[int]:
        found = set()
        for number, value in read_fields(data):
            found.add(number)
            if isinstance(value, bytes) and depth < 3 and len(value) != 40 and not value.isascii():
                try:
                    found |= numbers(value, depth + 1)
                except ProtobufError:
                    continue
        return found

    current, legacy = CurBox("1", 152.5, TEST_KEY), LegBox("1", 152.5)
    frames: list[bytes] = []
    wave = np.rint(152.5 * 169.7 * np.sin(2 * np.pi * np.arange(200) / 200)).astype(np.int16)
    for number in range(300):
        read_ns = (T + 17 * number) * NS
        frames += (current.accept_window(wave, read_ns) or [])[1:]
        frames += (legacy.accept_window(wave, read_ns) or [])[1:]
    for body in golden("cur_commands"):
        frames += current.accept_command([b"1", body], (T + 5000) * NS) or []
    for body in golden("leg_requests"):
        frames += legacy.accept_command([b"evget", body], (T + 5000) * NS) or []
    assert len(frames) > 70
    assert max(max(numbers(frame)) for frame in frames) <= 8


@given(st.integers(-(2**63), 2**64 - 1))
def test_a_number_comes_back_as_it_was_written(value: int) -> None:
    assert list(read_fields(varint_field(5, value, presence=True))) == [(5, value % 2**64)]
    assert len(varint(value)) <= 10


@given(st.binary(max_size=40))
def test_wrong_commands_are_ignored(body: bytes) -> None:
    for box, topic in ((CurBox("1", 152.5, TEST_KEY), b"1"), (LegBox("1", 152.5), b"evget")):
        answer = box.accept_command([topic, body], T * NS)
        assert answer is not None or box.counts.ignored.total() == 1
