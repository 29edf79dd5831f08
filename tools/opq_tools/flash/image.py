"""What is to be written: the parts of a firmware file, where each goes, and who says that it is good."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from opq_tools.flash.chip import FLASH
from opq_tools.flash.elf import load_segments
from opq_tools.flash.errors import FlashError

HEADER_BYTES = 512
"""Of a slot; the vector table follows (device/cmodules/update/image.h)."""
SLOTS = (0x0802_0000, 0x0808_0000)
"""Slots A and B."""
SLOT_BYTES = 0x6_0000
RAM = (0x2000_0000, 0x2002_0000)
CCM = (0x1000_0000, 0x1001_0000)


class Signature(Enum):
    """What is known of a firmware's signature."""

    GOOD = "good"
    NONE = "none"
    WRONG = "wrong"
    UNCHECKED = "unchecked"
    """Signed, but no public key was there to check it with."""


@dataclass(frozen=True, slots=True)
class Part:
    """A run of bytes for one place in the flash."""

    name: str
    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Firmware:
    """A firmware file, read and judged; nothing of it is unknown by accident."""

    path: Path
    parts: tuple[Part, ...]
    hardware: str | None
    """Board that it is for; None: the file does not say (a bare .bin or .elf)."""
    version: int | None
    signature: Signature
    reason: str = ""
    """Why the signature is not good, in words."""

    @property
    def size(self) -> int:
        return sum(len(part.data) for part in self.parts)


def version_text(version: int | None) -> str:
    """1.2.3 of major << 24 | minor << 16 | patch."""
    if version is None:
        return "unknown"
    return f"{version >> 24}.{version >> 16 & 0xFF}.{version & 0xFFFF}"


def read_bare(path: Path, data: bytes, address: int | None) -> tuple[Part, ...]:
    """The parts of a .bin (at `address`, or at the flash's beginning) or an .elf.

    Raises:
        FlashError: empty, damaged, or not for this chip's flash.
    """
    if data[:4] == b"\x7fELF":
        if address is not None:
            raise FlashError(f"{path.name} is an ELF file and knows its addresses; leave --address out")
        inside = [(at, part) for at, part in load_segments(path.name, data) if not _in_ram(at)]
        if not inside:
            raise FlashError(f"{path.name} has nothing for the flash in it")
        return tuple(Part(f"{path.name} at 0x{at:08X}", at, part) for at, part in inside)
    if not data:
        raise FlashError(f"{path} is empty")
    at = FLASH if address is None else address
    if at == FLASH:
        check_vectors(path.name, data)
    return (Part(f"{path.name} at 0x{at:08X}", at, data),)


def check_vectors(name: str, data: bytes) -> None:
    """Refuse what cannot start: the first word is the stack's top, the second the reset handler.

    Raises:
        FlashError: they point nowhere (PM0214 2.3.4).
    """
    stack, reset = (int.from_bytes(data[at : at + 4], "little") for at in (0, 4))
    if not (
        any(low < stack <= high for low, high in (RAM, CCM))
        and reset & 1
        and FLASH < reset < FLASH + (1 << 20)
    ):
        raise FlashError(
            f"{name} is no firmware of an STM32F405 for 0x{FLASH:08X}: its first words are "
            f"0x{stack:08X} (stack) and 0x{reset:08X} (reset handler). A part for "
            "another place wants --address. Nothing was written"
        )


def _in_ram(address: int) -> bool:
    return any(low <= address < high for low, high in (RAM, CCM))
