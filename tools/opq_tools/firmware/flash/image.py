"""Firmware files: their parts, the address of each, and their headers."""

import struct
from dataclasses import dataclass
from pathlib import Path

from opq_proto.firmware.image import (
    HEADER_BYTES,
    SLOT_BYTES,
    Header,
    ImageError,
    Slot,
    read_bundle,
    read_header,
)
from opq_tools.firmware.flash.chip import FLASH, FlashError
from opq_tools.shared.input_file import read_input

RAM = (0x2000_0000, 0x2002_0000)
CCM = (0x1000_0000, 0x1001_0000)


BOOT_BYTES = 0x8000
INFO_ADDRESS = FLASH + BOOT_BYTES - 128
INFO_BYTES = 128
_INFO = struct.Struct("<4sI16s32s")
_MAGIC = (0x4951504F).to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class BootInfo:
    """Facts of a boot loader: version, board, and the only key whose firmware it starts."""

    version: int
    hardware: str
    public_key: bytes


def read_boot_info(data: bytes) -> BootInfo | None:
    """Reads the 128 bytes of a boot loader's facts; None: not a boot loader of ours."""
    if len(data) < _INFO.size or data[:4] != _MAGIC:
        return None
    _, version, hardware, key = _INFO.unpack_from(data)
    return BootInfo(version, hardware.split(b"\0")[0].decode(errors="replace"), key)


def find_boot_info(flash: bytes) -> BootInfo | None:
    """Reads the boot loader's facts from a copy of the flash, from its beginning."""
    return read_boot_info(flash[BOOT_BYTES - INFO_BYTES : BOOT_BYTES])


@dataclass(frozen=True, slots=True)
class ImagePart:
    """A run of bytes for one place in the flash; sectors up to `clear_to` are erased with it."""

    name: str
    address: int
    data: bytes
    clear_to: int = 0

    @property
    def padded(self) -> bytes:
        """The data with 0xFF up to `clear_to`, for programs that erase only what they write."""
        return self.data.ljust(self.clear_to - self.address, b"\xff")


@dataclass(frozen=True, slots=True)
class FlashImage:
    """A firmware file, split into parts and not yet checked."""

    path: Path
    parts: tuple[ImagePart, ...]
    """Parts for a bare chip, in this order."""
    images: dict[Slot, bytes]
    """Header and body per slot; empty for a bare .bin or .elf."""
    boot: BootInfo | None = None
    """Facts of the boot loader in the file."""

    @property
    def header(self) -> Header | None:
        """The header of the first image."""
        return read_header(self.images[min(self.images)]) if self.images else None

    @property
    def size(self) -> int:
        return sum(len(part.data) for part in self.parts)


FOREIGN = {b":": "Intel hex", b"S0": "Motorola S-records", b"DfuSe": "a DfuSe file", b"UF2\n": "a UF2 file"}
"""First bytes of files of other programmers -> what they are."""


def read_firmware(path: Path, address: int | None = None) -> FlashImage:
    """Reads a `.opqfw`, a `flash.bin` of the build, an image, or a bare `.elf` or `.bin` (at `address`).

    Raises:
        InputFileError: the file cannot be read.
        FlashError: the file is not one of them.
    """
    data = read_input(path)
    if data[:4] in (b"OPQW", b"OPQF"):
        return _bundle(path, data)
    if data[:4] == b"\x7fELF":
        return FlashImage(path, _elf(path, data, address), {})
    if not data:
        raise FlashError(f"{path} is empty")
    foreign = next((kind for begin, kind in FOREIGN.items() if data.startswith(begin)), "")
    if foreign and address is None:  # no stack pointer begins so
        raise FlashError(
            f"{path.name} is {foreign}, which is for other programmers; want firmware.opqfw, flash.bin, a "
            "bare .bin or .elf. Nothing was written"
        )
    if address is None and data[BOOT_BYTES:].strip(b"\xff"):
        whole = _whole_flash(path, data)
        if whole is not None:
            return whole
    at = FLASH if address is None else address
    if at == FLASH:
        check_vectors(path.name, data)
    _check_slots(path.name, at, data)
    return FlashImage(path, (ImagePart(f"{path.name} at 0x{at:08X}", at, data),), {}, find_boot_info(data))


def slot_part(slot: Slot, image: bytes) -> ImagePart:
    """An image for its slot; the whole slot is erased, with the marks of an earlier image."""
    return ImagePart(f"slot {slot.name}", slot.address, image, slot.address + SLOT_BYTES)


