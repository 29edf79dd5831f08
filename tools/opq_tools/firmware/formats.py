"""The flash of a new Box in the formats that other people's programmers read: Intel HEX and ST's DfuSe.

`flash.hex` is for STM32CubeProgrammer, J-Flash and openocd, `flash.dfu` for `dfu-util -D`. Both leave out
what is between boot loader and image, so that settings stay, and have some bytes of 0xFF where a programmer,
which erases the sectors that it writes, has to erase what an earlier firmware left.
"""

import struct
import zlib
from collections.abc import Sequence

LINE_BYTES = 16
DFU_VENDOR = 0x0483
"""USB vendor id of the chip's DFU loader (AN2606)."""
DFU_PRODUCT = 0xDF11
"""USB product id of the chip's DFU loader."""

Part = tuple[int, bytes]
"""Address and content."""


def intel_hex(parts: Sequence[Part]) -> bytes:
    """The parts as Intel HEX with extended linear addresses (record types 00, 01 and 04)."""
    lines: list[str] = []
    high = -1
    for address, data in parts:
        for at in range(0, len(data), LINE_BYTES):
            place = address + at
            if place >> 16 != high:
                high = place >> 16
                lines.append(_record(0, 4, high.to_bytes(2, "big")))
            lines.append(_record(place & 0xFFFF, 0, data[at : at + LINE_BYTES]))
    return "".join([*lines, _record(0, 1, b"")]).encode("ascii")


def _record(address: int, kind: int, data: bytes) -> str:
    body = bytes((len(data),)) + address.to_bytes(2, "big") + bytes((kind,)) + data
    return f":{body.hex().upper()}{-sum(body) & 0xFF:02X}\n"


def dfuse(parts: Sequence[Part], target: str) -> bytes:
    """The parts as a DfuSe file of one target (ST UM0391)."""
    elements = b"".join(struct.pack("<II", address, len(data)) + data for address, data in parts)
    name = target.encode("ascii").ljust(255, b"\0")
    image = struct.pack("<6sBI255sII", b"Target", 0, 1, name, len(elements), len(parts)) + elements
    prefix = struct.pack("<5sBIB", b"DfuSe", 1, 11 + len(image), 1)
    suffix = struct.pack("<HHHH3sB", 0xFFFF, DFU_PRODUCT, DFU_VENDOR, 0x011A, b"UFD", 16)
    file = prefix + image + suffix
    return file + struct.pack("<I", zlib.crc32(file) ^ 0xFFFF_FFFF)
