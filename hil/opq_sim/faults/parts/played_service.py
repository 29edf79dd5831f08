"""Service: one of our processes, which is killed and started again; its output goes to a file."""

import contextlib
import json
import resource
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from opq_proto.errors import OpqError
from opq_sim.faults.parts.fork_server import ForkedProcess, ForkServer

STOP_S = 240.0
RESTART_S = 0.1
"""Pause between its end and its next start: RestartSec of opq-gateway.service, in
tools/opq_tools/system/service/units (test_device_constants.py).
"""
OPENED_LINE = '"event": "serial.opened"'
"""Part of a gateway's log line: it has opened a Box's port."""
LOST_LINE = '"event": "serial.lost"'
"""Part of a gateway's log line: a Box's port is gone."""
BAD_LINES = ("thread.failed", "Traceback (most recent call last)")


class ServiceError(OpqError):
    """A service did not start, or did not end."""


class ServiceProcess:
    """One module as a process; all calls from one thread.

    Attributes:
        starts: times it was started.
        complaints: log lines that no fault excuses.
    """

    def __init__(self, name: str, arguments: list[str], clock: Path, log: Path, server: ForkServer) -> None:
        self.name = name
        self.starts = 0
        self.complaints: list[str] = []
        self.last_words = ""
        """Its last line that is not a log line: the reason why it ended."""
        self._server, self._arguments, self._clock, self._log = server, arguments, clock, log
        self._deaf: list[tuple[float, str, bool]] = []  # (when, Box or "" for all, whether it is read then)
        self._written: dict[tuple[float, str], float] = {}
        """(kill, Box): when its newest sample on disk was taken."""
        self._most_bytes: int | None = None
        self._process: ForkedProcess | None = None
        self._reader: threading.Thread | None = None
        self._again_s: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether it was started and neither killed nor stopped since."""
        return self._process is not None

    @property
    def runs(self) -> bool:
        """Whether its process has not ended."""
        return self._process is not None and self._process.runs

    def start(self) -> None:
        """Starts it."""
        self._process = self._server.start(self._clock, self._arguments)
        self.starts += 1
        self._again_s = None
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,), daemon=True)
        self._reader.start()
        self.limit_files(self._most_bytes)

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def limit_files(self, most_bytes: int | None) -> None:
        """Makes a write beyond this size of a file fail from now on (EFBIG); None: none does."""
        self._most_bytes = most_bytes
        if self._process is not None and self._process.runs:
            soft = resource.RLIM_INFINITY if most_bytes is None else most_bytes
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def kill(self, unwritten_s: Callable[[], Mapping[str, float]] = dict) -> None:
        """Kills it with SIGKILL; it stays down until `start`.

        Args:
            unwritten_s: gives, by Box, the seconds of samples that it had taken and that are not on disk
                after the kill.
        """
        if self._process is not None:
            at_s = time.monotonic()
            self._deaf.append((at_s, "", False))
            self._process.send_signal(signal.SIGKILL)
            self._process.ended()
            self._process = None
            self._written |= {(at_s, box_id): at_s - age_s for box_id, age_s in unwritten_s().items()}

    def tick(self, now_s: float) -> None:
        """Starts it again if it ended by itself."""
        if self._process is None or self._process.runs:
            return
        if self._again_s is None:
            self._again_s = now_s + RESTART_S
        elif now_s >= self._again_s:
            self.start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Ends it with a signal; returns the seconds until it had ended.

        Raises:
            ServiceError: it did not within STOP_S, and was killed.
        """
        process, self._process = self._process, None
        if process is None:
            return 0.0
        begin_s = time.monotonic()
        process.send_signal(number)
        in_time = process.ended(STOP_S)
        if not in_time:
            process.send_signal(signal.SIGKILL)
            process.ended()
        if self._reader is not None:
            self._reader.join(1.0)
        if not in_time:
            raise ServiceError(f"{self.name} did not end within {STOP_S:g} s of {number.name}")
        return time.monotonic() - begin_s

    def recovery_s(self, box_id: str) -> float:
        """The longest time from a kill, several in a row, or a pulled plug, until the gateway opened the
        Box again.
        """
        return longest_recovery_s(self._deaf, self._written, box_id, time.monotonic())

    def _read(self, stream: IO[bytes]) -> None:
        """Reads its output through a pipe, so that a full disk does not affect the log too."""
        with stream, self._log.open("ab") as log:
            for line in stream:
                log.write(line)
                log.flush()
                text = line.decode("utf-8", "replace").strip()
                if text and not text.startswith("{"):
                    self.last_words = text
                if OPENED_LINE in text or LOST_LINE in text:
                    facts = json.loads(text)
                    at_s = time.monotonic() - float(facts.get("early_s", 0.0))
                    self._deaf.append((at_s, str(facts["box_id"]), OPENED_LINE in text))
                if any(bad in text for bad in BAD_LINES):
                    self.complaints.append(f"{self.name}: {_short(text)}")


def longest_recovery_s(
    changes: Sequence[tuple[float, str, bool]],
    written: Mapping[tuple[float, str], float],
    box_id: str,
    now_s: float,
) -> float:
    """The longest time in which no gateway requested a Box's samples, seconds.

    A request does not count if its answer was not yet on disk when the process was killed.

    Args:
        changes: (when, Box or "" for all, True if it is read from then on).
        written: (kill, Box) -> when the newest sample then on disk was taken.
    """
    longest_s, since_s = 0.0, None
    unrequested: tuple[float, float] | None = None  # (begin of the time without a request, its end)
    for at_s, whose, received in sorted(changes):
        if whose in ("", box_id) and not received and since_s is None:
            lost = unrequested is not None and written.get((at_s, box_id), at_s) <= unrequested[1]
            since_s = unrequested[0] if unrequested is not None and lost else at_s
        elif whose == box_id and received and since_s is not None:
            longest_s, unrequested, since_s = max(longest_s, at_s - since_s), (since_s, at_s), None
    return longest_s if since_s is None else max(longest_s, now_s - since_s)


def _short(text: str) -> str:
    try:
        facts = json.loads(text)
        return (
            f"{facts.get('event')} {facts.get('thread', '')}: {facts.get('exception', '').splitlines()[-1:]}"
        )
    except (ValueError, AttributeError):
        return text[:200]
