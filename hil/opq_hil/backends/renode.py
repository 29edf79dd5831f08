"""The firmware in Renode: the same worlds as on QEMU, played by the models in hil/renode.

Renode is driven by its robot server (XML-RPC): the commands of box.resc, virtual time in slices, and what
World.cs leaves. Few machines have it, so every run says where it was looked for.
"""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
import xmlrpc.client
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_hil.backends.backend import BackendError, FirmwareRun, Image, WallLimitError
from opq_hil.backends.firmware import BOARDS
from opq_hil.world.capture import read_log
from opq_hil.world.world import NS, World

SCRIPT = Path(__file__).resolve().parents[2] / "renode" / "box.resc"
VARIABLE = "RENODE"
SLICE_NS = NS
"""Virtual time between two looks at the wall clock and at whether a cut has ended the run."""
START_LIMIT_S = 60.0
"""A .NET start, and 17 models compiled."""
_OUTSIDE = re.compile(r"non existing peripheral at (0x[0-9A-F]+)")


def find() -> Path | None:
    """The `renode` that is run: of the variable, else on PATH."""
    told = os.environ.get(VARIABLE)
    found = told if told else shutil.which("renode")
    return Path(found) if found and Path(found).exists() else None


@dataclass(slots=True)
class Renode:
    """`deterministic`: the same world gives the same bytes, as long as nothing live is connected."""

    name: str = "renode"
    deterministic: bool = True

    @property
    def boards(self) -> tuple[str, ...]:
        return tuple(BOARDS)

    @property
    def version(self) -> str:
        binary = find()
        if binary is None:
            return "no Renode"
        line = [str(binary), "--version"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
        return " ".join(done.stdout.split())[:100] or "Renode of an unknown version"

    def why_not(self, world: World | None) -> str | None:
        """Why nothing can be played: mostly that Renode is not here."""
        if find() is None:
            return f"no Renode here ({VARIABLE}, or renode on PATH); hil/renode/README.md says whence"
        if not SCRIPT.exists():
            return f"{SCRIPT} is not here: run from a checkout of the project"
        return None

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> FirmwareRun:
        """Play `world` to its end or to the cut in it.

        Raises:
            BackendError: Renode failed, or refused the world.
            WallLimitError: it took longer than `wall_limit_s`.
        """
        folder = folder.absolute()
        began = time.monotonic()
        with _session(folder, world, flash or image.flash) as session:
            at_ns = 0
            while at_ns < world.end_ns and not session.run_command("sysbus.world Ended"):
                if time.monotonic() - began > wall_limit_s:
                    raise WallLimitError(f"Renode ran longer than {wall_limit_s:g} s; see {folder}")
                step_ns = min(SLICE_NS, world.end_ns - at_ns)
                session.run_command(f'emulation RunFor "{seconds(step_ns)}"')
                at_ns += step_ns
            session.run_command(f'sysbus.world Save "{folder}"')
        wall_s = time.monotonic() - began
        return FirmwareRun(
            world,
            folder,
            read_log(folder / "uart1.log"),
            read_report(folder),
            folder / "flash.bin",
            wall_s,
            tuple(session.said),
        )

    @contextmanager
    def live(self, image: Image, world: World, folder: Path, *, flash: Path | None = None) -> Iterator[Path]:
        """A Box as fast as real time or slower; yields the pty that a gateway opens.

        Raises:
            BackendError: Renode did not start.
        """
        folder = folder.absolute()
        with _session(folder, world, flash or image.flash) as session:
            port = folder / "usart1"
            session.run_command(f'emulation CreateUartPtyTerminal "gateway" "{port}" true')
            session.run_command("connector Connect sysbus.usart1 gateway")
            session.run_command("start")
            try:
                yield port
            finally:
                session.run_command("pause")
                session.run_command(f'sysbus.world Save "{folder}"')


@dataclass(slots=True)
class RenodeSession:
    """One Renode process with the Box in it, paused. `said`: the commands, to type them again by hand."""

    server: xmlrpc.client.ServerProxy
    said: list[str]

    def run_command(self, command: str) -> str:
        """A monitor command's output, stripped.

        Raises:
            BackendError: Renode refuses it; its own words.
        """
        self.said.append(command)
        try:
            answer: Any = self.server.run_keyword("ExecuteCommand", [command])
        except (OSError, xmlrpc.client.Error) as error:
            raise BackendError(f"Renode does not answer to {command!r}: {error}") from error
        if not isinstance(answer, dict) or answer.get("status") != "PASS":
            error_text = answer.get("error", "") if isinstance(answer, dict) else answer
            raise BackendError(f"Renode: {command}: {error_text}")
        return str(answer.get("return", "")).strip()


def seconds(ns: int) -> str:
    """Digits, a dot, digits: Renode reads `1e-3` as one second."""
    return f"{ns // NS}.{ns % NS:09d}"


def read_report(folder: Path) -> Mapping[str, Any]:
    """What World.cs counted; accesses outside every model are read from Renode's log."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    log = folder / "renode.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    for address in sorted(set(_OUTSIDE.findall(text))):
        report["unmodelled"].append({"address": address, "block": "", "times": text.count(address)})
    return report


@contextmanager
def _session(folder: Path, world: World, flash: Path) -> Iterator[RenodeSession]:
    """Renode started, the world loaded; ended however the block ends."""
    binary = find()
    if binary is None:
        raise BackendError(Renode().why_not(None) or "no Renode")
    if any(" " in str(path) for path in (folder, flash, SCRIPT)):
        raise BackendError(f"{folder}: Renode's commands take no path with a space")
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [str(binary), "--disable-gui", "--hide-log", "--robot-server-port", str(port)]
    with (folder / "renode.out").open("w") as out:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
        try:
            session = RenodeSession(_server(process, port, folder), [])
            session.run_command(f"logFile @{folder / 'renode.log'}")
            session.run_command(f"$world=@{world.write(folder)}")
            session.run_command(f"$firmware=@{flash.absolute()}")
            session.run_command(f"include @{SCRIPT}")
            yield session
            with contextlib.suppress(OSError, xmlrpc.client.Error):  # it may be gone before it answers
                session.server.stop_remote_server()
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _server(process: subprocess.Popen[bytes], port: int, folder: Path) -> xmlrpc.client.ServerProxy:
    server = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{port}/", allow_none=True)
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BackendError(f"Renode ended with {process.returncode}; see {folder / 'renode.out'}")
        try:
            server.get_keyword_names()
        except (OSError, xmlrpc.client.Error):
            time.sleep(0.2)
        else:
            return server
    raise BackendError(
        f"Renode opened no robot server within {START_LIMIT_S:g} s; see {folder / 'renode.out'}"
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
