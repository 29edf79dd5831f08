"""Flashing by a debug probe on SWD with openocd or pyocd: finds the chip, writes, reads back, resets."""

import re
from abc import abstractmethod
from collections.abc import Mapping
from itertools import pairwise, takewhile
from pathlib import Path
from typing import ClassVar

from opq_tools.firmware.flash import programs
from opq_tools.firmware.flash.chip import (
    F42X,
    F405,
    FLASH_SIZE_ADDRESS,
    OPTION_BYTES,
    UID_ADDRESS,
    WRITE_PROTECTION,
    Chip,
    FlashError,
    check_banks,
    check_readable,
    shut_sectors,
)

IDCODE = 0xE004_2000
"""DBGMCU_IDCODE (RM0090 38.6.1): the low 12 bits are the device id."""
INTERFACE = "interface/stlink.cfg"
"""openocd's file for the most common probe; --probe names another, e.g. interface/cmsis-dap.cfg."""
ERASE_BYTES = 128 * 1024
"""Erased in one step, in 6 s: a sector, or the five before the first of this size (RM0090 table 5)."""
PLUG_IT_IN = "plug it in (seen by root only: a udev rule is missing)"
WAY_OUT = "a probe needs none of it: run the same command again, with reset pressed if it finds no chip"


class Probe(programs.Programmer):
    """One probe with one chip; each call is one run of the program."""

    name: str
    way_out = WAY_OUT

    def __init__(self, serial: str = "") -> None:
        """`serial`: the probe's, where several are plugged in; empty: the only one."""
        self._program = programs.find_program(self.name)
        self._serial = serial
        self._which = f" with serial {serial}" if serial else ""

    def chip(self) -> Chip:
        """The chip at the probe.

        Raises:
            FlashError: no probe, no chip, or the wrong one.
        """
        words = self._words(
            "looking for a chip",
            {
                IDCODE: 1,
                UID_ADDRESS & ~3: 3,
                FLASH_SIZE_ADDRESS & ~3: 1,
                OPTION_BYTES: 1,
                WRITE_PROTECTION: 1,
            },
        )
        try:
            kib = words[FLASH_SIZE_ADDRESS & ~3] >> 16  # 0x1FFF7A22 is the upper half of its word
            uid = b"".join(words[UID_ADDRESS + 4 * at].to_bytes(4, "little") for at in range(3)).hex()
        except KeyError as error:
            raise FlashError(f"{self.name} did not report which chip it is. Nothing was written") from error
        chip = Chip(words[IDCODE] & 0xFFF, kib, uid)
        check_banks(chip, words.get(WRITE_PROTECTION, 0))
        if OPTION_BYTES in words:
            check_readable(words[OPTION_BYTES])
        return chip

    def protected_sectors(self) -> set[int]:
        words = self._words("reading the option bytes", {WRITE_PROTECTION: 1})
        if WRITE_PROTECTION not in words:
            raise FlashError(
                f"{self.name} did not report which sectors are write-protected. Nothing was written"
            )
        return shut_sectors(words[WRITE_PROTECTION])

    def _save(self, doing: str, address: int, count: int, file: Path) -> None:
        pieces = {
            file.with_name(f"{file.name}.{at}"): (address + at, min(programs.PIECE_BYTES, count - at))
            for at in range(0, count, programs.PIECE_BYTES)
        }
        self._save_pieces(doing, pieces)
        file.write_bytes(b"".join(piece.read_bytes() for piece in takewhile(Path.exists, pieces)))

    @abstractmethod
    def _save_pieces(self, doing: str, pieces: Mapping[Path, tuple[int, int]]) -> None:
        """Saves bytes of the flash: file -> address and count, in one run."""

    @abstractmethod
    def _words(self, doing: str, wanted: dict[int, int]) -> dict[int, int]:
        """Reads words: start address -> count of `wanted`; returns word by address."""


