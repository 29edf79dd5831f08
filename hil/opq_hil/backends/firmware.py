"""Built firmware for a HIL run: the chip's flash, and an update file for the link.

`opq-tools firmware build` makes a folder per board; `OPQ_FIRMWARE_DIR`, or --firmware, names the folder
above. Without both it is the folder in which that command writes by default.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from opq_hil.backends.backend import Image
from opq_hil.backends.boards import BOARDS, FILE, Board, read_board
from opq_hil.backends.our_sources import built_folder
from opq_proto.errors import ConfigError, OpqError
from opq_proto.firmware.image import Slot, read_bundle
from opq_proto.kit.system_place import default_data_dir

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


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def read_firmware(
    folder: Path | None = None, report: Callable[[str], None] = _print
) -> Mapping[str, Firmware]:
    """Every board's firmware in `folder`, else in `OPQ_FIRMWARE_DIR`, else in the build's own folder.

    A folder whose board.toml is wrong, or whose name no board can have, is left out and reported.
    The private key is that of `OPQ_FIRMWARE_KEY`, else this machine's development key if it signed the build.

    Raises:
        FirmwareError: no board is in it.
    """
    place = folder or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else built_folder())
    named = Path(os.environ[KEY_VARIABLE]) if os.environ.get(KEY_VARIABLE) else None
    built = sorted(path.parent for path in place.glob(f"*/{FLASH_FILE}"))
    found: dict[str, Firmware] = {}
    for build in filter(_is_board, built):
        try:
            firmware = board_firmware(build, named or signing_key(build))
        except ConfigError as error:
            report(f"{build} is left out: {error}")
            continue
        found[firmware.image.board.name] = firmware
    if not found:
        raise FirmwareError(f"{place}: no board's {FLASH_FILE} in it; opq-tools firmware build")
    return found


def flashed_firmware(folder: Path | None, board: Board) -> Firmware:
    """The build that a board on a bench was flashed with. Only its user knows: None names no other folder.

    Raises:
        FirmwareError: the board is not in `folder`, or its board.toml there is wrong.
    """
    if folder is None:
        return Firmware(Image(board, Path()), None)
    left_out: list[str] = []
    try:
        return read_firmware(folder, left_out.append)[board.name]
    except (FirmwareError, KeyError):
        why = "; ".join([f"{folder}: no {FLASH_FILE} of {board.name} in it", *left_out])
        raise FirmwareError(why) from None


def signing_key(build: Path) -> Path | None:
    """This machine's development key, if the report of `build` has its fingerprint."""
    from opq_proto.keys.signing import development_key_path, firmware_public_key  # needs `cryptography`

    path, report = development_key_path(default_data_dir()), build / REPORT_FILE
    if not path.exists() or not report.exists():
        return None
    signed_by = json.loads(report.read_text(encoding="utf-8"))["images"]["key_fingerprint"]
    return path if firmware_public_key(path).fingerprint == signed_by else None


def board_firmware(folder: Path, key: Path | None = None) -> Firmware:
    """The files of the board that was built into `folder`."""
    board = read_board(folder) if (folder / FILE).exists() else BOARDS[folder.name]
    return Firmware(Image(board, folder / FLASH_FILE), folder / UPDATE_FILE, key)


def _is_board(folder: Path) -> bool:
    return folder.name in BOARDS or (folder / FILE).exists()
