"""Runs external flashing programs from PATH (dfu-util, openocd, pyocd) and keeps their output."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from opq_tools.firmware.flash.chip import Chip, FlashError, HalfWrittenError
from opq_tools.firmware.flash.flash_progress import FlashProgress
from opq_tools.firmware.flash.image import ImagePart

TIMEOUT_S = 300.0
SILENT_S = 15.0
"""A program that has printed nothing for this long hangs: each step takes less, and it prints each."""
PIECE_BYTES = 32 * 1024
"""What a probe's program reads or writes in one step: 13 s at 2.5 kB/s, a quarter of a slow probe's pace."""
INSTALL = {
    "dfu-util": "sudo apt install dfu-util",
    "openocd": "sudo apt install openocd",
    "pyocd": "pip install pyocd && pyocd pack install stm32f405rgtx",
}
LINES_SHOWN = 6
FIRST_BYTES = 256
"""Of the first part to be written: they show whether its first sector, which goes first, was erased."""


class ProgramHungError(FlashError):
    """A program was ended because it printed nothing any more."""


def find_program(name: str) -> str:
    """Returns the program's path.

    Raises:
        FlashError: it is not installed; the text says how to install it.
    """
    found = shutil.which(name)
    if found is None:
        raise FlashError(f"this needs {name}, which is not installed: {INSTALL[name]}. Nothing was written")
    return found


def run_program(program: str, arguments: Sequence[str], *, doing: str, accept: Sequence[int] = (0,)) -> str:
    """Runs a program; returns its standard output and error, joined.

    Raises:
        FlashError: it failed or hung; the text has its last lines.
    """
    code, text = run_until_silent([program, *arguments], doing)
    if code not in accept:
        last = _last_lines(text) or "it printed nothing"
        raise FlashError(f"{doing}: {Path(program).name} ended with {code}: {last}")
    return text


def run_until_silent(command: Sequence[str], doing: str) -> tuple[int, str]:
    """Runs a program; returns its exit code and what it printed.

    Raises:
        FlashError: it cannot be run.
        ProgramHungError: it was ended, after SILENT_S without a word or after TIMEOUT_S.
    """
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},  # pyocd's words come at once, not at its end
        )
    except OSError as error:
        raise FlashError(f"{doing}: {command[0]} cannot be run: {error}") from error
    assert process.stdout is not None
    printed, end_s, why = bytearray(), time.monotonic() + TIMEOUT_S, f"took longer than {TIMEOUT_S:g} s"
    try:
        while time.monotonic() < end_s:
            if not select.select([process.stdout], [], [], SILENT_S)[0]:
                why = f"printed nothing for {SILENT_S:g} s"
                break
            piece = os.read(process.stdout.fileno(), 65536)
            if not piece:
                return process.wait(SILENT_S), printed.decode("utf-8", "replace")
            printed += piece
    except subprocess.TimeoutExpired:
        why = f"did not end within {SILENT_S:g} s of its last words"
    finally:
        process.stdout.close()
        _end(process)
    last = _last_lines(printed.decode("utf-8", "replace"))
    raise ProgramHungError(
        f"{doing}: {Path(command[0]).name} {why} and was ended{f', after: {last}' if last else ''}. Look at "
        "plug, wiring and supply of the chip, and plug its USB in again"
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ends a program that still runs, with what it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in a driver, until that lets it go
            process.wait(1)


def _last_lines(text: str) -> str:
    return " | ".join([line.strip() for line in text.splitlines() if line.strip()][-LINES_SHOWN:])


def compare(name: str, path: Path, wanted: bytes) -> None:
    """Compares the bytes read back with those to be written.

    Raises:
        FlashError: they differ; the text says where.
    """
    found = path.read_bytes() if path.exists() else b""
    if found[: len(wanted)] == wanted:
        return
    where = next((at for at, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), len(found))
    raise FlashError(
        f"{name}: the flash differs from what was written, from byte {where} of {len(wanted)} on"
    )


class Programmer(ABC):
    """A chip that an external program reads and writes by files; it erases the sectors that it writes."""

    way_out: ClassVar[str]
    """Advice for a chip that is half written."""
    lifts_protection: ClassVar[bool] = False
    """Whether this program can lift write protection."""

    @abstractmethod
    def chip(self) -> Chip:
        """Finds the one connected chip.

        Raises:
            FlashError: none, several, or the wrong one.
        """

    def unprotect(self) -> None:
        """Lifts the write protection of all sectors, where `lifts_protection`."""
        raise NotImplementedError

    @abstractmethod
    def protected_sectors(self) -> set[int]:
        """Write-protected sectors of the first MiB, from the option bytes.

        Raises:
            FlashError: they cannot be read.
        """

    @abstractmethod
    def start(self) -> None:
        """Starts the program on the chip."""

    @abstractmethod
    def _save(self, doing: str, address: int, count: int, file: Path) -> None:
        """Saves bytes of the flash to a file."""

    @abstractmethod
    def _program_file(self, doing: str, address: int, file: Path) -> None:
        """Writes a file to the flash."""

    def read(self, address: int, count: int) -> bytes:
        """Reads bytes of the flash; none when the program left no file."""
        with tempfile.TemporaryDirectory(prefix="opq-flash-") as folder:
            back = Path(folder) / "back.bin"
            self._save(f"reading 0x{address:08X}", address, count, back)
            return back.read_bytes() if back.exists() else b""

    def write(self, parts: Sequence[ImagePart], steps: FlashProgress) -> None:
        """Writes each part and reads it back.

        Raises:
            FlashError: the first part could not be written, and its first sector still holds what it held.
            HalfWrittenError: the chip may not hold all parts; the text has `way_out`.
        """
        before = self._first_bytes(parts[0])
        with tempfile.TemporaryDirectory(prefix="opq-flash-") as folder:
            for number, part in enumerate(parts):
                data = part.padded
                steps.step(f"writing {part.name}", 2 * len(data))
                file, back = Path(folder) / f"{number}.bin", Path(folder) / f"{number}.back"
                file.write_bytes(data)
                try:
                    self._program_file(f"writing {part.name}", part.address, file)
                except FlashError as error:
                    if number == 0 and self._still_holds(part, before, error):
                        raise FlashError(f"{error}. Nothing was written") from error
                    raise self._half_written(error) from error
                steps.done(len(data))
                try:
                    self._save(f"reading {part.name} back", part.address, len(data), back)
                    compare(part.name, back, data)
                except FlashError as error:
                    raise self._half_written(error) from error
                steps.done(len(data))

    def _half_written(self, error: FlashError) -> HalfWrittenError:
        return HalfWrittenError(f"{error}. The chip may be half-written; {self.way_out}")

    def _still_holds(self, part: ImagePart, before: bytes, error: FlashError) -> bool:
        """Whether a failed program left the first sector as it was: its old bytes, neither erased nor new.

        A program that hung is not started again.
        """
        is_old = bool(before.strip(b"\xff")) and before != part.padded[:FIRST_BYTES]
        if not is_old or isinstance(error, ProgramHungError):
            return False
        return self._first_bytes(part) == before

    def _first_bytes(self, part: ImagePart) -> bytes:
        """Returns the first bytes that the chip has there; none where it is not read."""
        try:
            return self.read(part.address, FIRST_BYTES)
        except FlashError:
            return b""
