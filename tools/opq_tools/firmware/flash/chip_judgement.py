"""Checks whether a firmware may be written to a chip (board, version, signature); reports all objections."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from opq_hil.backends.boards import BOARDS, Board
from opq_proto.firmware.image import (
    HEADER_BYTES,
    SIGNATURE_BYTES,
    SIGNED_BYTES,
    VERDICT_WORDS,
    Header,
    ImageError,
    Slot,
    Verdict,
    judge,
    read_header,
    version_text,
)
from opq_tools.firmware.flash.chip import FLASH, FlashError
from opq_tools.firmware.flash.image import INFO_ADDRESS, INFO_BYTES, BootInfo, FlashImage, read_boot_info


@dataclass(frozen=True, slots=True)
class InstalledFirmware:
    """Firmware that is on the chip, or runs on the Box, now."""

    boot: BootInfo | None = None
    headers: Mapping[Slot, Header] = field(default_factory=dict)
    headless: tuple[Slot, ...] = ()
    """Slots that hold something without a header."""
    running_hardware: str = ""
    running_version: int | None = None

    @property
    def starts(self) -> list[str]:
        """What a user should know of the slots before another programmer writes one."""
        if self.boot is None:
            return []
        notes = [
            f"slot {slot.name} holds something without a header, so it does not start: another programmer "
            "wants flash.hex or flash.dfu"
            for slot in self.headless
        ]
        versions = {header.version for header in self.headers.values()}
        if len(self.headers) == len(Slot) and len(versions) == 1:
            notes.append(
                f"both slots hold {version_text(versions.pop())}: the last one that was updated starts. An "
                "image that another programmer writes alone is not the last; flash.hex and flash.dfu clear "
                "the other slot"
            )
        return notes

    @property
    def version(self) -> int | None:
        """The highest installed version."""
        found = [header.version for header in self.headers.values()]
        found += [] if self.running_version is None else [self.running_version]
        return max(found, default=None)

    @property
    def hardware(self) -> str:
        """The board; empty where nothing installed states it."""
        if self.running_hardware:
            return self.running_hardware
        if self.boot is not None:
            return self.boot.hardware
        return next((header.hardware for header in self.headers.values()), "")


ALLOWABLE = ("unsigned", "downgrade", "other-board", "unprotect")
"""Words of --allow: each overrules one objection."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Options of the user that permit or identify something."""

    board: str = ""
    """The board, where nothing on it states its name."""
    unsigned: bool = False
    downgrade: bool = False
    other_board: bool = False
    public_key: Path | None = None
    unprotect: bool = False
    boards: Mapping[str, Board] = field(default_factory=lambda: BOARDS)
    """Boards whose chip is known."""

    @classmethod
    def by_words(
        cls, words: Collection[str], board: str, public_key: Path | None, own: Board | None = None
    ) -> "Allowed":
        """What these of ALLOWABLE permit; `own`: the board, if it is not one of ours."""
        unsigned, downgrade, other_board, unprotect = (word in words for word in ALLOWABLE)
        name, boards = (own.name, {**BOARDS, own.name: own}) if own else (board, BOARDS)
        return cls(name, unsigned, downgrade, other_board, public_key, unprotect, boards)


def read_installed(read: Callable[[int, int], bytes]) -> InstalledFirmware:
    """Reads boot loader and slots of a chip by `read(address, count)`.

    A boot loader without its vectors, which are written last, is half of one and starts nothing.
    """
    headers, headless = {}, []
    for slot in Slot:
        begin = read(slot.address, 256) + read(slot.address + 256, HEADER_BYTES - 256)
        try:
            headers[slot] = read_header(begin)
        except ImageError:
            headless += [slot] if begin.strip(b"\xff") else []
    boot = read_boot_info(read(INFO_ADDRESS, INFO_BYTES))
    if boot is not None and read(FLASH, 8) == b"\xff" * 8:
        boot = None
    return InstalledFirmware(boot, headers, tuple(headless))


def judge_firmware(
    firmware: FlashImage, installed: InstalledFirmware, allowed: Allowed, *, by_the_box: bool
) -> list[str]:
    """Notes for the user if the firmware may be written. `by_the_box`: a Box checks signatures itself.

    Raises:
        FlashError: it may not be written; the text has all reasons, most with the option that overrules them.
    """
    against: list[str] = []
    notes: list[str] = []
    hardware = allowed.board or installed.hardware
    header = firmware.header
    if header is None:
        if not allowed.unsigned:
            against.append("it is a bare file without signature, board or version (--allow unsigned)")
        if by_the_box:
            raise FlashError(f"{firmware.path.name}: a Box takes .opqfw files only. Nothing was written")
    else:
        if hardware and header.hardware != hardware and not allowed.other_board:
            against.append(f"it is for {header.hardware}, this is {hardware} (--allow other-board)")
        if installed.version is not None and header.version < installed.version and not allowed.downgrade:
            against.append(
                f"it is {version_text(header.version)}, older than the "
                f"{version_text(installed.version)} there (--allow downgrade)"
            )
        against += _verdicts(firmware, installed, allowed, notes, by_the_box)
    if not by_the_box and header is not None and firmware.boot is None and installed.boot is None:
        against.append("the chip has no boot loader that could start it; flash the build's flash.bin instead")
    if against:
        raise FlashError(f"{firmware.path.name} was refused: {'; '.join(against)}. Nothing was written")
    return notes


def _verdicts(
    firmware: FlashImage, installed: InstalledFirmware, allowed: Allowed, notes: list[str], by_the_box: bool
) -> list[str]:
    """Objections that a Box would have to each image; without a known key the signature is not checked."""
    key, whose = _key(firmware, installed, allowed)
    found = []
    for slot, image in firmware.images.items():
        header = read_header(image)
        signed = image[:SIGNED_BYTES] + b"\1" * SIGNATURE_BYTES + image[HEADER_BYTES:]
        verdict = judge(
            signed,
            slot=slot,
            hardware=header.hardware,
            floor_version=0,
            check=lambda signature, message: True,
        )
        if verdict is not Verdict.GOOD:
            found.append(f"image {slot.name} is {VERDICT_WORDS[verdict]}")
        elif not header.signed:
            words = f"image {slot.name} is not signed"
            (notes if allowed.unsigned else found).append(words + " (--allow unsigned)")
        elif key is not None and not _is_signed(key, header.signature, image[:SIGNED_BYTES]):
            words = f"image {slot.name} is signed by another key than {whose}"
            (notes if allowed.unsigned else found).append(words + " (--allow unsigned)")
    if key is None and not by_the_box:
        notes.append("no public key is known here: the signature was not checked (--public-key)")
    return found


def _key(firmware: FlashImage, installed: InstalledFirmware, allowed: Allowed) -> tuple[bytes | None, str]:
    """The key to check with, and its origin: the given key, or else the boot loader's."""
    if allowed.public_key is not None:
        # imported here: the base install has no cryptography, and most flashing methods need none
        from opq_proto.keys.signing import firmware_public_key

        return firmware_public_key(allowed.public_key).raw, str(allowed.public_key)
    boot = firmware.boot or installed.boot
    return (None, "") if boot is None else (boot.public_key, "the boot loader's key")


def _is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
    from opq_proto.keys.signing import PublicKey

    return PublicKey(key).is_signed(signature, message)
