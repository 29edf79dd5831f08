"""The firmware in Renode: the same worlds as on QEMU, played by the models in hil/renode.

Renode is driven by its robot server (XML-RPC): the commands of box.resc, virtual time in slices, and the
files that World.cs writes. Live, a `PtyRelay` connects it with the gateway. Few machines have Renode, so
every run names the places where it was searched. Renode chooses the port of its server itself and writes it
into a file, because it ends with 0 and without a word when a port that it was given is taken.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import xmlrpc.client
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opq_hil.backends.backend import BackendError, EmulatorClock, FirmwareRun, Image, LiveBox, WallLimitError
from opq_hil.backends.boards import EMULATED
from opq_hil.backends.our_sources import our_source
from opq_hil.backends.processes import end_group, guarded
from opq_hil.backends.pty_relay import PtyRelay
from opq_hil.world.capture import read_log
from opq_hil.world.world import NS_PER_S, World

SCRIPT = our_source("hil/renode/box.resc")
VARIABLE = "RENODE"
SLICE_NS = NS_PER_S
"""Virtual time between two checks of the wall clock and of whether a cut has ended the run."""
START_LIMIT_S = 60.0
"""Limit for the start of .NET."""
LOAD_LIMIT_S = 120.0
"""Limit for compiling 17 models: 2 s on an idle machine."""
ANSWER_LIMIT_S = 30.0
"""Limit for a command that does not wait for virtual time."""
END_ANSWER_LIMIT_S = 10.0
"""The same at the end of a run, where a hanging Renode need not be waited for."""
STOP_LIMIT_S = 10.0
"""Limit from its server's end to its own."""
WALL_FACTOR = 6.0
"""On 2 cores two at a time run at 0.5 to 0.9 x real time (QEMU: 2.3); alone, sampling runs at 2.1 to 2.4 and
an erase at 0.6 to 0.9 (2026-11-26, both versions, hil/renode/README.md).
"""
TIERED = "DOTNET_TieredCompilation"
SHORT_NS = 5 * NS_PER_S
"""Shorter runs, a start and a cut among them, end before compiling again pays."""
_TIME = re.compile(r"Elapsed Virtual Time: (\d+):(\d+):(\d+\.\d+)")
_OUTSIDE = re.compile(r"non existing peripheral at (0x[0-9A-F]+)")


def find_renode() -> Path | None:
    """The `renode` to run: from the environment variable, else on PATH."""
    value = os.environ.get(VARIABLE)
    found = value if value else shutil.which("renode")
    return Path(found) if found and Path(found).exists() else None


def environment(virtual_ns: int) -> dict[str, str]:
    """Our environment; for a short run without .NET's tiered compilation.

    Without it the first 0.9 virtual seconds cost 1.5 s, not 4 to 6, and each further one more: 13 s of
    `line_noise` cost 85 s, with .NET's default 63 (1.16.1, 2026-11-28). A variable that is already set
    keeps its value.
    """
    return {TIERED: "0", **os.environ} if virtual_ns < SHORT_NS else dict(os.environ)


def other_platform(boards: Collection[str]) -> str | None:
    """The reason why Renode cannot run these boards; None: its platform (box.repl) is theirs."""
    if set(boards) <= set(EMULATED):
        return None
    return f"its platform is that of {' and '.join(EMULATED)}, not of {', '.join(boards)}"


