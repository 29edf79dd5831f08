"""The chip of our firmware: its identification, flash and sectors."""

from collections.abc import Mapping
from dataclasses import dataclass

from opq_hil.backends.boards import Board
from opq_proto.errors import OpqError

F405, F42X = 0x413, 0x419
"""Device ids, RM0090 38.6.1: STM32F405/407/415/417, and STM32F42x/F43x; the ROM boot loader's Get ID too."""
FAMILIES: Mapping[int, tuple[str, tuple[int, ...]]] = {
    F405: ("STM32F405", (512, 1024)),
    F42X: ("STM32F42x", (512, 1024, 2048)),
}
"""Device id -> name and sizes of flash in KiB; RM0090 tables 5 and 6: the first MiB has the same sectors."""
FLASH = 0x0800_0000
DEVICE_PAGE = 0x1FFF_7A00
"""The ROM boot loader reads unique id and flash size only as part of a whole page (seen on F4 parts)."""
UID_ADDRESS = 0x1FFF_7A10
"""RM0090 39.1."""
FLASH_SIZE_ADDRESS = 0x1FFF_7A22
"""RM0090 39.2; the size is in KiB."""
OPTION_BYTES = 0x1FFF_C000
"""RM0090 table 13: RDP and user options in the first two bytes, nWRP from the ninth on."""
RDP_LEVEL_0, RDP_LEVEL_2 = 0xAA, 0xCC
"""Second byte of the option bytes; any other value is level 1."""
WRITE_PROTECTION = OPTION_BYTES + 8
"""nWRP in bits 0 to 11, where a 0 protects; on an F42x bit 14 is DB1M (RM0090 3.9.10 and table 15)."""
DB1M = 1 << 14
"""1 MiB in two banks, whose sectors are others than the F405's."""
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

    def __post_init__(self) -> None:
        if self.dev_id not in FAMILIES:
            ours = " and ".join(f"{name} (0x{dev_id:03X})" for dev_id, (name, _) in FAMILIES.items())
            raise FlashError(
                f"this chip has device id 0x{self.dev_id:03X}; our firmware is for the {ours}. "
                "Nothing was written"
            )
        name, sizes = FAMILIES[self.dev_id]
        if self.flash_kib not in sizes:
            raise FlashError(
                f"the chip reports {self.flash_kib} KiB of flash; an {name} has "
                f"{' or '.join(map(str, sizes))}. Nothing was written"
            )

    @property
    def sectors(self) -> tuple[Sector, ...]:
        found, address = [], FLASH
        for number, kib in enumerate(SECTOR_KIB):
            if address + kib * 1024 <= FLASH + self.flash_kib * 1024:
                found.append(Sector(number, address, kib * 1024))
            address += kib * 1024
        return tuple(found)


def shut_sectors(write_protection: int) -> set[int]:
    """The protected sectors by the word at WRITE_PROTECTION (RM0090 3.6.1: a 0 protects)."""
    return {number for number in range(len(SECTOR_KIB)) if not write_protection >> number & 1}


def check_readable(option_bytes: int) -> None:
    """Refuses a chip whose flash cannot be read, by the word at OPTION_BYTES (RM0090 3.9.3: RDP).

    Raises:
        FlashError: its read protection is of level 1 or 2.
    """
    level = option_bytes >> 8 & 0xFF
    if level == RDP_LEVEL_2:
        raise FlashError(
            "this chip is protected against reading for ever (RDP level 2): no tool can write it. "
            "Nothing was written"
        )
    if level != RDP_LEVEL_0:
        raise FlashError(
            "this chip is protected against reading (RDP level 1); lifting that erases all of it: set RDP to "
            "level 0 with ST's tools, and try again. Nothing was written"
        )


def check_banks(chip: Chip, write_protection: int) -> None:
    """Refuses an F42x whose sectors are in another order, by the word at WRITE_PROTECTION.

    Raises:
        FlashError: its one MiB of flash is in two banks.
    """
    if chip.dev_id == F42X and chip.flash_kib == 1024 and write_protection & DB1M:
        raise FlashError(
            "this chip's option byte DB1M parts its 1024 KiB of flash into two banks, whose sectors do not "
            "fit our firmware: clear it with ST's tools. Nothing was written"
        )


def device_id(board: Board) -> int:
    """The device id of a board's chip, by its name."""
    return F42X if board.chip.startswith(("STM32F42", "STM32F43")) else F405


def check_board(chip: Chip, board: str, known: Mapping[str, Board]) -> None:
    """Refuses a board's firmware on a chip that this board does not have; a board not `known` may have any.

    Raises:
        FlashError: it has another.
    """
    wanted = device_id(known[board]) if board in known else chip.dev_id
    if wanted != chip.dev_id:
        raise FlashError(
            f"it is for {board}, which has an {FAMILIES[wanted][0]} (0x{wanted:03X}); this chip is an "
            f"{FAMILIES[chip.dev_id][0]} (0x{chip.dev_id:03X}). Nothing was written"
        )


def check_fits(chip: Chip, name: str, address: int, size: int) -> None:
    """Refuses data that would not lie within the chip's flash.

    Raises:
        FlashError: it would not.
    """
    end = chip.sectors[-1].end
    if not FLASH <= address <= address + size <= end:
        raise FlashError(
            f"{name}: 0x{address:08X} to 0x{address + size:08X} does not lie within the "
            f"{(end - FLASH) // 1024} KiB of this chip's flash that we use. Nothing was written"
        )
