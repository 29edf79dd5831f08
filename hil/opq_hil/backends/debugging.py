"""GDB at the firmware: the command of a GDB server (QEMU, Renode, OpenOCD, st-util) and of the GDB that fits.

The ELF of the slot has the debug information; the boot loader's is added. Virtual time stops in both
emulators while GDB holds the core. QEMU listens at a Unix socket, because a TCP server of GDB's protocol
carries out the commands in the body of any web page's request.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_hil.backends.backend import BackendError
from opq_hil.backends.boards import Board
from opq_hil.backends.debian_source import cache_folder
from opq_hil.backends.our_sources import our_source
from opq_hil.backends.qemu import ICOUNT, chip_options
from opq_hil.backends.qemu_build import MACHINE, find_qemu
from opq_hil.backends.renode import SCRIPT, find_renode, other_platform

HOST = "127.0.0.1"
SOCKET = "gdb"
"""Name of QEMU's socket in the session's folder."""
GDBS = ("gdb-multiarch", "arm-none-eabi-gdb")
INTERFACE_FILE = "interface/stlink.cfg"
"""OpenOCD's file of the debug probe."""
TARGET_FILE = "target/stm32f4x.cfg"
"""OpenOCD's file of the chip."""
QUIET_WORLD = SCRIPT.parent / "quiet.world"


@dataclass(frozen=True, slots=True)
class DebugSession:
    """Commands of both ends, without a shell's quotes."""

    server: tuple[str, ...]
    gdb: tuple[str, ...]
    target: str
    """Where the server listens, as GDB takes it: HOST:PORT, or the path of a socket."""
    probe: bool
    """Whether the server is of a debug probe."""
    chip: str
    """As the board's table, cortex-debug and ST name it."""


def qemu_server(folder: Path, flash: Path, world: Path, port: int, board: Board) -> tuple[str, ...]:
    """Our QEMU, waiting at the reset vector; `flash` is written back at its end."""
    files = (f"world={world}", f"flash={flash}", f"report={folder / 'report.json'}")
    machine = ",".join((MACHINE, *files, *chip_options(board)))
    serial = ("-serial", "null", "-serial", "null")
    head = (str(find_qemu(lambda _: None).path), "-M", machine, "-icount", ICOUNT)
    quiet = ("-display", "none", "-monitor", "none", "-nodefaults")
    return (*head, *quiet, *serial, "-S", "-gdb", f"unix:{folder / SOCKET},server=on,wait=off")


def renode_server(folder: Path, flash: Path, world: Path, port: int, board: Board) -> tuple[str, ...]:
    """Renode with our models, started once GDB says `monitor start`."""
    if other := other_platform((board.name,)):
        raise BackendError(f"renode cannot run {board.name}: {other}")
    binary = find_renode()
    if binary is None:
        raise BackendError("no Renode here: opq-tools hil renode --fetch, or renode on PATH")
    script = f"$firmware=@{flash}; $world=@{world}; include @{SCRIPT}; machine StartGdbServer {port}"
    return (str(binary), "--console", "--plain", "-e", script)


def openocd_server(folder: Path, flash: Path, world: Path, port: int, board: Board) -> tuple[str, ...]:
    """OpenOCD at a probe; the chip keeps what was flashed."""
    ports = f"gdb_port {port}; tcl_port disabled; telnet_port disabled"
    return ("openocd", "-f", INTERFACE_FILE, "-f", TARGET_FILE, "-c", f"bindto {HOST}; {ports}")


def st_util_server(folder: Path, flash: Path, world: Path, port: int, board: Board) -> tuple[str, ...]:
    """stlink's own server at an ST-LINK."""
    return ("st-util", "-p", str(port))


SERVERS: Mapping[str, Callable[[Path, Path, Path, int, Board], tuple[str, ...]]] = {
    "qemu": qemu_server,
    "renode": renode_server,
    "openocd": openocd_server,
    "st-util": st_util_server,
}


def debug_session(
    server: str,
    elf: Path,
    folder: Path,
    *,
    board: Board,
    world: Path | None,
    port: int,
    more: Sequence[str] = (),
) -> DebugSession:
    """The commands for `server`; for an emulator `folder` gets a copy of the flash.

    Raises:
        BackendError: an emulator is not here or cannot run the board, or there is no GDB for ARM.
    """
    probe = server in ("openocd", "st-util")
    flash = folder / "flash.bin"
    if not probe:
        shutil.copyfile(elf.parent / "flash.bin", flash)
    words = SERVERS[server](folder, flash, (world or QUIET_WORLD).absolute(), port, board)
    target = str(folder / SOCKET) if server == "qemu" else f"{HOST}:{port}"
    return DebugSession(words, _gdb(elf, target, probe, more), target, probe, board.chip)


def _gdb(elf: Path, target: str, probe: bool, more: Sequence[str]) -> tuple[str, ...]:
    gdb = next((found for name in GDBS if (found := shutil.which(name))), None)
    if gdb is None:
        raise BackendError("no GDB for ARM here: apt install gdb-multiarch")
    first = [
        "set architecture armv7e-m",
        "set tcp connect-timeout 60",
        f"add-symbol-file {elf.parent / 'boot.elf'}",
    ]
    sources = sorted((cache_folder() / "sources").glob("micropython-*/py"))
    first += [f"set substitute-path micropython {sources[-1].parent}"] if sources else []
    first.append(f"set substitute-path device {our_source('device')}")
    first += [f"target remote {target}", *(["monitor reset halt"] if probe else [])]
    commands = [word for each in first for word in ("-ex", each)]
    return (gdb, "-q", "-iex", "set confirm off", str(elf), *commands, *more)


def launch_document(session: DebugSession, elf: Path, svd: Path | None) -> dict[str, Any]:
    """`.vscode/launch.json` for the extension cortex-debug (marus25.cortex-debug)."""
    entry: dict[str, Any] = {
        "name": "OPQ Box",
        "type": "cortex-debug",
        "request": "launch" if session.probe else "attach",
        "cwd": "${workspaceFolder}",
        "executable": str(elf),
        "device": session.chip,
        "gdbPath": session.gdb[0],
    }
    if session.server[0] == "openocd":
        entry |= {"servertype": "openocd", "configFiles": [INTERFACE_FILE, TARGET_FILE]}
    elif session.server[0] == "st-util":
        entry |= {"servertype": "stutil"}
    else:
        entry |= {"servertype": "external", "gdbTarget": session.target}
    if svd is not None:
        entry["svdFile"] = str(svd)
    return {"version": "0.2.0", "configurations": [entry]}
