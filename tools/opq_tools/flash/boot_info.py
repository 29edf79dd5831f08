"""What a boot loader says of itself in the last 128 of its 32 KB (device/cmodules/update/handover.h)."""

import struct
from dataclasses import dataclass

from opq_tools.flash.chip import FLASH

BOOT_BYTES = 0x8000
INFO_ADDRESS = FLASH + BOOT_BYTES - 128
INFO_BYTES = 128
_INFO = struct.Struct("<4sI16s32s")
_MAGIC = (0x4951504F).to_bytes(4, "little")


@dataclass(frozen=True, slots=True)
class BootInfo:
    """Version, board, and the only key whose firmware it starts."""

    version: int
    hardware: str
    public_key: bytes


def read_boot_info(data: bytes) -> BootInfo | None:
    """Of the 128 bytes; None: no boot loader of ours."""
    if len(data) < _INFO.size or data[:4] != _MAGIC:
        return None
    _, version, hardware, key = _INFO.unpack_from(data)
    return BootInfo(version, hardware.split(b"\0")[0].decode(errors="replace"), key)


def find_boot_info(flash: bytes) -> BootInfo | None:
    """Of a copy of the flash from its beginning."""
    return read_boot_info(flash[BOOT_BYTES - INFO_BYTES : BOOT_BYTES])
