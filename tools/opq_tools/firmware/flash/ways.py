"""The flashing methods, each with the same steps: identify, check permission, write, verify, start."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from opq_proto.firmware.image import ImageError, Slot, version_number, version_text
from opq_tools.firmware.flash.box_link import BoxLink, NoHelloError
from opq_tools.firmware.flash.chip import FLASH, Chip, FlashError, LineError, check_board, check_fits
from opq_tools.firmware.flash.chip_judgement import Allowed, InstalledFirmware, judge_firmware, read_installed
from opq_tools.firmware.flash.flash_progress import FlashProgress
from opq_tools.firmware.flash.image import FlashImage, ImagePart
from opq_tools.firmware.flash.in_place import update_in_place
from opq_tools.firmware.flash.programs import Programmer
from opq_tools.firmware.flash.writing import sector_ranges, write_parts

if TYPE_CHECKING:  # the other methods need no stm32loader
    from opq_tools.firmware.flash.rom import RomLoader


HEADER_SECTOR_BYTES = 128 * 1024
"""Sectors 5 and 8, which hold the slots' headers: without its header a slot does not start."""


LIFTING = "--allow unprotect lifts that with --port or --probe openocd"
UNTOUCHED = "Nothing was written"
WITHOUT_FIRMWARE = "without working firmware set its recovery jumper, or --port for its ROM"
LIFTING_FAILED = "The chip's write protection may be lifted; its flash is as before"
LOWER_BOOT0 = (
    "set BOOT0 low now: as long as it is high, every reset ends in the chip's ROM and no firmware starts"
)


@dataclass(slots=True)
class FlashResult:
    """What was found and done; printed as text, or as one document with --json."""

    way: str
    done: bool = False
    chip: dict[str, Any] = field(default_factory=dict)
    installed: dict[str, Any] = field(default_factory=dict)
    protection: dict[str, str] = field(default_factory=dict)
    """The option bytes as read back, where they were shown or set."""
    written_bytes: int = 0
    verified: bool = False
    started: bool = False
    retries: int = 0
    notes: list[str] = field(default_factory=list)


def by_rom(
    rom: "RomLoader",
    firmware: FlashImage | None,
    allowed: Allowed,
    start: bool,
    steps: FlashProgress,
    reset_by_lines: bool = False,
) -> FlashResult:
    """Flashes over the ROM boot loader; without a firmware it only identifies the chip.

    Where the port's lines can reset the chip, the caller starts the firmware so: the chip after Go is not as
    after a reset, and BOOT0 would still be high.
    """
    result = FlashResult("rom")
    try:
        chip = rom.chip()
        installed = read_installed(rom.read_sure)
        _show_result(result, chip, installed)
        if firmware is None:
            result.notes += installed.starts
            return result
        parts = _parts(chip, firmware, installed, allowed, result)
        touched = {each.sector.number for part in parts for each in sector_ranges(chip, part)}
        shut = sectors_to_open(rom, touched, allowed, result)
    except (FlashError, LineError) as error:
        if UNTOUCHED in str(error):
            raise
        raise FlashError(f"{error}. {UNTOUCHED}") from error
    finally:
        result.retries = rom.retries
    with lifted_protection(rom, shut, result):
        result.written_bytes = write_parts(rom, chip, parts, steps)
    result.retries = rom.retries
    result.verified = result.done = True
    if reset_by_lines:
        result.started = start  # by the reset that follows
        return result
    result.started = start and rom.start(FLASH)
    if start and not result.started:
        result.notes.append("no answer to Go: set BOOT0 low and press reset")
    else:
        result.notes.append(LOWER_BOOT0)
    return result


def by_program(
    way: str,
    program: Programmer,
    firmware: FlashImage | None,
    allowed: Allowed,
    start: bool,
    steps: FlashProgress,
) -> FlashResult:
    """Flashes by dfu-util, openocd or pyocd."""
    result = FlashResult(way)
    try:
        chip = program.chip()
        installed = read_installed(program.read)
        _show_result(result, chip, installed)
        if firmware is None:
            result.notes += installed.starts
            return result
        parts = _parts(chip, firmware, installed, allowed, result)
        touched = {
            sector.number
            for part in parts
            for sector in chip.sectors  # those of only 0xFF too: programs erase all that a file covers
            if part.address < sector.end and sector.address < part.address + len(part.padded)
        }
        shut = sectors_to_open(program, touched, allowed, result)
    except FlashError as error:
        if UNTOUCHED in str(error):
            raise
        raise FlashError(f"{error}. {UNTOUCHED}") from error
    with lifted_protection(program, shut, result):
        program.write(parts, steps)
        result.written_bytes = sum(len(part.padded) for part in parts)
        result.verified = result.done = True
        if start:
            try:
                program.start()
            except FlashError as error:
                raise FlashError(f"{result.written_bytes} bytes are written and verified; {error}") from error
            result.started = True
    if way == "dfu":
        result.notes.append(LOWER_BOOT0)
    return result


