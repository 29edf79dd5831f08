"""Built firmware for a HIL run: the chip's flash, and an update file for the link.

`opq-tools firmware build` makes a folder per board; `OPQ_FIRMWARE_DIR`, or --firmware, names the folder
above. Without both it is the folder in which that command writes by default.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from opq_hil.backends.backend import Image
from opq_hil.backends.our_sources import built_folder
from opq_hil.world.world import EXTERNAL, INTERNAL
from opq_proto.errors import OpqError
from opq_proto.firmware.image import Slot, read_bundle
from opq_proto.kit.system_place import default_data_dir


@dataclass(frozen=True, slots=True)
class BoardInput:
    """Properties of a board's input that the world must fit."""

    converter: str
    """Input of the mains."""
    v_per_lsb: float
    """As in the hello message (device/WIRING.md); the scenario `boots` checks the firmware against it."""
    counts_per_lsb: int
    """Samples have 16 bits; the internal converter's counts are 16 of them."""
    zero: int
    """The converter's count at 0 V."""
    rail: int
    """Counts from zero at which the amplifier before the converter stops (device/analogue/check.py)."""
    hse_hz: int = 12_000_000
    """At OSC_IN."""
    mains_channel: int = 10
    """Of ADC1."""

    def counts(self, volts: NDArray[np.float64]) -> NDArray[np.int16]:
        """The converter's counts of the volts at the line, behind a front end that clips."""
        around = np.clip(np.rint(volts / (self.v_per_lsb * self.counts_per_lsb)), -self.rail, self.rail)
        return (around + self.zero).astype(np.int16)


OURS: Mapping[str, BoardInput] = {
    "opqbox": BoardInput(EXTERNAL, 0.021505, 1, 0, 29_152),
    "pyboard_f405": BoardInput(INTERNAL, 0.020059, 16, 2048, 1923),
}
"""Boards whose firmware tests and emulators build by themselves."""
BOARDS: Mapping[str, BoardInput] = {
    **OURS,
    "disco_f407": BoardInput(INTERNAL, 0.018235, 16, 2048, 1911, 8_000_000, 15),  # VDDA is 3.0 V
    "nucleo_f429zi": BoardInput(INTERNAL, 0.020059, 16, 2048, 1923, 8_000_000),
}
VARIABLE = "OPQ_FIRMWARE_DIR"
"""Names the folder of built firmware."""
KEY_VARIABLE = "OPQ_FIRMWARE_KEY"
"""Names the private key that signed it."""
NO_FIRMWARE = "no firmware to run"
"""The reason of a test that is skipped for want of firmware begins with this."""
FLASH_FILE = "flash.bin"
"""Content of the chip's flash."""
UPDATE_FILE = "firmware.opqfw"
"""Update for either slot."""
HEX_FILE = "flash.hex"
"""What other programmers write."""
REPORT_FILE = "report.json"
"""What the build says of itself."""


class FirmwareError(OpqError):
    """There is no built firmware, or a file of it, where one was expected."""


@dataclass(frozen=True, slots=True)
class Firmware:
    """One board's build."""

    image: Image
    update: Path | None
    """The .opqfw file: the image of either slot. None: with what a board was flashed is not known."""
    key: Path | None = None
    """Private key that signed it; None: not on this machine, so no other versions can be made."""

    def images(self) -> Mapping[Slot, bytes]:
        """The image of either slot.

        Raises:
            FirmwareError: the build is not named.
        """
        return read_bundle(self._named().read_bytes())

    def flash_hex(self) -> Path:
        """The file for other programmers, beside the update.

        Raises:
            FirmwareError: the build is not named, or the file is not there.
        """
        path = self._named().with_name(HEX_FILE).absolute()
        if not path.is_file():
            raise FirmwareError(f"{path} is not there; `opq-tools firmware build` writes it")
        return path

    def _named(self) -> Path:
        if self.update is None:
            raise FirmwareError("needs the build that the board was flashed with: --firmware DIR")
        return self.update


def read_firmware(folder: Path | None = None) -> Mapping[str, Firmware]:
    """Every board's firmware in `folder`, else in `OPQ_FIRMWARE_DIR`, else in the build's own folder.

    The private key is that of `OPQ_FIRMWARE_KEY`, else this machine's development key if it signed the build.

    Raises:
        FirmwareError: no board is in it.
    """
    place = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else built_folder())
    named = Path(os.environ[KEY_VARIABLE]) if os.environ.get(KEY_VARIABLE) else None
    found = {
        board: board_firmware(place, board, named or signing_key(place / board))
        for board in BOARDS
        if (place / board / FLASH_FILE).exists()
    }
    if not found:
        raise FirmwareError(
            f"{place}: no {FLASH_FILE} of {' or '.join(BOARDS)} in it; opq-tools firmware build"
        )
    return found


def flashed_firmware(folder: Path | None, board: str) -> Firmware:
    """The build that a board on a bench was flashed with. Only its user knows: None names no other folder.

    Raises:
        FirmwareError: the board is not in `folder`.
    """
    if folder is None:
        return Firmware(Image(board, Path(), BOARDS[board].converter), None)
    try:
        return read_firmware(folder)[board]
    except (FirmwareError, KeyError):
        raise FirmwareError(f"{folder}: no {FLASH_FILE} of {board} in it") from None


def signing_key(build: Path) -> Path | None:
    """This machine's development key, if the report of `build` has its fingerprint."""
    from opq_proto.keys.signing import development_key_path, firmware_public_key  # needs `cryptography`

    path, report = development_key_path(default_data_dir()), build / REPORT_FILE
    if not path.exists() or not report.exists():
        return None
    signed_by = json.loads(report.read_text(encoding="utf-8"))["images"]["key_fingerprint"]
    return path if firmware_public_key(path).fingerprint == signed_by else None


def board_firmware(folder: Path, board: str, key: Path | None = None) -> Firmware:
    """The files of one board in `folder`."""
    place = folder / board
    return Firmware(Image(board, place / FLASH_FILE, BOARDS[board].converter), place / UPDATE_FILE, key)
