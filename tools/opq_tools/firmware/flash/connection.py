"""The connection to a chip or a Box: the options that `flash` and `chip` share, and what runs over them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import click

from opq_proto.link.messages import LINK_BAUD
from opq_tools.firmware.flash import flash_progress
from opq_tools.firmware.flash.box_link import BoxLink
from opq_tools.firmware.flash.chip import FlashError
from opq_tools.firmware.flash.chip_judgement import Allowed
from opq_tools.firmware.flash.dfu import Dfu
from opq_tools.firmware.flash.flash_progress import FlashProgress
from opq_tools.firmware.flash.image import FlashImage
from opq_tools.firmware.flash.probe import open_probe
from opq_tools.firmware.flash.serial_line import SerialLine
from opq_tools.firmware.flash.ways import FlashResult, by_link, by_program, by_rom

ROM_BAUD = 115_200
WIRED = ("swapped", "reset-high", "boot0-low")
AfterFlash = Callable[[BoxLink, FlashResult], None]
_F = TypeVar("_F", bound=Callable[..., Any])
_OPTIONS = (
    click.option(
        "--port", metavar="P", help="Use the chip's ROM boot loader on this serial port (BOOT0 high, reset)."
    ),
    click.option("--dfu", is_flag=True, help="Use USB DFU, through dfu-util (BOOT0 high, reset)."),
    click.option(
        "--probe",
        is_flag=False,
        flag_value="auto",
        metavar="[openocd|pyocd|FILE.cfg]",
        help="Use a debug probe on SWD, through openocd or pyocd. A file is openocd's interface file.  "
        "[default: interface/stlink.cfg]",
    ),
    click.option("--link", "--box", metavar="P", help="Use this serial port of a running Box."),
    click.option(
        "--baud",
        type=click.IntRange(1200, 2_000_000),
        help="Bits per second.  [default: 115200 for the ROM, 921600 for --link]",
    ),
    click.option(
        "--reset-lines",
        is_flag=True,
        help="Reset the chip by the port's lines, before and afterwards: DTR is NRST and RTS is BOOT0, both "
        "active low (stm32loader's defaults).",
    ),
    click.option(
        "--wired",
        multiple=True,
        type=click.Choice(WIRED),
        help="What differs in the wiring of --reset-lines: DTR and RTS are swapped, an inverter makes NRST "
        "active high or BOOT0 active low (stm32loader's -s, -R, -B). May be repeated.",
    ),
    click.option(
        "--serial",
        default="",
        help="Serial number of the USB device, where several probes are plugged in, or chips in DFU mode.",
    ),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the chip is; exactly one of the first four is given."""

    port: str | None
    dfu: bool
    probe: str | None
    link: str | None
    baud: int | None
    reset_lines: bool
    serial: str
    wired: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if sum([self.port is not None, self.dfu, self.probe is not None, self.link is not None]) != 1:
            raise click.UsageError("want exactly one of --port, --dfu, --probe and --link")
        if self.serial and not self.dfu and self.probe is None:
            raise click.UsageError("--serial chooses a chip of --dfu or a probe of --probe: give that too")
        if self.wired and not self.reset_lines:
            raise click.UsageError("--wired says how the lines of --reset-lines are wired: give that too")


def connection_options(function: _F) -> _F:
    """Adds the options of a `Connection` to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def flash_chip(
    at: Connection,
    firmware: FlashImage | None,
    allowed: Allowed,
    start: bool,
    after: AfterFlash | None,
    steps: FlashProgress,
) -> FlashResult:
    """Flashes, or only identifies the chip without a `firmware`; then calls `after` with the running Box."""
    if at.link is not None:
        with _open_link(at.link, at.baud) as box:
            result = by_link(box, firmware, allowed, steps)
            if after is not None:
                after(box, result)
        return result
    if at.dfu:
        return by_program("dfu", Dfu(at.serial), firmware, allowed, start, steps)
    if at.probe is not None:
        found = open_probe(at.probe, at.serial)
        return by_program(found.name, found, firmware, allowed, start, steps)
    # imported here: only this method needs the extra `flash`
    from opq_tools.firmware.flash.rom import ResetWiring, open_rom

    wiring = ResetWiring(*(word in at.wired for word in WIRED)) if at.reset_lines else None
    rom = open_rom(at.port or "", at.baud or ROM_BAUD, wiring)
    waits = False
    try:
        rom.connect()
        result = by_rom(rom, firmware, allowed, start, steps, at.reset_lines)
        waits = result.done and not start
    finally:
        if at.reset_lines and not waits:  # also a chip that was only asked, or could not be written
            with suppress(FlashError):  # of a port without lines `connect` said so
                rom.reset_into_flash()
        rom.close()
    if result.started and after is not None:
        with _open_link(at.port or "", None) as box:
            after(box, result)
    return result


@contextmanager
def _open_link(port: str, baud: int | None) -> Iterator[BoxLink]:
    line = SerialLine(port, baud or LINK_BAUD)
    try:
        yield BoxLink(line)
    finally:
        line.close()


def print_result(work: Callable[[FlashProgress], FlashResult], as_json: bool) -> FlashResult:
    """Does the work with a bar, prints its result and returns it. With --json an error is a document too."""
    try:
        with flash_progress.steps(quiet=as_json) as steps:
            result = work(steps)
    except FlashError as error:
        if as_json:
            click.echo(json.dumps({"done": False, "error": str(error)}, indent=1))
            raise SystemExit(error.exit_code) from error
        raise
    if as_json:
        click.echo(json.dumps(asdict(result), indent=1))
        return result
    for name, value in (result.chip | result.installed | result.protection).items():
        if value not in (None, ""):
            click.echo(f"{name.replace('_', ' ')}: {f'0x{value:03X}' if name == 'dev_id' else value}")
    for note in result.notes:
        click.echo(note, err=True)
    return result
