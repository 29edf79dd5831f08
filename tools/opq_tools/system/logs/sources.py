"""Where log lines are: files of a data folder, or systemd's journal."""

import heapq
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import IO

from opq_proto.errors import OpqError
from opq_tools.system.logs.line import LogLine, read_line

UNITS = ("opq-gateway.service", "opq-cloud@*.service")
POLL_S = 0.3
SYSTEMCTL_S = 10.0


class LogsError(OpqError):
    """There is no log, or it cannot be read."""


def runs_by_systemd() -> bool:
    """Whether a unit of ours is loaded on this machine."""
    words = ["systemctl", "list-units", "--all", "--no-legend", "--plain", *UNITS]
    try:
        done = subprocess.run(words, capture_output=True, check=False, timeout=SYSTEMCTL_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() != b""


def journal_lines(since: str, most: int, follow: bool, directory: Path | None = None) -> Iterator[LogLine]:
    """Yields our units' lines of the journal, oldest first.

    Args:
        since: only lines from this UTC time on, in ISO 8601; "" for all.
        most: begin that many lines before the end; 0 for all.
        follow: go on with lines as they come, without an end.
        directory: folder with the files of another journal.
    Raises:
        LogsError: journalctl is not there, or refuses.
    """
    words = ["journalctl", "--output=json", "--no-pager", "--quiet", *(f"--unit={unit}" for unit in UNITS)]
    words += [f"--since={since[:19].replace('T', ' ')} UTC"] if since else []
    words += [f"--lines={most or 'all'}"] + (["--follow"] if follow else [])
    words += [f"--directory={directory}"] if directory is not None else []
    try:
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise LogsError(f"journalctl cannot be started: {error.strerror}") from error
    assert process.stdout is not None and process.stderr is not None
    before = ""
    try:
        for raw in process.stdout:
            entry = json.loads(raw)
            said = entry.get("MESSAGE") or ""  # bytes that are not UTF-8 come as a list of numbers
            message = bytes(said) if isinstance(said, list) else str(said).encode()
            line = read_line(message, source_of_unit(str(entry.get("_SYSTEMD_UNIT", ""))), before)
            before = line.t
            yield line
        if process.wait() != 0:
            raise LogsError(f"journalctl: {process.stderr.read().decode(errors='replace').strip()}")
    finally:
        process.kill()
        process.wait()


def source_of_unit(unit: str) -> str:
    """`gateway` of opq-gateway.service, `mauka` of opq-cloud@mauka.service."""
    return unit.removesuffix(".service").removeprefix("opq-").removeprefix("cloud@")


class LogFiles:
    """The files `log/NAME.log` of a data folder, and what was rotated away into `NAME.old`."""

    def __init__(self, data_dir: Path) -> None:
        """Raises LogsError: there is no log."""
        self._folder = data_dir / "log"
        self._open: dict[Path, IO[bytes]] = {}
        self._before: dict[Path, str] = {}
        if not self._files():
            raise LogsError(
                f"there is no log in {self._folder}; name a system's folder with --data-dir. A service "
                "that was started by hand logs to its own stderr"
            )

    def lines(self) -> Iterator[LogLine]:
        """Yields all lines that are there, in the order of time; a second call begins where it ended."""
        yield from heapq.merge(*(self._lines_of(path) for path in self._files()), key=attrgetter("t"))

    def follow(self) -> Iterator[LogLine]:
        """Yields lines as they come, without an end."""
        while True:
            yield from self.lines()
            time.sleep(POLL_S)

    def close(self) -> None:
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _files(self) -> Sequence[Path]:
        return sorted(self._folder.glob("*.log"))

    def _lines_of(self, path: Path) -> Iterator[LogLine]:
        if path not in self._open:
            yield from self._rotated(path)
            self._open[path] = path.open("rb")
        yield from self._rest(path, self._open[path])
        if self._is_replaced(path):  # what was written into the old file before it was renamed is read
            self._open.pop(path).close()
            self._open[path] = path.open("rb")
            yield from self._rest(path, self._open[path])

    def _rotated(self, path: Path) -> Iterator[LogLine]:
        old = path.with_suffix(".old")
        if old.exists():
            with old.open("rb") as file:
                yield from self._rest(path, file)

    def _rest(self, path: Path, file: IO[bytes]) -> Iterator[LogLine]:
        """The whole lines up to the file's end; a piece of a line is read again with its rest."""
        while (raw := file.readline()).endswith(b"\n"):
            line = read_line(raw, path.stem, self._before.get(path, ""))
            self._before[path] = line.t
            yield line
        if raw:
            file.seek(-len(raw), 1)

    def _is_replaced(self, path: Path) -> bool:
        try:
            return path.stat().st_ino != os.fstat(self._open[path].fileno()).st_ino
        except FileNotFoundError:  # between the rename and the new file
            return False