@dataclass(slots=True)
class Renode:
    """`deterministic`: the same world gives the same bytes, as long as nothing live is connected."""

    name: str = "renode"
    deterministic: bool = True
    wall_factor: float = WALL_FACTOR
    start_s: float = 6.0
    boards: tuple[str, ...] = EMULATED

    @property
    def version(self) -> str:
        binary = find_renode()
        if binary is None:
            return "no Renode"
        line = [str(binary), "--version"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=START_LIMIT_S, check=False)
        return " ".join(done.stdout.split())[:100] or "Renode of an unknown version"

    def why_not(self, world: World | None) -> str | None:
        """The reason why nothing can be played: mostly that Renode is not installed."""
        if other := other_platform(self.boards):
            return other
        if find_renode() is None:
            return f"no Renode here ({VARIABLE}, or renode on PATH); to install it see hil/renode/README.md"
        if world is not None and world.rom_start is not None:
            return "the models for Renode have no BOOT0 and no ROM boot loader"
        return None

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> FirmwareRun:
        """Plays `world` to its end or to the cut in it.

        Raises:
            BackendError: Renode failed, or refused the world.
            WallLimitError: it took longer than `wall_limit_s`.
        """
        folder = folder.absolute()
        began = time.monotonic()
        with _session(folder, world, flash or image.flash) as session:
            at_ns = 0
            while at_ns < world.end_ns and not session.run_command("sysbus.world Ended"):
                step_ns = min(SLICE_NS, world.end_ns - at_ns)
                left_s = wall_limit_s - (time.monotonic() - began)
                try:
                    session.run_command(f'emulation RunFor "{seconds(step_ns)}"', max(0.001, left_s))
                except NoAnswerInTimeError:
                    took_s = time.monotonic() - began
                    raise WallLimitError(
                        "Renode", wall_limit_s, at_ns, world.end_ns, took_s, folder
                    ) from None
                at_ns += step_ns
            session.run_command(f'sysbus.world Save "{folder}"')
        wall_s = time.monotonic() - began
        return FirmwareRun(
            world,
            folder,
            read_log(folder / "uart1.log"),
            _read_report(folder),
            folder / "flash.bin",
            wall_s,
            tuple(session.commands),
        )

    @contextmanager
    def live(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None
    ) -> Iterator[LiveBox]:
        """A Box as fast as real time or slower. The report, with the line's counters, exists afterwards.

        Raises:
            BackendError: Renode did not start, or does not end as it should.
        """
        folder = folder.absolute()
        with _session(folder, world, flash or image.flash) as session:
            terminal = folder / "usart1"
            session.run_command(f'emulation CreateUartPtyTerminal "gateway" "{terminal}" true')
            with PtyRelay(terminal) as relay:
                session.run_command("connector Connect sysbus.usart1 gateway")
                session.run_command("start")
                try:
                    yield LiveBox(str(relay.path), EmulatorClock(session.read_virtual_s), relay.counters)
                except BaseException:
                    with contextlib.suppress(BackendError):  # the first error is more useful
                        _end_live(session, folder, relay)
                    raise
                _end_live(session, folder, relay)


class NoAnswerInTimeError(BackendError):
    """Renode does not answer within the limit of a command: it hangs, or virtual time is slow."""


class _Transport(xmlrpc.client.Transport):
    """HTTP with a time limit for each answer, so that a hanging Renode does not block this process."""

    limit_s = ANSWER_LIMIT_S

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self.limit_s
        if connection.sock is not None:
            connection.sock.settimeout(self.limit_s)
        return connection


class RenodeSession:
    """One Renode process with the Box in it, paused. `commands` holds the commands, to repeat them by hand.

    Its server does one thing at a time. For use by one thread.
    """

    def __init__(self, port: int) -> None:
        self.commands: list[str] = []
        self._transport = _Transport()
        self._server = xmlrpc.client.ServerProxy(
            f"http://127.0.0.1:{port}/", transport=self._transport, allow_none=True
        )

    def run_command(self, command: str, limit_s: float | None = None) -> str:
        """Runs a monitor command; returns its output, stripped.

        Raises:
            BackendError: Renode refuses it; the text is Renode's own.
            NoAnswerInTimeError: it takes longer than `limit_s`.
        """
        self.commands.append(command)
        return self._execute(command, limit_s)

    def read_virtual_s(self) -> float:
        """The emulator's time now, to the quantum of 1 ms.

        Raises:
            BackendError: it does not report its time.
        """
        answer = self._execute("emulation GetTimeSourceInfo")
        found = _TIME.search(answer)
        if found is None:
            raise BackendError(f"Renode does not report its time: {answer!r}")
        hours, minutes, rest = found.groups()
        return (int(hours) * 60 + int(minutes)) * 60 + float(rest)

    def stop(self) -> None:
        """Requests the end; does not wait for it."""
        self._transport.limit_s = END_ANSWER_LIMIT_S
        with contextlib.suppress(OSError, xmlrpc.client.Error, http.client.HTTPException):
            self._server.stop_remote_server()  # it may end before it answers

    def _execute(self, command: str, limit_s: float | None = None) -> str:
        self._transport.limit_s = ANSWER_LIMIT_S if limit_s is None else limit_s
        try:
            answer: Any = self._server.run_keyword("ExecuteCommand", [command])
        except TimeoutError as error:
            limit_s = self._transport.limit_s
            raise NoAnswerInTimeError(f"Renode: {command}: no answer within {limit_s:g} s") from error
        except (OSError, xmlrpc.client.Error, http.client.HTTPException) as error:
            raise BackendError(f"Renode does not answer to {command!r}: {error}") from error
        if not isinstance(answer, dict) or answer.get("status") != "PASS":
            error_text = answer.get("error", "") if isinstance(answer, dict) else answer
            raise BackendError(f"Renode: {command}: {error_text}")
        return str(answer.get("return", "")).strip()


