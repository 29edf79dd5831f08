"""Schemas: messages of protobuf that streams and sinks can name, `schema.Message`. Those of the Boxes and of
the original's services are built in.

SchemaContent: one schema. The text of a .proto file is turned into a descriptor set by protobuf's own
compiler where that is installed; the set is what `protoc --descriptor_set_out` writes.

Source: descriptor.proto of protobuf.
"""

import base64
import binascii
import functools
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import (
    any_pb2,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from opq_proto import mauka_pb2, opq_pb2, opqbox3_pb2

LIMIT_S = 20.0
NAME = "schema.proto"
_AT_ONCE = threading.BoundedSemaphore(2)
INSTEAD = (
    "pip install 'opq-toolkit[protoc]', or give the descriptor set that "
    "`protoc --include_imports --descriptor_set_out=x.desc x.proto` writes"
)


def compiler() -> list[str] | None:
    """The command of the compiler, or None where it is not installed."""
    if importlib.util.find_spec("grpc_tools") is not None:
        return [sys.executable, "-I", "-m", "grpc_tools.protoc"]
    program = shutil.which("protoc")
    return [program] if program else None


@functools.lru_cache(maxsize=4)  # an import compiles each three times: check, rehearsal, storing
def compiled_schema(text: str) -> bytes:
    """The descriptor set of a text. ValueError: no compiler, or what it refuses, with line and column."""
    command = compiler()
    if command is None:
        raise ValueError(f"a .proto text needs protobuf's compiler: {INSTEAD}")
    content = text.encode()
    if len(content) > MAX_BYTES:
        raise ValueError(f"{len(content)} bytes; want at most {MAX_BYTES}")
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
            raise ValueError(f"protobuf's compiler refuses it: {_refusal(done.stderr)}")
        return target.read_bytes()


def _refusal(errors: bytes) -> str:
    """The errors without warnings: an error begins with the file's name."""
    lines = [line for line in errors.decode(errors="replace").splitlines() if "warning:" not in line]
    refused = [line for line in lines if line.startswith(NAME)]
    return "; ".join((refused or lines)[:3])[:500]


MAX_BYTES = 1 << 20
"""Bytes of one set, or of one .proto file."""
MAX_MESSAGES = 2000
_GOOGLES = {
    module.DESCRIPTOR.name: module.DESCRIPTOR.serialized_pb
    for module in (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
}
"""Files that a set may leave out, because every installation has them."""


def messages_of(content: bytes) -> dict[str, type[Message]]:
    """Name below its package (`Library.Book`), and full name -> class. ValueError: it cannot be used."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"{len(content)} bytes; want at most {MAX_BYTES}")
    try:
        files = {file.name: file for file in FileDescriptorSet.FromString(content).file}
    except DecodeError:
        raise ValueError("no descriptor set of protobuf") from None
    if not files:
        raise ValueError("no descriptor set of protobuf: it has no file")
    pool = DescriptorPool()
    added: set[str] = set()
    try:
        for name in files:
            _add(pool, files, name, added, ())
        found: dict[str, type[Message]] = {}
        for file in files.values():
            for descriptor in _described(pool, file):
                below = descriptor.full_name.removeprefix(f"{file.package}." if file.package else "")
                made = GetMessageClass(descriptor)
                found.setdefault(below, made)
                found[descriptor.full_name] = made
                if len(found) > 2 * MAX_MESSAGES:
                    raise ValueError(f"more than {MAX_MESSAGES} messages")
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"no descriptor set that can be used: {error}"[:300]) from None
    if not found:
        raise ValueError("it has no message")
    return found


def is_set(content: bytes) -> bool:
    """Whether these bytes are a descriptor set, valid or not."""
    try:
        return any(file.name for file in FileDescriptorSet.FromString(content).file)
    except DecodeError:
        return False


def _add(
    pool: DescriptorPool,
    files: dict[str, FileDescriptorProto],
    name: str,
    added: set[str],
    by: tuple[str, ...],
) -> None:
    """Adds a file to the pool after the files that it imports, as the pool requires."""
    if name in added:
        return
    if name in by:
        raise ValueError(f"{name} imports itself, by {', '.join(by)}")
    file = files.get(name)
    if file is None:
        if name not in _GOOGLES:
            raise ValueError(f"{name} is imported and not in the set; make it with --include_imports")
        file = FileDescriptorProto.FromString(_GOOGLES[name])
    for wanted in file.dependency:
        _add(pool, files, wanted, added, (*by, name))
    pool.AddSerializedFile(file.SerializeToString())
    added.add(name)


def _described(pool: DescriptorPool, file: FileDescriptorProto) -> Iterator[Any]:
    """Yields messages with nested ones, without entries of maps and Google's own."""
    waiting = list(pool.FindFileByName(file.name).message_types_by_name.values())
    while waiting:
        descriptor = waiting.pop()
        waiting += descriptor.nested_types
        if descriptor.GetOptions().map_entry:
            if not all(name in descriptor.fields_by_name for name in ("key", "value")):
                raise ValueError(f"{descriptor.full_name} is no entry of a map: it wants key and value")
        elif not file.name.startswith("google/protobuf/"):
            yield descriptor


@dataclass(frozen=True, slots=True)
class SchemaContent:
    """`text`: as it was given (a set in base64); `descriptors`: the set; `messages` by name."""

    text: str
    descriptors: bytes
    messages: Mapping[str, type[Message]]


def of_text(text: str) -> SchemaContent:
    """The schema in a text. Raises ValueError that says what is wrong with it."""
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    return of_bytes(raw) if raw and is_set(raw) else _of_proto(text)


def of_bytes(content: bytes) -> SchemaContent:
    """The schema in a file, which is a descriptor set or a text."""
    if is_set(content):
        return SchemaContent(base64.b64encode(content).decode(), content, messages_of(content))
    try:
        text = content.decode()
    except UnicodeError:
        raise ValueError("neither a .proto file in UTF-8 nor a descriptor set") from None
    return _of_proto(text)


def of_kept(text: str, descriptors: bytes) -> SchemaContent:
    """The schema as it was exported; needs no compiler."""
    return SchemaContent(text, descriptors, messages_of(descriptors))


def _of_proto(text: str) -> SchemaContent:
    descriptors = compiled_schema(text)
    return SchemaContent(text, descriptors, messages_of(descriptors))


_SHOWN = 40
T = TypeVar("T")
R = TypeVar("R")
Messages = Mapping[str, type[Message]]

BUILT_IN: Mapping[str, Messages] = {
    file: {
        name: getattr(module, name)
        for name, found in module.DESCRIPTOR.message_types_by_name.items()
        if found.fields
    }
    for file, module in (("opq", opq_pb2), ("opqbox3", opqbox3_pb2), ("mauka", mauka_pb2))
}


class Schemas:
    """Any thread may read; `put` and `remove` are called under the owner's lock."""

    def __init__(self) -> None:
        self._by_name = dict(BUILT_IN)

    def __iter__(self) -> Iterator[str]:
        """Yields every `schema.Message`."""
        return (f"{name}.{message}" for name, each in self._by_name.items() for message in each)

    def message(self, schema_id: str) -> type[Message]:
        """The present class of a message. Raises ValueError that lists the known ones."""
        name, _, message = schema_id.partition(".")
        found = self._by_name.get(name, {}).get(message)
        if found is None:
            there = (
                sorted(f"{name}.{each}" for each in self._by_name[name])
                if name in self._by_name
                else sorted(self)
            )
            more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
            raise ValueError(f"unknown schema {schema_id[:200]}; there are {', '.join(there[:_SHOWN])}{more}")
        return found

    def put(self, name: str, messages: Messages) -> None:
        self._by_name = {**self._by_name, name: messages}

    def remove(self, name: str) -> None:
        self._by_name = {each: found for each, found in self._by_name.items() if each != name}

    def by(self, schema_id: str, make: Callable[[type[Message]], Callable[[T], R]]) -> Callable[[T], R]:
        """What `make` makes of the message; it is made again at the first call after a replacement."""
        made: tuple[type[Message], Callable[[T], R]] | None = None
        seen: Mapping[str, Messages] | None = None

        def call(value: T) -> R:
            nonlocal made, seen
            if made is None or seen is not self._by_name:
                there = self._by_name
                now = self.message(schema_id)
                if made is None or made[0] is not now:
                    made = now, make(now)
                seen = there
            return made[1](value)

        return call
