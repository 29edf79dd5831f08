"""The firmware on our QEMU machine: a world in virtual time (suite A), or a Box on a pty (suite B).

Instructions are counted (`-icount shift=3,sleep=off`: 8 ns each): the same flash and world give the same
bytes. A live run does the same and waits for the wall clock at each millisecond; QMP reports the machine's
time.
"""

import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opq_hil.backends.backend import BackendError, EmulatorClock, FirmwareRun, Image, LiveBox, WallLimitError
from opq_hil.backends.boards import BOARDS, Board
from opq_hil.backends.build_step import BuildError
from opq_hil.backends.debian_source import SourceError
from opq_hil.backends.processes import end_group, ended_with_parent
from opq_hil.backends.qemu_build import MACHINE, QemuBinary, find_qemu
from opq_hil.world.capture import read_log
from opq_hil.world.world import NS_PER_S, World

FLASH_BYTES = 1 << 20
ICOUNT = "shift=3,sleep=off"
START_LIMIT_S = 20.0
ANSWER_LIMIT_S = 60.0
"""For an answer of its monitor, which comes within ms. With a hundred other processes it took over 10 s."""
CLOCK = "virtual-ns"
"""Property of our machine that holds its time."""
STOPPED = "stopped"
"""End of a run in the report when neither the world nor the firmware ended it, but a signal."""
ABSENT = "our QEMU is not here"
"""Each reason for not having our emulator contains this."""
_PTY = re.compile(r"char device redirected to (\S+) \(label serial0\)")


