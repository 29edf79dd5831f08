"""`opq-tools firmware`: the command and its subcommands."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from opq_proto.errors import OpqError
from opq_proto.firmware.image import version_number
from opq_proto.kit.command_line import json_option
from opq_tools.firmware.build import Built, boards, build
from opq_tools.firmware.toolchain import ROOT, Toolchain, find_toolchain, tree_version
from opq_tools.source_options import micropython_option


@click.group("firmware")
def command() -> None:
    """The Box's firmware from source.

    Example: opq-tools firmware build
    """


def _known_boards(
    _context: click.Context, _option: click.Parameter, chosen: tuple[str, ...]
) -> tuple[str, ...]:
    for board in chosen:
        if board not in boards():
            there = ", ".join(boards()) or "none: this is no source tree"
            raise click.BadParameter(f"no board {board!r}; there are {there}")
    return chosen


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
    callback=_known_boards,
    help="Board to build for, one of device/port/boards; repeatable. Default: all.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="Ed25519 private key (PEM) to sign with. Default: this machine's development key, made once.",
)
@click.option(
    "--version",
    callback=_three_numbers,
    help="Version that the firmware reports, e.g. 1.2.3-rc1. Default: pyproject.toml's.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the results. Default: build/firmware."
)
@micropython_option
@click.option("--refresh", is_flag=True, help="Ask the mirror for a newer point release of the sources.")
@json_option
def build_command(
    chosen: tuple[str, ...],
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
    version_text = version or tree_version()
    with _waiting("looking for compiler and sources"):
        tools = find_toolchain(refresh=refresh)
    built = []
    for board in chosen or boards():
        with _waiting(f"building {board} {version_text} (25 s the first time)"):
            out_folder = out or ROOT / "build/firmware"
            built.append(build(board, tools, out=out_folder, version=version_text, key=key))
    if as_json:
        click.echo(json.dumps([each.as_json() for each in built], indent=1))
    else:
        _show(built, tools)


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
            click.echo(f"{digest}  {os.path.relpath(each.folder / name)}")
