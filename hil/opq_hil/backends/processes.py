"""An emulator's process: in a group of its own, ended whole, and not left behind when we are killed.

Both emulators need it, so it is neither's. QEMU is one process and ends in order at SIGTERM. Renode is a
script that waits for another process, which ignores SIGTERM while it writes to a pty that nobody reads.
"""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

END_LIMIT_S = 10.0
"""From SIGTERM to SIGKILL: a QEMU writes flash and report."""


def tethered(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command, sent SIGTERM when whoever runs it dies, even by kill -9 (util-linux; else it stays)."""
    tether = shutil.which("setpriv")
    return (tether, "--pdeathsig", "TERM", *command) if tether else command


@contextlib.contextmanager
def guarded(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Should we die in the block, even by kill -9, SIGKILL ends the process's whole group.

    A shell waits for the end of a pipe that only we hold.
    """
    line = ["/bin/sh", "-c", 'read -r _; kill -KILL "-$1"', "guard", str(process.pid)]
    guard = subprocess.Popen(line, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        guard.kill()
        guard.communicate()


def end_group(process: subprocess.Popen[Any], limit_s: float = END_LIMIT_S) -> None:
    """SIGTERM to the process and what it started, SIGKILL to what is left; it has a session of its own."""
    if process.poll() is None:
        _send(process, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_s)
    _send(process, signal.SIGKILL)
    process.wait()


def _send(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # nobody is left
        os.killpg(process.pid, number)
