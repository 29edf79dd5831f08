"""`opq-tools flash`: the command."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from opq_proto.kit.shared_options import json_option
from opq_proto.link.messages import LINK_BAUD
from opq_tools.firmware.flash import in_place, progress
from opq_tools.firmware.flash.chip import FlashError, LineError
from opq_tools.firmware.flash.dfu import Dfu
from opq_tools.firmware.flash.image import FlashImage, read_firmware
from opq_tools.firmware.flash.judgement import Allowed
from opq_tools.firmware.flash.probe import open_probe
from opq_tools.firmware.flash.progress import FlashProgress
from opq_tools.firmware.flash.protection import offer_protection
from opq_tools.firmware.flash.serial_line import SerialLine
from opq_tools.firmware.flash.ways import FlashResult, by_link, by_program, by_rom

ROM_BAUD = 115_200


@click.command("flash")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--port", metavar="P", help="Use the chip's ROM boot loader on this serial port (BOOT0 high, reset)."
)
@click.option("--dfu", is_flag=True, help="Use USB DFU, through dfu-util (BOOT0 high, reset).")
@click.option(
    "--probe",
    is_flag=False,
    flag_value="auto",
    type=click.Choice(["auto", "openocd", "pyocd"]),
    help="Use a debug probe on SWD, through openocd or pyocd.",
)
@click.option("--link", "--box", metavar="P", help="Update a running Box in place, through this serial port.")
@click.option("--who", is_flag=True, help="Only print which chip or Box answers; nothing is written.")
@click.option("--board", default="", help="Name of the board, where the chip does not report it.")
@click.option("--address", help="Address for a .bin file, e.g. 0x08020000.  [default: 0x08000000]")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    help="Public key (PEM) that must have signed the firmware.",
)
@click.option("--allow-unsigned", is_flag=True, help="Also write firmware without a valid signature.")
@click.option(
    "--allow-downgrade", is_flag=True, help="Also write firmware that is older than the present one."
)
@click.option("--other-board", is_flag=True, help="Also write firmware for another board.")
@click.option(
    "--baud",
    type=click.IntRange(1200, 2_000_000),
    help="Bits per second.  [default: 115200 for the ROM, 921600 for --link]",
)
@click.option(
    "--reset-lines",
    is_flag=True,
    help="Reset the chip by the port's lines, before and afterwards: DTR is NRST and RTS is BOOT0 (as with "
    "stm32loader).",
)
@click.option("--serial", default="", help="Serial number of the USB device, where several are in DFU mode.")
@click.option("--interface", help="openocd's interface file.  [default: interface/stlink.cfg]")
@click.option("--no-start", is_flag=True, help="Do not start the firmware afterwards.")
@click.option(
    "--protect/--no-protect",
    default=None,
    help="Set brown-out level 3 and write protection of the boot loader, or leave both.  [default: show them "
    "and ask, on a terminal]",
)
@click.option(
    "--unprotect", is_flag=True, help="With --port: lift write protection where the firmware needs it."
)
@json_option
def command(
    file: Path | None,
    port: str | None,
    dfu: bool,
    probe: str | None,
    link: str | None,
    who: bool,
    board: str,
    address: str | None,
    public_key: Path | None,
    allow_unsigned: bool,
    allow_downgrade: bool,
    other_board: bool,
    baud: int | None,
    reset_lines: bool,
    serial: str,
    interface: str | None,
    no_start: bool,
    protect: bool | None,
    unprotect: bool,
    as_json: bool,
) -> None:
    """Put FILE (.opqfw, flash.bin, .bin or .elf) onto a chip or a running Box, and read it back.

    An empty chip needs `flash.bin`, which includes the boot loader; later use `.opqfw` files. Settings stay.
    Nothing is written if the board, the version or the signature does not fit.

    \b
    Examples: opq-tools flash build/firmware/opqbox/flash.bin --port /dev/ttyUSB0
              opq-tools flash build/firmware/opqbox/firmware.opqfw --link /dev/ttyUSB0
              opq-tools flash --protect --link /dev/ttyUSB0
              opq-tools flash --who --probe
    """
    if protect and (dfu or probe is not None):
        raise click.UsageError("--protect needs the running firmware: give it with --port or --link")
    if sum([port is not None, dfu, probe is not None, link is not None]) != 1:
        raise click.UsageError("want exactly one of --port, --dfu, --probe and --link")
    only_protect = file is None and protect is True and link is not None
    if (file is None) != (who or only_protect):
        raise click.UsageError("want a FILE; only --who, and --protect with --link, need none")
    firmware = None if file is None else read_firmware(file, _address(address))
    allowed = Allowed(board, allow_unsigned, allow_downgrade, other_board, public_key, unprotect)
    asks = protect is None and sys.stdin.isatty() and not as_json

    def protected(box: in_place.BoxLink, result: FlashResult) -> None:
        """Offers protection to the firmware that runs now; a problem does not undo the flashing."""
        if who or not result.done or not (protect or asks):
            return
        try:
            box.hello()
            result.protection = offer_protection(box, protect, click.confirm).facts()
        except (FlashError, LineError) as error:
            if not protect:
                result.notes.append(f"option bytes: {error}")
                return
            done = f"{result.written_bytes} bytes are written and verified; " if result.written_bytes else ""
            raise FlashError(f"{done}not protected: {error}") from error

    def by_port(steps: FlashProgress) -> FlashResult:
        # imported here: only this method needs the extra `flash`
        from opq_tools.firmware.flash.rom import open_rom

        rom = open_rom(port or "", baud or ROM_BAUD)
        try:
            rom.connect(reset_lines)
            result = by_rom(rom, firmware, allowed, not no_start, steps, reset_lines)
        finally:
            rom.close()
        if result.started and (protect or asks):
            with _link(port or "", None) as box:
                protected(box, result)
        return result

    def by_dfu(steps: FlashProgress) -> FlashResult:
        return by_program("dfu", Dfu(serial), firmware, allowed, not no_start, steps)

    def by_probe(steps: FlashProgress) -> FlashResult:
        found = open_probe(probe or "auto", interface)
        return by_program(found.name, found, firmware, allowed, not no_start, steps)

    def over_link(steps: FlashProgress) -> FlashResult:
        with _link(link or "", baud) as box:
            result = by_link(box, firmware, allowed, steps)
            result.done = result.done or only_protect
            protected(box, result)
        return result

    way = by_port if port is not None else by_dfu if dfu else by_probe if probe is not None else over_link
    _run(way, firmware, as_json)


@contextmanager
def _link(port: str, baud: int | None) -> Iterator[in_place.BoxLink]:
    line = SerialLine(port, baud or LINK_BAUD)
    try:
        yield in_place.BoxLink(line)
    finally:
        line.close()


def _run(way: Callable[[FlashProgress], FlashResult], firmware: FlashImage | None, as_json: bool) -> None:
    try:
        with progress.steps(quiet=as_json) as steps:
            result = way(steps)
    except FlashError as error:
        if as_json:
            click.echo(json.dumps({"done": False, "error": str(error)}, indent=1))
            raise SystemExit(error.exit_code) from error
        raise
    if as_json:
        click.echo(json.dumps(asdict(result), indent=1))
        return
    for name, value in (result.chip | result.installed | result.protection).items():
        if value not in (None, ""):
            click.echo(f"{name.replace('_', ' ')}: {f'0x{value:03X}' if name == 'dev_id' else value}")
    for note in result.notes:
        click.echo(note, err=True)
    if firmware is not None:
        click.echo(f"{firmware.path.name}: {result.written_bytes} bytes written and verified")


def _address(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError as error:
        raise click.UsageError(f"--address {text!r}: want a number such as 0x08020000") from error
