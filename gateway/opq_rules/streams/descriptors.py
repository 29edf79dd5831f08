"""A descriptor set, as `protoc --descriptor_set_out` writes it: the messages that it describes.

Source: descriptor.proto of protobuf.
"""

from collections.abc import Iterator
from typing import Any

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

MOST_BYTES = 1 << 20
"""Of one set, or of one .proto file."""
MOST_MESSAGES = 2000
_GOOGLES = {
    module.DESCRIPTOR.name: module.DESCRIPTOR.serialized_pb
    for module in (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
}
"""Files that a set may leave out, for all have them."""


def messages_of(content: bytes) -> dict[str, type[Message]]:
    """Name below its package (`Library.Book`) -> class; by the whole name too, where there is a package.

    Raises ValueError: no descriptor set, a file that it imports is missing, too much.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"{len(content)} bytes; want at most {MOST_BYTES}")
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
                if len(found) > 2 * MOST_MESSAGES:
                    raise ValueError(f"more than {MOST_MESSAGES} messages")
    except (TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"no descriptor set that can be used: {error}"[:300]) from None
    if not found:
        raise ValueError("it has no message")
    return found


def is_set(content: bytes) -> bool:
    """Whether these bytes are one, be it good or not."""
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
    """A file behind those that it imports. A pool takes them in this order only."""
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
    """Messages and the messages in them, but for the entries of maps; Google's own are not the user's."""
    waiting = list(pool.FindFileByName(file.name).message_types_by_name.values())
    while waiting:
        descriptor = waiting.pop()
        waiting += descriptor.nested_types
        if descriptor.GetOptions().map_entry:
            if not all(name in descriptor.fields_by_name for name in ("key", "value")):
                raise ValueError(f"{descriptor.full_name} is no entry of a map: it wants key and value")
        elif not file.name.startswith("google/protobuf/"):
            yield descriptor
