"""The process that makes one process for each file which a library in C reads: `python -m … DESCRIPTOR`.

It reads no file itself. An order comes by its socket, as JSON, with the file for the results; the answer is
the exit code of the reading process. It ends when the socket is closed, and then ends the reading process.
"""

import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from opq_proto.errors import RecordingError
from opq_recordings.handover import ArrayWriter, NoRoomError

READERS: Mapping[str, tuple[str, str]] = {
    "hdf5": ("opq_recordings.hdf5_arrays", "h5py"),
    "sound": ("opq_recordings.sound_arrays", "soundfile"),
}
"""Name -> module with `read(path, writer)`, which returns facts, and the library that it needs."""
ORDER_BYTES = 1 << 16
LEAST_CPU_S = 4
"""CPU time for the smallest file. It is limited, because libhdf5 reads some damaged files without end."""
BYTES_PER_S = 1 << 20
"""Bytes of a larger file per further second; a right file takes a hundredth of the time."""
Reader = Callable[[Path, ArrayWriter], object]


def main() -> None:
    line = socket.socket(fileno=int(sys.argv[1]))
    while True:
        order, files, _, _ = socket.recv_fds(line, ORDER_BYTES, 1)
        if not order:
            return
        process = start_reader(order, files[0])
        os.close(files[0])
        line.send(str(_exit_code(process, line)).encode())


def start_reader(order: bytes, handed: int) -> int:
    """The process that reads a file. Its parent has one thread only."""
    name, path, folder = json.loads(order)
    read = _reader(name)
    process = os.fork()
    if process == 0:
        os._exit(_read(read, Path(path), folder, handed))
    return process


def _reader(name: str) -> Reader:
    """Imported here, once for all files."""
    module, library = READERS[name]
    with suppress(ImportError):
        importlib.import_module(library)
    read: Reader = importlib.import_module(module).read
    return read


def _exit_code(process: int, line: socket.socket) -> int:
    """Waits for a process; it is killed when the answer is not awaited any more."""
    ended = os.pidfd_open(process)
    try:
        if ended not in select.select([ended, line.fileno()], [], [])[0]:
            os.kill(process, signal.SIGKILL)
    finally:
        os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _read(read: Reader, path: Path, folder: str, handed: int) -> int:
    """Reads the file; hands over the reader's exception, too."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # the first to go when memory runs out
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    file = os.fdopen(handed, "wb")
    writer = ArrayWriter(file)
    try:
        if folder != str(Path.cwd()):  # a confined process changes into no other folder
            os.chdir(folder)
        _limit_cpu(LEAST_CPU_S + path.stat().st_size // BYTES_PER_S)
        writer.finish(("found", read(path, writer)))
    except Exception as error:
        instead = os.fdopen(os.dup(handed), "wb")  # what `file` could not write is still in it
        instead.seek(0)
        instead.truncate()
        ArrayWriter(instead).finish(_raised(error, path))
    return 0


def _raised(error: Exception, path: Path) -> tuple[str, object]:
    """What a reader raised, as `guarded.read_guarded` raises it again."""
    if isinstance(error, RecordingError):
        return "refused", str(error)
    if isinstance(error, NoRoomError):
        return "refused", f"{path}: {error}"
    if isinstance(error, OSError):
        return "system", [error.errno, error.strerror]
    if isinstance(error, MemoryError):
        return "memory", str(error)
    return "fault", f"{type(error).__name__}: {error}"


def _limit_cpu(seconds: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (min(seconds, hard) if hard >= 0 else seconds, hard))


if __name__ == "__main__":
    main()
