"""SchemaContent: a schema as it was given: the text of a .proto file, or a descriptor set (in base64)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import Message

from opq_rules.streams.descriptors import is_set, messages_of
from opq_rules.streams.proto_text import compiled


@dataclass(frozen=True, slots=True)
class SchemaContent:
    """`text`: as it was given (a set: in base64); `descriptors`: the set; `messages` by name."""

    text: str
    descriptors: bytes
    messages: Mapping[str, type[Message]]


def of_text(text: str) -> SchemaContent:
    """Raises ValueError that says what is wrong with it."""
    try:
        raw = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    return of_bytes(raw) if raw and is_set(raw) else _of_proto(text)


def of_bytes(content: bytes) -> SchemaContent:
    """Of a file: either."""
    if is_set(content):
        return SchemaContent(base64.b64encode(content).decode(), content, messages_of(content))
    try:
        text = content.decode()
    except UnicodeError:
        raise ValueError("neither a .proto file in UTF-8 nor a descriptor set") from None
    return _of_proto(text)


def of_kept(text: str, descriptors: bytes) -> SchemaContent:
    """As it was exported: without a compiler."""
    return SchemaContent(text, descriptors, messages_of(descriptors))


def _of_proto(text: str) -> SchemaContent:
    descriptors = compiled(text)
    return SchemaContent(text, descriptors, messages_of(descriptors))
