"""Firmware to run: from a named folder, or else built from our sources and kept in the cache.

`python -m opq_tools.hil.built_firmware` builds it in advance, e.g. before tests.
"""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from opq_hil.backends import qemu_build
from opq_hil.backends.backend import backend
from opq_hil.backends.boards import EMULATED, board_folders, read_board
from opq_hil.backends.debian_source import cache_folder
from opq_hil.backends.firmware import (
    VARIABLE,
    Firmware,
    FirmwareError,
    board_firmware,
    read_firmware,
)
from opq_hil.backends.our_sources import built_folder
from opq_proto.errors import OpqError
from opq_proto.kit.system_place import default_data_dir
from opq_tools.firmware.sources import COPY, DEVICE, is_copy


def firmware_for(
    folder: Path | None = None,
    boards: Sequence[str] = EMULATED,
    report: Callable[[str], None] = lambda _: None,
    board_dir: Path | None = None,
) -> Mapping[str, Firmware]:
    """Board -> firmware: from `folder` or `OPQ_FIRMWARE_DIR` when given, or else built (20 s, later 2 s).

    `board_dir`: also the board of that folder.

    Raises:
        OpqError: there is none, or it cannot be built here; the text has the command to type.
    """
    if folder is not None or os.environ.get(VARIABLE):
        return read_firmware(folder, report)
    # imported here: with a named folder neither compiler nor pyelftools is needed
    from opq_proto.keys.signing import development_key
    from opq_tools.firmware import build, toolchain
    from opq_tools.firmware.toolchain import source_version

    tools = toolchain.find_toolchain()
    out = cache_folder() / "firmware"
    key = development_key(default_data_dir())
    ours = board_folders(DEVICE)
    places = [ours[board] for board in boards]
    places += [board_dir.resolve()] if board_dir else []
    for place in places:
        if not (out / place.name).exists():
            report(f"the firmware of {place.name} is built, once: half a minute")
        build.build(place, tools, out=out, version=source_version())
    return {place.name: board_firmware(out / place.name, key) for place in places}


def chosen_firmware(
    folder: Path | None,
    boards: Sequence[str],
    report: Callable[[str], None],
    board_dir: Path | None = None,
) -> Mapping[str, Firmware]:
    """What a command runs: as `firmware_for`, but first the folder of `opq-tools firmware build`.

    It is used if it was built from the sources that are here now; it may have another version and key.
    """
    if folder is None and not os.environ.get(VARIABLE):
        place = built_folder()
        now = {board: read_board(found) for board, found in board_folders(DEVICE).items() if board in boards}
        if board_dir:
            now[board_dir.name] = read_board(board_dir)
        kept = {board: firmware for board, firmware in _kept(place, report).items() if board in now}
        fitting = {
            board: each
            for board, each in kept.items()
            if each.image.board == now[board] and is_copy(place / board / COPY)
        }
        if fitting:
            report(f"firmware: {', '.join(fitting)} of {place}")
            return fitting
        if kept:
            report(f"{place} was built from other sources: the firmware of the cache is used")
    return firmware_for(folder, boards, report, board_dir)


def _kept(place: Path, report: Callable[[str], None]) -> Mapping[str, Firmware]:
    try:
        return read_firmware(place, report)
    except FirmwareError:
        return {}


def main() -> int:
    """Builds the firmware of our boards and prints a line for each slow step."""
    argparse.ArgumentParser(
        prog="python -m opq_tools.hil.built_firmware",
        description="The firmware of our boards, built into the cache where tests and emulators look for it.",
        epilog="Example: python -m opq_tools.hil.built_firmware",
    ).parse_args()

    def report(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        for board, firmware in firmware_for(report=report).items():
            report(f"{board}: {firmware.image.flash.parent}")
    except OpqError as error:
        report(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())


BOARD = "opqbox"


def prepare(report: Callable[[str], None], emulators: Collection[str] = ("qemu",)) -> Path:
    """File with the chip's flash contents; takes minutes at first use (`report` reports), later two seconds.

    Raises:
        OpqError: an emulator is missing, or something cannot be built; the text has the apt line.
    """
    for name in sorted(set(emulators) - {"qemu"}):
        backend(name)  # found, not built
    # first, for it takes half a minute: what it lacks is known before QEMU's minutes
    flash = chosen_firmware(None, (BOARD,), report)[BOARD].image.flash
    if "qemu" in emulators:
        qemu_build.find_qemu(report)
    return flash