class OpenOcd(Probe):
    """openocd with ST-LINK or the given interface file."""

    name = "openocd"
    lifts_protection = True
    SERIAL_COMMANDS = (
        "adapter serial",  # 0.12 and later; before, each driver has its own, which no other has
        "hla_serial",
        "st-link serial",
        "cmsis_dap_serial",
        "jlink serial",
        "ftdi_serial",
        "kitprog_serial",
        "xds110 serial",
        "vsllink_usb_serial",
    )
    """Choose a probe by its serial: the first that the installed openocd has for the driver."""
    _NO_PROBE = re.compile(
        r"Error: (open failed|unable to (open|find) |no (J-Link )?device found|(can't|cannot) find an? |"
        r"cannot find [^|]* interface|could not open |XDS110: failed to connect)",
        re.IGNORECASE,
    )
    """What openocd 0.12 says of an absent probe, by interface file."""
    _NO_CHIP = re.compile(
        r"Error: (init mode failed|unable to connect to the target|Error connecting DP|"
        r"target voltage may be too low)",
        re.IGNORECASE,
    )
    """What it says where the probe is there and no chip answers it, or none that has a supply."""
    _WORDS = re.compile(r"^0x([0-9a-f]{8}): ((?:[0-9a-f]{8} ?)+)\s*$", re.MULTILINE)

    def __init__(self, interface: str = INTERFACE, serial: str = "") -> None:
        super().__init__(serial)
        chosen = ("-c", self._choice(serial)) if serial else ()
        self._files = ("-f", interface, *chosen, "-f", "target/stm32f4x.cfg")

    def _choice(self, serial: str) -> str:
        """Tcl that tries each command, since the version of openocd is not known."""
        names = " ".join(f"{{{command}}}" for command in self.SERIAL_COMMANDS)
        attempt = f"if {{![catch [concat $each [list {{{serial}}}]]]}} {{ set chosen 1; break }}"
        refusal = f"error {{this openocd takes no serial {serial} for the probe of this file}}"
        return f"set chosen 0; foreach each {{{names}}} {{ {attempt} }}; if {{!$chosen}} {{ {refusal} }}"

    def _run(self, doing: str, *commands: str, last: str = "shutdown") -> str:
        # of one -c openocd prints no command's result by itself
        script = "; ".join(("init", "reset halt", *(f"echo [{each}]" for each in commands), last))
        return programs.run_program(self._program, [*self._files, "-c", script], doing=doing)

    def _words(self, doing: str, wanted: dict[int, int]) -> dict[int, int]:
        try:
            text = self._run(doing, *(f"mdw 0x{address:08X} {count}" for address, count in wanted.items()))
        except FlashError as error:
            if self._NO_CHIP.search(str(error)):
                raise FlashError(
                    "openocd finds its probe and no chip behind it: look at the wires of SWD and the chip's "
                    "supply, and hold reset while it starts. Nothing was written"
                ) from error
            if not self._NO_PROBE.search(str(error)):
                raise
            raise FlashError(
                f"openocd finds no probe{self._which} by {self._files[1]}: {PLUG_IT_IN}; another kind: "
                "--probe interface/cmsis-dap.cfg. Nothing was written"
            ) from error
        found = {}
        for address, words in self._WORDS.findall(text):
            for at, word in enumerate(words.split()):
                found[int(address, 16) + 4 * at] = int(word, 16)
        return found

    def unprotect(self) -> None:
        shut = self.protected_sectors()
        self._run("lifting write protection", f"flash protect 0 {min(shut)} {max(shut)} off")
        if self.protected_sectors():
            raise FlashError("openocd: the chip is still write-protected")

    def _save_pieces(self, doing: str, pieces: Mapping[Path, tuple[int, int]]) -> None:
        lines = (
            f"dump_image {{{file}}} 0x{address:08X} {count}" for file, (address, count) in pieces.items()
        )
        self._run(doing, *lines)

    def _program_file(self, doing: str, address: int, file: Path) -> None:
        """Erases and writes by steps, each of which openocd reports."""
        data = file.read_bytes()
        end = address + len(data)
        starts = (address, *range(address // ERASE_BYTES * ERASE_BYTES + ERASE_BYTES, end, ERASE_BYTES))
        steps = [
            f"flash erase_address pad 0x{start:08X} {min(stop, end) - start}"
            for start, stop in pairwise((*starts, end))
        ]
        for at in range(0, len(data), programs.PIECE_BYTES):
            piece = file.with_name(f"{file.name}.{at}")
            piece.write_bytes(data[at : at + programs.PIECE_BYTES])
            steps.append(f"flash write_image {{{piece}}} 0x{address + at:08X} bin")
        self._run(doing, *steps)

    def start(self) -> None:
        self._run("starting the firmware", "reset run")


class PyOcd(Probe):
    """pyocd with any CMSIS-DAP or ST-LINK probe; it knows an F42x, and an F405 by ST's pack."""

    name = "pyocd"
    TARGETS: ClassVar = {F405: "stm32f405rgtx", F42X: "stm32f429xi"}
    _WORDS = re.compile(r"^([0-9a-f]{8}):\s+((?:[0-9a-f]{8}\s)+)", re.MULTILINE)

    def __init__(self, serial: str = "") -> None:
        super().__init__(serial)
        self._target = "cortex_m"  # needs no pack, and reads what says which chip it is

    def chip(self) -> Chip:
        found = super().chip()
        self._target = self.TARGETS[found.dev_id]
        return found

    def _run(self, doing: str, subcommand: str, *arguments: str) -> str:
        chosen = ("-u", self._serial) if self._serial else ()
        fixed = (subcommand, "--no-wait", "-t", self._target, *chosen)
        try:
            return programs.run_program(self._program, [*fixed, *arguments], doing=doing)
        except FlashError as error:
            if "No connected debug probe" in str(error):
                raise FlashError(f"{doing}: pyocd finds no probe{self._which}: {PLUG_IT_IN}") from error
            if "More than one debug probe" in str(error) or "number of the debug probe" in str(error):
                raise FlashError(
                    f"{doing}: pyocd finds several probes{self._which}: choose one with --serial, by its "
                    "unique id of `pyocd list`"
                ) from error
            if "not recognized" in str(error):
                install = f"pyocd pack install {self._target}"
                raise FlashError(f"{doing}: pyocd does not know this chip yet: {install}") from error
            raise

    def _words(self, doing: str, wanted: dict[int, int]) -> dict[int, int]:
        commands = [
            part
            for address, count in wanted.items()
            for part in ("-c", f"read32 0x{address:08x} {4 * count}")
        ]
        found = {}
        for address, words in self._WORDS.findall(self._run(doing, "commander", *commands)):
            for at, word in enumerate(words.split()):
                found[int(address, 16) + 4 * at] = int(word, 16)
        return found

    def _save_pieces(self, doing: str, pieces: Mapping[Path, tuple[int, int]]) -> None:
        lines = (f"savemem 0x{address:08x} {count} {file}" for file, (address, count) in pieces.items())
        self._run(doing, "commander", *(word for line in lines for word in ("-c", line)))

    def _program_file(self, doing: str, address: int, file: Path) -> None:
        self._run(
            doing,
            "flash",
            "--no-reset",
            "-e",
            "sector",
            "-a",
            f"0x{address:08x}",
            "--format",
            "bin",
            str(file),
        )

    def start(self) -> None:
        self._run("starting the firmware", "reset")


def open_probe(which: str, serial: str = "") -> Probe:
    """Opens the named program, openocd with a FILE.cfg, or for "auto" the first installed of the two."""
    if which == "pyocd":
        return PyOcd(serial)
    if which == "openocd" or which.endswith(".cfg"):
        return OpenOcd(INTERFACE if which == "openocd" else which, serial)
    if which != "auto":
        raise FlashError(f"--probe {which}: want openocd, pyocd or openocd's interface FILE.cfg")
    try:
        return OpenOcd(serial=serial)
    except FlashError:
        try:
            return PyOcd(serial)
        except FlashError as error:
            ways = "; or ".join(programs.INSTALL[name] for name in ("openocd", "pyocd"))
            raise FlashError(f"this needs openocd or pyocd, and neither is installed: {ways}") from error
