"""`opq-tools firmware`: the command and its subcommands."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from opq_hil.backends.boards import BOARDS, board_folders
from opq_hil.backends.our_sources import built_folder
from opq_proto.errors import OpqError
from opq_proto.firmware.image import version_number
from opq_proto.kit.command_line import CommandGroup
from opq_proto.kit.shared_options import json_option
from opq_tools.firmware.board_option import board_dir_option
from opq_tools.firmware.build import Built, build
from opq_tools.firmware.source_options import micropython_option
from opq_tools.firmware.sources import DEVICE
from opq_tools.firmware.toolchain import Toolchain, find_toolchain, source_version
from opq_tools.firmware.where import code_places, fitting_build, kept_builds


@click.group("firmware", cls=CommandGroup)
def command() -> None:
    """The Box's firmware from source.

    Example: opq-tools firmware build
    """


def _three_numbers(_context: click.Context, _option: click.Parameter, version: str | None) -> str | None:
    try:
        version_number(version or "0.0.0")
    except OpqError as error:
        raise click.BadParameter(str(error)) from None
    return version


@command.command("build")
@click.option(
    "--board",
    "chosen",
    multiple=True,
    type=click.Choice(list(BOARDS)),
    help="Board to build for; repeatable. Default: all.",
)
@board_dir_option
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="Ed25519 private key (PEM) to sign with. Default: this machine's development key, made once.",
)
@click.option(
    "--version",
    callback=_three_numbers,
    help="Version that the firmware reports, e.g. 1.2.3-rc1. Default: the toolkit's.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the results. Default: build/firmware of the clone, or of the working folder.",
)
@micropython_option
@click.option("--refresh", is_flag=True, help="Ask the mirror for a newer point release of the sources.")
@json_option
def build_command(
    chosen: tuple[str, ...],
    board_dir: Path | None,
    key: Path | None,
    version: str | None,
    out: Path | None,
    refresh: bool,
    as_json: bool,
) -> None:
    """Build both slots and the boot loader, check sizes, sign.

    The first build fetches MicroPython's source from the machine's Debian mirror (6 MB), or uses
    --micropython; it needs gcc-arm-none-eabi and newlib. The same sources give the same bytes.

    Example: opq-tools firmware build --board opqbox
    """
    version_text = version or source_version()
    with _waiting("looking for compiler and sources"):
        tools = find_toolchain(refresh=refresh)
    built = []
    ours = board_folders(DEVICE)
    for place in [board_dir] if board_dir else [ours[board] for board in chosen or sorted(ours)]:
        with _waiting(f"building {place.name} {version_text} (25 s the first time)"):
            out_folder = out or built_folder()
            built.append(build(place, tools, out=out_folder, version=version_text, key=key))
    if as_json:
        click.echo(json.dumps([each.as_json() for each in built], indent=1))
    else:
        _show(built, tools)


@command.command("where", short_help="Name function, file and line of addresses of a crash.")
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True)
@click.option(
    "--of",
    "flashed",
    metavar="FILE|VERSION",
    help="The firmware that ran: the file that was flashed, or the version that the Box reports.",
)
@click.option("--board", default="opqbox", show_default=True, help="Kind of the board.")
@click.option(
    "--firmware",
    "folders",
    multiple=True,
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with built boards; repeatable.  [default: build/firmware, then the cache's]",
)
@json_option
def where_command(
    addresses: tuple[str, ...], flashed: str | None, board: str, folders: tuple[Path, ...], as_json: bool
) -> None:
    """Name function, file and line of addresses: of `box.crashed`, or all words of `box.crash_record`.

    An odd address is a return address, for which the call is named. Addresses in no code are left out.
    Without --of the first build that is kept is used, and named.

    Example: opq-tools firmware where 0x08035f0c --of firmware.opqfw
    """
    numbers = [_address(word) for text in addresses for word in text.split()]
    kept = fitting_build(kept_builds(board, folders), flashed)
    places = list(code_places(kept, numbers))
    if as_json:
        document = {"build": str(kept.folder), "version": kept.version, "sure": flashed is not None}
        click.echo(json.dumps(document | {"places": [asdict(place) for place in places]}, indent=1))
        return
    doubt = "" if flashed else " (of the firmware that ran? --of FILE or --of VERSION checks it)"
    click.echo(f"{kept.words}{doubt}", err=True)
    for place in places:
        click.echo(f"0x{place.address:08x}  {place.function}  {place.line}  {place.program}")
    if len(places) < len(numbers):
        click.echo(f"{len(numbers) - len(places)} of {len(numbers)} addresses are not code", err=True)


def _address(word: str) -> int:
    try:
        number = int(word, 0)
    except ValueError:
        number = -1
    if not 0 <= number < 1 << 32:
        raise click.BadParameter(f"{word!r} is not an address; want for example 0x08035f0c")
    return number


@contextlib.contextmanager
def _waiting(what: str) -> Iterator[None]:
    """Shows what is done while it is done; in a pipe, a line before it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        click.echo(what, err=True)
    with console.status(what):
        yield


def _show(built: list[Built], tools: Toolchain) -> None:
    console = Console()
    for source in (tools.micropython, tools.monocypher):
        digest = f"sha256 {source.sha256}" if source.sha256 else ""
        click.echo(" ".join(filter(None, (source.package, source.version, digest, source.note))))
    click.echo(tools.compiler)
    for each in built:
        figures = each.figures
        table = Table(title=f"{each.board} {each.version}, {each.seconds:g} s", title_justify="left")
        for heading in ("", "used", "budget", ""):
            table.add_column(heading, justify="left" if not heading else "right")
        for name, budget in figures.budgets.items():
            used = getattr(figures, name)
            table.add_row(name.replace("_", " "), f"{used:,}", f"{budget:,}", f"{100 * used / budget:.0f} %")
        table.add_row("heap bytes", f"{figures.heap_bytes:,}", "", "")
        console.print(table)
        kind = "this machine's development key" if each.images.development_key else "key"
        click.echo(f"signed by {kind} {each.images.key_fingerprint}")
        for name, digest in each.sha256.items():
            click.echo(f"{digest}  {each.folder / name}")