def by_link(box: BoxLink, firmware: FlashImage | None, allowed: Allowed, steps: FlashProgress) -> FlashResult:
    """Updates in place: the Box takes the image for its free slot and checks it itself."""
    result = FlashResult("link")
    if allowed.unprotect:
        raise FlashError(f"a Box on its link writes no protected sector: {LIFTING}. {UNTOUCHED}")
    try:
        before = box.hello()
    except NoHelloError as error:
        raise FlashError(f"{error}. {UNTOUCHED}; {WITHOUT_FIRMWARE}") from error
    except LineError as error:
        raise FlashError(f"{error}. {UNTOUCHED}") from error
    hardware = before.hardware.split(" ")[0]
    installed = InstalledFirmware(running_hardware=hardware, running_version=_running(before.firmware))
    result.installed = {"hardware": hardware, "firmware": before.firmware, "box_id": before.box_id}
    if firmware is None:
        return result
    result.notes += judge_firmware(firmware, installed, allowed, by_the_box=True)
    header = firmware.header
    assert header is not None, "check refuses bare files"
    outcome = update_in_place(box, firmware.images, header.version, before, steps)
    result.written_bytes = len(firmware.images[Slot[outcome.slot]])
    result.verified = result.started = result.done = True
    result.retries = outcome.resent_pieces
    if outcome.still_recovery:
        result.started = False
        state = f"holds it, and {outcome.after.firmware} goes on waiting: take the jumper off and reset"
    elif outcome.confirmed:
        state = f"runs {outcome.after.firmware}, confirmed"
    else:
        state = f"runs {outcome.after.firmware}, on trial: it has not reported health yet"
    result.notes.append(f"slot {outcome.slot} {state}; {outcome.seconds:.0f} s")
    return result


def sectors_to_open(
    chip: "RomLoader | Programmer", touched: set[int], allowed: Allowed, result: FlashResult
) -> set[int]:
    """The write-protected sectors, where some of them are to be written.

    Raises:
        FlashError: lifting that is not allowed, or this way cannot lift it.
    """
    protected = chip.protected_sectors()
    shut = protected & touched
    if allowed.unprotect and not chip.lifts_protection:
        raise FlashError(f"{result.way} lifts no write protection: {LIFTING}. {UNTOUCHED}")
    if shut and not allowed.unprotect:
        lifting = "--allow unprotect lifts that" if chip.lifts_protection else LIFTING
        raise FlashError(f"write-protected: {_named(shut)}; {lifting}, --protect sets it again. {UNTOUCHED}")
    return protected if shut else set()


@contextmanager
def lifted_protection(chip: "RomLoader | Programmer", shut: set[int], result: FlashResult) -> Iterator[None]:
    """Lifts the write protection of `shut` first; a failure within says that it is lifted.

    Raises:
        FlashError: lifting or writing failed.
    """
    if not shut:
        yield
        return
    try:
        chip.unprotect()
    except (FlashError, LineError) as error:
        why = str(error).removesuffix(f". {UNTOUCHED}")
        raise FlashError(f"{why}. {LIFTING_FAILED}") from error
    lifted = f"The write protection of {_named(shut)} is lifted; --protect sets it again"
    result.notes.append(lifted)
    try:
        yield
    except FlashError as error:
        raise type(error)(f"{error}. {lifted}") from error


def _named(sectors: set[int]) -> str:
    return f"sector {', '.join(map(str, sorted(sectors)))}"


def _parts(
    chip: Chip, firmware: FlashImage, installed: InstalledFirmware, allowed: Allowed, result: FlashResult
) -> tuple[ImagePart, ...]:
    """Returns the parts to write, or raises FlashError with all objections."""
    header = firmware.header
    if header is not None:
        check_board(chip, header.hardware, allowed.boards)
    result.notes += judge_firmware(firmware, installed, allowed, by_the_box=False)
    parts = list(firmware.parts)
    written = {part.address for part in parts}
    for slot, there in installed.headers.items():
        if header is not None and slot.address not in written and there.version >= header.version:
            # the boot loader starts the highest version, which would be this old one
            parts.append(
                ImagePart(f"old slot {slot.name}", slot.address, b"", slot.address + HEADER_SECTOR_BYTES)
            )
            result.notes.append(f"slot {slot.name} held {version_text(there.version)} and is cleared")
    for part in parts:
        check_fits(chip, part.name, part.address, len(part.data))
    return tuple(parts)


def _show_result(result: FlashResult, chip: Chip, installed: InstalledFirmware) -> None:
    result.chip = asdict(chip)
    boot = installed.boot
    result.installed = {
        "boot_loader": None if boot is None else version_text(boot.version),
        "hardware": installed.hardware or None,
        **{
            f"slot_{slot.name.lower()}": version_text(header.version)
            for slot, header in installed.headers.items()
        },
    }


def _running(firmware: str) -> int | None:
    try:
        return version_number(firmware)
    except ImageError:
        return None
