"""ForkServer: services forked from a process that has their modules loaded, so that a start needs no imports.

    python -m opq_sim.faults.parts.fork_server PARENT_PID DESCRIPTOR MODULE...

A schedule starts and kills a dozen processes of Python, and imports are most of that cost. Each service is
forked from the server, with its own process id and its own standard error, on its own clock
(`stepped_clock`), and dies with the world. Faults affect it like a process started without the server; it
only starts sooner.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from opq_sim.faults.parts.stepped_clock import make_clocks_steppable, step_clocks
from opq_sim.parent import end_with

LONGEST_REQUEST: Final = 65_536
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""A process that forks has no other threads."""


class ForkedProcess:
    """A process that the server forked; its exit code is not known."""

    def __init__(self, pid: int, pidfd: int, stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stderr = stderr
        self._pidfd = pidfd

    def __del__(self) -> None:
        os.close(self._pidfd)

    @property
    def runs(self) -> bool:
        return not self.ended(0.0)

    def ended(self, within_s: float | None = None) -> bool:
        """Waits for its end; None: for as long as it takes."""
        waiting = select.poll()
        waiting.register(self._pidfd, select.POLLIN)
        return bool(waiting.poll(None if within_s is None else within_s * 1000))

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal; does nothing if the process has ended."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            return


class ForkServer:
    """The world's end of a server, for the `with` block; one thread."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = tuple(modules)

    def __enter__(self) -> "ForkServer":
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(os.getpid()), str(theirs.fileno()), *self._modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
                env={**os.environ, **ONE_THREAD},
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()
        self._process.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def start(self, clock: Path, arguments: Sequence[str]) -> ForkedProcess:
        """Starts `python -m` with these arguments, on a clock of `put_step_ns`.

        Raises:
            OSError: the server has ended.
        """
        reading, writing = os.pipe()
        stderr = os.fdopen(reading, "rb")
        try:
            request = json.dumps([str(clock), *arguments]).encode()
            socket.send_fds(self._channel, [request], [writing])
            pid, pidfds, _, _ = socket.recv_fds(self._channel, 64, 1)
        except OSError:
            pid, pidfds = b"", []
        finally:
            os.close(writing)
        if not pid:
            _, words = self._process.communicate()
            last = (words.decode(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise OSError(f"the process that forks {arguments[0]} has ended: {last}")
        return ForkedProcess(int(pid), pidfds[0], stderr)


def main() -> None:
    """Serves until the world ends; in a service that it forks, runs the service."""
    parent, descriptor, *modules = sys.argv[1:]
    end_with(int(parent))
    make_clocks_steppable()
    for module in modules:
        importlib.import_module(module)
    for module in modules:
        if module.endswith(".__main__"):
            del sys.modules[module]  # it runs as `__main__`
    gc.freeze()  # a collection in one of the processes would copy every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended processes need no wait
    with socket.socket(fileno=int(descriptor)) as channel:
        clock, arguments, stderr = _serve(channel)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` has it ignored
    os.dup2(stderr, 2)
    os.close(stderr)
    step_clocks(clock)
    sys.argv[1:] = arguments[1:]
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _serve(channel: socket.socket) -> tuple[Path, list[str], int]:
    """Forks for each request; returns in the forked process, and ends with the world."""
    server = os.getpid()
    while True:
        request, descriptors, _, _ = socket.recv_fds(channel, LONGEST_REQUEST, 1)
        if not request:
            os._exit(0)
        held, holding = os.pipe()  # it begins once its pidfd exists: it may not end before
        pid = os.fork()
        if not pid:
            end_with(server)
            os.close(holding)
            os.read(held, 1)
            os.close(held)
            clock, *arguments = json.loads(request)
            return Path(clock), arguments, descriptors[0]
        pidfd = os.pidfd_open(pid)
        for descriptor in (held, holding, *descriptors):
            os.close(descriptor)
        socket.send_fds(channel, [str(pid).encode()], [pidfd])
        os.close(pidfd)


if __name__ == "__main__":
    main()
