"""The chip of our firmware: its identification, flash and sectors."""

from dataclasses import dataclass

from opq_proto.errors import OpqError

DEV_ID = 0x413
"""RM0090 38.6.1: STM32F405xx/07xx and F415xx/17xx; the ROM boot loader answers Get ID with it too."""
FLASH = 0x0800_0000
DEVICE_PAGE = 0x1FFF_7A00
"""The ROM boot loader reads unique id and flash size only as part of a whole page (seen on F4 parts)."""
UID_ADDRESS = 0x1FFF_7A10
"""RM0090 39.1."""
FLASH_SIZE_ADDRESS = 0x1FFF_7A22
"""RM0090 39.2; the size is in KiB."""
OPTION_BYTES = 0x1FFF_C000
"""RM0090 table 13: RDP and user options in the first two bytes, nWRP from the ninth on."""
SECTOR_KIB = (16, 16, 16, 16, 64, 128, 128, 128, 128, 128, 128, 128)
"""RM0090 table 5."""
ERASE_S_PER_KIB = 4.0 / 128
"""DS8626 table 40, byte-wide programming, which works at any supply: a 128 KB sector takes 4 s at most."""


class FlashError(OpqError):
    """Flashing failed; the text says whether anything was changed."""


class HalfWrittenError(FlashError):
    """The chip holds neither the old nor the new firmware; the text says how to go on."""


class LineError(Exception):
    """An answer is missing or wrong; a retry may help."""


@dataclass(frozen=True, slots=True)
class Sector:
    """One erasable piece of the flash."""

    number: int
    address: int
    size: int

    @property
    def end(self) -> int:
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class Chip:
    """The chip that was found."""

    dev_id: int
    flash_kib: int
    uid: str
    """24 hex digits; empty where the connection does not report it."""

    @property
    def sectors(self) -> tuple[Sector, ...]:
        found, address = [], FLASH
        for number, kib in enumerate(SECTOR_KIB):
            if address + kib * 1024 <= FLASH + self.flash_kib * 1024:
                found.append(Sector(number, address, kib * 1024))
            address += kib * 1024
        return tuple(found)


def check_dev_id(dev_id: int) -> None:
    """Refuses a chip that our firmware cannot run on.

    Raises:
        FlashError: the chip is not an STM32F405.
    """
    if dev_id != DEV_ID:
        raise FlashError(
            f"this chip has device id 0x{dev_id:03X}; our firmware is for the STM32F405 (0x{DEV_ID:03X}). "
            "Nothing was written"
        )


def check_fits(chip: Chip, name: str, address: int, size: int) -> None:
    """Refuses data that would not lie within the chip's flash.

    Raises:
        FlashError: it would not.
    """
    if not FLASH <= address <= address + size <= FLASH + chip.flash_kib * 1024:
        raise FlashError(
            f"{name}: 0x{address:08X} to 0x{address + size:08X} does not lie within this chip's "
            f"{chip.flash_kib} KiB of flash. Nothing was written"
        )