@dataclass(slots=True)
class Qemu:
    """Builds our QEMU at first use, if it is not there."""

    name: str = "qemu"
    deterministic: bool = True
    wall_factor: float = 1.0
    start_s: float = 0.15
    quiet: bool = False
    boards: tuple[str, ...] = tuple(BOARDS)
    _found: list[QemuBinary | str] = field(default_factory=list)
    """The binary, or why there is none, after the first search."""

    @property
    def binary(self) -> QemuBinary | None:
        """The binary to run; None where `why_not` has the reason."""
        found = self._search()
        return None if isinstance(found, str) else found

    @property
    def version(self) -> str:
        return self.binary.version if self.binary else "no QEMU"

    def why_not(self, world: World | None) -> str | None:
        """The reason why no world can be played."""
        found = self._search()
        return f"{ABSENT}: {found}" if isinstance(found, str) else None

    def _search(self) -> QemuBinary | str:
        if not self._found:
            try:
                self._found.append(find_qemu(_silent if self.quiet else _print))
            except (BuildError, SourceError) as problem:
                self._found.append(str(problem))
        return self._found[0]

    def run(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None, wall_limit_s: float
    ) -> FirmwareRun:
        """Plays `world` to its end or to the cut in it.

        Raises:
            BackendError: QEMU failed, refused the world, or was ended from outside.
            WallLimitError: it took longer than `wall_limit_s`.
        """
        binary = self._needed()
        folder = folder.absolute()
        files = _files(folder, world, flash or image.flash)
        command = (*_command(binary, files, image), "-serial", "null", "-serial", "null")
        began = time.monotonic()
        output, code = _played(command, folder, wall_limit_s)
        wall_s = time.monotonic() - began
        if code is None:
            reached_ns = int(_read_report(files["report"])["virtual_ns"]) if files["report"].exists() else 0
            raise WallLimitError("QEMU", wall_limit_s, reached_ns, world.end_ns, wall_s, folder)
        locked_up = "fatal: Lockup" in output  # ARMv7-M B1.5.15: a fault in a fault; the report says "hang"
        if (code and not locked_up) or not files["report"].exists():
            raise BackendError(f"QEMU ended with {code}: {_last(output)}")
        report = _read_report(files["report"])
        if report["end"] == STOPPED:
            raise BackendError(f"QEMU was ended from outside at {report['virtual_ns'] / 1e9:.3f} s virtual")
        return FirmwareRun(
            world, folder, read_log(files["uart1-log"]), report, files["flash"], wall_s, command
        )

    @contextmanager
    def live(
        self, image: Image, world: World, folder: Path, *, flash: Path | None = None
    ) -> Iterator[LiveBox]:
        """A Box in real time, on a pty. The report exists afterwards.

        Raises:
            BackendError: QEMU did not start.
        """
        binary = self._needed()
        folder = folder.absolute()
        files = _files(folder, world, flash or image.flash)
        ours, theirs = socket.socketpair()
        control = ("-chardev", f"socket,id=control,fd={theirs.fileno()}", "-mon", "control,mode=control")
        command = (*_command(binary, files, image, ",live=on"), "-serial", "pty", "-serial", "null", *control)
        with ours, theirs, (folder / "qemu.log").open("w") as errors:
            process = subprocess.Popen(
                ended_with_parent(command),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
            theirs.close()
            try:
                yield LiveBox(str(_pty(process, folder / "qemu.log")), EmulatorClock(QmpClock(ours).read_s))
            finally:
                _end(process)

    def _needed(self) -> QemuBinary:
        found = self._search()
        if isinstance(found, str):
            raise BackendError(f"{ABSENT}: {found}")
        return found


def _read_report(path: Path) -> Mapping[str, Any]:
    """The machine's report of a run (hil/qemu/README.md)."""
    report: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


class QmpClock:
    """The machine's time, read from a QMP socket (QEMU's control protocol: a line of JSON each way)."""

    def __init__(self, line: socket.socket) -> None:
        line.settimeout(ANSWER_LIMIT_S)
        self._line = line
        self._received = b""
        self._ready = False

    def read_s(self) -> float:
        """Seconds since power-on.

        Raises:
            BackendError: it does not answer, or it is a QEMU with an older machine.
        """
        try:
            if not self._ready:
                self._execute("qmp_capabilities")
                self._ready = True
            answer = self._execute("qom-get", path="/machine", property=CLOCK)
        except (OSError, ValueError) as error:
            raise BackendError(f"QEMU does not report its time: {error}") from error
        if not isinstance(answer.get("return"), int):
            why = answer.get("error", answer)
            raise BackendError(
                f"QEMU does not report its time: {why}; if its machine is an older one, "
                "build it again: python -m opq_hil.backends.qemu_build"
            )
        return int(answer["return"]) / NS_PER_S

    def _execute(self, command: str, **arguments: str) -> Mapping[str, Any]:
        line = {"execute": command, **({"arguments": arguments} if arguments else {})}
        self._line.sendall(json.dumps(line).encode() + b"\n")
        while True:
            head, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                answer: Mapping[str, Any] = json.loads(head)
                if "return" in answer or "error" in answer:  # neither greeting nor event
                    return answer
            else:
                more = self._line.recv(65_536)
                if not more:
                    raise ConnectionError("it has ended")
                self._received += more


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _silent(text: str) -> None:
    """Ignores progress messages."""


def _files(folder: Path, world: World, flash: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "world": world.write(folder),
        "flash": folder / "flash.bin",
        "report": folder / "report.json",
        "uart1-log": folder / "uart1.log",
    }
    if flash.stat().st_size > FLASH_BYTES:
        raise BackendError(f"{flash}: larger than the chip's flash of 1 MB")
    if flash.absolute() != files["flash"]:
        shutil.copyfile(flash, files["flash"])
    for name in ("report", "uart1-log"):
        files[name].unlink(missing_ok=True)
    if any("," in str(path) for path in files.values()):
        raise BackendError(f"{folder}: QEMU takes no path with a comma")
    return files


def chip_options(board: Board) -> tuple[str, ...]:
    """The machine's properties that are the board's."""
    return (
        f"hse-hz={board.clock.hse_hz}",
        f"mains-channel={board.analogue.mains_channel}",
        f"sram-bytes={board.sram_bytes}",
    )


def _command(
    binary: QemuBinary, files: Mapping[str, Path], image: Image, options: str = ""
) -> tuple[str, ...]:
    named = (f"{name}={path}" for name, path in files.items())
    machine = ",".join((MACHINE, *named, *chip_options(image.board))) + options
    head = (str(binary.path), "-M", machine, "-icount", ICOUNT)
    return (*head, "-display", "none", "-monitor", "none", "-nodefaults")


def _played(command: tuple[str, ...], folder: Path, wall_limit_s: float) -> tuple[str, int | None]:
    """QEMU's output and its exit code; None: it was ended at the limit."""
    process = subprocess.Popen(
        ended_with_parent(command),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=wall_limit_s)
    except subprocess.TimeoutExpired:
        return "", None
    finally:
        _end(process)
    return output, process.returncode


def _pty(process: subprocess.Popen[str], errors: Path) -> Path:
    assert process.stdout is not None
    output = ""
    os.set_blocking(process.stdout.fileno(), False)
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        limit = time.monotonic() + START_LIMIT_S
        while time.monotonic() < limit:
            if waiting.select(timeout=0.2):
                output += process.stdout.read() or ""
            found = _PTY.search(output)
            if found:
                return Path(found[1])
            if process.poll() is not None:
                raise BackendError(f"QEMU ended with {process.returncode}: {_last(errors.read_text())}")
    raise BackendError(f"QEMU named no pty within {START_LIMIT_S:g} s; see {errors}")


def _end(process: subprocess.Popen[str]) -> None:
    """Requests the end first, so that QEMU writes flash and report."""
    end_group(process)
    if process.stdout is not None:
        process.stdout.close()


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
