"""Zips of plug-ins for tests, and what the engine is to them."""

import io
import json
import threading
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SINK = """
from opq_plugins import sdk


class Sink(sdk.Sink):
    taken = 0

    def configure(self, properties):
        self.path = properties.get("path", "/dev/null")
        if self.path == "wrong":
            raise ValueError("path  is wrong; want a file")

    def collect(self, context, data):
        with open(self.path, "a") as file:
            file.write(f"{context.row_id} {len(data)}\\n")
        self.taken += 1

    def export_state(self):
        return self.taken

    def import_state(self, version, state):
        self.taken = state
"""
SOURCE = """
from opq_plugins import sdk


class Source(sdk.Source):
    next = 0

    def configure(self, datasource, properties):
        pass

    def rewind(self, offset):
        self.next = offset

    def open(self, context):
        while not context.stopped:
            if not context.emit({"n": self.next}, offset=self.next + 1):
                return
            self.next += 1
"""
FUNCTION = """
from opq_plugins import sdk


class Function(sdk.Function):
    def validate(self, args):
        return "" if len(args) == 1 else "want one argument"

    def exec(self, args, context):
        return args[0] * 2
"""


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def manifest(name: str, version: str = "1.0.0", **more: Any) -> str:
    return json.dumps({"name": name, "version": version, "kind": "sink", "api": 1, **more})


def plugin_zip(
    name: str, version: str = "1.0.0", kind: str = "sink", code: str | None = None, **more: Any
) -> bytes:
    """One symbol, of the plug-in's own name."""
    code = code if code is not None else {"sink": SINK, "source": SOURCE, "function": FUNCTION}[kind]
    return zipped(
        {"plugin.json": manifest(name, version, **{"kind": kind, **more}), f"{kind}s/{name}.py": code}
    )


def stored(folder: Path, raw: bytes, name: str = "plugin.zip") -> str:
    """As a file:// URL."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(raw)
    return path.as_uri()


class Whose:
    """A context for sources, sinks and functions; keeps what was emitted."""

    op_id, instance_id = "op", 0

    def __init__(self, rule_id: str = "rule") -> None:
        self.rule_id = rule_id
        self.row_ids: Sequence[str] = ["rule:1/0"]
        self.rows: list[Any] = []
        self.errors: list[str] = []
        self.state: dict[str, Any] = {}
        self.offset: Any = None
        self.end = threading.Event()
        self.ups: list[tuple[bool, str]] = []

    @property
    def row_id(self) -> str:
        return self.row_ids[0]

    @property
    def stopped(self) -> bool:
        return self.end.is_set()

    def wait(self, seconds: float) -> bool:
        return self.end.wait(seconds)

    def log(self, event: str, **facts: Any) -> None:
        self.errors.append(f"log {event}")

    def get_state(self, key: str) -> Any:
        return self.state.get(key)

    def put_state(self, key: str, value: Any) -> None:
        self.state[key] = value

    def emit(self, message: Any, meta: Any = None, offset: Any = None) -> bool:
        return self.emit_many([message], None, offset)

    def emit_many(self, messages: Any, meta: Any = None, offset: Any = None, arrived_ms: Any = None) -> bool:
        if self.end.is_set():
            return False
        self.rows += messages
        self.offset = offset if offset is not None else self.offset
        return True

    def emit_bytes(self, payloads: Any, meta: Any = None, offset: Any = None) -> bool:
        return self.emit_many(payloads, meta, offset)

    def emit_error(self, text: str) -> None:
        self.errors.append(text)

    def connected(self, up: bool, why: str = "") -> None:
        self.ups.append((up, why))
