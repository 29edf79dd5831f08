"""What an ELF file puts into memory: its load segments at their physical addresses, nothing more."""

import struct

from opq_tools.flash.errors import FlashError

_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_SEGMENT = struct.Struct("<IIIIIIII")
PT_LOAD = 1
EM_ARM = 40


def load_segments(name: str, data: bytes) -> list[tuple[int, bytes]]:
    """(address, bytes) by rising address; where two touch or nearly do, they are one, filled with 0xFF.

    Raises:
        FlashError: no 32-bit little-endian ARM ELF, or a damaged one.
    """
    try:
        ident, _, machine, _, _, at, _, _, _, size, count, *_ = _HEADER.unpack_from(data)
        if ident[:6] != b"\x7fELF\x01\x01" or machine != EM_ARM:
            raise FlashError(f"{name} is an ELF file, but not for ARM with 32 bits")
        found = []
        for number in range(count):
            kind, offset, _, address, in_file, *_ = _SEGMENT.unpack_from(data, at + number * size)
            if kind == PT_LOAD and in_file:
                if offset + in_file > len(data):
                    raise FlashError(f"{name} is cut short: a segment ends behind its end")
                found.append((address, data[offset : offset + in_file]))
    except struct.error as error:
        raise FlashError(f"{name} is no whole ELF file: {error}") from error
    return joined(sorted(found))


def joined(segments: list[tuple[int, bytes]], gap: int = 0x4000) -> list[tuple[int, bytes]]:
    """Neighbours at most `gap` bytes apart as one: a flash sector is written by one of them only."""
    found: list[tuple[int, bytes]] = []
    for address, data in segments:
        if found and 0 <= address - (found[-1][0] + len(found[-1][1])) <= gap:
            start, before = found.pop()
            found.append((start, before + b"\xff" * (address - start - len(before)) + data))
        else:
            found.append((address, data))
    return found
