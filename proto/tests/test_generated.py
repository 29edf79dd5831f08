"""The checked-in protobuf code is what the .proto files give, and loads without a warning."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PROTO = HERE.parent
NAMES = ("opqbox3", "mauka", "opq")


def test_the_generated_code_is_what_the_sources_give(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed (extra dev)")
    pinned = tomllib.loads((PROTO.parent / "pyproject.toml").read_text(encoding="utf-8"))
    version = importlib.metadata.version("grpcio-tools")
    assert f"grpcio-tools=={version}" in pinned["project"]["optional-dependencies"]["dev"]
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I.",
        f"--python_out={tmp_path}",
        f"--pyi_out={tmp_path}",
    ]
    subprocess.run([*command, *(f"{name}.proto" for name in NAMES)], cwd=PROTO, check=True, timeout=240)
    for made in sorted(tmp_path.iterdir()):
        assert made.read_bytes() == (PROTO / "opq_proto" / "wire" / made.name).read_bytes(), made.name
    assert len(list(tmp_path.iterdir())) == 2 * len(NAMES)


def test_generated_code_fits_the_oldest_runtime() -> None:
    project = tomllib.loads((PROTO.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [requirement] = [entry for entry in project["dependencies"] if entry.startswith("protobuf")]
    match = re.match(r"protobuf>=(\d+)\.(\d+),", requirement)
    assert match is not None
    for name in NAMES:
        text = (PROTO / "opq_proto" / "wire" / f"{name}_pb2.py").read_text(encoding="utf-8")
        assert f"# Protobuf Python Version: {match[1]}.{match[2]}.0\n" in text


def test_it_loads_with_every_warning_an_error() -> None:
    code = "from opq_proto.wire import opqbox3_pb2, mauka_pb2, opq_pb2"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=240)


def test_the_base_install_needs_no_extra() -> None:
    """messages, errors, keys, wire and ports are imported by tools that install no extra."""
    code = """
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"structlog", "pydantic", "cobs", "serial", "msgspec"}:
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
from opq_proto.kit import channel
from opq_proto.kit import clock
from opq_proto.keys import key_files as keys
from opq_proto.kit import ports
from opq_proto.wire import frames as wire
from opq_proto import errors, messages
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
