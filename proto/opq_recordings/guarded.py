"""Reads by libraries in C, each in a process that a damaged file may end.

libhdf5 and libsndfile crash on some damaged files, or read them without end. A guard process
(`guard_process.py`) starts with the first file that needs it and makes one process for each file by fork,
which hands over what it read (`handover.py`). If that process crashes, the recording is refused.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from opq_proto.errors import RecordingError
from opq_recordings.guard_process import start_reader
from opq_recordings.handover import ReadArrays, read_arrays

GUARD = "opq_recordings.guard_process"
ANSWER_BYTES = 64


class _Guard:
    """The guard process of this process; a process that is forked from it starts one of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._owner = 0
        self.is_this_process = False

    def exit_code(self, order: bytes, file: int) -> int | None:
        """How the process that read a file ended, as of `subprocess`; None where the guard itself ended.

        Args:
            order: as `guard_process` has it.
            file: where it writes what it read.
        """
        if self.is_this_process:
            return os.waitstatus_to_exitcode(os.waitpid(start_reader(order, file), 0)[1])
        with self._lock:
            if not self._is_there():
                self._start()
            assert self._line is not None
            try:
                socket.send_fds(self._line, [order], [file])
                answer = self._line.recv(ANSWER_BYTES)
            except (BrokenPipeError, ConnectionResetError):
                answer = b""
            if answer:
                return int(answer)
            self._end()
            return None

    def end(self) -> None:
        with self._lock:
            if self._owner == os.getpid():
                self._end()

    def _is_there(self) -> bool:
        return self._process is not None and self._owner == os.getpid() and self._process.poll() is None

    def _start(self) -> None:
        self._line, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with other:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", GUARD, str(other.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
                pass_fds=[other.fileno()],
                start_new_session=True,
            )
        self._owner = os.getpid()

    def _end(self) -> None:
        """The guard ends when its line is closed."""
        if self._line is not None and self._process is not None:
            self._line.close()
            self._process.wait()
        self._line = self._process = None


_guard = _Guard()
atexit.register(_guard.end)


def guard_by_this_process() -> None:
    """From now on this process forks for each file: for one of one thread that may start no program."""
    _guard.is_this_process = True


def read_guarded(reader: str, path: Path) -> ReadArrays:
    """What a reader of `guard_process` finds in a file.

    Raises:
        RecordingError: the file is not right, or the reader's library crashed on it.
        OSError: it cannot be read.
        MemoryError: it states more than this machine's memory holds.
    """
    with tempfile.TemporaryFile(prefix="opq-read-") as file:
        order = [reader, str(path), "/" if path.is_absolute() else str(Path.cwd())]
        code = _guard.exit_code(json.dumps(order).encode(), file.fileno())
        if code:
            raise RecordingError(f"{path}: {why_ended(code)}")
        if code is None:
            raise RecordingError(f"{path}: the process that was to read it ended; try again")
        try:
            found = read_arrays(file, path)
            kind, facts = found.facts
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise RecordingError(f"{path}: is damaged; its library read impossible values") from error
    if kind == "refused":
        raise RecordingError(facts)
    if kind == "system":
        raise OSError(*facts)
    if kind == "memory":
        raise MemoryError(facts)
    if kind == "fault":
        raise RuntimeError(facts)
    return ReadArrays(found.arrays, facts)


def why_ended(code: int) -> str:
    """Why a process that read a recording ended, by its exit code, as of `subprocess`."""
    if code == -signal.SIGKILL:
        return "the process that read it was killed; is there enough memory for it?"
    if code == -signal.SIGXCPU:
        return "is damaged; reading it does not end"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"code {code}"
    return f"is damaged; the library that reads such files crashed on it ({name})"
