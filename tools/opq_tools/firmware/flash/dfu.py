"""USB DFU: the ROM boot loader over the chip's USB socket, by dfu-util (ST's DfuSe variant, AN3156)."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from opq_tools.firmware.flash import programs
from opq_tools.firmware.flash.chip import (
    F42X,
    F405,
    FLASH,
    OPTION_BYTES,
    WRITE_PROTECTION,
    Chip,
    FlashError,
    shut_sectors,
)

USB_ID = "0483:df11"
"""AN2606: ST's DFU boot loaders."""
BANK = "04*016Kg,01*064Kg,07*128Kg"
LAYOUTS = {
    BANK: (F405, 1024),
    "04*016Kg,01*064Kg,03*128Kg": (F405, 512),
    f"{BANK},{BANK}": (F42X, 2048),
}
"""Flash layouts that the ROM reports -> device id and KiB. DFU reports no device id: an F42x of one bank
is taken for an F405, which is written alike. Any other layout is refused."""
UNREADABLE = (
    "A chip that is protected against reading (RDP level 1) fails so; `dfu-util -d 0483:df11 -a 0 -s "
    "0x08000000:unprotect:force -D FILE` lifts that and erases all of it"
)
"""AN3156 3.1: with RDP the loader refuses to read; DFU has no other sign of it."""
WAY_OUT = "its DFU loader is in ROM and is whole: set BOOT0 high, press reset and run the same command again"
_OPTIONS = re.compile(rf'Found DFU: \[{USB_ID}\].*alt=(\d+), name="@Option Bytes\s*/0x{OPTION_BYTES:08X}/')
_SHUT = re.compile(rf"Cannot open DFU device {USB_ID}(?: found on devnum \d+)?(?: \((\w+)\))?")
_FOUND = re.compile(
    rf'Found DFU: \[{USB_ID}\].*alt=(\d+), name="@Internal Flash\s*/0x08000000/([^"]+?)\s*"'
    r'(?:, serial="([^"]*)")?'
)


class Dfu(programs.Programmer):
    """One chip in DFU mode."""

    way_out = WAY_OUT

    def __init__(self, serial: str = "") -> None:
        self._program = programs.find_program("dfu-util")
        self._which: tuple[str, ...] = ("-d", USB_ID)
        self._options = ""
        self._serial = serial

    def chip(self) -> Chip:
        """The one chip that waits in DFU mode.

        Raises:
            FlashError: none, several, or the wrong one.
        """
        listing = programs.run_program(self._program, ["-l", "-d", USB_ID], doing="looking for a chip")
        found = [match.groups() for match in map(_FOUND.search, listing.splitlines()) if match]
        serials = [each[2] or "?" for each in found]
        if self._serial:
            found = [each for each in found if each[2] == self._serial]
        if serials and not found:
            raise FlashError(
                f"no chip with serial {self._serial} in DFU mode; there: {', '.join(serials)}. "
                "Nothing was written"
            )
        if not found and (shut := _SHUT.search(listing)):
            raise FlashError(
                f"a chip is in DFU mode, and dfu-util may not open it ({shut[1] or 'no reason given'}): run "
                f"this as root, or add a udev rule for {USB_ID}; if that does not help plug its USB in "
                "again. Nothing was written"
            )
        if not found:
            raise FlashError(
                "no chip in DFU mode: set BOOT0 high, plug USB in, press reset; `dfu-util -l` must list "
                f"[{USB_ID}] @Internal Flash (seen by root only: a udev rule is missing). "
                "Nothing was written"
            )
        if len(found) > 1:
            apart = f"choose one with --serial ({', '.join(serials)})"
            if self._serial or len(set(serials)) == 1:
                apart = f"all have serial {found[0][2] or '?'}: unplug the others"
            raise FlashError(f"{len(found)} chips in DFU mode: {apart}. Nothing was written")
        alt, layout, serial = found[0]
        if layout not in LAYOUTS:
            raise FlashError(
                f"this chip's flash is {layout}, which is not an STM32F405's or F42x's. Nothing was written"
            )
        self._which = ("-d", USB_ID, "-a", alt, *(("-S", serial) if serial else ()))
        self._options = next((match[1] for match in map(_OPTIONS.search, listing.splitlines()) if match), "")
        return Chip(*LAYOUTS[layout], "")

    def read(self, address: int, count: int) -> bytes:
        try:
            return super().read(address, count)
        except programs.ProgramHungError:
            raise
        except FlashError as error:
            raise FlashError(f"{error}. {UNREADABLE}") from error

    def protected_sectors(self) -> set[int]:
        if not self._options:
            raise FlashError("the chip lists no option bytes in DFU mode. Nothing was written")
        which = list(self._which)
        which[which.index("-a") + 1] = self._options
        doing = "reading the option bytes"
        with tempfile.TemporaryDirectory(prefix="opq-flash-") as folder:
            file = Path(folder) / "options.bin"
            where = f"0x{OPTION_BYTES:08X}:16"
            programs.run_program(self._program, [*which, "-s", where, "-U", str(file)], doing=doing)
            word = file.read_bytes()[WRITE_PROTECTION - OPTION_BYTES :][:2] if file.exists() else b""
        if len(word) < 2:
            raise FlashError("dfu-util did not read the chip's option bytes. Nothing was written")
        return shut_sectors(int.from_bytes(word, "little"))

    def start(self) -> None:
        """Leaves DFU mode and starts the program at the flash's beginning.

        The chip vanishes from USB during dfu-util's last request, which then ends with exit code 74 or 251.
        """
        with tempfile.TemporaryDirectory(prefix="opq-flash-") as folder:
            where, unused = f"0x{FLASH:08X}:4:leave", str(Path(folder) / "unused")
            self._run("starting the firmware", "-s", where, "-U", unused, accept=(0, 74, 251))

    def _save(self, doing: str, address: int, count: int, file: Path) -> None:
        self._run(doing, "-s", f"0x{address:08X}:{count}", "-U", str(file))

    def _program_file(self, doing: str, address: int, file: Path) -> None:
        self._run(doing, "-s", f"0x{address:08X}", "-D", str(file))

    def _run(self, doing: str, *arguments: str, accept: Sequence[int] = (0,)) -> None:
        programs.run_program(self._program, [*self._which, *arguments], doing=doing, accept=accept)
