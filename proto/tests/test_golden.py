"""Golden vectors: made again they are the same; opq_proto, C and MicroPython all agree with them."""

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cobs import cobs
from google.protobuf import json_format
from zmq.utils import z85

from opq_proto.keys.key_files import read_key_file, read_secret_file
from opq_proto.link import frames as link
from opq_proto.link import messages as m
from opq_proto.wire import mauka_pb2, opq_pb2, opqbox3_pb2

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
MESSAGES = {cls.TYPE: cls for cls in m.LinkMessage.__args__}


def facts(path: Path) -> list[tuple[str, str]]:
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line and line[0] != "#"]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def cases(topic: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted((GOLDEN / topic).iterdir())]


@pytest.fixture(scope="module")
def make() -> Any:
    sys.path.insert(0, str(GOLDEN))
    try:
        import make as module

        yield module
    finally:
        sys.path.remove(str(GOLDEN))
        for name in ("make", "make_dsp", "make_image", "make_link", "make_protobuf"):
            sys.modules.pop(name, None)


def test_the_golden_files_are_what_their_makers_make(make: ModuleType) -> None:
    made = make.files()
    assert len(made) > 60
    for name, text in made.items():
        assert (GOLDEN / name).read_text(encoding="utf-8") == text, name
    there = {
        str(path.relative_to(GOLDEN))
        for topic in ("link", "stream", "crc32", "cobs", "z85", "protobuf", "dsp", "image")
        for path in (GOLDEN / topic).iterdir()
    }
    assert there == set(made)


def test_every_link_message_has_a_golden_case() -> None:
    types = {int(dict(facts(path))["type"]) for path in (GOLDEN / "link").iterdir()}
    assert types == set(MESSAGES)


def values_of(message: m.LinkMessage) -> list[Any]:
    """The message's wire values in order, as the case files list them."""
    values: list[Any] = []
    for field in dataclasses.fields(message):
        value = getattr(message, field.name)
        if field.name in ("counts", "data", "numbers", "words"):
            values += [len(value), list(value)]
        elif field.name == "values":
            values += [len(value), *(text for pair in value for text in pair)]
        else:
            values.append(value)
    return values


def expected(kind: str, text: str) -> Any:
    if kind == "str8":
        return text
    if kind.endswith("[]"):
        return [int(count) for count in text.split()]
    if kind.startswith("f"):
        return None if text == "nan" else float(text)
    return int(text)


@pytest.mark.parametrize("path", cases("link"))
def test_a_golden_frame_round_trips(path: Path) -> None:
    case = facts(path)
    words = dict(case)
    fields = [rest.split(" ", 2) for word, rest in case if word == "field"]
    wanted = [expected(field[1], field[2] if len(field) > 2 else "") for field in fields]
    frame = bytes.fromhex(words["frame"])

    [(sequence, message)] = link.Decoder().feed(frame)

    assert sequence == int(words["sequence"])
    assert int(words["type"]) == message.TYPE
    assert values_of(message) == wanted
    assert link.encode(message, sequence) == frame
    if message.TYPE != m.Settings.TYPE:
        names = [field.name for field in dataclasses.fields(message)]
        written = {"data": "bytes", "numbers": "counts", "words": "counts"}
        names = [written.get(name, name) for name in names]
        assert names == [field[0] for field in fields if field[0] != "count" or message.TYPE == m.Resend.TYPE]


@pytest.mark.parametrize("size", [1, 7, 64, 100_000])
@pytest.mark.parametrize("path", cases("stream"))
def test_a_golden_stream_survives_any_cutting(path: Path, size: int) -> None:
    case = facts(path)
    data = bytes.fromhex(dict(case)["bytes"])
    decoder = link.Decoder()
    got = []
    for start in range(0, len(data), size):
        got += [(message.TYPE, sequence) for sequence, message in decoder.feed(data[start : start + size])]
    good = [tuple(map(int, rest.split())) for word, rest in case if word == "good"]
    assert got == good
    assert decoder.frames == len(good)
    for word, rest in case:
        if word == "count":
            name, value = rest.split()
            assert getattr(decoder, name) == int(value), name


@pytest.mark.parametrize("path", cases("cobs"))
def test_cobs_agrees(path: Path) -> None:
    words = dict(facts(path))
    data, coded = bytes.fromhex(words["hex"]), bytes.fromhex(words["cobs"])
    assert cobs.encode(data) == coded
    assert cobs.decode(coded) == data


