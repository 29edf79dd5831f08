"""Memory of an STM32F405 without the chip: flash sectors, the NOR rule (only erasing sets bits), readable
ranges.

Source: RM0090 3.3 (flash sectors), 39.1 and 39.2 (unique id, flash size), DS8626 figure 18 (map).
"""

SECTOR_KIB = (16, 16, 16, 16, 64, 128, 128, 128, 128, 128, 128, 128)
"""RM0090 table 5: sectors 0 to 11 of the 1 MB parts; an F42x of 2 MB has them twice (table 6)."""
SECTORS = {512: 8, 1024: 12, 2048: 24}
"""KiB of flash -> sectors."""
FLASH = 0x0800_0000
SYSTEM_ROM = 0x1FFF_0000
SYSTEM_ROM_BYTES = 0x7A10
DEVICE_PAGE = 0x1FFF_7A00
"""The page of the OTP lock bytes, the unique id and the flash size."""
OPTION_BYTES = 0x1FFF_C000
"""RM0090 table 13."""
UID_ADDRESS = 0x1FFF_7A10
FLASH_SIZE_ADDRESS = 0x1FFF_7A22
RAM = 0x2000_0000
RAM_BYTES = 128 * 1024
ROM_LOADER_RAM_BYTES = 0x2000
"""AN2606, STM32F40xxx: RAM of the boot loader's own variables, which no other code may write."""
DEV_ID = 0x413
"""RM0090 38.6.1: STM32F405/407/415/417."""


class F405Memory:
    """Flash that only clears bits until its sector is erased, RAM, and the device page.

    Attributes:
        flash: its whole content now; 0xFF where erased.
        erases: how often each sector was erased.
        write_protected: sectors that can be neither programmed nor erased.
        in_two_banks: option byte DB1M of an F42x with 1 MB.
    """

    def __init__(self, *, flash_kib: int = 1024) -> None:
        if flash_kib not in SECTORS:
            raise ValueError(f"flash of {flash_kib} KiB; an F405 has 512 or 1024, an F42x up to 2048")
        self.sectors = (SECTOR_KIB * 2)[: SECTORS[flash_kib]]
        self.flash = bytearray(b"\xff" * (sum(self.sectors) * 1024))
        self.ram = bytearray(RAM_BYTES)
        self.erases = [0] * len(self.sectors)
        self.write_protected: set[int] = set()
        self.in_two_banks = False
        page = bytearray(b"\xff" * 256)
        page[UID_ADDRESS - DEVICE_PAGE : UID_ADDRESS - DEVICE_PAGE + 12] = bytes(range(0x30, 0x3C))
        page[FLASH_SIZE_ADDRESS - DEVICE_PAGE : FLASH_SIZE_ADDRESS - DEVICE_PAGE + 2] = flash_kib.to_bytes(
            2, "little"
        )
        self._page = bytes(page)

    def sector_span(self, sector: int) -> tuple[int, int]:
        """Offset in flash and length of a sector, in bytes."""
        return sum(self.sectors[:sector]) * 1024, self.sectors[sector] * 1024

    def sector_at(self, address: int) -> int:
        """The sector that contains an address of the flash."""
        offset = address - FLASH
        for sector in range(len(self.sectors)):
            start, size = self.sector_span(sector)
            if start <= offset < start + size:
                return sector
        raise ValueError(f"0x{address:08X} is not in the flash")

    def read(self, address: int, count: int) -> bytes | None:
        """Returns `count` bytes, or None where reading is not allowed."""
        for start, memory in (
            (FLASH, self.flash),
            (RAM, self.ram),
            (DEVICE_PAGE, self._page),
            (SYSTEM_ROM, bytes(SYSTEM_ROM_BYTES)),
            (OPTION_BYTES, self._option_bytes()),
        ):
            if _within(address, count, start, len(memory)):
                return bytes(memory[address - start : address - start + count])
        return None

    def _option_bytes(self) -> bytes:
        open_mask = 0xFFF & ~sum(1 << sector for sector in self.write_protected) | self.in_two_banks << 14
        return b"\xef\xaa" + b"\xff" * 6 + open_mask.to_bytes(2, "little") + b"\xff" * 6

    def program(self, address: int, data: bytes) -> bool:
        """Writes words; False where writing is not allowed. Flash bits only change from 1 to 0."""
        if address % 4 or len(data) % 4:
            return False
        if _within(address, len(data), RAM + ROM_LOADER_RAM_BYTES, len(self.ram) - ROM_LOADER_RAM_BYTES):
            self.ram[address - RAM : address - RAM + len(data)] = data
            return True
        if not _within(address, len(data), FLASH, len(self.flash)):
            return False
        touched = {self.sector_at(address), self.sector_at(address + len(data) - 1)}
        if touched & self.write_protected:
            return False
        for place, byte in enumerate(data, address - FLASH):
            self.flash[place] &= byte
        return True

    def erase(self, sector: int) -> bool:
        """Erases a sector; False if it is absent or protected."""
        if not 0 <= sector < len(self.sectors) or sector in self.write_protected:
            return False
        start, size = self.sector_span(sector)
        self.flash[start : start + size] = b"\xff" * size
        self.erases[sector] += 1
        return True

    def erase_all(self) -> None:
        """Erases all sectors that are not protected."""
        for sector in range(len(self.sectors)):
            self.erase(sector)


def _within(address: int, count: int, start: int, size: int) -> bool:
    return start <= address and address + count <= start + size
