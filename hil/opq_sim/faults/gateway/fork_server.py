"""ForkServer: services forked from a process that has their modules loaded, so that a start needs no imports.

A schedule starts and kills a dozen processes of Python, and imports are most of that cost. The server is
forked from the world before it has threads, sockets or open files. Each service is forked from the server,
with its own process id and its own standard error, and dies with the world, like a process started without
the server. Faults affect it in the same way; it only starts sooner.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from subprocess import TimeoutExpired
from typing import IO, Final, Protocol

from opq_sim.faults.gateway.child import make_clocks_steppable, step_clocks
from opq_sim.parent import end_with

LONGEST_REQUEST: Final = 65_536


class StartedProcess(Protocol):
    """The part of a process that a service needs; `subprocess.Popen` fulfils it too."""

    pid: int
    stderr: IO[bytes] | None

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...

    def send_signal(self, sig: int, /) -> None: ...


class ForkedProcess:
    """A process that the server forked; its exit code is not known: `poll` returns 0 once it has ended."""

    def __init__(self, pid: int, pidfd: int, stderr: IO[bytes]) -> None:
        self.pid = pid
        self.stderr: IO[bytes] | None = stderr
        self._pidfd = pidfd

    def __del__(self) -> None:
        os.close(self._pidfd)

    def poll(self) -> int | None:
        """0: it has ended; None: it runs."""
        return self._ended(0.0)

    def wait(self, timeout: float | None = None) -> int:
        """
        Raises:
            TimeoutExpired: it runs after so many seconds.
        """
        code = self._ended(timeout)
        if code is None:
            raise TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def send_signal(self, sig: int, /) -> None:
        """Sends a signal; does nothing if the process has ended."""
        try:
            signal.pidfd_send_signal(self._pidfd, sig)
        except ProcessLookupError:
            return

    def _ended(self, timeout_s: float | None) -> int | None:
        waiting = select.poll()
        waiting.register(self._pidfd, select.POLLIN)
        return 0 if waiting.poll(None if timeout_s is None else timeout_s * 1000) else None


class ForkServer:
    """The world's end of the server; one thread."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def start(self, clock: Path, arguments: Sequence[str]) -> ForkedProcess:
        """Starts `python -m` with these arguments, on a clock as described in `child`.

        Raises:
            OSError: the server has ended.
        """
        reading, writing = os.pipe()
        try:
            request = json.dumps([str(clock), *arguments]).encode()
            socket.send_fds(self._channel, [request], [writing])
        finally:
            os.close(writing)
        pid, (pidfd,), _, _ = socket.recv_fds(self._channel, 64, 1)
        return ForkedProcess(int(pid), pidfd, os.fdopen(reading, "rb"))


def fork_server(modules: Sequence[str]) -> ForkServer:
    """Loads modules and forks a server that has them; call it before this process has a thread.

    In a service that the server forks this call does not return: it ends with the service.
    """
    make_clocks_steppable()
    for module in modules:
        importlib.import_module(module)
    for module in modules:
        if module.endswith(".__main__"):
            del sys.modules[module]  # it runs as `__main__`
    gc.freeze()  # a collection in one of the processes would copy every page
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent = os.getpid()
    if os.fork():
        theirs.close()
        return ForkServer(ours)
    ours.close()
    end_with(parent)
    _redirect(None)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for ended processes
    clock, arguments, stderr = _serve(theirs)
    theirs.close()
    _become(clock, arguments, stderr)
    sys.exit(0)


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


def _become(clock: Path, arguments: Sequence[str], stderr: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _redirect(stderr)
    step_clocks(clock)
    sys.argv[1:] = arguments[1:]
    runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)


def _redirect(stderr: int | None) -> None:
    """Connects standard input and output to nothing; standard error stays, or goes to a pipe."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    if stderr is not None:
        os.dup2(stderr, 2)
        os.close(stderr)