def _bundle(path: Path, data: bytes) -> FlashImage:
    try:
        images = read_bundle(data)
    except ImageError as error:
        raise FlashError(f"{path}: {error}") from error
    first = min(images)  # one is enough: updates go into the other slot
    return FlashImage(path, (slot_part(first, images[first]),), images)


def _whole_flash(path: Path, data: bytes) -> FlashImage | None:
    """Splits a copy of the flash into boot loader, images and other data; None: it has no image."""
    images: dict[Slot, bytes] = {}
    rest = bytearray(data)
    for slot in Slot:
        begin = slot.address - FLASH
        try:
            header = read_header(data[begin : begin + SLOT_BYTES])
        except ImageError:
            continue
        images[slot] = data[begin : begin + HEADER_BYTES + header.length]
        rest[begin : begin + SLOT_BYTES] = b"\xff" * len(rest[begin : begin + SLOT_BYTES])
    if not images:
        return None
    check_vectors(path.name, data)
    parts = [ImagePart("boot loader", FLASH, bytes(rest[:BOOT_BYTES]), FLASH + BOOT_BYTES)]
    other = bytes(rest[BOOT_BYTES:]).rstrip(b"\xff")
    if other:
        parts.append(ImagePart("settings and the rest", FLASH + BOOT_BYTES, other))
    parts += [slot_part(slot, image) for slot, image in images.items()]
    return FlashImage(path, tuple(parts), images, find_boot_info(data))


def _elf(path: Path, data: bytes, address: int | None) -> tuple[ImagePart, ...]:
    if address is not None:
        raise FlashError(f"{path.name} is an ELF file and has its own addresses; leave --address out")
    inside = [(at, part) for at, part in load_segments(path.name, data) if not _in_ram(at)]
    if not inside:
        raise FlashError(f"{path.name} has nothing for the flash in it")
    if inside[0][0] == FLASH:
        check_vectors(path.name, inside[0][1])
    for at, part in inside:
        _check_slots(path.name, at, part)
    return tuple(ImagePart(f"{path.name} at 0x{at:08X}", at, part) for at, part in inside)


def check_vectors(name: str, data: bytes) -> None:
    """Refuses code that cannot start: the first word is the stack's top, the second the reset handler.

    Raises:
        FlashError: one of them points outside (PM0214 2.3.4).
    """
    stack, reset = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
    in_ram = any(low < stack <= high for low, high in (RAM, CCM))
    if not (in_ram and reset & 1 and FLASH < reset < FLASH + (1 << 20)):
        raise FlashError(
            f"{name} is not a firmware of an STM32F405 for 0x{FLASH:08X}: its first words are "
            f"0x{stack:08X} (stack) and 0x{reset:08X} (reset handler). A part for "
            "another place needs --address. Nothing was written"
        )


def _check_slots(name: str, at: int, data: bytes) -> None:
    """Refuses an image without its header, such as `firmware_a.elf`: no boot loader of ours would start it.

    Raises:
        FlashError: it would lie at the beginning of a slot.
    """
    for slot in Slot:
        if FLASH < at < slot.address + HEADER_BYTES and at + len(data) > slot.address:
            raise FlashError(
                f"{name} would be in slot {slot.name} without the header by which the boot loader starts an "
                "image; want firmware.opqfw or flash.bin of the same build. Nothing was written"
            )


def _in_ram(address: int) -> bool:
    return any(low <= address < high for low, high in (RAM, CCM))


_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_SEGMENT = struct.Struct("<IIIIIIII")
PT_LOAD = 1
EM_ARM = 40


def load_segments(name: str, data: bytes) -> list[tuple[int, bytes]]:
    """(address, bytes) by rising address; segments that touch or nearly do are joined, filled with 0xFF.

    Raises:
        FlashError: not a 32-bit little-endian ARM ELF, or a damaged one.
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
                    raise FlashError(f"{name} is cut short: a segment ends after the file does")
                found.append((address, data[offset : offset + in_file]))
    except struct.error as error:
        raise FlashError(f"{name} is not a whole ELF file: {error}") from error
    return joined(sorted(found))


def joined(segments: list[tuple[int, bytes]], gap: int = 0x4000) -> list[tuple[int, bytes]]:
    """Joins neighbours at most `gap` bytes apart, so that only one segment writes a flash sector."""
    found: list[tuple[int, bytes]] = []
    for address, data in segments:
        if found and 0 <= address - (found[-1][0] + len(found[-1][1])) <= gap:
            start, before = found.pop()
            found.append((start, before + b"\xff" * (address - start - len(before)) + data))
        else:
            found.append((address, data))
    return found
