"""The wire format of Protocol Buffers, written and read by hand.

Foreign Boxes use nothing else, so that their messages do not come from the encoder that reads them. A
proto3 field with its default is not written; `presence=True` writes it all the same, as proto2 does
with required fields. Source: protobuf.dev/programming-guides/encoding; docs/reference/opq-interop.md B for
the original's behaviour.
"""

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache

# Wire types, the lower three bits of a tag.
VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5

MAX_VARINT_BYTES = 10
_MASK64 = 2**64 - 1


class ProtobufError(ValueError):
    """Bytes that are not a message."""


def varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; a negative number as 64 bits of two's complement."""
    left = value & _MASK64
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


def tag(number: int, wire_type: int) -> bytes:
    """The key before a field's value."""
    return varint(number << 3 | wire_type)


def varint_field(number: int, value: int, presence: bool = False) -> bytes:
    """int32, int64, uint32, uint64, bool or enum."""
    return tag(number, VARINT) + varint(value) if value or presence else b""


def float_field(number: int, value: float, presence: bool = False) -> bytes:
    """float: four bytes, little endian."""
    return tag(number, FIXED32) + struct.pack("<f", value) if value or presence else b""


def bytes_field(number: int, value: bytes, presence: bool = False) -> bytes:
    """string, bytes or an embedded message, written even if it is empty."""
    return tag(number, LENGTH) + varint(len(value)) + value if value or presence else b""


def unpacked_samples(number: int, counts: Iterable[int]) -> bytes:
    """repeated int32 with the tag before every sample, zeros too (docs/reference/opq-interop.md B)."""
    table = _samples(number)
    return b"".join([table[count] for count in counts])  # a negative index counts from the end: -1 is -1


@lru_cache(maxsize=4)
def _samples(number: int) -> list[bytes]:
    """tag and value of every int16, at its own index, -32768 .. -1 from the end."""
    start = tag(number, VARINT)
    return [start + varint(count) for count in (*range(32768), *range(-32768, 0))]


def read_fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields (number, value) of each field in its order: a whole number below 2**64, or raw bytes.

    Raises:
        ProtobufError: the bytes end within a field, or a wire type is not one of the four.
    """
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise ProtobufError("a field with the number 0")
        if wire_type == VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire_type == LENGTH:
            length, at = _read_varint(data, at)
        elif wire_type in (FIXED32, FIXED64):
            length = 4 if wire_type == FIXED32 else 8
        else:
            raise ProtobufError(f"field {number} has wire type {wire_type}; want 0, 1, 2 or 5")
        if at + length > len(data):
            raise ProtobufError(f"field {number} wants {length} bytes, {len(data) - at} are left")
        yield number, data[at : at + length]
        at += length


def whole_number(value: int | bytes) -> int:
    """The value of a field that must be a varint.

    Raises:
        ProtobufError: it is bytes.
    """
    if isinstance(value, bytes):
        raise ProtobufError(f"{len(value)} bytes where a whole number is wanted")
    return value


def message_bytes(value: int | bytes) -> bytes:
    """The value of a field that must be a string, bytes or a message.

    Raises:
        ProtobufError: it is a number.
    """
    if isinstance(value, int):
        raise ProtobufError(f"the number {value} where bytes are wanted")
    return value


def signed32(value: int) -> int:
    """An int32 from its varint."""
    low = value & 0xFFFF_FFFF
    return low - 2**32 if low >= 2**31 else low


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(MAX_VARINT_BYTES):
        if at >= len(data):
            raise ProtobufError("the bytes end within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & _MASK64, at
    raise ProtobufError("a number of more than 10 bytes")
