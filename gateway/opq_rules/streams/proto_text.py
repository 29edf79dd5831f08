"""The text of a .proto file as a descriptor set, by protobuf's own compiler where it is installed."""

import functools
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from opq_rules.streams.descriptors import MOST_BYTES

LIMIT_S = 20.0
NAME = "schema.proto"
_AT_ONCE = threading.BoundedSemaphore(2)
INSTEAD = (
    "pip install 'opq-toolkit[protoc]', or give the descriptor set that "
    "`protoc --include_imports --descriptor_set_out=x.desc x.proto` writes"
)


def compiler() -> list[str] | None:
    """How it is called, or None."""
    if importlib.util.find_spec("grpc_tools") is not None:
        return [sys.executable, "-I", "-m", "grpc_tools.protoc"]
    program = shutil.which("protoc")
    return [program] if program else None


@functools.lru_cache(maxsize=4)  # an import reads one three times: to check, to rehearse, to keep
def compiled(text: str) -> bytes:
    """With what it imports: Google's own files, for others are not to be had here.

    Raises ValueError: the compiler is not here, or it refuses the text, with its line and column.
    """
    command = compiler()
    if command is None:
        raise ValueError(f"a .proto text needs protobuf's compiler: {INSTEAD}")
    content = text.encode()
    if len(content) > MOST_BYTES:
        raise ValueError(f"{len(content)} bytes; want at most {MOST_BYTES}")
    if not _AT_ONCE.acquire(timeout=LIMIT_S):
        raise ValueError("protobuf's compiler is busy; try again")
    try:
        return _run(command, content)
    finally:
        _AT_ONCE.release()


def _run(command: list[str], content: bytes) -> bytes:
    with tempfile.TemporaryDirectory(prefix="opq-schema-") as folder:
        source, target = Path(folder) / NAME, Path(folder) / "schema.desc"
        source.write_bytes(content)
        whole = [*command, "-I.", "--include_imports", f"--descriptor_set_out={target}", NAME]
        try:
            done = subprocess.run(
                whole, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise ValueError(f"protobuf's compiler was not done within {LIMIT_S:g} s") from None
        if done.returncode:
            raise ValueError(f"protobuf's compiler refuses it: {_told(done.stderr)}")
        return target.read_bytes()


def _told(errors: bytes) -> str:
    """Without its warnings, in any of their forms: an error begins with the file's name."""
    lines = [line for line in errors.decode(errors="replace").splitlines() if "warning:" not in line]
    refused = [line for line in lines if line.startswith(NAME)]
    return "; ".join((refused or lines)[:3])[:500]
