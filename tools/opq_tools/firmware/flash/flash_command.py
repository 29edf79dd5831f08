"""`opq-tools flash`: the command."""

import sys
from pathlib import Path
from typing import Any

import click

from opq_hil.backends.boards import read_board
from opq_proto.kit.shared_options import json_option
from opq_tools.firmware.board_option import board_dir_option
from opq_tools.firmware.flash.box_link import BoxLink
from opq_tools.firmware.flash.chip import FlashError, LineError
from opq_tools.firmware.flash.chip_judgement import ALLOWABLE, Allowed
from opq_tools.firmware.flash.connection import Connection, connection_options, flash_chip, print_result
from opq_tools.firmware.flash.image import read_firmware
from opq_tools.firmware.flash.protection import offer_protection
from opq_tools.firmware.flash.ways import FlashResult


@click.command("flash")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@connection_options
@click.option("--board", default="", help="Name of the board, where the chip does not report it.")
@board_dir_option
@click.option("--address", help="Address for a .bin file, e.g. 0x08020000.  [default: 0x08000000]")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    help="Public key (PEM) that must have signed the firmware.",
)
@click.option(
    "--allow",
    multiple=True,
    type=click.Choice(ALLOWABLE),
    help="Also write firmware without a valid signature, older than the present one, or for another board; "
    "lift write protection that is in its way (with --port or openocd). May be repeated.",
)
@click.option("--no-start", is_flag=True, help="Do not start the firmware afterwards.")
@click.option(
    "--protect/--no-protect",
    default=None,
    help="Set brown-out level 3 and write protection of the boot loader, or leave both.  [default: show them "
    "and ask, on a terminal]",
)
@json_option
def command(
    file: Path | None,
    board: str,
    board_dir: Path | None,
    address: str | None,
    public_key: Path | None,
    allow: tuple[str, ...],
    no_start: bool,
    protect: bool | None,
    as_json: bool,
    **connection: Any,
) -> None:
    """Put FILE (.opqfw, flash.bin, .bin or .elf) onto a chip or a running Box, and read it back.

    An empty chip needs `flash.bin`, which includes the boot loader; later use `.opqfw` files. Settings stay.
    Nothing is written if the board, the version or the signature does not fit.

    \b
    Examples: opq-tools flash build/firmware/opqbox/flash.bin --port /dev/ttyUSB0
              opq-tools flash build/firmware/opqbox/firmware.opqfw --link /dev/ttyUSB0
              opq-tools flash --protect --link /dev/ttyUSB0
    """
    at = Connection(**connection)
    if protect and (at.dfu or at.probe is not None):
        raise click.UsageError("--protect needs the running firmware: give it with --port or --link")
    if file is None and not (protect and at.link is not None):
        raise click.UsageError("want a FILE; only --protect with --link works without one")
    firmware = None if file is None else read_firmware(file, _address(address))
    allowed = Allowed.by_words(allow, board, public_key, read_board(board_dir) if board_dir else None)
    asks = protect is None and sys.stdin.isatty() and not as_json

    def set_protection(box: BoxLink, result: FlashResult) -> None:
        """Offers protection to the firmware that runs now; a problem does not undo the flashing."""
        try:
            box.hello()
            result.protection = offer_protection(box, protect, click.confirm).facts()
            result.done = True
        except (FlashError, LineError) as error:
            if not protect:
                result.notes.append(f"option bytes: {error}")
                return
            done = f"{result.written_bytes} bytes are written and verified; " if result.written_bytes else ""
            raise FlashError(f"{done}not protected: {error}") from error

    after = set_protection if protect or asks else None
    result = print_result(
        lambda steps: flash_chip(at, firmware, allowed, not no_start, after, steps), as_json
    )
    if firmware is not None and not as_json:
        click.echo(f"{firmware.path.name}: {result.written_bytes} bytes written and verified")


def _address(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError as error:
        raise click.UsageError(f"--address {text!r}: want a number such as 0x08020000") from error
