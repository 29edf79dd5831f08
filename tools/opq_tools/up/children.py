"""The processes under `opq-tools up`: started, read, restarted when they die, ended together."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import IO, Any

from opq_proto.kit.backoff import Backoff
from opq_proto.kit.whole_file import open_private, private_folder

STOP_S = 5.0
"""Time after SIGTERM at which a child that has not ended is killed."""
RESTART_S = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits before the first, second, ... restart in a row; the last one repeats. The first is systemd's wait for
a gateway, which has to read again before a Box overwrites its samples."""
STEADY_S = 5.0
"""Time without a fault after which the waits start again with the first."""
LAST_WORDS = 20
"""Number of a child's last lines that are kept to explain its end."""


@dataclass(frozen=True, slots=True)
class ChildLine:
    """One log line of a child: the JSON object it wrote, or its text under `text`."""

    child: str
    facts: dict[str, Any]


def ended_with_this(command: Sequence[str]) -> list[str]:
    """Returns the command line of a child that gets SIGTERM when this process ends, even by kill -9."""
    script = Path(__file__).with_name("ended_with_parent.py")
    return [sys.executable, "-I", "-S", str(script), str(os.getpid()), *command]


class Child:
    """One process, its log file and its restarts; lines go to a bounded queue."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        lines: "queue.Queue[ChildLine]",
        links: Sequence[Path] = (),
    ) -> None:
        """`links`: links to its serial ports, which end with it."""
        self.name = name
        self._links = links
        self.restarts = 0
        self.lost_lines = 0
        self._command = list(command)
        self._log = log
        self._lines = lines
        self._last: list[str] = []
        self._waits = Backoff(RESTART_S, steady_s=STEADY_S)
        self._started = 0.0
        self._restart_at: float | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process in its own session; it ends with this one."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            ended_with_this(self._command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=environment,
        )
        self._started = time.monotonic()
        self._restart_at = None
        self._last.clear()
        assert self._process.stderr is not None
        self._reader = threading.Thread(
            target=self._read, args=(self._process.stderr,), name=f"log-{self.name}", daemon=True
        )
        self._reader.start()

    def ended(self) -> int | None:
        """Its exit code when it has ended (minus the signal's number), else None."""
        return None if self._process is None else self._process.poll()

    def tick(self) -> str | None:
        """Restarts a dead process after the wait; returns a sentence when something was done."""
        code = self.ended()
        if code is None:
            return None
        now = time.monotonic()
        if self._restart_at is None:
            self.remove_links()
            wait = self._waits.record_failure(ran_s=now - self._started)
            self._restart_at = now + wait
            why = f"; it says: {' '.join(self.last_words().split())}" if code in (1, 2) else ""
            return f"process {self.name} ended ({ending(code)}){why}; it starts again in {wait:g} s"
        if now < self._restart_at:
            return None
        self.restarts += 1
        self.start()
        return f"process {self.name} runs again (restart {self.restarts})"

    def last_words(self) -> str:
        """Why it ended: its last plain lines (one of a traceback), else the message of its last log line."""
        if self._reader:
            self._reader.join(1.0)
        plain = list(takewhile(lambda text: "text" in parsed(text), reversed(self._last)))[::-1]
        if plain and not any(text.startswith("Traceback") for text in plain):
            return "\n".join(plain)
        for text in reversed(self._last):
            facts = parsed(text)
            if "text" not in facts:
                words = [str(facts[key]) for key in ("event", "error", "exception") if facts.get(key)]
                return ": ".join(words).strip().splitlines()[-1]
            return text
        return "it printed nothing"

    def remove_links(self) -> None:
        """Removes what a killed process left: its link may lead to a terminal of somebody else by now."""
        for link in self._links:
            with suppress(OSError):
                link.unlink(missing_ok=True)

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def join(self, until: float) -> None:
        """Waits until a monotonic time for its end, then kills it."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader:
            self._reader.join(1.0)

    def _read(self, stream: IO[bytes]) -> None:
        with stream, closing(LogFile(self._log)) as log:
            for raw in stream:
                self.lost_lines += not log.write(raw)
                text = raw.decode("utf-8", "replace").rstrip()
                if not text:
                    continue
                self._last.append(text)
                del self._last[:-LAST_WORDS]
                try:
                    self._lines.put_nowait(ChildLine(self.name, parsed(text)))
                except queue.Full:
                    self.lost_lines += 1


def parsed(text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except ValueError:
        return {"text": text}
    return facts if isinstance(facts, dict) else {"text": text}


def ending(code: int) -> str:
    """An exit code as text: `exit code 1`, `signal 9 (SIGKILL)`."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def end_all(children: Sequence[Child]) -> None:
    """End every child, all at once, within STOP_S."""
    for child in children:
        child.terminate()
    until = time.monotonic() + STOP_S
    for child in children:
        child.join(until)


MAX_LOG_BYTES = 10_000_000
"""Size at which a log file is rotated; one older file is kept."""


class LogFile:
    """Appends lines to `path`; lines before the last rotation are in `path` with `.old`."""

    def __init__(self, path: Path, limit_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._limit_bytes = limit_bytes
        self._file: IO[bytes] | None = None
        self._bytes = 0

    def write(self, line: bytes) -> bool:
        """Writes a line; never raises for errors of the file system; False when the line is lost."""
        try:
            if self._file is None:
                self._open()
            elif self._bytes + len(line) > self._limit_bytes:
                self.close()
                self._open()
            assert self._file is not None
            self._file.write(line)
            self._bytes += len(line)
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self) -> None:
        private_folder(self._path.parent)
        if self._path.exists() and self._path.stat().st_size > self._limit_bytes // 2:
            self._path.replace(self._path.with_suffix(".old"))
        self._file = os.fdopen(
            open_private(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab", buffering=0
        )
        self._bytes = self._path.stat().st_size