@pytest.mark.parametrize("path", cases("z85"))
def test_z85_agrees(path: Path) -> None:
    words = dict(facts(path))
    assert z85.encode(bytes.fromhex(words["hex"])).decode() == words["z85"]
    assert z85.decode(words["z85"]).hex() == words["hex"]


def test_the_crc_has_the_catalogues_check_value() -> None:
    assert dict(facts(GOLDEN / "crc32" / "check.txt"))["crc32"] == str(0xCBF43926)


MODULES: dict[str, Any] = {"opq.opqbox3.": opqbox3_pb2, "opq.proto.": opq_pb2, "": mauka_pb2}


@pytest.mark.parametrize("path", cases("protobuf"))
def test_a_golden_message_round_trips(path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    package = next(prefix for prefix in MODULES if case["message"].startswith(prefix))
    kind = getattr(MODULES[package], case["message"].removeprefix(package))
    wire = bytes.fromhex(case["wire_hex"])

    message = kind.FromString(wire)

    assert json_format.MessageToDict(message, preserving_proto_field_name=True) == case["fields"]
    built = json_format.ParseDict(case["fields"], kind())
    assert built == message
    if path.stem != "cycle_unpacked":
        assert built.SerializeToString(deterministic=True) == wire


def test_golden_key_files_hold_the_manuals_keys() -> None:
    box = read_secret_file(GOLDEN / "keys" / "opqbox1_secret")
    assert box.public == b"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
    assert box.secret == b"D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
    assert read_key_file(GOLDEN / "keys" / "opqbox1.key").public == box.public
    assert read_secret_file(GOLDEN / "keys" / "opqserver_secret").public == (
        b"rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
    )


@pytest.fixture(scope="module")
def c_reader(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[Path]], int]:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        pytest.skip("no C compiler (cc, gcc or clang) on PATH")
    program = tmp_path_factory.mktemp("golden") / "golden_link"
    flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    command = [compiler, *flags, str(HERE / "golden_link.c"), "-o", str(program), "-lm"]
    subprocess.run(command, check=True, timeout=240)

    def run(paths: list[Path]) -> int:
        return subprocess.run([program, *map(str, paths)], timeout=240, check=False).returncode

    return run


def text_cases() -> list[Path]:
    return [
        path for topic in ("link", "stream", "crc32", "cobs") for path in sorted((GOLDEN / topic).iterdir())
    ]


def test_c_agrees_with_the_golden_vectors(c_reader: Callable[[list[Path]], int]) -> None:
    assert c_reader(text_cases()) == 0


def test_the_c_reader_sees_a_changed_vector(c_reader: Callable[[list[Path]], int], tmp_path: Path) -> None:
    for path in (
        GOLDEN / "link" / "gps_status.txt",
        GOLDEN / "stream" / "plain.txt",
        GOLDEN / "crc32" / "all.txt",
    ):
        text = path.read_text(encoding="utf-8")
        changed = tmp_path / path.parent.name / path.name
        changed.parent.mkdir()
        digit = text.rstrip("\n")[-4 if path.parent.name == "link" else -1]
        at = text.rindex(digit)
        changed.write_text(text[:at] + ("1" if digit != "1" else "2") + text[at + 1 :], encoding="utf-8")
    assert c_reader([tmp_path / "link" / "gps_status.txt"]) == 1
    assert c_reader([tmp_path / "crc32" / "all.txt"]) == 1


@pytest.mark.parametrize("python", ["micropython", "cpython"])
def test_the_micropython_reader_agrees_with_the_golden_vectors(python: str) -> None:
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = sys.executable if python == "cpython" else shutil.which("micropython", path=beside)
    if program is None:
        pytest.skip("no micropython (unix port) on PATH or beside python")
    command = [program, str(HERE / "golden_link_mpy.py"), str(GOLDEN)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(text_cases())} files, 0 failures" in run.stdout


def test_an_unknown_float_field_is_none() -> None:
    words = dict(facts(GOLDEN / "link" / "measurement_unknown.txt"))
    [(_, message)] = link.Decoder().feed(bytes.fromhex(words["frame"]))
    assert isinstance(message, m.BoxMeasurement)
    assert message.f_hz is None
    assert message.rms_v is not None and not math.isnan(message.rms_v)


def test_samples_are_int16_copies() -> None:
    frame = bytes.fromhex(dict(facts(GOLDEN / "link" / "samples_extremes.txt"))["frame"])
    [(_, message)] = link.Decoder().feed(frame)
    assert isinstance(message, m.Samples)
    assert message.counts.dtype == np.int16
    assert message.counts.tolist() == [-32768, 32767, 0, -1, 1, 256, -256]