def seconds(ns: int) -> str:
    """Formats digits, a dot, digits, because Renode reads `1e-3` as one second."""
    return f"{ns // NS_PER_S}.{ns % NS_PER_S:09d}"


def _read_report(folder: Path) -> Mapping[str, Any]:
    """The counters of World.cs; accesses outside every model are read from Renode's log."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    log = folder / "renode.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    for address in sorted(set(_OUTSIDE.findall(text))):
        report["unmodelled"].append({"address": address, "block": "", "times": text.count(address)})
    return report


@contextmanager
def _session(folder: Path, world: World, flash: Path) -> Iterator[RenodeSession]:
    """Starts Renode and loads the world; ends it however the block ends."""
    binary = find_renode()
    if binary is None:
        raise BackendError(Renode().why_not(None) or "no Renode")
    if any(" " in str(path) for path in (folder, flash, SCRIPT)):
        raise BackendError(f"{folder}: Renode's commands take no path with a space")
    folder.mkdir(parents=True, exist_ok=True)
    # a console with an open input: without one, 1.16.1 reads its end again and again on a core of its own
    command = [str(binary), "--console", "--plain", "--hide-log", "--robot-server-port", "0"]
    # in the system's own folder: .NET puts a socket into it, and the path of a socket holds 107 bytes
    with (
        tempfile.TemporaryDirectory(prefix="opq-renode-", ignore_cleanup_errors=True) as temporary,
        (folder / "renode.out").open("w") as out,
    ):
        variables = {**environment(world.end_ns), "TMPDIR": temporary}
        with guarded(command, open_input=True, cwd=folder, env=variables, stdout=out, stderr=out) as process:
            try:
                session = RenodeSession(_chosen_port(process, Path(temporary), folder))
                session.run_command(f"logFile @{folder / 'renode.log'}")
                session.run_command(f"$world=@{world.write(folder)}")
                session.run_command(f"$firmware=@{flash.absolute()}")
                session.run_command(f"include @{SCRIPT}", LOAD_LIMIT_S)
                yield session
                session.stop()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_LIMIT_S)  # it writes its log every 5 s, and when it ends
            finally:
                end_group(process)


def _chosen_port(process: subprocess.Popen[bytes], temporary: Path, folder: Path) -> int:
    """The port of Renode's server, from the file that it writes once it listens: nothing connects before.

    The number in the name of the file's folder is that of the .NET process, not of the script that began it.
    """
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end:
        ended = process.poll()
        for path in temporary.glob("renode-*/robot_port"):
            if (text := path.read_text(encoding="ascii").strip()).isdecimal():
                return int(text)
        if ended is not None:
            raise BackendError(
                f"Renode ended with {ended} before its robot server listened; see {folder / 'renode.out'}. "
                "It ends with 0 and prints nothing when no port from 49152 on is free, or when it cannot "
                f"write into {temporary}"
            )
        time.sleep(0.1)
    raise BackendError(
        f"Renode opened no robot server within {START_LIMIT_S:g} s; see {folder / 'renode.out'}"
    )


def _end_live(session: RenodeSession, folder: Path, relay: PtyRelay) -> None:
    session.run_command("pause", END_ANSWER_LIMIT_S)
    session.run_command(f'sysbus.world Save "{folder}"', END_ANSWER_LIMIT_S)
    path = folder / "report.json"
    report = {**json.loads(path.read_text(encoding="utf-8")), "relay": relay.counters()}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
