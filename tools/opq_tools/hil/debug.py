"""`opq-tools hil debug`: GDB at the firmware. (A separate file: hil.py is full.)"""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import click

from opq_hil.backends.backend import BackendError
from opq_hil.backends.boards import BOARDS
from opq_hil.backends.debugging import SERVERS, DebugSession, debug_session, launch_document
from opq_hil.backends.processes import end_group, ended_with_parent
from opq_tools.firmware.board_option import board_dir_option
from opq_tools.hil.built_firmware import chosen_firmware

PORT = 3399
START_S = 60.0
"""Longest wait for QEMU's socket; GDB itself waits for a port."""
POLL_S = 0.02
ENDING_S = 2.0
"""How long after GDB a server may still be ending, as QEMU is after `kill`."""
SOCKETS = Path("/tmp")
"""A short name, whatever TMPDIR is: the path of a socket has 107 bytes at most (unix(7))."""
KILLED = "Terminated via GDBstub"
"""QEMU's last words after GDB's `kill`; GDB reports the end of the connection as an error."""
PACKAGES = {"st-util": "stlink-tools"}


@click.command(
    "debug",
    short_help="Run GDB at the firmware in QEMU, in Renode or at a probe.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("server", type=click.Choice(list(SERVERS)))
@click.option(
    "--board", type=click.Choice(list(BOARDS)), default="opqbox", show_default=True, help="Kind of it."
)
@board_dir_option
@click.option(
    "--firmware",
    "firmware_dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with built boards.  [default: $OPQ_FIRMWARE_DIR, build/firmware, else built]",
)
@click.option(
    "--slot",
    type=click.Choice(["a", "b"]),
    default="a",
    show_default=True,
    help="Slot that runs: its ELF is used.",
)
@click.option(
    "--world",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="World file for an emulator.  [default: hil/renode/quiet.world]",
)
@click.option(
    "--gdb-port",
    type=click.IntRange(1, 65535),
    default=PORT,
    show_default=True,
    help="Port of the server; QEMU has a socket of its own.",
)
@click.option("--print", "only_print", is_flag=True, help="Print both commands; start nothing.")
@click.option("--launch-json", is_flag=True, help="Print a launch.json for VS Code's cortex-debug.")
@click.option(
    "--svd", type=click.Path(path_type=Path, dir_okay=False), help="ST's SVD file, for --launch-json."
)
@click.argument("gdb_arguments", metavar="[-- GDB_ARGUMENT...]", nargs=-1, type=click.UNPROCESSED)
def command(
    server: str,
    board: str,
    board_dir: Path | None,
    firmware_dir: Path | None,
    slot: str,
    world: Path | None,
    gdb_port: int,
    only_print: bool,
    launch_json: bool,
    svd: Path | None,
    gdb_arguments: tuple[str, ...],
) -> None:
    """Start a GDB server and GDB at the firmware; the server ends with GDB.

    An emulator waits at the reset vector. A probe halts the chip, which runs what was flashed: give the
    folder of that build. docs/debugging.md has a session.

    Example: opq-tools hil debug qemu -- -ex "hbreak opq_acquire_on_half" -ex continue
    """
    name = board_dir.name if board_dir else board
    firmware = chosen_firmware(
        firmware_dir, [] if board_dir else [board], lambda text: click.echo(text, err=True), board_dir
    )
    if name not in firmware:
        raise BackendError(f"no firmware of {name} among {', '.join(firmware) or 'what is built'}")
    facts = firmware[name].image.board
    elf = firmware[name].image.flash.parent / f"firmware_{slot}.elf"
    if not elf.exists():
        raise BackendError(f"{elf} is not there: opq-tools firmware build keeps it")
    if only_print or launch_json:
        folder = Path(tempfile.mkdtemp(prefix="opq-debug-", dir=SOCKETS))
        session = debug_session(
            server, elf, folder, board=facts, world=world, port=gdb_port, more=gdb_arguments
        )
        if launch_json:
            click.echo(json.dumps(launch_document(session, elf, svd), indent=4))
            if not session.probe:
                click.echo(f"start first: {shlex.join(session.server)}", err=True)
        else:
            click.echo(f"{shlex.join(session.server)}\n{shlex.join(session.gdb)}")
        return
    with tempfile.TemporaryDirectory(prefix="opq-debug-", dir=SOCKETS) as name:
        session = debug_session(
            server, elf, Path(name), board=facts, world=world, port=gdb_port, more=gdb_arguments
        )
        sys.exit(_run(session))


def _run(session: DebugSession) -> int:
    """Runs GDB in this terminal; GDB's exit code."""
    server = session.server
    if shutil.which(server[0]) is None:
        raise BackendError(f"no {server[0]} here: apt install {PACKAGES.get(server[0], server[0])}")
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            ended_with_parent(server),
            stdin=subprocess.PIPE,  # Renode's console ends at the end of its input, and Renode with it
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is GDB's: it stops the firmware
        try:
            until_s = time.monotonic() + START_S if Path(session.target).is_absolute() else 0.0
            while time.monotonic() < until_s and process.poll() is None and not Path(session.target).exists():
                time.sleep(POLL_S)
            code = subprocess.run(session.gdb, check=False).returncode
            if code:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING_S)
            if process.poll() is not None and (process.returncode or code):
                log.seek(0)
                said = log.read().decode(errors="replace").strip().splitlines()
                if not process.returncode and said and said[-1].endswith(KILLED):
                    return 0
                raise BackendError(f"{server[0]} ended with {process.returncode}: {said[-1] if said else ''}")
            return code
        finally:
            assert process.stdin is not None
            process.stdin.close()
            signal.signal(signal.SIGINT, before)
            end_group(process)
